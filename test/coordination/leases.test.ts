import { beforeEach, expect, test } from 'vitest';
import { SessionCommandKind as Kind } from '../../node/coordination/session-command.ts';
import { CHECKPOINT_MS, SessionCluster } from './session-cluster.ts';

let cluster: SessionCluster;
beforeEach(async () => {
  cluster = new SessionCluster();
  await cluster.elect(0);
  await cluster.run(1_000);
});

function checkpoints(): number {
  return cluster.proposed.filter(({ kind }) => kind === Kind.checkpoint).length;
}

test('a lease lives its time and not longer than it takes to find that out', async () => {
  await cluster.grant(1, 2_000);
  await cluster.run(1_900);
  expect(cluster.leader!.ended).toEqual([]);
  await cluster.run(600);
  for (const node of cluster.nodes) expect(node.ended).toEqual(['expired 1']);
  expect(await cluster.remaining(1)).toBeUndefined();
  expect(cluster.leader!.sessions.leases.counts).toEqual({ granted: 1, expired: 1, revoked: 0, kept: 0 });
});

test('a lease that is kept alive lives on, and no write is needed for it', async () => {
  await cluster.grant(1, 10_000);
  for (let at = 0; at < 30; at++) {
    await cluster.run(3_333);
    expect(await cluster.keep(cluster.leader!, 1, 2)).toEqual([10_000, 0]);
  }
  expect(checkpoints()).toBe(0);
  expect(cluster.leader!.ended).toEqual([]);
});

test('what leases have left after three changes of leader is right to within a checkpoint interval', async () => {
  await cluster.grant(1, 60_000);
  await cluster.grant(2, 25_000);
  const grantedMs = cluster.world.nowMs();
  let unledMs = 0;
  for (const [leader, ms] of [
    [1, 7_300],
    [2, 8_100],
    [0, 6_600],
  ] as const) {
    await cluster.run(ms);
    cluster.depose();
    await cluster.run(900);
    unledMs += 900;
    await cluster.elect(leader);
  }
  const passedMs = cluster.world.nowMs() - grantedMs - unledMs;
  for (const [lease, ttlMs] of [
    [1, 60_000],
    [2, 25_000],
  ] as const) {
    const remainingMs = (await cluster.remaining(lease))!;
    expect(remainingMs).toBeGreaterThanOrEqual(ttlMs - passedMs - 10);
    expect(remainingMs).toBeLessThanOrEqual(ttlMs - passedMs + CHECKPOINT_MS);
  }
  await cluster.run(60_000);
  expect([...cluster.leader!.ended].sort()).toEqual(['expired 1', 'expired 2']);
});

test('a leader that slept longer than every lease lives ends nothing when it wakes', async () => {
  for (let lease = 1; lease <= 20; lease++) await cluster.grant(lease, 1_000 + 97 * lease);
  const leader = cluster.leader!;
  await cluster.run(900);
  leader.process.pause();
  await cluster.run(3_600_000);
  leader.process.resume();
  await cluster.run(150);
  expect(leader.ended).toEqual([]);
  const all = Array.from({ length: 20 }, (_, at) => at + 1);
  expect(await cluster.keep(leader, ...all)).toEqual(all.map((lease) => 1_000 + 97 * lease));
  await cluster.run(900);
  expect(leader.ended).toEqual([]);
});

test('a deposed leader ends nothing, and its word is worth nothing', async () => {
  await cluster.grant(1, 5_000);
  const before = cluster.leader!;
  await cluster.run(2_000);
  const now = await cluster.elect(1, false); // the one before does not know
  const keeping = cluster.keep(before, 1);
  await expect(keeping).rejects.toMatchObject({ reason: 'NOT_LEADER' });
  for (let at = 0; at < 10; at++) {
    await cluster.run(1_500);
    expect(await cluster.keep(now, 1)).toEqual([5_000]);
  }
  expect(now.ended).toEqual([]);
  cluster.tell(before);
  await cluster.run(7_000);
  for (const node of cluster.nodes) expect(node.ended).toEqual(['expired 1']);
});

test('what was kept alive just before a change of leader is not lost', async () => {
  await cluster.grant(1, 8_000);
  await cluster.run(7_500); // anchored by now, at what it has left
  expect(cluster.leader!.state.leases.get(1n)!.endsMs).toBeDefined();
  expect(await cluster.keep(cluster.leader!, 1)).toEqual([8_000]);
  cluster.depose();
  await cluster.elect(2);
  await cluster.run(7_900);
  expect(cluster.leader!.ended).toEqual([]);
  await cluster.run(1_000);
  expect(cluster.leader!.ended).toEqual(['expired 1']);
});

test('a lease whose end is on its way is not told to be alive', async () => {
  await cluster.grant(1, 1_000);
  const leader = cluster.leader!;
  const isEnding = () => cluster.proposed.some(({ kind }) => kind === Kind.expire);
  await cluster.world.runUntilTrue(isEnding, 5_000);
  expect(leader.ended).toEqual([]);
  expect(await cluster.keep(leader, 1)).toEqual([0]);
  expect(leader.ended).toEqual(['expired 1']);
});

test('a new leader ends what nobody keeps alive, however many there are', async () => {
  for (let lease = 1; lease <= 2_500; lease++)
    void cluster.leader!.propose({
      kind: Kind.grant,
      lease: BigInt(lease),
      ttlMs: 3_000,
      name: '',
    });
  await cluster.run(500);
  cluster.depose();
  await cluster.elect(1);
  await cluster.run(2_900);
  expect(cluster.leader!.ended).toEqual([]);
  await cluster.run(700);
  expect(cluster.leader!.ended.length).toBe(2_500);
  expect(cluster.leader!.state.leases.clock.leases).toBe(0);
});

test('leases that are not kept alive are written once, and what they have left once in a fifth of the interval', async () => {
  for (let lease = 1; lease <= 50; lease++) await cluster.grant(lease, 40_000);
  await cluster.run(30_000);
  // The anchors of all, granted within a tick or two, and then the lease time alone.
  expect(checkpoints()).toBeGreaterThan(10);
  expect(checkpoints()).toBeLessThan(20);
});
