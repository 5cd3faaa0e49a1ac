/** Leases, locks and elections on three nodes, through crashes, sleep and partitions of the one that leads. */
import { beforeEach, expect, test } from 'vitest';
import type { HoldfastError } from '../../client/error.ts';
import { SmallCluster, type SmallNode } from '../raft/small-cluster.ts';
import { SessionServices } from './session-services.ts';

let cluster: SmallCluster;
let services: Map<SmallNode, SessionServices>;
beforeEach(async () => {
  cluster = await SmallCluster.start('sessions', 3, 0, true);
  services = new Map();
  await ready();
});

/** Group 0 is led, by one that all know. */
async function ready(): Promise<SmallNode> {
  await cluster.until(() => {
    const leader = cluster.leaderOf(0);
    const open = cluster.nodes.filter(({ engine }) => engine !== undefined);
    return (
      leader !== undefined && open.every(({ engine }) => engine!.host.leaderOf(0)?.id === leader.member.id)
    );
  });
  return cluster.leaderOf(0)!;
}

function on(node: SmallNode): SessionServices {
  const known = services.get(node) ?? new SessionServices(node.engine!, node.clock);
  services.set(node, known);
  return known;
}

function followers(): SmallNode[] {
  return cluster.nodes.filter((node) => node.engine !== undefined && !node.engine.host.isLeader(0));
}

const settle = <T>(work: Promise<T>) => cluster.world.settle(work, 60_000);
const pass = (ms: number) => cluster.world.runFor(ms);

async function crashLeader(): Promise<SmallNode> {
  const leader = await ready();
  services.delete(leader);
  cluster.crash(leader);
  await cluster.until(() => cluster.leaderOf(0) !== undefined);
  await ready();
  await cluster.open(leader);
  return leader;
}

test('every node takes every call', async () => {
  const revisions: bigint[] = [];
  for (const node of cluster.nodes) {
    const { lease, ttlMs } = await settle(on(node).grant({ ttlMs: 5_000n, name: node.member.name }));
    expect(ttlMs).toBe(5_000n);
    for (const other of cluster.nodes) {
      expect(await settle(on(other).keep(lease, 77n))).toEqual([5_000, 0]);
      const described = await settle(on(other).describeLease({ lease }));
      expect(described).toMatchObject({ lease, name: node.member.name, ttlMs: 5_000n });
      expect(described.remainingMs).toBeGreaterThan(4_000n);
      const { leases } = await settle(on(other).listLeases());
      expect(leases.map((one) => one.lease)).toEqual([lease]);
    }
    const { token } = await settle(on(node).acquire({ session: lease }));
    revisions.push(token);
    for (const other of cluster.nodes)
      expect((await settle(on(other).describeLock())).holders).toMatchObject([{ session: lease, token }]);
    await settle(on(followers()[0]!).revoke({ lease }));
    expect(await settle(on(node).keep(lease))).toEqual([0]);
  }
  expect(revisions).toEqual([...revisions].sort((a, b) => Number(a - b)));
});

test('who routes is told by the others who leads', async () => {
  const leader = await ready();
  const other = on(followers()[0]!);
  other.terms = { isRouted: true };
  const { address } = leader.member;
  const calls: (() => Promise<unknown>)[] = [
    () => other.keep(1n),
    () => other.describeLease({ lease: 1n }),
    () => other.grant(),
    () => other.acquire({ session: 1n }),
    () => other.campaign({ session: 1n }),
  ];
  for (const call of calls) {
    const error = await settle(call().catch((caught: unknown) => caught as HoldfastError));
    expect(error).toMatchObject({ reason: 'NOT_LEADER', leader: address });
  }
});

test('what a lease has left after three crashes of the leader is right to within a checkpoint interval', async () => {
  const { lease } = await settle(on(await ready()).grant({ ttlMs: 90_000n }));
  const grantedMs = cluster.world.nowMs();
  let unledMs = 0;
  for (const ms of [9_100, 6_400, 11_700]) {
    await pass(ms);
    const deposedMs = cluster.world.nowMs();
    await crashLeader();
    unledMs += cluster.world.nowMs() - deposedMs;
  }
  const { remainingMs } = await settle(on(followers()[0]!).describeLease({ lease }));
  const passedMs = cluster.world.nowMs() - grantedMs;
  expect(Number(remainingMs)).toBeGreaterThanOrEqual(90_000 - passedMs - 1);
  expect(Number(remainingMs)).toBeLessThanOrEqual(90_000 - passedMs + unledMs + 10_000);
});

test('what was kept alive just before the leader crashed lives on for its whole time', async () => {
  const { lease } = await settle(on(await ready()).grant({ ttlMs: 12_000n }));
  for (let round = 0; round < 4; round++) {
    await pass(11_000);
    const sentMs = cluster.world.nowMs();
    expect(await settle(on(followers()[0]!).keep(lease))).toEqual([12_000]);
    await crashLeader();
    await cluster.world.runUntil(sentMs + 11_900);
    expect(await settle(on(await ready()).keep(lease))).toEqual([12_000]);
  }
  await pass(13_000);
  expect(await settle(on(await ready()).keep(lease))).toEqual([0]);
});

