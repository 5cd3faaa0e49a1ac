/** Watch streams over one node's tree, in virtual time. */
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import {
  EventType,
  KeySelectionSchema,
  WatchRequestSchema,
  WatchResponseSchema,
  type CreateWatchSchema,
  type WatchResponse,
} from '@holdfast/proto/config/v1/config';
import { describe, expect, it } from 'vitest';
import {
  encodeCompact,
  encodePurge,
  encodeTransact,
  type ConfigOperation,
} from '../../node/coordination/config-command.ts';
import { EventFeed } from '../../node/coordination/coordination-events.ts';
import { CoordinationMachine } from '../../node/coordination/coordination-machine.ts';
import { WatchHub } from '../../node/coordination/watch-hub.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { openAccess } from '../../node/services/access.ts';
import type { MessageStream } from '../../node/services/handler.ts';
import { EventEncoder } from '../../node/services/watch-encoder.ts';
import { WatchStream, type EncodingNode } from '../../node/services/watch-stream.ts';
import type { RowStore } from '../../node/storage/row-store.ts';
import { MemoryRows } from './part-rows.ts';

type Creation = MessageInitShape<typeof CreateWatchSchema>;

/** The caller's end of a stream. */
class Caller implements MessageStream {
  readonly said: WatchResponse[] = [];
  /** Messages on the wire. */
  messages = 0;
  bytes = 0;
  /** Whether it reads. */
  reads = true;
  isPaused = false;
  unsentBytes = 0;
  ended: { error: Error | undefined } | undefined;
  #receive!: (message: Buffer) => void;
  #drained!: () => void;
  #closed!: () => void;

  onMessage(receive: (message: Buffer) => void): void {
    this.#receive = receive;
  }
  onEnd(): void {}
  onClose(closed: () => void): void {
    this.#closed = closed;
  }
  onDrain(drained: () => void): void {
    this.#drained = drained;
  }
  send(message: Uint8Array): boolean {
    expect(this.ended).toBe(undefined);
    this.messages++;
    this.bytes += message.byteLength;
    const response = fromBinary(WatchResponseSchema, message);
    for (const said of [response, ...response.further]) {
      expect(said.$unknown).toBe(undefined);
      expect(said.response.case).not.toBe(undefined);
      this.said.push(said);
    }
    if (!this.reads) this.unsentBytes += message.byteLength;
    return this.reads;
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  end(error?: Error): void {
    this.ended = { error };
  }

  say(request?: MessageInitShape<typeof WatchRequestSchema>['request'] & object): void {
    this.#receive(
      Buffer.from(toBinary(WatchRequestSchema, create(WatchRequestSchema, request && { request }))),
    );
  }

  watch(
    watchId: number,
    creation: Omit<Creation, 'watchId' | '$typeName'> & { prefix?: string; key?: string },
  ): void {
    const { prefix, key, ...rest } = creation;
    const selection =
      prefix === undefined
        ? key === undefined
          ? undefined
          : { selection: { case: 'key' as const, value: Buffer.from(key) } }
        : { selection: { case: 'prefix' as const, value: Buffer.from(prefix) } };
    const named = selection && { selection: create(KeySelectionSchema, selection) };
    this.say({ case: 'create', value: { ...named, ...rest, watchId: BigInt(watchId) } });
  }

  readAgain(): void {
    this.reads = true;
    this.unsentBytes = 0;
    this.#drained();
  }

  close(): void {
    this.#closed();
  }

  /** What was said, in short, and forgets it. */
  heard(): string[] {
    return this.said.splice(0).map(shortly);
  }
}

function shortly({ response }: WatchResponse): string {
  switch (response.case) {
    case 'created':
      return `created ${response.value.watchId} at ${response.value.revision}`;
    case 'events': {
      const { watchId, events, revision, more } = response.value;
      const texts = events.map(({ type, entry, previous }) => {
        const before = previous === undefined ? '' : ` was ${short(previous.value)}`;
        const value = type === EventType.DELETE ? ' deleted' : `=${short(entry!.value)}`;
        return `${short(entry!.key)}${value}@${entry!.modRevision}${before}`;
      });
      return `${watchId}: ${texts.join(', ')} up to ${revision}${more ? ', more' : ''}`;
    }
    case 'progress':
      return response.value.all
        ? `all at ${response.value.revision}`
        : `${response.value.watchId} at ${response.value.revision}`;
    case 'cancelled': {
      const { watchId, error, compactRevision, nextRevision } = response.value;
      const compacted = compactRevision > 0n ? ` from ${compactRevision}` : '';
      return `${watchId} over: ${error?.reason ?? 'asked'}${compacted}, next ${nextRevision}`;
    }
    default:
      return response.case ?? 'nothing';
  }
}

