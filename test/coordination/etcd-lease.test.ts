/** Leases by etcd's API: what etcd guarantees of them, in its words. */
import { Auth } from '@holdfast/proto/etcd/rpc';
import { LeaseService } from '@holdfast/proto/lease/v1/lease';
import { beforeEach, describe, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { EtcdRig, ask, kv, lease, say, text } from './etcd-rig.ts';

const INVALID = 'INVALID_ARGUMENT etcdserver:';
const NOT_FOUND = 'NOT_FOUND etcdserver: requested lease not found';
const DENIED = 'PERMISSION_DENIED etcdserver: permission denied';

let etcd: EtcdRig;

beforeEach(async () => {
  etcd = await EtcdRig.open();
});

async function grant(ttl: bigint, id = 0n): Promise<bigint> {
  return (await etcd.call(lease.leaseGrant, { TTL: ttl, ID: id })).ID;
}

describe('LeaseGrant', () => {
  test('takes the number that it is given, once, or chooses one', async () => {
    expect(await grant(10n, 7n)).toBe(7n);
    expect(await etcd.told(lease.leaseGrant, { TTL: 10n, ID: 7n })).toBe(
      'FAILED_PRECONDITION etcdserver: lease already exists',
    );
    const chosen = [await grant(10n), await grant(10n)];
    expect(chosen.every((id) => id > 0n)).toBe(true);
    expect(new Set(chosen).size).toBe(2);
    expect(await etcd.told(lease.leaseGrant, { TTL: 10n, ID: -7n })).toBe(
      `${INVALID} lease ID must be positive`,
    );
  });

  test('gives as long as is asked for, and at least 2 seconds', async () => {
    const given = async (TTL: bigint) => (await etcd.call(lease.leaseGrant, { TTL })).TTL;
    expect(await given(60n)).toBe(60n);
    expect(await given(86_400n)).toBe(86_400n);
    for (const short of [1n, 0n, -5n]) expect(await given(short)).toBe(2n);
    for (const long of [86_401n, 9_000_000_000n, (1n << 63n) - 1n])
      expect(await etcd.told(lease.leaseGrant, { TTL: long })).toBe(
        'OUT_OF_RANGE etcdserver: too large lease TTL',
      );
  });

  test('has a header, and changes no revision', async () => {
    const revision = await etcd.put('k');
    const { header } = await etcd.call(lease.leaseGrant, { TTL: 10n });
    expect(header!.revision).toBe(revision);
    expect(header!.clusterId).not.toBe(0n);
  });
});

describe('what hangs on a lease', () => {
  test('is deleted with it, all at one revision', async () => {
    const id = await grant(100n);
    for (const key of ['a', 'b']) await etcd.put(key, '1', { lease: id });
    await etcd.put('c');
    const watch = etcd.watch();
    watch.say(say.create('a', 'z', { prevKv: true }));
    await watch.heard();
    const { header } = await etcd.call(lease.leaseRevoke, { ID: id });
    const events = (await watch.heard()).flatMap((response) => response.events);
    expect(events.map(({ kv: key, prevKv }) => [text(key?.key), text(prevKv?.value)])).toEqual([
      ['a', '1'],
      ['b', '1'],
    ]);
    expect(new Set(events.map((event) => event.kv!.modRevision))).toEqual(new Set([header!.revision]));
    expect(await etcd.values('a', 'z')).toEqual(['c=']);
    expect(await etcd.told(lease.leaseRevoke, { ID: id })).toBe(NOT_FOUND);
    for (const none of [0n, -1n, 99n])
      expect(await etcd.told(lease.leaseRevoke, { ID: none })).toBe(NOT_FOUND);
  });

  test('ends with it when it is not kept alive, and stays while it is', async () => {
    const [kept, left] = [await grant(5n), await grant(5n)];
    await etcd.put('kept', '', { lease: kept });
    await etcd.put('left', '', { lease: left });
    const stream = etcd.open(lease.leaseKeepAlive);
    for (let round = 0; round < 5; round++) {
      stream.say({ ID: kept });
      expect(await stream.heard(2_000)).toMatchObject([{ ID: kept, TTL: 5n }]);
    }
    expect(await etcd.values('a', 'z')).toEqual(['kept=']);
    await etcd.rig.pass(7_000);
    expect(await etcd.values('a', 'z')).toEqual([]);
  });

  test('is what was put on it last', async () => {
    const [one, two] = [await grant(100n), await grant(100n)];
    await etcd.put('k', '1', { lease: one });
    await etcd.put('k', '2', { lease: two });
    await etcd.call(lease.leaseRevoke, { ID: one });
    expect(await etcd.values('k')).toEqual(['k=2']);
    await etcd.put('k', '3');
    await etcd.call(lease.leaseRevoke, { ID: two });
    expect(await etcd.values('k')).toEqual(['k=3']);
  });
});

describe('LeaseKeepAlive', () => {
  test('answers each request, in order, with 0 for what is no lease', async () => {
    const id = await grant(30n);
    const stream = etcd.open(lease.leaseKeepAlive);
    stream.say({ ID: id }, { ID: 4_321n }, { ID: -4n }, {}, { ID: id });
    const answers = await stream.heard();
    expect(answers.map(({ ID, TTL }) => [ID, TTL])).toEqual([
      [id, 30n],
      [4_321n, 0n],
      [-4n, 0n],
      [0n, 0n],
      [id, 30n],
    ]);
    for (const { header } of answers) expect(header!.revision).toBeGreaterThan(0n);
    stream.say({ ID: id });
    stream.sayNoMore();
    expect(await stream.heard()).toHaveLength(1);
    expect(stream.ended).toEqual({ error: undefined });
  });

  test('takes no more than it has answers for, and goes on when these are read', async () => {
    const id = await grant(30n);
    const stream = etcd.open(lease.leaseKeepAlive);
    stream.reads = false;
    stream.say({ ID: id });
    expect(await stream.heard()).toHaveLength(1);
    for (let request = 0; request < 1_024; request++) stream.say({ ID: id });
    expect(await stream.heard()).toHaveLength(0);
    expect(stream.isPaused).toBe(true);
    stream.readAgain();
    expect(await stream.heard()).toHaveLength(1_024);
    expect(stream.isPaused).toBe(false);
  });

  test('ends when the node stops, and when it is told what is no request', async () => {
    const stream = etcd.open(lease.leaseKeepAlive);
    etcd.rig.stopping.abort(new HoldfastError({ reason: 'SHUTTING_DOWN', message: 'stopping' }));
    expect(stream.failure).toBe('UNAVAILABLE etcdserver: server stopped');
  });
});

describe('LeaseTimeToLive', () => {
  test('says what is left, and which keys there are, if that is asked for', async () => {
    const id = await grant(30n);
    for (const key of ['b', 'a']) await etcd.put(key, '', { lease: id });
    await etcd.rig.pass(5_500);
    const told = await etcd.call(lease.leaseTimeToLive, { ID: id });
    expect(told).toMatchObject({ ID: id, TTL: 24n, grantedTTL: 30n, keys: [] });
    const { keys } = await etcd.call(lease.leaseTimeToLive, { ID: id, keys: true });
    expect(keys.map(text)).toEqual(['a', 'b']);
  });

  test('says -1 of what is no lease, or none any more', async () => {
    const id = await grant(2n);
    await etcd.rig.pass(4_000);
    for (const ID of [id, 99n, 0n, -3n]) {
      const told = await etcd.call(lease.leaseTimeToLive, { ID, keys: true });
      expect(told).toMatchObject({ ID, TTL: -1n, grantedTTL: 0n, keys: [] });
    }
  });
});

test('LeaseLeases names all leases, those of holdfast.lease.v1 included', async () => {
  expect((await etcd.call(lease.leaseLeases, {})).leases).toEqual([]);
  const { lease: ours } = await etcd.call(LeaseService.method.grant, { ttlMs: 5_500n, name: 'ours' });
  const ids = [ours, await grant(10n), await grant(10n, 3n)];
  const { leases } = await etcd.call(lease.leaseLeases, {});
  expect(new Set(leases.map(({ ID }) => ID))).toEqual(new Set(ids));
  expect(await etcd.call(lease.leaseTimeToLive, { ID: ours })).toMatchObject({ TTL: 5n, grantedTTL: 5n });
  await etcd.put('k', '', { lease: ours });
  expect((await etcd.call(kv.range, ask.range('k'))).kvs[0]!.lease).toBe(ours);
});

test('whoever may not use the keys of a lease may not use the lease', async () => {
  const { rig } = etcd;
  const [id, own] = [await grant(1_000n), await grant(1_000n)];
  await etcd.put('z', '', { lease: id });
  await rig.addRole('team', ['a', 'c']);
  await rig.addUser('root', 'pw', 'root');
  await rig.addUser('alice', 'pw', 'team');
  await rig.run(rig.engine.auth.enable(rig.terms));
  const root = await rig.login('root', 'pw');
  etcd.token = await rig.login('alice', 'pw');
  expect(await etcd.told(lease.leaseRevoke, { ID: id })).toBe(DENIED);
  expect(await etcd.told(kv.put, ask.put('a', '', { lease: id }))).toBe(DENIED);
  expect(await etcd.told(lease.leaseTimeToLive, { ID: id, keys: true })).toBe(DENIED);
  expect(await etcd.told(lease.leaseTimeToLive, { ID: id })).toBeUndefined();
  expect(await etcd.told(lease.leaseRevoke, { ID: -5n })).toBe(NOT_FOUND);
  expect(await etcd.told(kv.put, ask.put('a', '', { lease: own }))).toBeUndefined();
  const { keys } = await etcd.call(lease.leaseTimeToLive, { ID: own, keys: true });
  expect(keys.map(text)).toEqual(['a']);
  const stream = etcd.open(lease.leaseKeepAlive);
  stream.say({ ID: id });
  expect(await stream.heard()).toMatchObject([{ TTL: 1_000n }]);
  await etcd.put('b', '', { lease: own });
  await etcd.call(kv.put, ask.put('y', '', { lease: own }), root);
  expect(await etcd.told(lease.leaseRevoke, { ID: own })).toBe(DENIED);
  // A token that is none any more ends the stream.
  await rig.addUser('gone', 'pw');
  etcd.token = await rig.login('gone', 'pw');
  const other = etcd.open(lease.leaseKeepAlive);
  await etcd.call(Auth.method.userDelete, { name: 'gone' }, root);
  other.say({ ID: id });
  await other.heard();
  expect(other.failure).toBe('UNAUTHENTICATED etcdserver: invalid auth token');
});
