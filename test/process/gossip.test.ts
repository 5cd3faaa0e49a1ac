/** Nodes notice who is gone and who is back; a client that was given one address goes on with the others. */
import { connect } from '@holdfast/client';
import { GrpcTransport } from '@holdfast/client/grpc-transport';
import { create } from '@bufbuild/protobuf';
import { ClusterService, WatchMembersRequestSchema } from '@holdfast/proto/cluster/v1/cluster';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RunningHoldfast } from '../main/running-holdfast.ts';
import { runHoldfast } from '../main/run-holdfast.ts';
import { heldFor, MemberWatcher } from './member-watcher.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';
import { CANNOT_NETWORK, TestNetwork } from './test-network.ts';

/** By the settings a node is dead 6 s after it crashed; on a busy machine later. */
const NOTICED_MS = 30_000;

let cluster: RealCluster;

beforeAll(async () => {
  cluster = await RealCluster.start();
}, 120_000);

afterAll(() => cluster[Symbol.asyncDispose]());

/** The sample of a metric that a node serves. */
async function metric(node: string, sample: string): Promise<number> {
  const text = await (await fetch(`${cluster.node(node).url}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${sample} `));
  if (line === undefined) throw new Error(`${node} has no ${sample}`);
  return Number(line.split(' ').at(-1));
}

test('a node that is killed is suspected, then dead; started again it is alive', async () => {
  const watchers = await MemberWatcher.ofAll(cluster, ['n1', 'n2']);
  const both = [...watchers.values()];
  await heldFor('alive', cluster.names, both, NOTICED_MS);
  for (const watcher of both) watcher.startAnew();
  await cluster.node('n3').kill();
  const suspectedMs = await heldFor('suspect', ['n3'], both, NOTICED_MS);
  const deadMs = suspectedMs + (await heldFor('dead', ['n3'], both, NOTICED_MS));
  for (const watcher of both) expect(watcher.seen('n3')).toEqual(['alive', 'suspect', 'dead']);
  expect(await metric('n1', 'holdfast_members{state="dead"}')).toBe(1);
  const reason = (await cluster.readiness('n1'))!;
  expect(reason.status).toBe(200);
  await cluster.restart('n3');
  const backMs = await heldFor('alive', ['n3'], both, NOTICED_MS);
  console.log(
    `kill -9: suspect after ${Math.round(suspectedMs)} ms, dead after ${Math.round(deadMs)} ms; ` +
      `alive ${Math.round(backMs)} ms after it has caught up`,
  );
}, 120_000);

test('a node that stands still is dead to the others, alive when it goes on, and holds nobody for dead', async () => {
  const watchers = await MemberWatcher.ofAll(cluster);
  await heldFor('alive', cluster.names, watchers.values(), NOTICED_MS);
  const others = ['n1', 'n2'].map((name) => watchers.get(name)!);
  const node = cluster.node('n3');
  const before = await metric('n3', 'holdfast_gossip_changes_total{state="dead"}');
  node.signal('SIGSTOP');
  await heldFor('dead', ['n3'], others, NOTICED_MS);
  for (const watcher of others) expect(watcher.seen('n3').slice(-2)).toEqual(['suspect', 'dead']);
  node.signal('SIGCONT');
  const backMs = await heldFor('alive', cluster.names, watchers.values(), NOTICED_MS);
  console.log(`SIGCONT: all hold all for alive after ${Math.round(backMs)} ms`);
  expect(await metric('n3', 'holdfast_gossip_changes_total{state="dead"}')).toBe(before);
  expect(watchers.get('n3')!.seen('n1')).not.toContain('dead');
}, 120_000);

test('a node that is stopped in order has left, at once', async () => {
  const watchers = await MemberWatcher.ofAll(cluster, ['n1', 'n2']);
  const both = [...watchers.values()];
  await heldFor('alive', cluster.names, both, NOTICED_MS);
  for (const watcher of both) watcher.startAnew();
  const { code, stopMs } = await cluster.node('n3').stop();
  expect(code).toBe(0);
  await heldFor('left', ['n3'], both, NOTICED_MS);
  for (const watcher of both) expect(watcher.seen('n3')).toEqual(['alive', 'left']);
  console.log(`stopped in ${Math.round(stopMs)} ms`);
  await cluster.restart('n3');
  await heldFor('alive', ['n3'], both, NOTICED_MS);
}, 120_000);

test('a client that was given one address goes on with the others when that node dies', async () => {
  const watchers = await MemberWatcher.ofAll(cluster, ['n2', 'n3']);
  await heldFor('alive', cluster.names, watchers.values(), NOTICED_MS);
  await using client = await connect({ endpoints: cluster.node('n1').grpc, timeout: '30s' });
  const keyspace = client.keyspace('default');
  await keyspace.put('who', 'n1 leads me');
  await until(
    () => client.knownNodes === 3,
    NOTICED_MS,
    () => `it knows of ${client.knownNodes} nodes`,
  );
  await cluster.node('n1').kill();
  const startedMs = performance.now();
  await keyspace.put('who', 'somebody else');
  expect((await keyspace.get('who'))!.text()).toBe('somebody else');
  expect((await client.config.put('who', 'somebody else')).revision).toBeGreaterThan(0n);
  console.log(
    `the first calls after its only node died took ${Math.round(performance.now() - startedMs)} ms`,
  );
  const { nodes } = await client.status();
  expect(nodes[0]!.name).not.toBe('n1');
  await cluster.restart('n1');
  await heldFor('alive', ['n1'], watchers.values(), NOTICED_MS);
}, 120_000);