function short(value: Uint8Array): string {
  return value.byteLength > 100 ? `${value.byteLength} bytes` : Buffer.from(value).toString();
}

class StreamRig {
  readonly scheduler = new SimulatedScheduler();
  readonly clock = new SimulatedClock(this.scheduler);
  readonly feed = new EventFeed();
  readonly machine = new CoordinationMachine(new MemoryRows() as unknown as RowStore, 0, this.feed);
  readonly hub = new WatchHub({
    clock: this.clock,
    tree: () => ({
      history: this.machine.config.history,
      compactRevision: this.machine.config.compactRevision,
      revision: this.machine.revision,
    }),
  });
  readonly streams = new Set<WatchStream>();
  charged = 0;
  readFailure: HoldfastError | undefined;
  readsAsked = 0;
  readonly node: EncodingNode = {
    hub: this.hub,
    encoder: new EventEncoder(),
    now: () => this.clock.monotonicMs(),
    afterTurn: (callback) => this.clock.afterTurn(callback),
    awaitRead: async () => {
      this.readsAsked++;
      if (this.readFailure !== undefined) throw this.readFailure;
    },
    previous: ({ previous }) => previous && this.machine.config.entryAt(previous),
  };

  constructor() {
    this.feed.add(this.hub);
  }

  open(): Caller {
    const caller = new Caller();
    const budget = {
      tryTake: (bytes: number) => {
        this.charged += bytes;
        return true;
      },
      give: (bytes: number) => void (this.charged -= bytes),
      refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full' }),
    };
    const context = { budget, access: openAccess() };
    this.streams.add(new WatchStream(this.node, caller, context, (closed) => this.streams.delete(closed)));
    return caller;
  }

  put(...pairs: [string, string | Buffer][]): void {
    this.#transact(
      pairs.map(([key, value]) => ({
        case: 'put',
        key,
        value: Buffer.from(value),
        lease: 0n,
        ifModRevision: undefined,
        returnPrevious: false,
        keepValue: false,
        keepLease: false,
      })),
    );
  }

  delete(key: string): void {
    const span = { start: key, end: `${key}\0` };
    this.#transact([{ case: 'delete', span, ifModRevision: undefined, returnPrevious: false }]);
  }

  async compact(revision: number): Promise<void> {
    this.machine.apply(encodeCompact(revision), 1);
    this.machine.apply(encodePurge((await this.machine.config.history.toPurge())!), 1);
  }

  /** Time passes, second by second. */
  async pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      await this.scheduler.runFor(1_000);
      for (const stream of this.streams) stream.tick(this.clock.monotonicMs());
    }
    await this.scheduler.runFor(10);
  }

  settle(): Promise<void> {
    return this.scheduler.runFor(10);
  }

  #transact(thenOperations: ConfigOperation[]): void {
    const transaction = { comparisons: [], thenOperations, elseOperations: [] };
    this.machine.apply(encodeTransact(undefined, { quotaBytes: 2 ** 40, transaction }), 1);
  }
}

