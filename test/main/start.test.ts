import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { temporaryDirectory } from './run-holdfast.ts';

// The starter of a cluster, with processes in place of nodes that do only what a node
// tells its starter. The real node is tested in test/process.

const SOURCE = new URL('../../node/main/', import.meta.url).href;

const FAKE_NODE = `
import { connect } from 'node:net';
if (process.env.WITNESS) await new Promise((resolve) => connect(process.env.WITNESS, resolve));
const name = process.argv.at(-1);
process.on('SIGTERM', () => { console.log('stopped in order'); process.exit(0); });
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(0));
console.log('starting');
if (name === 'bad') { console.error('port in use'); process.exit(1); }
process.send({ type: 'dependency' });
process.send({ event: 'ready', leader: name });
`;

const STARTER = (directory: string, names: readonly string[]) => `
import { startCluster } from '${SOURCE}start-cluster.ts';
const plans = ${JSON.stringify(names)}.map((name, index) => ({
  node: { name, grpc: { text: '127.0.0.1:' + (1 + index) }, http: { text: '127.0.0.1:' + (11 + index) } },
  dataDirectory: '/data/' + name, shownDirectory: 'data/' + name,
  main: '${join(directory, 'fake-node.mjs')}', args: ['start', '--node', name],
}));
process.exit(await startCluster({ config: { cluster: 'test' }, plans, json: process.argv[2] === '--json' }));
`;

const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

function startFakes(names: readonly string[], json = false, witness = '') {
  const directory = temporaryDirectory({ 'fake-node.mjs': FAKE_NODE });
  const file = join(directory.path, 'starter.mjs');
  writeFileSync(file, STARTER(directory.path, names));
  const args = ['--conditions=holdfast-source', file, ...(json ? ['--json'] : [])];
  const child = spawn(process.execPath, args, { env: { ...process.env, WITNESS: witness } });
  started.push(child);
  let output = '';
  const waiting: { text: string; resolve: () => void }[] = [];
  const onData = (chunk: Buffer) => {
    output += chunk.toString();
    for (const one of waiting) if (output.includes(one.text)) one.resolve();
  };
  child.stdout.on('data', onData);
  child.stderr.on('data', onData);
  const closed = new Promise<number | null>((resolve) => {
    child.on('close', (code) => {
      directory[Symbol.dispose]();
      resolve(code);
    });
  });
  const shows = (text: string) =>
    new Promise<void>((resolve) => {
      if (output.includes(text)) resolve();
      else waiting.push({ text, resolve });
    });
  return { child, shows, closed, output: () => output };
}

function events(output: string) {
  const lines = output.split('\n').filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as { event: string; nodes: { name: string; pid: number }[] });
}

it('starts every node, says what to try, and stops all in order', async () => {
  const { child, shows, closed, output } = startFakes(['n1', 'node2']);
  await shows('Metrics: http://127.0.0.1:11/metrics');
  expect(output()).toContain('n1    | starting\n');
  expect(output()).toContain('node2 | starting\n');
  child.kill('SIGTERM');
  expect(await closed).toBe(0);
  expect(output().match(/stopped in order/g)).toHaveLength(2);
  expect(output()).not.toContain('Start it again');
});

it('goes on when a node dies, and says how to start it again', async () => {
  const { child, shows, closed, output } = startFakes(['n1', 'n2'], true);
  await shows('"event":"ready"');
  const [ready] = events(output());
  process.kill(ready!.nodes[0]!.pid, 'SIGKILL');
  await shows('node_ended');
  expect(events(output())[1]).toEqual({
    event: 'node_ended',
    name: 'n1',
    code: null,
    signal: 'SIGKILL',
    restart: 'npx holdfast start --node n1',
  });
  child.kill('SIGINT');
  expect(await closed).toBe(0);
});

it('serves with the rest when a node does not start', async () => {
  const { child, shows, closed, output } = startFakes(['bad', 'n2']);
  await shows('Holdfast is running: cluster test, 1 node, led by n2.');
  await shows('bad | ended (exit code 1). Start it again with: npx holdfast start --node bad');
  expect(output()).toContain('bad | port in use\n');
  child.kill('SIGTERM');
  expect(await closed).toBe(0);
});

it('ends with 1 when the last node has died', async () => {
  expect(await startFakes(['bad']).closed).toBe(1);
});

it('leaves nothing behind when it is killed', async () => {
  using directory = temporaryDirectory();
  const witness = createServer().listen(join(directory.path, 'witness'));
  // The connection of a node ends with its process.
  const gone = new Promise<void>((resolve) => {
    witness.on('connection', (socket) => socket.on('close', () => resolve()).resume());
  });
  const { child, shows } = startFakes(['n1'], true, join(directory.path, 'witness'));
  await shows('"event":"ready"');
  child.kill('SIGKILL');
  await gone;
  witness.close();
});
