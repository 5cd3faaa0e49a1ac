/** What the services of leases, locks and elections refuse, and what they answer. */
import { beforeEach, describe, expect, test } from 'vitest';
import { LockMode } from '@holdfast/proto/lock/v1/lock';
import type { HoldfastError } from '../../client/error.ts';
import { MAX_LEASE } from '../../node/coordination/lease-table.ts';
import { MAX_KEPT_LEASES } from '../../node/services/session-messages.ts';
import { SimulatedNode } from '../simulation/simulated-node.ts';
import { SessionServices } from './session-services.ts';

let node: SimulatedNode;
let services: SessionServices;
let lease: bigint;
beforeEach(async () => {
  node = new SimulatedNode('sessions');
  await restart();
  ({ lease } = await node.run(services.grant({ ttlMs: 60_000n, name: 'me' })));
});

async function restart(): Promise<void> {
  services = new SessionServices(await node.run(node.start()), node.clock);
}

/** The error that a call ends in; its message says what became of data, and nothing was changed. */
async function refusal(call: () => Promise<unknown>, isRead = false, revisions = 0): Promise<HoldfastError> {
  const before = node.engine!.coordination.revision;
  const error = await node.run(
    Promise.resolve()
      .then(call)
      .then(
        () => undefined,
        (caught: unknown) => caught as HoldfastError,
      ),
  );
  expect(error?.message).toMatch(/Nothing (is|was)/);
  expect(error?.outcome).toBe(isRead ? undefined : 'NOT_APPLIED');
  expect(node.engine!.coordination.revision).toBe(before + revisions);
  return error!;
}

const sequence = (number: number, open = number === 1) => ({
  clientId: Buffer.alloc(16, 7),
  sequence: BigInt(number),
  ackedBelow: 1n,
  open,
});

