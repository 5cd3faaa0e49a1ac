/** Nodes that join a running cluster by the address of any of its nodes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { heldFor, MemberWatcher } from './member-watcher.ts';
import { RealCluster } from './real-cluster.ts';
import { HOLDFAST, until } from './real-node.ts';

const STARTED_MS = 60_000;
/** What nodes that are ready need at most until all see all. */
const SEEN_MS = 5_000;

test('a fourth and a fifth node join by an address alone, and all see all within five seconds', async () => {
  await using cluster = await RealCluster.start();
  for (const [name, seed] of [
    ['n4', 'n2'],
    ['n5', 'n3'],
  ] as const) {
    await cluster.joining(name, seed);
    cluster.spawn(name);
  }
  await cluster.ready();
  const readyMs = performance.now();
  const watchers = await MemberWatcher.ofAll(cluster);
  await heldFor('alive', cluster.names, watchers.values(), SEEN_MS);
  const tookMs = performance.now() - readyMs;
  console.log(`all five see all five ${Math.round(tookMs)} ms after they are ready`);
  expect(tookMs).toBeLessThan(SEEN_MS);
  const client = await cluster.connect();
  let seen = '';
  await until(
    async () => {
      const { members, movingGroups } = await client.cluster.members();
      seen = members.map(({ name, state, replicas }) => `${name} ${state} ${replicas}`).join(', ');
      return (
        movingGroups === 0 && members.every(({ state, replicas }) => state === 'active' && replicas >= 4)
      );
    },
    90_000,
    () => seen,
  );
  // Started again it is the member that it was, and needs nobody to join.
  await cluster.node('n4').kill();
  await cluster.node('n2').kill();
  await cluster.restart('n4');
  expect((await cluster.answer('n4')).id).toBe(
    (await client.cluster.members()).members.find((one) => one.name === 'n4')!.id,
  );
}, 240_000);

/** `holdfast start --join` with nothing else, in a directory of its own. */
class BareNode implements Disposable {
  readonly directory: string;
  output = '';
  #child: ChildProcess | undefined;

  constructor(directory = mkdtempSync(join(tmpdir(), 'holdfast-join-'))) {
    this.directory = directory;
  }

  spawn(...args: string[]): this {
    const child = spawn(process.execPath, [HOLDFAST, 'start', '--json', ...args], {
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.output = '';
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    return this;
  }

  /** Its name, as soon as it serves. */
  async ready(): Promise<string> {
    const line = () => this.output.split('\n').find((one) => one.includes('"node is ready"'));
    await until(
      () => line()?.endsWith('}') === true,
      STARTED_MS,
      () => this.output,
    );
    return (JSON.parse(line()!) as { name: string }).name;
  }

  async ended(): Promise<number | null> {
    const child = this.#child!;
    await until(
      () => child.exitCode !== null || child.signalCode !== null,
      STARTED_MS,
      () => this.output,
    );
    return child.exitCode;
  }

  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  [Symbol.dispose](): void {
    this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

test('nodes of which nothing is said get a name and ports of their own, and keep them', async () => {
  await using cluster = await RealCluster.start();
  const seed = cluster.node('n1').grpc;
  using one = new BareNode().spawn('--join', seed);
  using other = new BareNode().spawn('--join', seed);
  const names = [await one.ready(), await other.ready()];
  expect([...names].sort()).toEqual(['n4', 'n5']);
  one.kill();
  await one.ended();
  expect(await one.spawn('--join', seed).ready()).toBe(names[0]);
  const client = await cluster.connect({ timeout: '20s' });
  const { members } = await client.cluster.members();
  expect(members.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3', 'n4', 'n5']);
  const watchers = await MemberWatcher.ofAll(cluster);
  await heldFor('alive', ['n4', 'n5'], watchers.values(), STARTED_MS);

  using taken = new BareNode().spawn('--join', seed, '--node', 'n2');
  expect(await taken.ended()).toBe(1);
  expect(taken.output).toMatch(/there is a member \\?"n2\\?" already/);
}, 180_000);

test('of two that join under one name at once one is taken in; who is killed as it joins goes on later', async () => {
  await using cluster = await RealCluster.start();
  const [seed, other] = [cluster.node('n1').grpc, cluster.node('n2').grpc];
  using one = new BareNode().spawn('--join', seed, '--node', 'twin');
  using two = new BareNode().spawn('--join', other, '--node', 'twin');
  expect(await Promise.race([one.ready(), two.ready()])).toBe('twin');
  const isOne = one.output.includes('"node is ready"');
  const refused = isOne ? two : one;
  expect(await refused.ended()).toBe(1);
  // It may have come upon the addresses of the other one, as those of the member of its name.
  expect(refused.output).toMatch(/MEMBER_EXISTS|port in use/);

  using killed = new BareNode();
  for (const said of ['waiting: ', 'the members have changed']) {
    killed.spawn('--join', other, '--node', 'late');
    await until(
      () => killed.output.includes(said),
      STARTED_MS,
      () => killed.output,
    );
    killed.kill();
    await killed.ended();
  }
  expect(await killed.spawn('--join', seed, '--node', 'late').ready()).toBe('late');
  const client = await cluster.connect({ timeout: '20s' });
  const { members } = await client.cluster.members();
  expect(members.map(({ name }) => name).sort()).toEqual(['late', 'n1', 'n2', 'n3', 'twin']);
}, 240_000);

test('what cannot be joined is told', async () => {
  using nowhere = new BareNode().spawn('--join', 'not an address');
  expect(await nowhere.ended()).toBe(2);
  expect(nowhere.output).toMatch(/--join is .*must be host:port/);
  using stray = new BareNode().spawn('--grpc', '127.0.0.1:7401');
  expect(await stray.ended()).toBe(2);
  expect(stray.output).toMatch(/give --join host:port as well/);
  using silent = new BareNode().spawn('--join', '127.0.0.1:9', '--node', 'n4');
  expect(await silent.ended()).toBe(3);
  expect(silent.output).toMatch(/no node of a cluster answers at 127\.0\.0\.1:9/);
}, 90_000);

test('a cluster with permissions takes in a node whose user may add members', async () => {
  await using cluster = await RealCluster.start({ nodes: 1 });
  const { url } = cluster.node('n1');
  const admin = async (method: string, body: object) => {
    const response = await fetch(`${url}/holdfast.auth.v1.AuthService/${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(200);
  };
  await admin('AddUser', { name: 'root', password: 'the password of root' });
  await admin('GrantRole', { user: 'root', role: 'root' });
  await admin('Enable', {});
  const seed = cluster.node('n1').grpc;
  using nobody = new BareNode().spawn('--join', seed, '--node', 'n2');
  expect(await nobody.ended()).toBe(1);
  expect(nobody.output).toMatch(/UNAUTHENTICATED/);
  process.env['HOLDFAST_USER'] = 'root';
  process.env['HOLDFAST_PASSWORD'] = 'the password of root';
  try {
    using root = new BareNode().spawn('--join', seed, '--node', 'n3');
    expect(await root.ready()).toBe('n3');
  } finally {
    delete process.env['HOLDFAST_USER'];
    delete process.env['HOLDFAST_PASSWORD'];
  }
}, 120_000);
