import { describe, expect, it } from 'vitest';
import { runHoldfast, temporaryDirectory } from './run-holdfast.ts';

// Nothing listens on port 9 of this machine; if something does, it does not speak gRPC.
const NOBODY = ['--endpoints', '127.0.0.1:9'];

describe('wrong usage ends with 2', () => {
  it.each([
    [['kv']],
    [['kv', 'gt']],
    [['kv', 'get']],
    [['kv', 'get', 'a', 'b']],
    [['kv', 'get', 'a', '--nonsense']],
    [['kv', 'put', 'a']],
    [['kv', 'put', 'a', 'b', '--file', 'c']],
    [['kv', 'put', 'a', '--file', '/nowhere/at/all']],
    [['kv', 'put', 'a', 'b', '--ttl', 'soon']],
    [['kv', 'cas', 'a', 'b']],
    [['kv', 'cas', 'a', 'b', '--if-version', '1', '--if-value', 'c']],
    [['kv', 'cas', 'a', 'b', '--if-version', '0']],
    [['kv', 'incr', 'a', '--by', '1.5']],
    [['kv', 'incr', 'a', '--by', '9223372036854775808']],
    [['kv', 'scan', 'a', '--start', 'b']],
    [['kv', 'scan', '--limit', '0']],
    [['kv', 'get', 'a', '--timeout', '6m']],
    [['kv', 'get', 'a', '--endpoints', 'here']],
    [['kv', 'get', '*', '--base64-keys']],
    [['keyspace', 'create', 'a', '--mode', 'other']],
    [['id', 'next', '--count', '0']],
    [['id', 'describe', 'x']],
    [['id', 'describe', '-5']],
    [['seq', 'next']],
    [['seq', 'next', 'a', '--count', '1.5']],
    [['start', '--config', '/nowhere/cluster.yaml']],
    [['check', '/nowhere/cluster.yaml']],
  ])('%j', async (args) => {
    const { code, stdout, stderr } = await runHoldfast(args);
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 2, stdout: '' });
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(stderr.trim()).not.toBe('');
  });
});

it('says wrong usage as JSON when asked to', async () => {
  const { code, stderr } = await runHoldfast(['kv', 'cas', 'a', 'b', '--json']);
  expect(code).toBe(2);
  expect(JSON.parse(stderr)).toMatchObject({
    error: { reason: 'USAGE', code: 'INVALID_ARGUMENT', outcome: null },
  });
});

it.each([
  [[]],
  [['start']],
  [['check']],
  [['cluster', 'status']],
  [['kv']],
  ...['get', 'put', 'create', 'cas', 'incr', 'del', 'scan'].map((name) => [['kv', name]]),
  ...['create', 'describe', 'list', 'drop'].map((name) => [['keyspace', name]]),
  ...['get', 'put', 'del', 'list', 'watch', 'txn', 'compact', 'status'].map((name) => [['config', name]]),
  ...['grant', 'keep-alive', 'revoke', 'describe', 'list'].map((name) => [['lease', name]]),
  ...['run', 'list', 'describe'].map((name) => [['lock', name]]),
  [['elect']],
  ...['next', 'describe'].map((name) => [['id', name]]),
  ...['next', 'list'].map((name) => [['seq', name]]),
])('help of %j has examples', async (command) => {
  const { code, stdout } = await runHoldfast([...command, '--help']);
  expect(code).toBe(0);
  expect(stdout.toString()).toContain(`Examples:\n  $ holdfast ${command.join(' ')}`.trimEnd());
});