describe('leases', () => {
  test.each([0n, 1n, 999n, 86_400_001n, 2n ** 63n])('a time to live of %d ms is refused', async (ttlMs) => {
    const error = await refusal(() => services.grant({ ttlMs }));
    expect(error).toMatchObject({ reason: 'TTL_OUT_OF_RANGE', field: 'ttl_ms', limit: '1000..86400000' });
    expect(error.actual).toBe(String(ttlMs));
  });

  test('the shortest and the longest are granted, and ten seconds when none is given', async () => {
    for (const [given, ttlMs] of [
      [1_000n, 1_000n],
      [86_400_000n, 86_400_000n],
      [undefined, 10_000n],
    ] as const)
      expect(await node.run(services.grant(given === undefined ? {} : { ttlMs: given }))).toMatchObject({
        ttlMs,
      });
  });

  test('a number that is taken, or is none, is refused', async () => {
    expect(await node.run(services.grant({ lease: MAX_LEASE }))).toMatchObject({ lease: MAX_LEASE });
    expect(await refusal(() => services.grant({ lease: MAX_LEASE }))).toMatchObject({
      reason: 'LEASE_EXISTS',
      field: 'lease',
    });
    expect(await refusal(() => services.grant({ lease: MAX_LEASE + 1n }))).toMatchObject({
      reason: 'INVALID_FIELD',
      field: 'lease',
    });
    const name = 'é'.repeat(129);
    expect(await refusal(() => services.grant({ name }))).toMatchObject({
      reason: 'INVALID_FIELD',
      actual: '258',
    });
  });

  test('lease 0 is none', async () => {
    const field = 'lease';
    expect(await refusal(() => services.revoke({ lease: 0n }))).toMatchObject({
      reason: 'INVALID_FIELD',
      field,
    });
    expect(await refusal(() => services.describeLease({ lease: 0n }))).toMatchObject({ field });
    expect(await refusal(() => services.keep(lease, 0n))).toMatchObject({ field: 'leases' });
    expect(await refusal(() => services.acquire({ session: 0n }))).toMatchObject({ field: 'session' });
    expect(await refusal(() => services.campaign({ session: 0n }))).toMatchObject({ field: 'session' });
  });

  test('an unknown lease is told to be none', async () => {
    expect(await refusal(() => services.revoke({ lease: 5n }))).toMatchObject({
      reason: 'LEASE_UNKNOWN',
      actual: '5',
    });
    expect(await refusal(() => services.describeLease({ lease: 5n }), true)).toMatchObject({
      reason: 'LEASE_UNKNOWN',
    });
    expect(await node.run(services.keep(5n, lease))).toEqual([0, 60_000]);
  });

  test('none, or too many, are kept alive at once', async () => {
    expect(await refusal(() => services.keep())).toMatchObject({ reason: 'BATCH_EMPTY' });
    const many = Array.from({ length: MAX_KEPT_LEASES + 1 }, () => lease);
    expect(await refusal(() => services.keep(...many))).toMatchObject({ reason: 'BATCH_TOO_LARGE' });
    expect((await node.run(services.keep(...many.slice(1)))).length).toBe(MAX_KEPT_LEASES);
  });

  test('a grant and a revoke that are sent again are answered as before', async () => {
    const granted = await node.run(services.grant({ sequence: sequence(1) }));
    expect(await node.run(services.grant({ sequence: sequence(1) }))).toEqual(granted);
    const revoked = await node.run(services.revoke({ lease: granted.lease, sequence: sequence(2) }));
    expect(await node.run(services.revoke({ lease: granted.lease, sequence: sequence(2) }))).toEqual(revoked);
    const clientId = Buffer.alloc(15);
    const wrong = { ...sequence(3), clientId };
    expect(await refusal(() => services.grant({ sequence: wrong }))).toMatchObject({
      reason: 'INVALID_FIELD',
    });
  });

  test('are listed in parts, by number', async () => {
    for (const number of [9n, 3n, 300n]) await node.run(services.grant({ lease: number, name: `${number}` }));
    const first = await node.run(services.listLeases({ limit: 2 }));
    expect(first).toMatchObject({ leases: [{ lease: 3n }, { lease: 9n, name: '9' }], more: true });
    const rest = await node.run(services.listLeases({ after: 9n }));
    expect(rest.leases.map((one) => one.lease)).toEqual([300n, lease]);
    expect(rest.more).toBe(false);
    const tooMany = await refusal(() => services.listLeases({ limit: 10_001 }));
    expect(tooMany).toMatchObject({ reason: 'COUNT_OUT_OF_RANGE', limit: '10000' });
  });

  test('are described with what hangs on them', async () => {
    await node.run(services.acquire({ session: lease, lock: 'löck' }));
    await node.run(services.campaign({ session: lease, election: 'wahl' }));
    const described = await node.run(services.describeLease({ lease, withKeys: true }));
    expect(described).toMatchObject({ name: 'me', locks: ['löck'], elections: ['wahl'], keys: [] });
  });

  test('live on through a restart, with their locks and candidacies', async () => {
    const { token } = await node.run(services.acquire({ session: lease }));
    const other = (await node.run(services.grant({ ttlMs: 2_000n }))).lease;
    await node.run(services.campaign({ session: other, value: Buffer.from('v') }));
    node.crash('seeded');
    await restart();
    expect((await node.run(services.describeLock())).holders).toMatchObject([{ session: lease, token }]);
    expect((await node.run(services.describeElection())).leader).toMatchObject({ session: other });
    await node.world.runFor(4_000);
    expect((await node.run(services.describeElection())).leader).toBeUndefined();
    expect(await node.run(services.keep(lease, other))).toEqual([60_000, 0]);
  });
});

