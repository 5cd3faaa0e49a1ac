/**
 * Links between real nodes are cut: the leader of a partition loses the others, in both
 * directions or in one, while clients on either side check all that they are told.
 */
import { expect, it } from 'vitest';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';
import { CANNOT_NETWORK, TestNetwork } from './test-network.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const NAMES = ['n1', 'n2', 'n3'];

type Cut = (network: TestNetwork, leader: string, others: readonly string[]) => void;

const CUTS: Record<string, Cut> = {
  'is cut off': (network, leader, others) => network.split([leader], others),
  'is no longer heard': (network, leader, others) => others.forEach((other) => network.cut(leader, other)),
  'no longer hears': (network, leader, others) => others.forEach((other) => network.cut(other, leader)),
};

/** Two of three nodes no longer reach each other. */
async function goesOnThroughTheThird(network: TestNetwork, cluster: RealCluster): Promise<void> {
  await using load = await CheckedLoad.begin(cluster, { seed: SEED, keys: 'bridge/' });
  await load.progress(100);
  network.split(['n1'], ['n2']);
  await load.progress(500);
  network.heal();
  await load.end();
  await cluster.caughtUp();
  expect(load.counts.notApplied + load.counts.unknown, load.report()).toBeLessThan(100);
  console.log(`a bridge, seed ${SEED}: ${load.report()}`);
}

it('stays linearizable and goes on when a leader is cut off, and heals', async (context) => {
  if (CANNOT_NETWORK !== undefined) context.skip(CANNOT_NETWORK);
  using network = await TestNetwork.create(NAMES);
  await using cluster = await RealCluster.start({ network });
  const client = await cluster.connect();
  for (const [what, cut] of Object.entries(CUTS)) {
    await cluster.ready();
    const group = await cluster.groupOf(client, 'default', 'any');
    const leader = await cluster.leaderOf(group);
    const others = NAMES.filter((name) => name !== leader);
    const sides = [[leader], others, NAMES, NAMES];
    await using load = await CheckedLoad.begin(cluster, {
      seed: SEED,
      keys: `${what}/`,
      group,
      // Who soon gives up turns to others while the old leader does not know yet that it is one no more.
      timeoutMs: () => 250,
      thinkMs: 3,
      connect: (number) => ({ endpoints: sides[number]!.map((name) => cluster.node(name).grpc) }),
    });
    await load.progress(100);
    cut(network, leader, others);
    await until(
      async () => (await cluster.leaders()).get(group)?.name !== leader,
      30_000,
      () => `${leader}, which ${what}, still leads`,
    );
    await load.progress(200);
    network.heal();
    await load.progress(100);
    await load.end();
    await cluster.caughtUp();
    console.log(`the leader ${what}, seed ${SEED}: ${load.report()}`);
  }
  await goesOnThroughTheThird(network, cluster);
}, 180_000);
