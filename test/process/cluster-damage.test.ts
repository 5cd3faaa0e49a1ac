/** A damaged node of three says what to do, and is rebuilt once that is done; two keep what they have. */
import { globSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until, type RealNode } from './real-node.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);

/** Flips a bit of the head of the first batch of the log: all that the node holds is in doubt. */
function flipBit(node: RealNode): void {
  const [segment] = globSync('log/*', { cwd: node.dataDirectory }).sort();
  const path = join(node.dataDirectory, segment!);
  const bytes = readFileSync(path);
  bytes[20]! ^= 4;
  writeFileSync(path, bytes);
}

it('a node whose damaged data was moved away comes back as another member, by itself', async () => {
  await using cluster = await RealCluster.start();
  await using load = await CheckedLoad.begin(cluster, { seed: SEED });
  await load.progress(100);
  const node = cluster.node('n2');
  await node.kill();
  flipBit(node);
  cluster.spawn('n2');
  await until(
    () => !node.isRunning,
    30_000,
    () => node.output,
  );
  expect(node.output).toContain('move the directory away and start again');
  renameSync(node.dataDirectory, `${node.dataDirectory}-damaged`);
  cluster.spawn('n2');
  await cluster.ready(['n2']);
  const operator = await cluster.connect({ timeout: '20s' });
  let seen = '';
  await until(
    async () => {
      const { members, movingGroups } = await operator.cluster.members();
      seen = `${members.map(({ name, id, state }) => `${name} ${id} ${state}`).join(', ')}; ${movingGroups}`;
      return seen === 'n1 1 active, n3 3 active, n2 4 active; 0';
    },
    60_000,
    () => seen,
  );
  await load.progress(100);
  await load.end();
  await cluster.caughtUp();
}, 180_000);

it('of three nodes two that are damaged keep what they have, and say so', async () => {
  await using cluster = await RealCluster.start();
  const client = await cluster.connect({ timeout: '20s' });
  await client.keyspace('default').put('kept', 'yes');
  for (const name of ['n2', 'n3']) {
    await cluster.node(name).kill();
    flipBit(cluster.node(name));
  }
  for (const name of ['n2', 'n3']) {
    const node = cluster.node(name);
    cluster.spawn(name);
    await until(
      () => !node.isRunning,
      30_000,
      () => node.output,
    );
    expect(node.output).toContain('the data is damaged');
    expect(readdirSync(node.dataDirectory).sort()).toEqual(['identity.json', 'lock', 'log', 'store']);
  }
}, 120_000);
