/** Reads that may be as old as a bound: at once where the replica was as fresh as that, else linearizable. */
import { expect, test } from 'vitest';
import type { HoldfastError } from '../../client/error.ts';
import { SmallCluster, type SmallNode } from '../raft/small-cluster.ts';

/** What a read gives: a value at once, or the end of a promise. */
async function read(cluster: SmallCluster, { engine }: SmallNode, maxStalenessMs: number): Promise<string> {
  const { kv, keyspaces } = engine!;
  const terms = { isRouted: true, deadlineMs: Infinity, maxStalenessMs };
  const found = kv.get(keyspaces.get('default'), Buffer.from('k0'), undefined, terms);
  if (!(found instanceof Promise)) return `at once ${Buffer.from(found!.value).toString()}`;
  const text = found.then(
    (stored) => `later ${Buffer.from(stored!.value).toString()}`,
    ({ reason }: HoldfastError) => reason,
  );
  return cluster.world.settle(text, 30_000);
}

test('a follower answers at once as long as it was confirmed within the bound, also when it is cut off', async () => {
  const cluster = await SmallCluster.start('stale');
  await cluster.put('k0', 'old');
  const leader = cluster.leaderOf(cluster.groupOf('k0'))!;
  const follower = cluster.nodes.find((node) => node !== leader)!;
  expect(await read(cluster, follower, 1_000)).toBe('later old');
  expect(await read(cluster, follower, 1_000)).toBe('at once old');
  const others = cluster.nodes.filter((node) => node !== follower).map(({ member }) => member.name);
  cluster.network.partition([follower.member.name], others);
  await cluster.put('k0', 'new');
  expect(await read(cluster, follower, 2_000)).toBe('at once old');
  await cluster.world.runFor(2_000);
  expect(await read(cluster, follower, 2_000)).toBe('NOT_LEADER');
  cluster.network.heal();
  await cluster.world.runFor(2_000);
  expect(await read(cluster, follower, 100)).toBe('later new');
  expect(await read(cluster, follower, 100)).toBe('at once new');
});
