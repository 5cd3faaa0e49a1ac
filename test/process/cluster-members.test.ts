/** Members come and go on a running cluster, under load whose every answer is checked. */
import type { Holdfast } from '@holdfast/client';
import { expect, it } from 'vitest';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const MOVED_MS = 90_000;

/** Resolves when the members are these, all of them active and there, with fair shares of the replicas, and none is on its way. */
async function settled(client: Holdfast, names: readonly string[]): Promise<void> {
  let seen = '';
  await until(
    async () => {
      const { members, movingGroups } = await client.cluster.members({ timeout: '20s' });
      const shown = members.map(
        ({ name, state, alive, replicas }) => `${name} ${state} ${alive ? 'alive' : 'away'} ${replicas}`,
      );
      seen = `${shown.join(', ')}; ${movingGroups} groups move`;
      const isActive = members.every(({ state, alive }) => state === 'active' && alive);
      const replicas = members.map((member) => member.replicas);
      const isFair = Math.max(...replicas) - Math.min(...replicas) <= 2;
      const areThese = String(members.map(({ name }) => name)) === String(names);
      return isActive && isFair && movingGroups === 0 && areThese;
    },
    MOVED_MS,
    () => `members are ${seen}`,
  );
}

/** Starts a node with an empty directory, which waits until it is added. */
async function startEmpty(
  cluster: RealCluster,
  name: string,
): Promise<{ name: string; grpc: string; http: string }> {
  const { grpc, http } = await cluster.extend(name);
  cluster.spawn(name);
  await until(
    async () => (await cluster.readiness(name))?.text.includes('has to be added') === true,
    30_000,
    () => `${name}: ${cluster.node(name).output}`,
  );
  return { name, grpc, http };
}

it('grows from three to five, replaces a dead node and shrinks to three, under load', async () => {
  await using cluster = await RealCluster.start();
  await using load = await CheckedLoad.begin(cluster, { seed: SEED });
  await load.progress(100);
  const operator = await cluster.connect({ timeout: '20s' });

  for (const name of ['n4', 'n5']) {
    await operator.cluster.add(await startEmpty(cluster, name));
    await cluster.ready([name]);
    await settled(operator, cluster.names);
    await load.progress(100);
  }
  const { members: grown } = await operator.cluster.members();
  expect(grown.reduce((sum, { replicas }) => sum + replicas, 0)).toBe(24);

  await cluster.node('n2').kill();
  const n6 = await startEmpty(cluster, 'n6');
  await operator.cluster.replace('n2', n6);
  await cluster.forget('n2');
  await cluster.ready(['n6']);
  await settled(operator, cluster.names);
  await load.progress(100);

  for (const name of ['n1', 'n6']) {
    await operator.cluster.remove(name);
    const left = cluster.names.filter((one) => one !== name);
    await settled(operator, left);
    await until(
      () => !cluster.node(name).isRunning,
      30_000,
      () => `${name} goes on: ${cluster.node(name).output.slice(-4_000)}`,
    );
    expect(cluster.node(name).output).toContain('was removed from the cluster');
    await cluster.forget(name);
    await load.progress(100);
  }
  expect(cluster.names).toEqual(['n3', 'n4', 'n5']);
  await cluster.caughtUp();
  await load.end();
}, 400_000);