test('a leader that slept longer than every lease lives revokes nothing when it wakes', async () => {
  const leader = await ready();
  const { lease } = await settle(on(leader).grant({ ttlMs: 2_000n }));
  const other = followers()[0]!;
  leader.process.pause();
  await cluster.until(() => other.engine!.host.leaderOf(0) !== undefined && followers().length < 2);
  await cluster.until(() => cluster.nodes.some((node) => node !== leader && node.engine!.host.isLeader(0)));
  for (let at = 0; at < 40; at++) {
    await pass(500);
    expect(await settle(on(other).keep(lease))).toEqual([2_000]);
  }
  leader.process.resume();
  for (let at = 0; at < 10; at++) {
    await pass(500);
    expect(await settle(on(other).keep(lease))).toEqual([2_000]);
  }
});

test('a cluster that slept as a whole revokes nothing when it wakes', async () => {
  const { lease } = await settle(on(await ready()).grant({ ttlMs: 3_000n }));
  await pass(1_500);
  for (const { process } of cluster.nodes) process.pause();
  await pass(600_000);
  for (const { process } of cluster.nodes) process.resume();
  await pass(300);
  expect(await settle(on(followers()[0]!).keep(lease))).toEqual([3_000]);
});

test('calls wait through crashes of the leader, and are served in their order', async () => {
  const leases = [];
  for (let at = 0; at < 4; at++)
    leases.push((await settle(on(await ready()).grant({ ttlMs: 60_000n }))).lease);
  const [node] = followers(); // it stays
  const first = await settle(on(node!).acquire({ session: leases[0]! }));
  const order: bigint[] = [];
  on(node!).timeoutMs = 200_000;
  for (const session of leases.slice(1)) {
    void on(node!)
      .acquire({ session })
      .then(async ({ token }) => {
        order.push(session);
        await on(node!).release({ session, token });
      });
    await pass(50);
  }
  const leader = await ready();
  cluster.crash(leader);
  await cluster.until(() => cluster.leaderOf(0) !== undefined);
  expect(order).toEqual([]);
  await settle(on(node!).release({ session: leases[0]!, token: first.token }));
  await cluster.until(() => order.length === 3);
  expect(order).toEqual(leases.slice(1));
});

test('a lock of a holder that died goes to the next one, and a release of the former does nothing', async () => {
  const node = followers()[0]!;
  const dead = (await settle(on(node).grant({ ttlMs: 1_000n }))).lease;
  const alive = (await settle(on(node).grant({ ttlMs: 60_000n }))).lease;
  const held = await settle(on(node).acquire({ session: dead }));
  const next = await settle(on(followers()[1]!).acquire({ session: alive }));
  expect(next.token).toBeGreaterThan(held.token);
  const release = settle(on(node).release({ session: dead, token: held.token }));
  await expect(release).rejects.toMatchObject({ reason: 'LOCK_NOT_HELD', outcome: 'NOT_APPLIED' });
  const stolen = settle(on(node).release({ session: alive, token: held.token }));
  await expect(stolen).rejects.toMatchObject({ reason: 'LOCK_NOT_HELD' });
  expect((await settle(on(node).describeLock())).holders).toMatchObject([{ session: alive }]);
});

test('calls that wait on a node without a majority end, and it says why', async () => {
  const node = followers()[0]!;
  const one = (await settle(on(node).grant({ ttlMs: 60_000n }))).lease;
  const two = (await settle(on(node).grant({ ttlMs: 60_000n }))).lease;
  await settle(on(node).acquire({ session: one }));
  const waiting = on(node).acquire({ session: two });
  const following = on(node).observe();
  expect((await settle(following.next())).value).toMatchObject({ revision: expect.any(BigInt) as bigint });
  const others = cluster.nodes.filter((other) => other !== node).map(({ member }) => member.name);
  cluster.network.partition([node.member.name], others);
  const error = await settle(waiting.catch((caught: unknown) => caught as HoldfastError));
  expect(error).toMatchObject({ reason: 'NO_LEADER', outcome: 'UNKNOWN' });
  const end = await settle(
    (async () => {
      for (;;) await following.next();
    })().catch((caught: unknown) => caught as HoldfastError),
  );
  expect(end).toMatchObject({ reason: 'NO_LEADER' });
});

test('leaders of an election are followed on every node', async () => {
  const [node, other] = followers();
  const one = (await settle(on(node!).grant({ ttlMs: 1_500n, name: 'one' }))).lease;
  const two = (await settle(on(node!).grant({ ttlMs: 60_000n, name: 'two' }))).lease;
  const following = on(other!).observe();
  const seen = async () => (await settle(following.next())).value as { leader?: { name: string } };
  expect((await seen()).leader).toBeUndefined();
  await settle(on(node!).campaign({ session: one, value: Buffer.from('a') }));
  expect(await seen()).toMatchObject({ leader: { name: 'one', value: new Uint8Array([97]) } });
  const second = await settle(on(node!).campaign({ session: two, value: Buffer.from('b') }));
  expect(await seen()).toMatchObject({ leader: { name: 'two', token: second.token } });
  await settle(on(other!).proclaim({ session: two, token: second.token, value: Buffer.from('c') }));
  expect(await seen()).toMatchObject({ leader: { name: 'two', value: new Uint8Array([99]) } });
  await settle(on(other!).resign({ session: two, token: second.token }));
  expect((await seen()).leader).toBeUndefined();
  await following.return?.();
  expect(other!.engine!.sessions.elections.size).toBe(0);
});
