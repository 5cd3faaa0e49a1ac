/** Nodes that are not who they seem: one whose data is gone, and those of another cluster. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const OTHER_DATA = /knows n2 with other data.*taken in as a new one in its place/;

it('a node whose directory was emptied comes back as another member, by itself', async () => {
  await using cluster = await RealCluster.start();
  await using load = await CheckedLoad.begin(cluster, { seed: SEED });
  await load.progress(100);
  const node = cluster.node('n2');
  await node.kill();
  rmSync(node.dataDirectory, { recursive: true });
  // Without a majority nobody can take it in, so it can be asked for as long as that takes.
  cluster.node('n3').signal('SIGSTOP');
  cluster.spawn('n2');
  let answer: { status: number; text: string } | undefined;
  await until(
    async () => OTHER_DATA.test((answer = await cluster.readiness('n2'))?.text ?? ''),
    30_000,
    () => `/readyz says ${answer?.status} ${answer?.text}; ${node.output}`,
  );
  expect(answer!.status).toBe(503);
  const waiting = await cluster.answer('n2');
  expect(waiting.waitsFor).toMatch(OTHER_DATA);
  expect([waiting.id, waiting.groups.length]).toEqual([0, 0]);
  cluster.node('n3').signal('SIGCONT');

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
  expect((await cluster.answer('n2')).id).toBe(4);
}, 180_000);

it('nodes of two clusters whose addresses are mixed up keep to their own', async () => {
  await using ours = await RealCluster.start({ name: 'ours' });
  await using theirs = await RealCluster.start({ name: 'theirs' });
  const our = await ours.connect({ timeout: '20s' });
  const their = await theirs.connect({ timeout: '20s' });
  await our.keyspace('default').put('whose', 'ours');
  await their.keyspace('default').put('whose', 'theirs');

  // Their third node takes our first for its own.
  const node = theirs.node('n3');
  await node.stop();
  const file = join(node.directory, 'cluster.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll(theirs.node('n1').grpc, ours.node('n1').grpc));
  const from = node.output.length;
  theirs.spawn('n3');
  await until(
    () => /the caller belongs to another cluster than node .*n1/.test(node.output.slice(from)),
    30_000,
    () => node.output.slice(from),
  );
  for (const name of ['n1', 'n2', 'n3']) await our.keyspace('default').put(`after/${name}`, 'ours');
  for (const name of ['n1', 'n2', 'n3']) await their.keyspace('default').put(`after/${name}`, 'theirs');
  const found = async (client: typeof our) => {
    const entries: string[] = [];
    for await (const entry of client.keyspace('default').scan()) entries.push(entry.text());
    return new Set(entries);
  };
  expect([await found(our), await found(their)]).toEqual([new Set(['ours']), new Set(['theirs'])]);
  await ours.caughtUp();
}, 120_000);
