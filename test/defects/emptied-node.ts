/**
 * A node whose log was emptied, and which still says that it is the member it was: in worlds
 * such a node has lost its identity too, and is refused before anybody hears its log.
 */
import { SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import { CheckFailure } from '../raft/check-failure.ts';
import { SmallCluster } from '../raft/small-cluster.ts';

/** Throws when the others take it for what it was. */
export async function play(): Promise<void> {
  const cluster = await SmallCluster.start('emptied');
  await cluster.put('k0', 'kept');
  await cluster.world.runFor(1_500);
  const leader = cluster.leaderOf(cluster.groupOf('k0'));
  const emptied = cluster.nodes.find((node) => node !== leader)!;
  cluster.crash(emptied);
  emptied.disk.restore({ directories: [''], files: new Map() });
  emptied.medium.rows = new SimulatedStoreMedium().rows;
  await cluster.open(emptied);
  await cluster.world.runUntilTrue(() => emptied.failures.length > 0, 10_000);
  if (emptied.failures[0] !== 'not known again')
    throw new CheckFailure(
      'refusal',
      `a node without what it promised goes on: ${emptied.failures.join(', ')}`,
    );
}
