/** What operators do with the members of a cluster: what is refused, from the command line too, and what is handed over. */
import type { Cluster, HoldfastError } from '@holdfast/client';
import { expect, it } from 'vitest';
import { runHoldfast } from '../main/run-holdfast.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

/** The members but for who is alive. */
async function rows(cluster: Cluster): Promise<string[]> {
  const { members } = await cluster.members();
  return members.map(({ id, name, nodeId, grpc, state }) => `${id} ${name} ${nodeId} ${grpc} ${state}`);
}

/** Ends with the reason and the message of the refusal. */
async function refusal(change: Promise<unknown>): Promise<string> {
  try {
    await change;
  } catch (error) {
    const { reason, message, outcome } = error as HoldfastError;
    expect(outcome).toBe('NOT_APPLIED');
    return `${reason}: ${message}`;
  }
  return 'it was not refused';
}

/** Resolves when it is refused in these words: to one that asks it for a second, a slow node seems to be away. */
async function refusedWith(words: RegExp, change: () => Promise<unknown>): Promise<void> {
  let seen = '';
  await until(
    async () => words.test((seen = await refusal(change()))),
    20_000,
    () => `not refused with ${words}: ${seen}`,
  );
}

async function waitsToBeAdded(
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

it('refuses what would do harm, and says what to do', async () => {
  await using cluster = await RealCluster.start();
  await using other = await RealCluster.start({ nodes: 1, name: 'other' });
  const { cluster: members } = await cluster.connect({ timeout: '20s' });
  const before = await rows(members);
  const n4 = await waitsToBeAdded(cluster, 'n4');

  const [stranger] = other.nodes;
  const { grpc, http } = stranger!;
  await refusedWith(/REFUSED.*belongs to another cluster/, () => members.add({ name: 'n1', grpc, http }));
  await refusedWith(/REFUSED.*is n4, not n5/, () => members.add({ ...n4, name: 'n5' }));
  const nowhere = { name: 'n5', grpc: '127.0.0.1:1', http: '127.0.0.1:2' };
  expect(await refusal(members.add(nowhere))).toMatch(/REFUSED.*no node answers at 127\.0\.0\.1:1. Start n5/);
  expect(await refusal(members.add({ ...nowhere, grpc: 'n5' }))).toMatch(/INVALID_FIELD.*must be host:port/);
  expect(await refusal(members.replace('n2', n4))).toMatch(/REFUSED.*n2 answers.*Add n4 and remove n2/);
  expect(await refusal(members.replace('n8', n4))).toMatch(/MEMBER_UNKNOWN.*the members are n1, n2, n3/);
  expect(await refusal(members.remove('n3'))).toMatch(/REFUSED.*would keep 2 instead of 3/);
  expect(await refusal(members.remove('n8'))).toMatch(/MEMBER_UNKNOWN/);
  const { cluster: single } = await other.connect({ timeout: '20s' });
  expect(await refusal(single.remove('n1', { allowFewerCopies: true }))).toMatch(/REFUSED.*the last member/);

  await cluster.node('n1').kill();
  await refusedWith(/REFUSED.*n1 cannot be reached/, () => members.remove('n2', { allowFewerCopies: true }));
  const toN2 = ['--endpoints', cluster.node('n2').grpc, '--timeout', '20s'];
  let shown = '';
  await until(
    async () => {
      const listed = await runHoldfast(['cluster', 'members', '--json', ...toN2]);
      expect(listed).toMatchObject({ code: 0, stderr: '' });
      const list = JSON.parse(listed.stdout.toString()) as { members: { name: string; state: string }[] };
      shown = list.members.map(({ name, state }) => `${name} ${state}`).join(', ');
      return shown === 'n1 dead, n2 alive, n3 alive';
    },
    30_000,
    () => shown,
  );
  const told = await runHoldfast(['cluster', 'remove', 'n8', ...toN2]);
  expect(told.code).toBe(1);
  expect(told.stderr).toMatch(/there is no member "n8".*Nothing was changed.*\[MEMBER_UNKNOWN\]/);
  expect(await rows(members)).toEqual(before);
}, 120_000);

interface Handover {
  readonly group: bigint;
  readonly from: string;
  readonly to: string;
}

/** When n2 leads nothing: from whoever leads more of the nine groups by one, so that balance gives nothing back. */
async function lastingHandover(cluster: RealCluster): Promise<Handover | undefined> {
  const leaders = [...(await cluster.leaders())];
  const ledBy = (leader: string) => leaders.filter(([, { name }]) => name === leader).map(([group]) => group);
  for (const [from, to] of [
    ['n1', 'n3'],
    ['n3', 'n1'],
  ] as const)
    if (ledBy(from).length === 5 && ledBy(to).length === 4) return { group: ledBy(from)[0]!, from, to };
  return undefined;
}

it('hands over what a node leads, and keeps it so; or one group to a node that is named', async () => {
  await using cluster = await RealCluster.start();
  const client = await cluster.connect({ timeout: '20s' });
  const leads = async (name: string) =>
    [...(await cluster.leaders()).values()].filter((led) => led.name === name).length;
  await until(
    async () => (await leads('n2')) > 1,
    30_000,
    () => 'n2 leads next to nothing',
  );
  const result = await client.cluster.transfer('n2');
  expect(result.kept).toBe(0);
  expect(result.handedOver).toBeGreaterThan(1);
  // An election that it wins all the same is given away at once.
  const leadsNothing = () =>
    until(
      async () => (await leads('n2')) === 0,
      30_000,
      () => 'n2 leads',
    );
  await leadsNothing();

  let handed: Handover | undefined;
  await until(
    async () => {
      const next = await lastingHandover(cluster);
      if (next === undefined) return false;
      const result = await client.cluster
        .transfer(next.from, next)
        .catch((error: HoldfastError) => error.reason);
      if (result === 'REFUSED') return false; // an election came first
      expect(result).toEqual({ handedOver: 1, kept: 0 });
      handed = next;
      return true;
    },
    30_000,
    () => 'no group can be handed over',
  );
  const { group, from, to } = handed!;
  await cluster.leaderOf(group, [to]);
  expect(await refusal(client.cluster.transfer(from, { group, to }))).toMatch(/REFUSED.*does not lead group/);
  await leadsNothing();
}, 120_000);

it('one node alone grows to three, and then survives the loss of the first', async () => {
  await using cluster = await RealCluster.start({ nodes: 1 });
  const client = await cluster.connect({ timeout: '20s' });
  await client.keyspace('default').put('kept', 'yes');
  for (const name of ['n2', 'n3']) {
    await client.cluster.add(await waitsToBeAdded(cluster, name));
    await cluster.ready([name]);
    let seen = '';
    await until(
      async () => {
        const { members, movingGroups } = await client.cluster.members();
        const shown = members.map(({ name: each, state, replicas }) => `${each} ${state} ${replicas}`);
        seen = `${shown.join(', ')}; ${movingGroups}`;
        const isActive = members.every(({ state }) => state === 'active');
        return isActive && movingGroups === 0 && members.every(({ replicas }) => replicas === 8);
      },
      60_000,
      () => seen,
    );
  }
  await cluster.node('n1').kill();
  const survivors = await cluster.connect({ timeout: '20s' }, 1);
  const kept = await survivors.keyspace('default').get('kept');
  expect(kept?.text()).toBe('yes');
}, 180_000);
