/** Watchers on one node's tree, against a list of everything that ever changed. */
import { expect, it } from 'vitest';
import {
  encodeCompact,
  encodePurge,
  encodeTransact,
  type ConfigOperation,
  type KeySpan,
} from '../../node/coordination/config-command.ts';
import { EventFeed, type ConfigEvent } from '../../node/coordination/coordination-events.ts';
import { CoordinationMachine } from '../../node/coordination/coordination-machine.ts';
import {
  WatchHub,
  type WatchSink,
  type WatchTerms,
  type Watcher,
} from '../../node/coordination/watch-hub.ts';
import { encodeTransaction } from '../../node/coordination/tree-command.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import type { RowStore } from '../../node/storage/row-store.ts';
import { MemoryRows } from './part-rows.ts';

const KEYS = ['a', 'a/1', 'a/2', 'a/3', 'b', 'b/1', 'c', '\xff', '\xff\xff'];
/** Takes a revision, and is not for watchers. */
const OWN_CHANGE = { key: '/holdfast/x', value: Buffer.from('y') };
const SPANS: KeySpan[] = [
  ...KEYS.map((key) => ({ start: key, end: `${key}\0` })),
  { start: '', end: undefined },
  { start: 'a/', end: 'a0' },
  { start: 'a/2', end: 'b/1' },
  { start: 'b', end: undefined },
];

/** A stream that counts what it is given, and has room as it is told. */
class Sink implements WatchSink {
  hasRoom = true;
  readonly told = new Map<Watcher, string[]>();
  readonly compacted = new Map<Watcher, number>();
  /** Revisions it takes before it has no room. */
  room = Infinity;

  take(watcher: Watcher, revision: number, events: readonly ConfigEvent[]): void {
    expect(this.hasRoom).toBe(true);
    expect(events.length).toBeGreaterThan(0);
    const told = this.told.get(watcher)!;
    for (const event of events) {
      expect(event.revision).toBe(revision);
      told.push(textOf(event));
    }
    this.room--;
    if (this.room <= 0) this.hasRoom = false;
  }

  onCompacted(watcher: Watcher, compactRevision: number): void {
    expect(this.compacted.has(watcher)).toBe(false);
    expect(watcher.next).toBeLessThan(compactRevision);
    this.compacted.set(watcher, compactRevision);
  }
}

function textOf({ revision, number, isDelete, entry }: ConfigEvent): string {
  const key = Buffer.from(entry.key).toString('latin1');
  return `${revision}.${number} ${isDelete ? 'delete' : 'put'} ${key} ${Buffer.from(entry.value).toString('latin1')}`;
}

interface Watched {
  readonly terms: WatchTerms;
  readonly from: number;
  readonly watcher: Watcher;
  readonly sink: Sink;
}

interface Counts {
  told: number;
  compacted: number;
  blocked: number;
  replaced: number;
  behind: number;
}

class HubWorld {
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
  readonly all: ConfigEvent[] = [];
  readonly watched: Watched[] = [];
  readonly sinks = Array.from({ length: 3 }, () => new Sink());
  readonly random: SeededRandom;
  readonly counts: Counts = { told: 0, compacted: 0, blocked: 0, replaced: 0, behind: 0 };
  #observing = this.feed.add(this.hub);