describe('a watch stream', () => {
  it('tells keys and prefixes, from now and from the past, what is written and deleted', async () => {
    const rig = new StreamRig();
    rig.put(['a/1', 'one']);
    rig.put(['a/2', 'two']);
    const caller = rig.open();
    caller.watch(1, { key: 'a/1' });
    caller.watch(2, { prefix: 'a/', startRevision: 1n });
    caller.watch(3, { prefix: '', withoutPuts: true });
    await rig.settle();
    expect(caller.heard()).toEqual([
      'created 1 at 2',
      'created 2 at 2',
      'created 3 at 2',
      '2: a/1=one@1, a/2=two@2 up to 2',
    ]);
    rig.put(['a/1', 'uno'], ['b', 'be']);
    rig.delete('a/1');
    await rig.settle();
    expect(caller.heard().sort()).toEqual([
      '1: a/1=uno@3, a/1 deleted@4 up to 4',
      '2: a/1=uno@3, a/1 deleted@4 up to 4',
      '3: a/1 deleted@4 up to 4',
    ]);
    expect(caller.messages).toBe(3);
  });

  it('tells what was there before, as far as it is kept', async () => {
    const rig = new StreamRig();
    rig.put(['a', 'one']);
    rig.put(['a', 'two']);
    const caller = rig.open();
    caller.watch(1, { key: 'a', withPrevious: true, startRevision: 1n });
    await rig.settle();
    rig.delete('a');
    await rig.settle();
    expect(caller.heard()).toEqual([
      'created 1 at 2',
      '1: a=one@1, a=two@2 was one up to 2',
      '1: a deleted@3 was two up to 3',
    ]);
    rig.put(['a', 'three']);
    await rig.compact(4);
    caller.watch(2, { key: 'a', withPrevious: true, startRevision: 4n });
    await rig.settle();
    expect(caller.heard().slice(1)).toEqual(['created 2 at 4', '2: a=three@4 up to 4']);
  });

  it('refuses what is compacted and says what is left; a future revision waits', async () => {
    const rig = new StreamRig();
    for (let count = 0; count < 5; count++) rig.put(['a', String(count)]);
    await rig.compact(4);
    const caller = rig.open();
    caller.watch(1, { key: 'a', startRevision: 3n });
    caller.watch(2, { key: 'a', startRevision: 4n });
    caller.watch(3, { key: 'a', startRevision: 7n });
    await rig.settle();
    expect(caller.heard()).toEqual([
      '1 over: REVISION_COMPACTED from 4, next 3',
      'created 2 at 5',
      'created 3 at 5',
      '2: a=3@4, a=4@5 up to 5',
    ]);
    rig.put(['a', 'six']);
    rig.put(['a', 'seven']);
    await rig.settle();
    expect(caller.heard().sort()).toEqual(['2: a=six@6, a=seven@7 up to 7', '3: a=seven@7 up to 7']);
  });

  it('ends single watches as asked, and tells how far it is', async () => {
    const rig = new StreamRig();
    const caller = rig.open();
    caller.watch(1, { key: 'a' });
    caller.watch(2, { key: 'a' });
    rig.put(['a', 'one']);
    await rig.settle();
    caller.heard();
    rig.put(['a', 'two']);
    caller.say({ case: 'cancel', value: { watchId: 1n } });
    caller.say({ case: 'cancel', value: { watchId: 99n } });
    caller.say({ case: 'progress', value: {} });
    rig.put(['a', 'three']);
    await rig.settle();
    const heard = caller.heard();
    expect(heard).toContain('1 over: asked, next 4');
    expect(heard.at(-1)).toBe('all at 3');
    rig.put(['a', 'four']);
    await rig.settle();
    expect(caller.heard()).toEqual(['2: a=four@4 up to 4']);
  });

  it('says that it lives after 3 s, and where a watch is that asks for it after 10 s', async () => {
    const rig = new StreamRig();
    const caller = rig.open();
    caller.watch(1, { key: 'a', progress: true });
    caller.watch(2, { key: 'a' });
    await rig.settle();
    caller.heard();
    rig.put(['b', 'not theirs']);
    await rig.pass(2);
    expect(caller.heard()).toEqual([]);
    await rig.pass(9);
    expect(caller.heard()).toEqual(['heartbeat', 'heartbeat', 'heartbeat', '1 at 1']);
  });

  it.each([
    ['of nothing', {}, 'INVALID_FIELD'],
    ['of an empty key', { key: '' }, 'KEY_EMPTY'],
    ['of a long key', { key: 'x'.repeat(4_097) }, 'KEY_TOO_LARGE'],
    ['of a key of the cluster', { key: '/holdfast/members' }, 'KEY_RESERVED'],
    ['of all keys of the cluster', { prefix: '/holdfast/' }, 'KEY_RESERVED'],
    ['from no revision that can be', { key: 'a', startRevision: 2n ** 60n }, 'INVALID_FIELD'],
  ])('refuses a watch %s, and goes on', async (_what, creation, reason) => {
    const rig = new StreamRig();
    const caller = rig.open();
    caller.watch(1, creation);
    caller.watch(2, { key: 'a' });
    await rig.settle();
    const heard = caller.heard();
    expect(heard[0]).toContain(`1 over: ${reason}`);
    expect(heard[1]).toBe('created 2 at 0');
  });

  it('refuses a range that ends before it starts', async () => {
    const rig = new StreamRig();
    const caller = rig.open();
    const range = { start: Buffer.from('b'), end: Buffer.from('a') };
    const selection = create(KeySelectionSchema, { selection: { case: 'range', value: range } });
    caller.say({ case: 'create', value: { watchId: 1n, selection } });
    await rig.settle();
    expect(caller.heard()).toEqual(['1 over: RANGE_INVERTED, next 0']);
  });

  it.each([
    ['a number that is in use', (caller: Caller) => caller.watch(1, { key: 'b' }), 'WATCH_ID_IN_USE'],
    ['nothing', (caller: Caller) => caller.say(), 'INVALID_FIELD'],
  ])('ends when it is told %s', async (_what, say, reason) => {
    const rig = new StreamRig();
    const caller = rig.open();
    caller.watch(1, { key: 'a' });
    say(caller);
    await rig.settle();
    expect(caller.ended?.error).toMatchObject({ reason });
    expect([rig.hub.size, rig.charged, rig.streams.size]).toEqual([0, 0, 0]);
  });

  it('takes 10,000 watches of 100,000, refuses the others one by one, and gives everything back', async () => {
    const rig = new StreamRig();
    const caller = rig.open();
    let paused = 0;
    for (let id = 1; id <= 100_000; id++) {
      caller.watch(id, { key: `key ${id % 100}` });
      if (!caller.isPaused) continue;
      paused++;
      await rig.settle();
    }
    await rig.settle();
    const heard = caller.heard();
    expect(paused).toBeGreaterThan(50);
    expect(heard.length).toBe(100_000);
    expect(heard.filter((text) => text.startsWith('created')).length).toBe(10_000);
    expect(heard.filter((text) => text.includes('WATCHES_TOO_MANY')).length).toBe(90_000);
    rig.put(['key 1', 'x']);
    await rig.settle();
    expect(caller.heard().length).toBe(100);
    caller.close();
    expect([rig.hub.size, rig.charged, rig.streams.size]).toEqual([0, 0, 0]);
  });

  it('holds nothing for a caller that does not read, ends its watches with a position, and lets others be', async () => {
    const rig = new StreamRig();
    const [slow, other] = [rig.open(), rig.open()];
    for (const caller of [slow, other]) caller.watch(1, { prefix: '' });
    slow.watch(2, { key: 'nothing' });
    await rig.settle();
    slow.reads = false;
    for (let count = 0; count < 3_000; count++) {
      rig.put(['key', Buffer.alloc(1_000, count)]);
      if (count % 100 === 0) await rig.settle();
    }
    await rig.settle();
    expect(other.bytes).toBeGreaterThan(3_000_000);
    expect(slow.bytes).toBeLessThan(300_000);
    const last = slow.said.findLast(({ response }) => response.case === 'events')!.response;
    const told = last.case === 'events' ? last.value.revision : 0n;
    slow.heard();
    await rig.pass(22);
    expect(slow.heard()).toEqual([
      `1 over: WATCH_TOO_SLOW, next ${told + 1n}`,
      '2 over: WATCH_TOO_SLOW, next 3001',
    ]);
    expect(slow.ended?.error).toMatchObject({ reason: 'WATCH_TOO_SLOW' });
    expect(other.ended).toBe(undefined);
    expect(rig.hub.size).toBe(1);
  });

  it('goes on where it was when a caller reads again', async () => {
    const rig = new StreamRig();
    const caller = rig.open();
    caller.watch(1, { prefix: '' });
    await rig.settle();
    caller.heard();
    caller.reads = false;
    rig.put(['a', '1']);
    await rig.settle();
    for (let count = 2; count <= 2_500; count++) rig.put(['a', String(count)]);
    await rig.settle();
    expect(caller.heard()).toEqual(['1: a=1@1 up to 1']);
    caller.readAgain();
    await rig.settle();
    const text = caller.heard().join(', ');
    expect([...text.matchAll(/@(\d+)/g)].map(([, revision]) => Number(revision))).toEqual(
      Array.from({ length: 2_499 }, (_, at) => at + 2),
    );
  });

  it('splits large changes of one revision only for those who can put them together', async () => {
    const rig = new StreamRig();
    const caller = rig.open();
    caller.watch(1, { prefix: '', fragment: true });
    caller.watch(2, { prefix: '' });
    caller.watch(3, { key: 'k0' });
    await rig.settle();
    caller.heard();
    const value = Buffer.alloc(1_000_000, 'x');
    rig.put(...Array.from({ length: 9 }, (_, at): [string, Buffer] => [`k${at}`, value]));
    rig.put(['after', '']);
    await rig.settle();
    const heard = caller.heard();
    const parts = heard.filter((text) => text.startsWith('1: k'));
    expect(parts.length).toBe(9);
    expect(parts.map((text) => text.endsWith(', more'))).toEqual([
      ...Array.from({ length: 8 }, () => true),
      false,
    ]);
    expect(heard).toContain('2 over: ANSWER_TOO_LARGE, next 1');
    expect(heard).toContain('3: k0=1000000 bytes@1 up to 1');
    expect(heard).toContain('1: after=@2 up to 2');
    expect(heard.some((text) => text.startsWith('2: '))).toBe(false);
  });

  it('asks the leader once for all that begin now; without one it begins what has a position', async () => {
    const rig = new StreamRig();
    rig.put(['a', 'one']);
    const caller = rig.open();
    for (let id = 1; id <= 50; id++) caller.watch(id, { key: 'a' });
    await rig.settle();
    expect(rig.readsAsked).toBe(1);
    caller.heard();
    rig.readFailure = new HoldfastError({ reason: 'NO_LEADER', message: 'nobody leads' });
    caller.watch(101, { key: 'a' });
    caller.watch(102, { key: 'a', startRevision: 1n });
    await rig.settle();
    expect(caller.heard()).toEqual([
      '101 over: NO_LEADER, next 0',
      'created 102 at 1',
      '102: a=one@1 up to 1',
    ]);
  });
});
