/** Several nodes with one cause at a time; worlds mix them. */
import { expect, test } from 'vitest';
import { SmallCluster } from './small-cluster.ts';

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
