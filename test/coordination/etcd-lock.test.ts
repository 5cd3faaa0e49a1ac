/** Locks by etcd's API: the keys and the order of etcd's, whoever makes them. */
import { Auth } from '@holdfast/proto/etcd/rpc';
import { Lock } from '@holdfast/proto/etcd/v3lock';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { BegunCall } from './begun-call.ts';
import { EtcdRig, ask, bytes, kv, lease, op, text } from './etcd-rig.ts';

const { lock, unlock } = Lock.method;
const SETTLED_MS = 200;

let etcd: EtcdRig;

beforeEach(async () => {
  etcd = await EtcdRig.open();
});

async function grant(id: bigint, TTL = 600n): Promise<bigint> {
  return (await etcd.call(lease.leaseGrant, { TTL, ID: id })).ID;
}

function locking(id: bigint, name = 'l', token?: string) {
  return BegunCall.begin(etcd.rig, lock, { name: bytes(name), lease: id }, token);
}

const keyOf = (id: bigint, name = 'l') => `${name}/${id.toString(16)}`;
const settled = () => etcd.rig.pass(SETTLED_MS);
const keys = async (name = 'l') =>
  (await etcd.values(`${name}/`, `${name}0`)).map((one) => one.split('=')[0]);
const free = (id: bigint) => etcd.call(unlock, { key: bytes(keyOf(id)) });

/** What a client library of etcd's does to take part: a key under the name, unless it is there. */
async function enterAsClient(id: bigint, name = 'l'): Promise<bigint> {
  const { header } = await etcd.call(kv.txn, {
    compare: [{ key: bytes(keyOf(id, name)), target: 1, targetUnion: { case: 'createRevision', value: 0n } }],
    success: [op.put(keyOf(id, name), '', { lease: id })],
  });
  return header!.revision;
}