describe('locks', () => {
  test('names, requests, modes and permits are checked', async () => {
    const session = lease;
    for (const lock of ['', 'x'.repeat(257)])
      expect(await refusal(() => services.acquire({ session, lock }))).toMatchObject({
        reason: 'LOCK_NAME_INVALID',
        field: 'lock',
        actual: String(lock.length),
      });
    for (const requestId of [new Uint8Array(0), new Uint8Array(65)])
      expect(await refusal(() => services.acquire({ session, requestId }))).toMatchObject({
        reason: 'INVALID_FIELD',
        field: 'request_id',
      });
    for (const permits of [0, 10_001])
      expect(
        await refusal(() => services.acquire({ session, mode: LockMode.SEMAPHORE, permits })),
      ).toMatchObject({ reason: 'INVALID_FIELD', field: 'permits', limit: '1..10000' });
    expect(await refusal(() => services.acquire({ session, permits: 3 }))).toMatchObject({
      field: 'permits',
    });
    expect(await refusal(() => services.acquire({ session, mode: 9 as LockMode }))).toMatchObject({
      field: 'mode',
    });
    expect(await refusal(() => services.listLocks({ limit: 1_001 }))).toMatchObject({
      reason: 'COUNT_OUT_OF_RANGE',
    });
    expect(await refusal(() => services.listLocks({ prefix: 'x'.repeat(257) }))).toMatchObject({
      reason: 'LOCK_NAME_INVALID',
    });
  });

  test('an unknown session holds nothing', async () => {
    expect(await refusal(() => services.acquire({ session: 5n }))).toMatchObject({
      reason: 'SESSION_EXPIRED',
      field: 'session',
      actual: '5',
    });
  });

  test('held by another, timed out, and not held are told apart', async () => {
    const other = (await node.run(services.grant())).lease;
    const { token } = await node.run(services.acquire({ session: lease }));
    expect(await refusal(() => services.acquire({ session: other, waitMs: 0n }))).toMatchObject({
      reason: 'LOCK_HELD',
      code: 'FAILED_PRECONDITION',
    });
    // A place in the queue takes a revision.
    expect(await refusal(() => services.acquire({ session: other, waitMs: 500n }), false, 1)).toMatchObject({
      reason: 'LOCK_TIMED_OUT',
      code: 'DEADLINE_EXCEEDED',
    });
    services.timeoutMs = 1_000;
    expect(await refusal(() => services.acquire({ session: other }), false, 1)).toMatchObject({
      reason: 'LOCK_TIMED_OUT',
    });
    services.timeoutMs = 20_000;
    for (const wrong of [
      { session: other, token },
      { session: lease, token: token + 1n },
      { session: lease, token, requestId: Buffer.from('other') },
      { session: lease, token, lock: 'other' },
    ])
      expect(await refusal(() => services.release(wrong))).toMatchObject({
        reason: 'LOCK_NOT_HELD',
        field: 'token',
      });
    expect(await node.run(services.release({ session: lease, token }))).toMatchObject({ holds: 0 });
    expect((await node.run(services.describeLock())).holders).toEqual([]);
  });

  test('are taken again by their session, and free when each was released', async () => {
    const session = lease;
    const first = await node.run(services.acquire({ session }));
    const again = await node.run(services.acquire({ session, requestId: Buffer.from('2') }));
    expect(again).toMatchObject({ token: first.token, holds: 2 });
    expect(await node.run(services.release({ session, token: first.token }))).toMatchObject({ holds: 1 });
    expect(await refusal(() => services.release({ session, token: first.token }))).toMatchObject({
      reason: 'LOCK_NOT_HELD',
    });
    expect(
      await node.run(services.release({ session, token: first.token, requestId: Buffer.from('2') })),
    ).toMatchObject({ holds: 0 });
  });

  test('are shared, or have permits, and all who take part say the same', async () => {
    const others = [];
    for (let at = 0; at < 3; at++) others.push((await node.run(services.grant({ ttlMs: 50_000n }))).lease);
    const [one, two, three] = others as [bigint, bigint, bigint];
    const shared = { mode: LockMode.SHARED, waitMs: 0n };
    await node.run(services.acquire({ session: one, ...shared }));
    await node.run(services.acquire({ session: two, ...shared }));
    expect(await refusal(() => services.acquire({ session: three, waitMs: 0n }))).toMatchObject({
      reason: 'LOCK_HELD',
    });
    expect(
      await refusal(() => services.acquire({ session: one, requestId: Buffer.from('x') })),
    ).toMatchObject({ reason: 'LOCK_MODE_MISMATCH' });
    const semaphore = { lock: 's', mode: LockMode.SEMAPHORE, permits: 2, waitMs: 0n };
    await node.run(services.acquire({ session: one, ...semaphore }));
    await node.run(services.acquire({ session: two, ...semaphore }));
    expect(await refusal(() => services.acquire({ session: three, ...semaphore }))).toMatchObject({
      reason: 'LOCK_HELD',
    });
    expect(await refusal(() => services.acquire({ session: three, ...semaphore, permits: 3 }))).toMatchObject(
      { reason: 'LOCK_MODE_MISMATCH', actual: 'a semaphore with 2 permits' },
    );
    expect(await node.run(services.describeLock('s'))).toMatchObject({
      permits: 2,
      holders: [{ session: one }, { session: two }],
    });
    const listed = await node.run(services.listLocks());
    expect(listed.locks).toMatchObject([
      { lock: 'lock', holders: 2 },
      { lock: 's', holders: 2 },
    ]);
    expect((await node.run(services.listLocks({ after: 'lock' }))).locks).toMatchObject([{ lock: 's' }]);
    expect((await node.run(services.listLocks({ prefix: 'l' }))).locks).toMatchObject([{ lock: 'lock' }]);
    expect(await node.run(services.listLocks({ limit: 1 }))).toMatchObject({ more: true });
  });
});

