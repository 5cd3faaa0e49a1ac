/** Several nodes with one cause at a time; worlds mix them. */
import { expect, test } from 'vitest';
import { SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import { SmallCluster, type SmallNode } from './small-cluster.ts';

const names = Array.from({ length: 200 }, (_, i) => `k${i}`);
const LARGE = 'x'.repeat(8_000);

/** A key of a partition that another key is not in. */
function elsewhere(cluster: SmallCluster, key: string): string {
  return names.find((name) => cluster.groupOf(name) !== cluster.groupOf(key))!;
}

test('a group that is quiet pins no log on a follower that was started again', async () => {
  const cluster = await SmallCluster.start('quiet');
  const [busy, quiet] = ['k0', elsewhere(cluster, 'k0')];
  await cluster.put(busy, 'begun');
  await cluster.put(quiet, 'kept');
  await cluster.world.runFor(1_500);
  const leaders = [busy, quiet].map((key) => cluster.leaderOf(cluster.groupOf(key)));
  const follower = cluster.nodes.find((node) => !leaders.includes(node))!;
  cluster.crash(follower);
  await cluster.world.runFor(100);
  await cluster.open(follower);
  for (let i = 0; i < 80; i++) {
    expect(await cluster.put(busy, LARGE)).toBeUndefined();
    if (i % 10 === 0) await cluster.world.runFor(1_200);
  }
  await cluster.world.runFor(3_000);
  expect(cluster.nodes.map(({ failures }) => failures)).toEqual([[], [], []]);
  const counts = cluster.nodes.map(({ engine }) => engine!.log.segmentCount);
  for (const count of counts) expect(count, counts.join(' ')).toBeLessThanOrEqual(3);
  expect(await cluster.get(follower, quiet)).toBe('kept');
});

test('a follower that lags behind what is kept in memory gets the rows, and goes on from there', async () => {
  const cluster = await SmallCluster.start('lag');
  await cluster.put('k0', 'first');
  const group = cluster.groupOf('k0');
  const leader = cluster.leaderOf(group)!;
  const follower = cluster.nodes.find((node) => node !== leader)!;
  cluster.crash(follower);
  // Leaders forget what they keep for a follower some time after it has gone, with the next write.
  for (let i = 0; i < 30; i++) {
    await cluster.put('k0', `${i}`);
    if (i % 10 === 0) await cluster.world.runFor(1_500);
  }
  await cluster.world.runFor(3_000);
  await cluster.open(follower);
  const applied = () => follower.engine!.host.replica(group)?.applied;
  await cluster.until(() => (applied()?.generation ?? 0) > 0);
  expect(follower.engine!.host.snapshots.received).toBeGreaterThan(0);
  expect(await cluster.get(follower, 'k0')).toBe('29');
  await cluster.put('k0', 'last');
  expect(await cluster.get(follower, 'k0')).toBe('last');
  cluster.crash(follower);
  await cluster.open(follower);
  await cluster.until(() => applied() !== undefined);
  expect(applied()?.generation).toBeGreaterThan(0);
  await cluster.until(() => follower.engine!.host.leaderOf(group) !== undefined);
  expect(await cluster.get(follower, 'k0')).toBe('last');
  expect(cluster.nodes.flatMap(({ failures }) => failures)).toEqual([]);
});

test('a node whose data was removed, or rolled back, stops serving, and the others go on', async () => {
  for (const kind of ['removed', 'rolled back']) {
    const cluster = await SmallCluster.start(kind);
    await cluster.put('k0', 'early');
    const leader = cluster.leaderOf(cluster.groupOf('k0'))!;
    const lost = cluster.nodes.find((node) => node !== leader)!;
    await cluster.world.runFor(1_500);
    cluster.crash(lost);
    const image = kind === 'removed' ? { directories: [''], files: new Map() } : lost.disk.snapshot();
    const rows = kind === 'removed' ? new SimulatedStoreMedium().rows : lost.medium.rows;
    await cluster.open(lost);
    for (let i = 0; i < 5; i++) await cluster.put('k0', `${i}`);
    await cluster.world.runFor(1_500);
    cluster.crash(lost);
    lost.disk.restore(image);
    lost.medium.rows = rows;
    await cluster.open(lost);
    await cluster.until(() => lost.failures.length > 0);
    expect(lost.failures).toEqual(['not known again']);
    expect(lost.engine!.host.failure).toBe('node damaged');
    expect(await cluster.put('k0', 'on')).toBeUndefined();
    expect(cluster.nodes.filter((node) => node !== lost).flatMap(({ failures }) => failures)).toEqual([]);
  }
});

test('a node that is about to stop hands over what it leads, and is handed nothing', async () => {
  const cluster = await SmallCluster.start('leaving');
  await cluster.world.runFor(1_500);
  const leaving = cluster.leaderOf(cluster.groupOf('k0'))!;
  const takesOver = (node: SmallNode) =>
    cluster.nodes.flatMap(({ engine }) => {
      const { replicas, leaderships } = engine!.host;
      const led = replicas.filter(({ isLeader }) => isLeader);
      return led.map(({ group }) => leaderships.mayTakeOver(group, node.member.id, Infinity));
    });
  await cluster.until(() => takesOver(leaving).includes(true));
  await cluster.world.settle(leaving.engine!.host.handOverAll(), 10_000);
  await cluster.world.runFor(1_500);
  expect(leaving.engine!.host.replicas.filter(({ isLeader }) => isLeader)).toEqual([]);
  expect(takesOver(leaving)).toContain(false);
  expect(takesOver(leaving)).not.toContain(true);
  const staying = cluster.nodes.find((node) => node !== leaving)!;
  expect(takesOver(staying)).toContain(true);
});

test('a node that rests leads nothing for long, though it is elected', async () => {
  const cluster = await SmallCluster.start('resting');
  const group = cluster.groupOf('k0');
  await cluster.until(() => cluster.leaderOf(group) !== undefined);
  const resting = cluster.nodes.find((node) => node !== cluster.leaderOf(group))!;
  const { host } = resting.engine!;
  await cluster.world.settle(
    host.leaderships.rest(60_000, () => false),
    10_000,
  );
  expect(host.replicas.filter(({ isLeader }) => isLeader)).toEqual([]);
  const { won } = host.leaderships;
  const third = cluster.nodes.find((node) => node !== resting && node !== cluster.leaderOf(group))!;
  cluster.crash(cluster.leaderOf(group)!); // and the two that are left elect one of them
  await cluster.until(() => host.leaderships.won > won);
  await cluster.until(() => third.engine!.host.replicas.every(({ isLeader }) => isLeader), 5_000);
});

test('a node whose clock is off is not given what others lead, and does not carry log time away', async () => {
  const cluster = await SmallCluster.start('clock off');
  await cluster.put('k0', 'early');
  const [wrong, ...others] = cluster.nodes;
  wrong!.clock.jump(10_000);
  for (let i = 0; i < 40; i++) {
    for (const key of ['k0', 'k1', 'k2', 'k3']) await cluster.put(key, `${i}`);
    await cluster.world.runFor(200);
  }
  const right = others[0]!.engine!;
  expect(right.host.replicas.filter(({ group }) => wrong!.engine!.host.isLeader(group))).toEqual([]);
  const wallMs = others[0]!.clock.wallMs();
  for (const { group } of right.host.replicas)
    expect(right.host.logTimeMs(group) - wallMs).toBeLessThan(1_000);
});
