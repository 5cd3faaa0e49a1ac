/**
 * Damage of every kind on one node of three is found and the node rebuilt by itself, while the
 * others go on; of two that are damaged nobody is rebuilt, and both say what to do.
 */
import { cpSync, globSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Holdfast } from '@holdfast/client';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until, type RealNode } from './real-node.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const BATCH_HEAD = 20;

/** The files of a node's directory that a pattern names, oldest first. */
function files({ dataDirectory }: RealNode, pattern: string): string[] {
  return globSync(pattern, { cwd: dataDirectory })
    .sort()
    .map((name) => join(dataDirectory, name));
}

function change(path: string, edit: (bytes: Buffer) => void): void {
  const bytes = readFileSync(path);
  edit(bytes);
  writeFileSync(path, bytes);
}

/** All that the node holds is in doubt. */
function flipBit(node: RealNode): void {
  change(files(node, 'log/*')[0]!, (bytes) => (bytes[BATCH_HEAD]! ^= 4));
}

/** What is done to the directory of a node that is down; `copy`: its directory as it was earlier. */
const DAMAGES: Readonly<Record<string, (node: RealNode, copy: string) => void>> = {
  'a flipped bit in the log': flipBit,
  'a hole in the log': (node) => change(files(node, 'log/*')[0]!, (bytes) => bytes.fill(0, 4_096, 8_192)),
  'a log that is gone': (node) => rmSync(join(node.dataDirectory, 'log'), { recursive: true }),
  'a MANIFEST that was cut': (node) => truncateSync(files(node, 'store/MANIFEST-*').at(-1)!, 10),
  'a store that is gone': (node) => rmSync(join(node.dataDirectory, 'store'), { recursive: true }),
  'an earlier copy of the directory': (node, copy) => {
    rmSync(node.dataDirectory, { recursive: true });
    cpSync(copy, node.dataDirectory, { recursive: true });
  },
  'a directory that was emptied': (node) => rmSync(node.dataDirectory, { recursive: true }),
};

/** The members, once all are active and nothing moves. */
async function settledMembers(operator: Holdfast, isSettled: (seen: string) => boolean): Promise<void> {
  let seen = '';
  await until(
    async () => {
      const { members, movingGroups } = await operator.cluster.members();
      seen = `${members.map(({ name, id, state }) => `${name} ${id} ${state}`).join(', ')}; ${movingGroups}`;
      return isSettled(seen);
    },
    120_000,
    () => seen,
  );
}

it('damage of any kind on one node of three is found, and the node rebuilt, under load', async () => {
  await using cluster = await RealCluster.start();
  await using load = await CheckedLoad.begin(cluster, { seed: SEED });
  const operator = await cluster.connect({ timeout: '20s' });
  const node = cluster.node('n2');
  const copy = `${node.dataDirectory}-copy`;
  let id = 3;
  for (const [kind, damage] of Object.entries(DAMAGES)) {
    await load.progress(100);
    await node.kill();
    rmSync(copy, { recursive: true, force: true });
    cpSync(node.dataDirectory, copy, { recursive: true });
    cluster.spawn('n2');
    await cluster.ready(['n2']);
    await load.progress(100);
    await node.kill();
    damage(node, copy);
    cluster.spawn('n2');
    id++;
    await settledMembers(operator, (seen) => seen === `n1 1 active, n3 3 active, n2 ${id} active; 0`).catch(
      (error: unknown) => {
        throw new Error(`after ${kind}: ${node.output}`, { cause: error });
      },
    );
    await cluster.ready(['n2']);
    expect(node.isRunning, kind).toBe(true);
  }
  await load.progress(100);
  await load.end();
  await cluster.caughtUp();
  const aside = readdirSync(node.dataDirectory).filter((name) => name.startsWith('damaged-'));
  expect(aside).toEqual([]); // the last kind left nothing to put aside
  const { counts } = load;
  console.log(`${Object.keys(DAMAGES).length} kinds of damage; ${counts.operations} operations`);
}, 600_000);

it('of three nodes two that are damaged keep what they have, and say so', async () => {
  await using cluster = await RealCluster.start();
  const client = await cluster.connect({ timeout: '20s' });
  await client.keyspace('default').put('kept', 'yes');
  const damaged = ['n2', 'n3'].map((name) => cluster.node(name));
  for (const node of damaged) {
    await node.kill();
    flipBit(node);
  }
  for (const node of damaged) {
    cluster.spawn(node.name);
    await until(
      () => node.output.includes('the others do not give up what this node holds'),
      30_000,
      () => node.output,
    );
    expect(node.output).toContain('the data is damaged');
  }
  const ready = await fetch(`http://${damaged[0]!.http}/readyz`);
  expect(ready.status).toBe(503);
  expect(await ready.text()).toContain('the data is damaged');
  for (const node of damaged) {
    await node.kill();
    expect(readdirSync(node.dataDirectory).sort()).toEqual(['identity.json', 'lock', 'log', 'store']);
  }
}, 120_000);

it('what has its only copy on a damaged node is not given up', async () => {
  await using cluster = await RealCluster.start();
  const client = await cluster.connect({ timeout: '20s' });
  await client.keyspaces.create('single', { replication: 1, partitions: 4 });
  const { partitions } = await client.keyspaces.describe('single');
  const node = cluster.node(await cluster.leaderOf(partitions[0]!.group));
  await node.kill();
  flipBit(node);
  cluster.spawn(node.name);
  await until(
    () => /no majority of the replicas of group .* answers/.test(node.output),
    30_000,
    () => node.output,
  );
  expect(node.output).toContain('restore the directory');
  expect(readdirSync(node.dataDirectory)).toContain('log');
  const { members } = await client.cluster.members();
  expect(members.every(({ state }) => state === 'active')).toBe(true);
}, 120_000);