describe('an unreachable cluster ends with 3', () => {
  it('at once, saying what to do', async () => {
    const beganMs = performance.now();
    const { code, stdout, stderr } = await runHoldfast(['kv', 'get', 'a', '--timeout', '5m', ...NOBODY]);
    expect(performance.now() - beganMs).toBeLessThan(20_000);
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toBe(
      'no node answered (asked 127.0.0.1:9). Start the cluster with `holdfast start`, ' +
        'or say where it is with --endpoints host:port. [UNAVAILABLE]\n',
    );
  });

  it('and a write was not applied', async () => {
    const { code, stderr } = await runHoldfast(['kv', 'put', 'a', 'b', '--json', ...NOBODY]);
    expect(code).toBe(3);
    expect(JSON.parse(stderr)).toMatchObject({ error: { reason: 'UNAVAILABLE', outcome: 'NOT_APPLIED' } });
  });

  it.each([
    [['lease', 'grant']],
    [['lock', 'run', 'a', '--', 'true']],
    [['elect', 'a', 'b']],
    [['config', 'put', 'a', 'b']],
  ])('and nothing came of %j', async (args) => {
    const env = { HOLDFAST_ENDPOINTS: '127.0.0.1:9' };
    const { code, stderr } = await runHoldfast([...args.slice(0, 2), '--json', ...args.slice(2)], { env });
    expect(code).toBe(3);
    expect(JSON.parse(stderr)).toMatchObject({ error: { reason: 'UNAVAILABLE', outcome: 'NOT_APPLIED' } });
  });

  it('in status, listing the nodes of the file', async () => {
    const text = 'cluster: a\nnodes:\n  - name: n1\n    grpc: 127.0.0.1:9\n    http: 127.0.0.1:19\n';
    using directory = temporaryDirectory({ 'cluster.yaml': text });
    const { code, stdout } = await runHoldfast(['cluster', 'status', '--json'], { cwd: directory.path });
    expect(code).toBe(3);
    const endpoints = { grpc: '127.0.0.1:9', http: '127.0.0.1:19' };
    expect(JSON.parse(stdout.toString())).toEqual({
      cluster_id: null,
      nodes: [{ name: 'n1', pid: null, state: 'unreachable', endpoints }],
    });
  });
});

describe('where the cluster is', () => {
  const file = (port: number, form = '') =>
    `cluster: a # ${form}\nnodes:\n  - name: n1${form}\n    grpc: 127.0.0.1:${port} # here\n    http: 127.0.0.1:19\n`;

  it.each([
    [
      '--endpoints first',
      ['--endpoints', '127.0.0.1:2,127.0.0.1:3', '--config', 'cluster.yaml'],
      '127.0.0.1:8',
      '127.0.0.1:2, 127.0.0.1:3',
    ],
    ['then --config', ['--config', 'other.yaml'], '127.0.0.1:8', '127.0.0.1:6'],
    ['then HOLDFAST_ENDPOINTS', [], '127.0.0.1:8', '127.0.0.1:8'],
    ['then cluster.yaml', [], '', '127.0.0.1:5'],
  ])('%s', async (_, args, environment, asked) => {
    // The second file is in a form that only the YAML parser understands.
    using directory = temporaryDirectory({
      'cluster.yaml': file(5),
      'other.yaml': file(6).replace('name: n1', '"name": "n1"'),
    });
    const env = { HOLDFAST_ENDPOINTS: environment };
    const { code, stderr } = await runHoldfast(['kv', 'get', 'a', ...args], { cwd: directory.path, env });
    expect(stderr).toContain(`(asked ${asked})`);
    expect(code).toBe(3);
  });
});

it('checks a cluster file', async () => {
  using directory = temporaryDirectory({ 'cluster.yaml': 'cluster: A\nnodes: []\n' });
  const wrong = await runHoldfast(['check', '--json'], { cwd: directory.path });
  expect(wrong.code).toBe(2);
  expect(JSON.parse(wrong.stdout.toString())).toEqual({
    ok: false,
    problems: [
      'cluster.yaml:1: cluster is "A": must be [a-z0-9-]{1,64}, such as holdfast-dev',
      'cluster.yaml:2: nodes is []: must name at least one node',
    ],
  });
  const shipped = new URL('../../cluster.yaml', import.meta.url).pathname;
  const right = await runHoldfast(['check', shipped, '--json']);
  expect(JSON.parse(right.stdout.toString())).toEqual({ ok: true, problems: [] });
  expect(right.code).toBe(0);
});
