/** Members come and go on a running cluster, under load whose every answer is checked. */
import type { Holdfast, MemberStatus } from '@holdfast/client';
import { expect, it } from 'vitest';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const MOVED_MS = 90_000;

async function memberStates(client: Holdfast): Promise<Map<string, MemberStatus>> {
  const { members } = await client.cluster.members({ timeout: '20s' });
  return new Map(members.map((member) => [member.name, member]));
}

/** Resolves when the members are these, all of them active, and no replica is on its way. */
async function settled(client: Holdfast, names: readonly string[]): Promise<void> {
  let seen = '';
  await until(
    async () => {
      const { members, movingGroups } = await client.cluster.members({ timeout: '20s' });
      seen = `${members.map(({ name, state }) => `${name} ${state}`).join(', ')}; ${movingGroups} groups move`;
      const isActive = members.every(({ state }) => state === 'active');
      return isActive && movingGroups === 0 && String(members.map(({ name }) => name)) === String(names);
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
  const grown = await memberStates(operator);
  expect([...grown.values()].map(({ alive }) => alive)).toEqual([true, true, true, true, true]);
  const replicas = [...grown.values()].map((member) => member.replicas);
  expect(replicas.reduce((sum, each) => sum + each)).toBe(24);
  expect(Math.max(...replicas) - Math.min(...replicas)).toBeLessThanOrEqual(2);

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