describe('Lock', () => {
  test('is a key below the name, with the lease in hexadecimal, which ends with the lease', async () => {
    await grant(0x1fn);
    const { key, header } = await etcd.call(lock, { name: bytes('a/b'), lease: 0x1fn });
    expect(text(key)).toBe('a/b/1f');
    const { kvs } = await etcd.call(kv.range, ask.range('a/b/1f'));
    expect(kvs[0]).toMatchObject({ lease: 0x1fn, version: 1n });
    expect(header!.revision).toBeGreaterThanOrEqual(kvs[0]!.createRevision);
    await etcd.call(lease.leaseRevoke, { ID: 0x1fn });
    expect(await keys('a/b')).toEqual([]);
  });

  test('asked again with the same lease is held already', async () => {
    await grant(7n);
    const first = await etcd.call(lock, { name: bytes('l'), lease: 7n });
    const again = await etcd.call(lock, { name: bytes('l'), lease: 7n });
    expect(text(again.key)).toBe(text(first.key));
    expect(await keys()).toHaveLength(1);
  });

  test('takes a lease of a minute when it is given none', async () => {
    const { key } = await etcd.call(lock, { name: bytes('l') });
    const id = BigInt(`0x${text(key).split('/')[1]}`);
    const { grantedTTL } = await etcd.call(lease.leaseTimeToLive, { ID: id });
    expect(grantedTTL).toBe(60n);
    await etcd.rig.pass(65_000);
    expect(await keys()).toEqual([]);
  });

  test('needs a lease that there is, and a name of others than the cluster', async () => {
    const unknown = 'NOT_FOUND etcdserver: requested lease not found';
    for (const id of [77n, -1n]) expect(await etcd.told(lock, { name: bytes('l'), lease: id })).toBe(unknown);
    await grant(7n);
    expect(await etcd.told(lock, { name: bytes('/holdfast'), lease: 7n })).toBe(
      "PERMISSION_DENIED etcdserver: keys under /holdfast/ are the cluster's own",
    );
    expect(await keys()).toEqual([]);
  });

  test('goes to those who wait in the order in which they came', async () => {
    const order = [5n, 3n, 9n, 1n, 7n];
    const calls = [];
    for (const id of order) {
      await grant(id);
      calls.push(locking(id));
      await settled();
    }
    for (const [at, id] of order.entries()) {
      expect(calls.map(({ isOver }) => isOver)).toEqual(order.map((_, other) => other <= at));
      expect(text(calls[at]!.answer!.key)).toBe(keyOf(id));
      await free(id);
      await settled();
    }
    expect(await keys()).toEqual([]);
  });

  test('is held by one at a time, and in order, whatever those who wait do', async () => {
    const act = fc.record({
      what: fc.constantFrom('lock', 'unlock', 'giveUp', 'revoke', 'client'),
      who: fc.integer({ min: 1, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 24 }), async (acts) => {
        etcd = await EtcdRig.open();
        /** Who has a key, in the order in which they came. */
        let queue: bigint[] = [];
        const calls = new Map<bigint, ReturnType<typeof locking>>();
        /** By who it is: a lease that has ended is followed by another. */
        const leases = new Map<number, bigint>();
        let next = 1n;
        for (let who = 1; who <= 5; who++) leases.set(who, await grant(next++));
        for (const { what, who } of acts) {
          const id = leases.get(who)!;
          const waits = queue.indexOf(id) > 0 && calls.has(id);
          if (what === 'lock' && !queue.includes(id)) {
            calls.set(id, locking(id));
            queue.push(id);
          } else if (what === 'client' && !queue.includes(id)) {
            await enterAsClient(id);
            queue.push(id);
          } else if (what === 'unlock') {
            await free(id);
            queue = queue.filter((one) => one !== id);
          } else if (what === 'giveUp' && waits) {
            calls.get(id)!.giveUp();
            queue = queue.filter((one) => one !== id);
          } else if (what === 'revoke') {
            await etcd.call(lease.leaseRevoke, { ID: id });
            queue = queue.filter((one) => one !== id);
            leases.set(who, await grant(next++));
          }
          await settled();
          for (const [caller, call] of calls) {
            const at = queue.indexOf(caller);
            if (at < 0) {
              expect(call.isOver).toBe(true);
              calls.delete(caller);
            } else expect(call.answer !== undefined).toBe(at === 0);
          }
          expect(await keys()).toEqual(queue.map((one) => keyOf(one)).sort());
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('whoever waits', () => {
  /** One that holds the lock, and two that wait. */
  async function three() {
    for (const id of [1n, 2n, 3n]) await grant(id);
    const calls = [];
    for (const id of [1n, 2n, 3n]) {
      calls.push(locking(id));
      await settled();
    }
    expect(calls.map(({ isOver }) => isOver)).toEqual([true, false, false]);
    return calls as [ReturnType<typeof locking>, ReturnType<typeof locking>, ReturnType<typeof locking>];
  }

  test('and gives up leaves no key behind, nor does it get the lock later', async () => {
    const [, second, third] = await three();
    second.giveUp();
    await settled();
    expect(second.failure).toContain('CANCELLED');
    expect(await keys()).toEqual([keyOf(1n), keyOf(3n)]);
    expect(third.isOver).toBe(false);
    await free(1n);
    await settled();
    expect(third.answer).toBeDefined();
  });

  test('is told when its own lease has ended, before the lock is free', async () => {
    const [, second, third] = await three();
    await etcd.call(lease.leaseRevoke, { ID: 2n });
    await settled();
    expect(second.failure).toBe('UNKNOWN session is expired: its key is gone');
    expect(third.isOver).toBe(false);
  });

  test('gets it when the lease of its holder has ended', async () => {
    await grant(1n, 5n);
    await etcd.call(lock, { name: bytes('l'), lease: 1n });
    await grant(2n);
    const second = locking(2n);
    await etcd.rig.pass(4_000);
    expect(second.isOver).toBe(false);
    await etcd.rig.pass(4_000);
    expect(second.answer).toBeDefined();
  });

  test('waits for those who take part as client libraries do, and they for it', async () => {
    for (const id of [1n, 2n, 3n]) await grant(id);
    await enterAsClient(1n);
    const second = locking(2n);
    await settled();
    const mine = await enterAsClient(3n);
    expect(second.isOver).toBe(false);
    await etcd.call(kv.deleteRange, ask.delete(keyOf(1n)));
    await settled();
    expect(second.answer).toBeDefined();
    // A client waits for the newest key that is older than its own.
    const before = { maxCreateRevision: mine - 1n, sortOrder: 2, sortTarget: 2, limit: 1n };
    const { kvs } = await etcd.call(kv.range, ask.range('l/', 'l0', before));
    expect(kvs.map(({ key }) => text(key))).toEqual([keyOf(2n)]);
  });

  test('waits for as long as it takes, through a compaction of what it waits for', async () => {
    const [, second] = await three();
    await etcd.rig.pass(120_000);
    expect(second.isOver).toBe(false);
    const revision = await etcd.put('x', '1');
    await etcd.call(kv.compact, { revision });
    await settled();
    expect(second.isOver).toBe(false);
    await free(1n);
    await settled();
    expect(second.answer).toBeDefined();
  });

  test('is sent elsewhere when the node stops, and keeps its place', async () => {
    const [, second] = await three();
    etcd.rig.stopping.abort(new HoldfastError({ reason: 'SHUTTING_DOWN', message: 'stopping' }));
    await settled();
    expect(second.failure).toBe('UNAVAILABLE etcdserver: server stopped');
    expect(await keys()).toEqual([keyOf(1n), keyOf(2n), keyOf(3n)]); // they keep their places
  });
});

test('Unlock does not mind a key that is gone, and wants one', async () => {
  expect(await etcd.told(unlock, { key: bytes('l/1') })).toBeUndefined();
  expect(await etcd.told(unlock, {})).toBe('INVALID_ARGUMENT etcdserver: key is not provided');
});

test('locks are of those who may read and write the keys of their name', async () => {
  const { rig } = etcd;
  await rig.addRole('team', ['l/', 'l0']);
  await rig.addUser('root', 'pw', 'root');
  await rig.addUser('alice', 'pw', 'team');
  await rig.run(rig.engine.auth.enable(rig.terms));
  const [root, alice] = [await rig.login('root', 'pw'), await rig.login('alice', 'pw')];
  etcd.token = alice;
  await grant(1n);
  await grant(2n);
  await etcd.call(lock, { name: bytes('l'), lease: 1n });
  const DENIED = 'PERMISSION_DENIED etcdserver: permission denied';
  expect(await etcd.told(lock, { name: bytes('m'), lease: 1n })).toBe(DENIED);
  expect(await etcd.told(unlock, { key: bytes('m/1') })).toBe(DENIED);
  const second = locking(2n, 'l', alice);
  await settled();
  etcd.token = root;
  await etcd.call(Auth.method.userRevokeRole, { name: 'alice', role: 'team' });
  await etcd.call(unlock, { key: bytes('l/1') });
  await settled();
  expect(second.failure).toBe(DENIED);
  expect(await keys()).toEqual([]);
});