test('holdfast cluster members: once and going on, as a table and as JSON', async () => {
  const endpoints = ['--endpoints', cluster.node('n1').grpc];
  const once = await runHoldfast(['cluster', 'members', '--json', ...endpoints]);
  const list = JSON.parse(once.stdout.toString()) as { members: Record<string, unknown>[] };
  expect(list.members.map(({ name, state }) => `${String(name)} ${String(state)}`)).toEqual([
    'n1 alive',
    'n2 alive',
    'n3 alive',
  ]);
  const { grpc, http } = cluster.node('n1');
  expect(list.members[0]).toMatchObject({
    endpoints: { grpc, http },
    member_state: 'active',
    zone: null,
    version: '0.1.0',
    replicas: 8,
  });
  await using table = new RunningHoldfast(cluster.node('n1').grpc, 'cluster', 'members', '--watch');
  await using json = new RunningHoldfast(cluster.node('n1').grpc, 'cluster', 'members', '--watch', '--json');
  await table.said('n3    3   active  alive');
  await json.said('"members"');
  await cluster.node('n3').stop();
  await table.said('n3 is left, was alive');
  await until(
    () => stateIn(json.lines.at(-1) ?? '{}', 'n3') === 'left',
    NOTICED_MS,
    () => json.lines.join('\n'),
  );
  // Without a majority nothing is committed, but who is there can be asked.
  await cluster.node('n2').kill();
  await table.said('n2 is suspect, was alive');
  const lonely = await runHoldfast(['cluster', 'members', ...endpoints]);
  expect(lonely.stdout.toString()).toMatch(/^n2 .* (suspect|dead) /m);
  expect(lonely.code).toBe(0);
  const status = await runHoldfast(['cluster', 'status', '--json', ...endpoints]);
  const { nodes } = JSON.parse(status.stdout.toString()) as { nodes: { name: string; liveness: string }[] };
  expect(nodes.map(({ name, liveness }) => `${name} ${liveness}`)).toContain('n3 left');
  await until(
    async () => /n3 left/.test((await cluster.readiness('n1'))?.text ?? ''),
    NOTICED_MS,
    () => 'n1 takes itself for ready',
  );
  expect(await table.end()).toBe(0);
  await cluster.restart('n2');
  await cluster.restart('n3');
}, 120_000);

function stateIn(line: string, name: string): string | undefined {
  const { members = [] } = JSON.parse(line) as { members?: { name: string; state: string }[] };
  return members.find((member) => member.name === name)?.state;
}

test('WatchMembers begins with all members, and ends with a clear reason when the node stops', async () => {
  const transport = new GrpcTransport();
  const request = create(WatchMembersRequestSchema);
  const { watchMembers } = ClusterService.method;
  const stream = transport.serverStream(cluster.node('n2').grpc, watchMembers, request, {
    timeoutMs: 60_000,
  });
  const first = await stream[Symbol.asyncIterator]().next();
  expect(first.value).toMatchObject({ whole: true, node: 'n2', gone: [] });
  const following = (async () => {
    for await (const _ of stream);
  })();
  following.catch(() => undefined);
  await cluster.node('n2').stop();
  await expect(following).rejects.toMatchObject({ reason: 'SHUTTING_DOWN' });
  transport.close();
  await cluster.restart('n2');

  const response = await fetch(`${cluster.node('n1').url}/holdfast.cluster.v1.ClusterService/ListMembers`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"local":true}',
  });
  const { members } = (await response.json()) as { members: { liveness: string }[] };
  expect(members.map(({ liveness }) => liveness)[0]).toBe('LIVENESS_ALIVE');

  const path = `${cluster.node('n1').url}/v1/members`;
  const listed = JSON.stringify(((await (await fetch(path)).json()) as { members: object[] }).members[0]);
  const ending = new AbortController();
  const lines = await fetch(`${path}?watch=true`, { signal: ending.signal });
  const { value } = await lines.body!.getReader().read();
  const [line] = Buffer.from(value!).toString().split('\n');
  expect(JSON.stringify((JSON.parse(line!) as { members: object[] }).members[0])).toBe(listed);
  ending.abort();
}, 120_000);

test('a node that is cut off and the others bury each other, and are alive to each other when it is over', async (context) => {
  if (CANNOT_NETWORK !== undefined) context.skip(CANNOT_NETWORK);
  const names = ['n1', 'n2', 'n3'];
  using network = await TestNetwork.create(names);
  await using halves = await RealCluster.start({ network });
  const watchers = await MemberWatcher.ofAll(halves);
  const [n1, n2, n3] = names.map((name) => watchers.get(name)!);
  await heldFor('alive', names, watchers.values(), NOTICED_MS);
  network.split(['n1'], ['n2', 'n3']);
  await heldFor('dead', ['n1'], [n2!, n3!], NOTICED_MS);
  await heldFor('dead', ['n2', 'n3'], [n1!], 2 * NOTICED_MS);
  expect([n2!.now('n3'), n3!.now('n2')]).toEqual(['alive', 'alive']);
  network.heal();
  const healedMs = await heldFor('alive', names, watchers.values(), 2 * NOTICED_MS);
  console.log(`healed: all hold all for alive after ${Math.round(healedMs)} ms`);
}, 180_000);