describe('elections', () => {
  test('names, values and tokens are checked', async () => {
    const session = lease;
    expect(await refusal(() => services.campaign({ session, election: '' }))).toMatchObject({
      reason: 'LOCK_NAME_INVALID',
      field: 'election',
    });
    const value = new Uint8Array(65_537);
    expect(await refusal(() => services.campaign({ session, value }))).toMatchObject({
      reason: 'VALUE_TOO_LARGE',
      limit: '65536',
    });
    expect(await refusal(() => services.proclaim({ session, token: 0n }))).toMatchObject({
      reason: 'INVALID_FIELD',
      field: 'token',
    });
    expect(await refusal(() => services.campaign({ session: 5n }))).toMatchObject({
      reason: 'SESSION_EXPIRED',
    });
    const observing = services.observe('');
    expect(await refusal(() => observing.next() as Promise<unknown>)).toMatchObject({
      reason: 'LOCK_NAME_INVALID',
    });
  });

  test('who does not lead says and ends nothing', async () => {
    const other = (await node.run(services.grant())).lease;
    const { token } = await node.run(services.campaign({ session: lease }));
    for (const wrong of [
      { session: other, token },
      { session: lease, token: token + 1n },
      { session: lease, token, election: 'none' },
    ]) {
      expect(await refusal(() => services.proclaim(wrong))).toMatchObject({ reason: 'NOT_ELECTED' });
      expect(await refusal(() => services.resign(wrong))).toMatchObject({ reason: 'NOT_ELECTED' });
    }
    expect(await refusal(() => services.campaign({ session: other, waitMs: 300n }), false, 1)).toMatchObject({
      reason: 'ELECTION_TIMED_OUT',
      code: 'DEADLINE_EXCEEDED',
    });
    expect(await node.run(services.describeElection())).toMatchObject({
      leader: { session: lease, name: 'me', token },
      candidates: [],
    });
  });

  test('followers are told that nothing has changed, and that the node stops', async () => {
    const observing = services.observe();
    const first = await node.run(observing.next() as Promise<IteratorResult<{ revision: bigint }>>);
    expect(first.value.revision).toBeGreaterThan(0n);
    const beganMs = node.world.nowMs();
    await node.run(observing.next());
    expect(node.world.nowMs() - beganMs).toBeCloseTo(3_000, -1);
    const last = observing.next();
    services.stopping.abort(new Error('stops'));
    await expect(node.run(last)).rejects.toThrow('stops');
  });
});