  constructor(seed: string) {
    this.random = new SeededRandom(seed);
    this.feed.add({ onChanges: (_revision, events) => void this.all.push(...events) });
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) await this.step();
    for (const sink of this.sinks) this.giveRoom(sink, Infinity);
    await this.scheduler.runFor(10_000);
    for (const watched of this.watched) this.checkEnded(watched);
  }

  async step(): Promise<void> {
    switch (this.integer(0, 12)) {
      case 0:
        return this.watch();
      case 1:
        return this.giveRoom(this.pick(this.sinks), this.integer(1, 20));
      case 2:
        this.pick(this.sinks).room = this.integer(0, 3);
        return;
      case 3:
        return this.scheduler.runFor(this.integer(0, 50));
      case 4:
        if (this.integer(0, 5) === 0) await this.compact();
        return;
      case 5:
        if (this.integer(0, 5) === 0) this.replace();
        return;
      case 6:
        if (this.integer(0, 3) === 0 && this.watched.length > 4) this.unwatch();
        return;
      case 7:
        this.machine.apply(encodeTransaction({ comparisons: [], changes: [OWN_CHANGE] }), 1);
        return;
      default:
        for (let count = this.integer(1, 8); count > 0; count--) this.write();
    }
  }

  write(): void {
    const keys = new Set(Array.from({ length: this.integer(1, 4) }, () => this.pick(KEYS)));
    const thenOperations = [...keys].map((key) => this.#operation(key));
    this.machine.apply(
      encodeTransact(undefined, {
        quotaBytes: 2 ** 40,
        transaction: { comparisons: [], thenOperations, elseOperations: [] },
      }),
      1,
    );
  }

  watch(): void {
    const sink = this.pick(this.sinks);
    const terms = {
      span: this.pick(SPANS),
      withoutPuts: this.integer(0, 6) === 0,
      withoutDeletes: this.integer(0, 6) === 0,
    };
    const now = this.machine.revision;
    const from = this.integer(0, 2) === 0 ? now + 1 + this.integer(0, 3) : this.integer(1, now + 2);
    const watcher = this.hub.add(terms, from, sink);
    expect(watcher === undefined).toBe(from < this.machine.config.compactRevision);
    if (watcher === undefined) return;
    sink.told.set(watcher, []);
    this.watched.push({ terms, from, watcher, sink });
    if (!watcher.isAtEnd) this.counts.behind++;
  }

  unwatch(): void {
    const [ended] = this.watched.splice(this.integer(0, this.watched.length), 1);
    if (ended!.sink.compacted.has(ended!.watcher)) return;
    this.hub.remove(ended!.watcher);
    this.check(ended!, this.hub.position(ended!.watcher));
    ended!.sink.told.set(ended!.watcher, null as never); // nothing more may come
  }

  giveRoom(sink: Sink, room: number): void {
    if (!sink.hasRoom) this.counts.blocked++;
    sink.room = room;
    sink.hasRoom = true;
    this.hub.resume(sink);
  }

  async compact(): Promise<void> {
    this.machine.apply(encodeCompact(this.integer(1, this.machine.revision + 1)), 1);
    const purge = await this.machine.config.history.toPurge();
    if (purge !== undefined) this.machine.apply(encodePurge(purge), 1);
  }

  /** What is applied is not told. */
  replace(): void {
    this.#observing();
    for (let count = this.integer(0, 10); count > 0; count--) this.write();
    this.#observing = this.feed.add(this.hub);
    this.hub.onReplaced();
    this.counts.replaced++;
  }

  /** What was told is what there was from its beginning up to its position. */
  check({ terms, from, watcher, sink }: Watched, upTo: number): void {
    const { start, end } = terms.span;
    const wanted = this.all.filter(({ revision, isDelete, entry }) => {
      const key = Buffer.from(entry.key).toString('latin1');
      if (isDelete ? terms.withoutDeletes : terms.withoutPuts) return false;
      return revision >= from && revision <= upTo && key >= start && (end === undefined || key < end);
    });
    expect(sink.told.get(watcher)).toEqual(wanted.map(textOf));
    this.counts.told += wanted.length;
  }

  checkEnded(watched: Watched): void {
    const { watcher, sink } = watched;
    if (sink.compacted.has(watcher)) {
      this.counts.compacted++;
      return this.check(watched, watcher.next - 1);
    }
    expect(watcher.isAtEnd).toBe(true);
    expect(this.hub.position(watcher)).toBe(this.machine.revision);
    this.check(watched, this.machine.revision);
  }

  /** From low up to but not including high. */
  integer(low: number, high: number): number {
    return low + (this.random.u32() % (high - low));
  }

  pick<T>(from: readonly T[]): T {
    return from[this.integer(0, from.length)]!;
  }

  #operation(key: string): ConfigOperation {
    if (this.integer(0, 4) === 0)
      return {
        case: 'delete',
        span: { start: key, end: `${key}\0` },
        ifModRevision: undefined,
        returnPrevious: false,
      };
    return {
      case: 'put',
      key,
      value: Buffer.from(String(this.integer(0, 1_000_000))),
      lease: 0n,
      ifModRevision: undefined,
      returnPrevious: false,
      keepValue: false,
      keepLease: false,
    };
  }
}

it('tells each watcher exactly the changes of its span, in order, from its position on', async () => {
  const counts: Counts = { told: 0, compacted: 0, blocked: 0, replaced: 0, behind: 0 };
  for (let seed = 0; seed < 150; seed++) {
    const world = new HubWorld(`watch ${seed}`);
    await world.run(300).catch((error: unknown) => {
      throw new Error(`seed ${seed}`, { cause: error });
    });
    for (const name of Object.keys(counts) as (keyof Counts)[]) counts[name] += world.counts[name];
  }
  console.log(counts);
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(100);
});
