/** Watches by etcd's API: what etcd guarantees of them, in its words. */
import { create, toBinary } from '@bufbuild/protobuf';
import { Event_EventType as EventType, type Event } from '@holdfast/proto/etcd/kv';
import {
  WatchCreateRequest_FilterType as FilterType,
  WatchResponseSchema,
  type WatchResponse,
} from '@holdfast/proto/etcd/rpc';
import { beforeEach, describe, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { AuthKind } from '../../node/coordination/auth-command.ts';
import { EtcdWatchEncoder, watchField } from '../../node/services/etcd/etcd-watch-encoder.ts';
import { etcdHeader } from '../../node/services/etcd/etcd-header.ts';
import { EVERYTHING, EtcdRig, ask, kv, op, say, text } from './etcd-rig.ts';

const DENIED = 'rpc error: code = PermissionDenied desc = etcdserver: permission denied';

let etcd: EtcdRig;

beforeEach(async () => {
  etcd = await EtcdRig.open();
});

/** A change in short: key=value, or -key, its revision, and what was before. */
function told({ type, kv: key, prevKv }: Event, from: bigint): string {
  const what = type === EventType.DELETE ? `-${text(key!.key)}` : `${text(key!.key)}=${text(key!.value)}`;
  const was = prevKv === undefined ? '' : ` was ${text(prevKv.value)}`;
  return `${what} ${key!.modRevision - from}${was}`;
}

/** A response in short. */
function short(response: WatchResponse, from: bigint): string {
  const { watchId, created, canceled, compactRevision, cancelReason, fragment, events } = response;
  const flags = [
    created && 'created',
    canceled && 'canceled',
    compactRevision > 0n && `compacted ${compactRevision - from}`,
    cancelReason !== '' && cancelReason,
    fragment && 'fragment',
    events.length > 0 && events.map((event) => told(event, from)).join(', '),
  ].filter((flag) => flag !== false);
  return `${watchId}: ${flags.join(' ') || `at ${response.header!.revision - from}`}`;
}

/** Opens a stream whose answers are in short, counted from a revision. */
function open(from: bigint, token = etcd.token) {
  const stream = etcd.watch(token);
  const heard = async (withinMs?: number) => (await stream.heard(withinMs)).map((one) => short(one, from));
  return { stream, say: stream.say.bind(stream), heard };
}

describe('a creation', () => {
  test('is answered before anything is told, with the number that was asked for or the next one', async () => {
    const from = await etcd.put('k');
    const { say: tell, heard } = open(from);
    tell(
      say.create('k'),
      say.create('k', '', { watchId: 7n }),
      say.create('k'),
      say.create('k', '', { watchId: -9n }),
    );
    expect(await heard()).toEqual(['0: created', '7: created', '1: created', '-9: created']);
    tell(say.create('k', '', { watchId: 2n }), say.create('k'));
    expect(await heard()).toEqual(['2: created', '3: created']);
    await etcd.put('k', '1');
    const all = await heard();
    expect(new Set(all)).toEqual(new Set([0, 7, 1, -9, 2, 3].map((id) => `${id}: k=1 1`)));
    expect(all).toHaveLength(6);
  });

  test('has the revision after which everything is told', async () => {
    const from = await etcd.put('k', '1');
    const { stream } = open(from);
    stream.say(say.create('k'));
    const [created] = await stream.heard();
    expect(created!.header!.revision).toBe(from);
    const next = await etcd.put('k', '2');
    expect((await stream.heard())[0]!.events[0]!.kv!.modRevision).toBe(next);
  });

  test('is refused with a reason, and the others of the stream go on', async () => {
    const { say: tell, heard } = open(0n);
    tell(say.create('k', '', { watchId: 7n }));
    expect(await heard()).toEqual(['7: created']);
    tell(
      say.create('k', '', { watchId: 7n }),
      say.create('z', 'a'),
      say.create('/holdfast/members/table'),
      say.create('k'.repeat(5_000)),
    );
    expect(await heard()).toEqual([
      '-1: created canceled mvcc: duplicate watch ID provided on the WatchStream',
      '-1: created canceled mvcc: watcher range is empty',
      "-1: created canceled rpc error: code = PermissionDenied desc = etcdserver: keys under /holdfast/ are the cluster's own",
      '-1: created canceled rpc error: code = InvalidArgument desc = etcdserver: request is too large',
    ]);
    await etcd.put('k');
    expect(await heard()).toHaveLength(1);
  });
});

describe('what is told', () => {
  test('is each change of the range, in order, all of a revision together', async () => {
    const from = await etcd.put('a', '0');
    const { say: tell, heard } = open(from);
    tell(say.create('a', 'c'));
    await heard();
    await etcd.put('a', '1');
    await etcd.put('c', '1');
    await etcd.call(kv.deleteRange, ask.delete('a'));
    await etcd.call(kv.txn, {
      success: [op.put('a', '2'), op.put('b', '2'), op.put('c', '2'), op.delete('x')],
    });
    await etcd.call(kv.deleteRange, ask.delete('a', 'z'));
    const events = (await heard()).map((line) => line.replace(/^0: /, '')).join(', ');
    expect(events).toBe('a=1 1, -a 3, a=2 4, b=2 4, -a 5, -b 5');
  });

  test('is what there was before, if that is asked for, of every revision that is not compacted', async () => {
    const from = await etcd.put('k', '0');
    await etcd.put('k', '1');
    await etcd.call(kv.deleteRange, ask.delete('k'));
    await etcd.put('k', '2');
    const { say: tell, heard } = open(from);
    tell(say.create('k', '', { startRevision: from }));
    expect(await heard()).toEqual(['0: created', '0: k=0 0, k=1 1, -k 2, k=2 3']);
    await etcd.call(kv.compact, { revision: from + 2n });
    await etcd.rig.pass(5_000);
    tell(say.create('k', '', { prevKv: true, startRevision: from + 2n }));
    expect(await heard()).toEqual(['1: created', '1: -k 2 was 1, k=2 3']);
    await etcd.put('k', '3');
    expect((await heard()).sort()).toEqual(['0: k=3 4', '1: k=3 4 was 2']);
  });

  test('a delete says nothing but key and revision', async () => {
    await etcd.put('k', 'v');
    const stream = etcd.watch();
    stream.say(say.create('k'));
    await stream.heard();
    const { header } = await etcd.call(kv.deleteRange, ask.delete('k'));
    const [event] = (await stream.heard())[0]!.events;
    const none = { createRevision: 0n, version: 0n, lease: 0n };
    expect(event!.kv).toMatchObject({ ...none, modRevision: header!.revision });
    expect([text(event!.kv!.key), text(event!.kv!.value)]).toEqual(['k', '']);
  });

  test('leaves out what is filtered', async () => {
    const from = await etcd.put('k', '0');
    const { say: tell, heard } = open(from);
    const { NOPUT, NODELETE } = FilterType;
    for (const filters of [[NOPUT], [NODELETE], [NOPUT, NODELETE]]) tell(say.create('k', '', { filters }));
    await heard();
    await etcd.put('k', '1');
    expect(await heard()).toEqual(['1: k=1 1']);
    await etcd.call(kv.deleteRange, ask.delete('k'));
    expect(await heard()).toEqual(['0: -k 2']);
  });

  test('begins at the revision that is asked for, be it past or future', async () => {
    const from = await etcd.put('k', '0');
    await etcd.put('k', '1');
    const { say: tell, heard } = open(from);
    tell(
      say.create('k', '', { startRevision: from + 1n }),
      say.create('k', '', { startRevision: from + 3n }),
    );
    expect(await heard()).toEqual(['0: created', '1: created', '0: k=1 1']);
    await etcd.put('k', '2');
    expect(await heard()).toEqual(['0: k=2 2']);
    await etcd.put('k', '3');
    expect((await heard()).sort()).toEqual(['0: k=3 3', '1: k=3 3']);
  });

  test("is of all keys but the cluster's own", async () => {
    const from = await etcd.put('k');
    const { say: tell, heard } = open(from);
    tell(say.create('', EVERYTHING), say.create('/holdfast/', '/holdfast0'));
    await heard();
    await etcd.rig.run(
      etcd.rig.engine.coordination.transact({
        comparisons: [],
        changes: [{ key: '/holdfast/test', value: Buffer.from('own') }],
      }),
    );
    await etcd.rig.pass(60_000); // whatever the cluster writes by itself
    await etcd.put('\0', 'first');
    await etcd.put('\xff', 'last');
    const lines = (await heard()).map((line) => line.replace(/ \d+$/, ''));
    expect(lines).toEqual(['0: \0=first', '0: \xff=last']);
  });
});

describe('the end of a watch', () => {
  test('that was asked for is told, and nothing after it', async () => {
    const from = await etcd.put('k');
    const { say: tell, heard } = open(from);
    tell(say.create('k'), say.create('k'));
    await heard();
    tell(say.cancel(0n), say.cancel(0n), say.cancel(99n), {});
    expect(await heard()).toEqual(['0: canceled']);
    await etcd.put('k', '1');
    expect(await heard()).toEqual(['1: k=1 1']);
    tell(say.create('k', '', { watchId: 0n }), say.create('k', '', { watchId: 1n }));
    expect(await heard()).toEqual([
      '2: created',
      '-1: created canceled mvcc: duplicate watch ID provided on the WatchStream',
    ]);
  });

  test('comes with the compact revision when it begins before that', async () => {
    const from = await etcd.put('k', '0');
    for (const value of ['1', '2', '3']) await etcd.put('k', value);
    await etcd.call(kv.compact, { revision: from + 2n });
    const { say: tell, heard } = open(from);
    tell(
      say.create('k', '', { startRevision: from + 1n }),
      say.create('k', '', { startRevision: from + 2n }),
    );
    expect(await heard()).toEqual(['0: created', '0: canceled compacted 2', '1: created', '1: k=2 2, k=3 3']);
  });

  test('comes with the compact revision when it is behind, and what it has to read is compacted', async () => {
    const from = await etcd.put('k', '0');
    const { stream, say: tell, heard } = open(from);
    tell(say.create('k'));
    await heard();
    stream.reads = false;
    await etcd.put('k', '1');
    await etcd.rig.pass(10);
    for (let value = 2; value < 1_500; value++) await etcd.put('k', String(value));
    await etcd.call(kv.compact, { revision: from + 1_400n });
    expect(await heard()).toEqual(['0: k=1 1']);
    stream.readAgain();
    expect(await heard()).toEqual(['0: canceled compacted 1400']);
  });
});

describe('progress', () => {
  test('is told to whom asks, of all watches of the stream', async () => {
    const from = await etcd.put('k');
    const { say: tell, heard } = open(from);
    tell(say.create('k'));
    await heard();
    tell(say.progress());
    expect(await heard()).toEqual(['-1: at 0']);
    await etcd.put('other');
    tell(say.progress());
    expect(await heard()).toEqual(['-1: at 1']);
  });

  test('is no further than what the watch that is most behind was told', async () => {
    const from = await etcd.put('k', '0');
    for (let value = 1; value <= 3_000; value++) await etcd.put('k', String(value));
    const { stream, say: tell } = open(from);
    tell(say.create('k', '', { startRevision: from + 1n }), say.progress());
    const responses = await stream.heard(1_000);
    const told: bigint[] = [from];
    for (const { watchId, header, events } of responses) {
      told.push(...events.map((event) => event.kv!.modRevision));
      if (watchId === -1n) expect(header!.revision).toBe(told.at(-1));
    }
    expect(told.length).toBe(3_001);
    tell(say.progress());
    expect((await stream.heard())[0]!.header!.revision).toBe(from + 3_000n);
  });

  test('is told now and then to a watch that asked for it, when nothing happens', async () => {
    const from = await etcd.put('k');
    const { say: tell, heard } = open(from);
    tell(say.create('k', '', { progressNotify: true }), say.create('k'));
    await heard();
    const other = await etcd.put('other');
    const lines = await heard(25_000);
    expect(lines.length).toBeGreaterThanOrEqual(2);
    for (const line of lines) expect(line).toMatch(/^0: at \d+$/);
    expect(BigInt(lines[0]!.split(' ').at(-1)!)).toBeGreaterThanOrEqual(other - from);
  });
});

describe('a revision that is too much for a message', () => {
  const PARTS = 12;
  const value = 'v'.repeat(1_000_000);

  async function deleteAll(watch: Parameters<typeof say.create>[2]): Promise<WatchResponse[]> {
    for (let key = 0; key < PARTS; key++) await etcd.put(`f/${key}`, value);
    const stream = etcd.watch();
    stream.say(say.create('f/', 'f0', { prevKv: true, ...watch }));
    await stream.heard();
    // What a transaction may answer does not bound what is told.
    await etcd.call(kv.deleteRange, ask.delete('f/', 'f0'));
    return stream.heard(1_000);
  }

  test('is told in several, if that is asked for: all but the last say that there are more', async () => {
    const responses = await deleteAll({ fragment: true });
    expect(responses.length).toBeGreaterThan(1);
    expect(responses.map(({ fragment }) => fragment)).toEqual([
      ...Array.from({ length: responses.length - 1 }, () => true),
      false,
    ]);
    expect(responses.flatMap(({ events }) => events)).toHaveLength(PARTS);
    expect(
      new Set(responses.flatMap(({ events }) => events.map((event) => event.kv!.modRevision))).size,
    ).toBe(1);
  });

  test('ends a watch that does not ask for it', async () => {
    const responses = await deleteAll({});
    expect(responses).toHaveLength(1);
    expect(responses[0]).toMatchObject({ canceled: true, events: [] });
    expect(responses[0]!.cancelReason).toMatch(/^rpc error: code = ResourceExhausted .*without fragment$/);
  });
});

test('nothing is held for a caller that does not read, nor lost for it', async () => {
  const from = await etcd.put('k', '0');
  const { stream, say: tell, heard } = open(from);
  tell(say.create('k'));
  await heard();
  stream.reads = false;
  await etcd.put('k', '1');
  expect(await heard()).toEqual(['0: k=1 1']);
  for (let value = 2; value <= 20; value++) await etcd.put('k', String(value));
  tell(say.create('k', '', { watchId: 5n }));
  expect(await heard()).toEqual([]);
  stream.readAgain();
  const events = (await heard()).join(', ');
  expect(events).toContain('5: created');
  for (let value = 2; value <= 20; value++) expect(events).toContain(`k=${value} ${value}`);
});

describe('a stream', () => {
  test('that nobody reads is cut, in words that have clients go on with another', async () => {
    await etcd.put('k', '0');
    const { stream, say: tell, heard } = open(0n);
    tell(say.create('k'));
    await heard();
    stream.reads = false;
    await etcd.put('k', '1');
    await heard(30_000);
    expect(stream.failure).toMatch(/^UNAVAILABLE etcdserver: nothing was read/);
    expect(etcd.rig.engine.configuration.watches.size).toBe(0);
  });

  test('ends when the node stops', async () => {
    const { stream, say: tell, heard } = open(0n);
    tell(say.create('k'));
    await heard();
    etcd.rig.stopping.abort(new HoldfastError({ reason: 'SHUTTING_DOWN', message: 'stopping' }));
    expect(stream.failure).toBe('UNAVAILABLE etcdserver: server stopped');
  });

  test('goes on when its caller says no more', async () => {
    const { stream, say: tell, heard } = open(0n);
    tell(say.create('k'));
    stream.sayNoMore();
    await heard();
    await etcd.put('k');
    expect(await heard()).toHaveLength(1);
    stream.end();
    expect(etcd.rig.engine.configuration.watches.size).toBe(0);
  });
});

describe('permissions', () => {
  let alice: string;

  beforeEach(async () => {
    const { rig } = etcd;
    await rig.addRole('team', ['a', 'c'], ['d', '']);
    await rig.addUser('root', 'pw', 'root');
    await rig.addUser('alice', 'pw', 'team');
    await rig.run(rig.engine.auth.enable(rig.terms));
    etcd.token = await rig.login('root', 'pw');
    alice = await rig.login('alice', 'pw');
  });

  test('are asked for all keys of a watch', async () => {
    const { say: tell, heard } = open(0n, alice);
    tell(
      say.create('a', 'c'),
      say.create('a', 'd'),
      say.create('d'),
      say.create('', EVERYTHING),
      say.create('c'),
    );
    expect(await heard()).toEqual([
      '0: created',
      `-1: created canceled ${DENIED}`,
      '1: created',
      `-1: created canceled ${DENIED}`,
      `-1: created canceled ${DENIED}`,
    ]);
  });

  test('that are lost end the watch, before anything more is told', async () => {
    const { rig } = etcd;
    const from = await etcd.put('a');
    const { say: tell, heard } = open(from, alice);
    tell(say.create('a', 'c'), say.create('d'));
    await heard();
    await rig.change({ kind: AuthKind.revokePermission, role: 'team', range: { key: 'a', rangeEnd: 'c' } });
    await etcd.put('a', 'secret');
    await etcd.put('d', 'open');
    const lines = await heard();
    expect(lines[0]).toBe(`0: canceled ${DENIED}`);
    expect(lines.slice(1).map((line) => line.replace(/ \d+$/, ''))).toEqual(['1: d=open']);
  });

  test('of a user who is gone end everything', async () => {
    const { say: tell, heard } = open(0n, alice);
    tell(say.create('d'));
    await heard();
    await etcd.rig.change({ kind: AuthKind.deleteUser, user: 'alice' });
    expect(await heard()).toEqual([
      '0: canceled rpc error: code = Unauthenticated desc = etcdserver: invalid auth token',
    ]);
  });
});

test('changes are encoded as the generated code does', () => {
  const coordination = { revision: 7, term: 3 };
  const header = etcdHeader({
    identity: { node_id: 'ff00ff00ff00ff00', cluster_id: `8${'1'.repeat(31)}` },
    coordination,
  });
  const encoder = new EtcdWatchEncoder(header);
  const entry = {
    key: Buffer.from('k'),
    value: Buffer.from('v'.repeat(300)),
    createRevision: 2,
    modRevision: 2 ** 40,
    version: 3,
    lease: 9n,
  };
  const event = { isDelete: false, entry, revision: 2 ** 40, number: 0, previous: undefined };
  for (const watchId of [0n, 1n, -9n, 1n << 60n])
    for (const fragment of [false, true]) {
      const fields = [encoder.field(event), encoder.field(event, () => entry)];
      const bytes = fields.reduce((sum, field) => sum + field.byteLength, 0);
      const encoded = encoder.events({
        watch: watchField(watchId),
        fields,
        bytes,
        revision: 2 ** 40,
        fragment,
      });
      const told = { ...entry, createRevision: 2n, modRevision: 1n << 40n, version: 3n };
      const message = create(WatchResponseSchema, {
        header: header(2 ** 40),
        watchId,
        fragment,
        events: [{ kv: told }, { kv: told, prevKv: told }],
      });
      expect(Buffer.from(encoded)).toEqual(Buffer.from(toBinary(WatchResponseSchema, message)));
    }
});
