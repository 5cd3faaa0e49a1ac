/** Every command that asks a cluster, against a real node. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RealNode } from '../process/real-node.ts';
import { runProgram, type ProgramEnd } from './run-program.ts';

const HOLDFAST = fileURLToPath(new URL('../../node/bin/holdfast.js', import.meta.url));
const VERSION = expect.stringMatching(/^[1-9]\d*$/) as string;
const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/) as string;

let node: RealNode;
beforeAll(async () => {
  node = await RealNode.start();
});
afterAll(() => node[Symbol.asyncDispose]());

function run(args: readonly string[], input?: Uint8Array): Promise<ProgramEnd> {
  const env = { HOLDFAST_ENDPOINTS: node.grpc };
  return runProgram(process.execPath, [HOLDFAST, ...args], { env, ...(input && { input }) });
}

async function json(args: readonly string[], input?: Uint8Array): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await run([...args, '--json'], input);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^[^\n]*\n$/);
  return JSON.parse(stdout) as Record<string, unknown>;
}

async function refusal(args: readonly string[]): Promise<{ code: number | null; error: unknown }> {
  const { code, stdout, stderr } = await run([...args, '--json']);
  expect(stdout).toBe('');
  return { code, error: (JSON.parse(stderr) as { error: unknown }).error };
}

describe('holdfast kv', () => {
  it('put and get', async () => {
    const written = await json(['kv', 'put', 'user/1', 'Ada']);
    expect(written).toEqual({ key: 'user/1', version: VERSION });
    const entry = { key: 'user/1', value: 'Ada', version: written['version'], expires_at: null };
    expect(await json(['kv', 'get', 'user/1'])).toEqual(entry);
    expect((await run(['kv', 'get', 'user/1'])).stdout).toBe('Ada');
  });

  it('put with a time to live, and values and keys that are not text', async () => {
    await json(['kv', 'put', '/wA=', '--base64-keys', '--file', '-', '--ttl', '1h'], Buffer.from([0xff, 0]));
    expect(await json(['kv', 'get', '/wA=', '--base64-keys'])).toEqual({
      key_base64: '/wA=',
      value_base64: '/wA=',
      version: VERSION,
      expires_at: TIME,
    });
  });

  it('create', async () => {
    const created = await json(['kv', 'create', 'c', 'one']);
    expect(created).toEqual({ key: 'c', version: VERSION });
    expect(await refusal(['kv', 'create', 'c', 'two'])).toMatchObject({
      code: 1,
      error: {
        reason: 'KEY_EXISTS',
        code: 'ALREADY_EXISTS',
        outcome: 'NOT_APPLIED',
        current_version: created['version'],
      },
    });
  });

  it('cas by version and by value', async () => {
    const { version } = await json(['kv', 'put', 'cas', 'one']);
    const next = await json(['kv', 'cas', 'cas', 'two', '--if-version', String(version)]);
    expect(next).toEqual({ key: 'cas', version: VERSION });
    expect(await json(['kv', 'cas', 'cas', 'three', '--if-value', 'two'])).toMatchObject({ key: 'cas' });
    expect(await refusal(['kv', 'cas', 'cas', 'x', '--if-version', String(version)])).toMatchObject({
      code: 1,
      error: { reason: 'VERSION_MISMATCH', outcome: 'NOT_APPLIED', current_version: VERSION },
    });
    expect(await refusal(['kv', 'cas', 'cas', 'x', '--if-value', 'one'])).toMatchObject({
      code: 1,
      error: { reason: 'VALUE_MISMATCH' },
    });
  });

  it('incr', async () => {
    expect(await json(['kv', 'incr', 'n'])).toEqual({ key: 'n', value: '1', version: VERSION });
    expect(await json(['kv', 'incr', 'n', '--by', '-3'])).toMatchObject({ value: '-2' });
    await json(['kv', 'put', 'word', 'x']);
    expect(await refusal(['kv', 'incr', 'word'])).toMatchObject({
      code: 1,
      error: { reason: 'NOT_A_COUNTER' },
    });
  });

  it('del', async () => {
    const { version } = await json(['kv', 'put', 'd', 'x']);
    const stale = String(BigInt(String(version)) + 1_000n);
    expect(await refusal(['kv', 'del', 'd', '--if-version', stale])).toMatchObject({
      code: 1,
      error: { reason: 'VERSION_MISMATCH', current_version: version },
    });
    expect(await json(['kv', 'del', 'd', '--if-version', String(version)])).toEqual({
      key: 'd',
      existed: true,
    });
    expect(await json(['kv', 'del', 'd'])).toEqual({ key: 'd', existed: false });
    expect(await refusal(['kv', 'get', 'd'])).toMatchObject({ code: 1, error: { reason: 'KEY_NOT_FOUND' } });
  });

  it('scan', async () => {
    for (const key of ['s/1', 's/2', 's/3']) await json(['kv', 'put', key, key]);
    const lines = async (...args: string[]) =>
      (await run(['kv', 'scan', ...args, '--json'])).stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown);
    const entry = (key: string) => ({ key, value: key, version: VERSION, expires_at: null });
    expect(await lines('s/')).toEqual([entry('s/1'), entry('s/2'), entry('s/3')]);
    expect(await lines('s/', '--limit', '2')).toEqual([entry('s/1'), entry('s/2')]);
    expect(await lines('--start', 's/2', '--end', 's/3')).toEqual([entry('s/2')]);
    expect(await lines('s/3', '--keys-only')).toEqual([{ key: 's/3', version: VERSION, expires_at: null }]);
  });
});

describe('holdfast keyspace', () => {
  const small = {
    name: 'small',
    mode: 'raft',
    partitions: [{ group: VERSION, first_hash: 0, last_hash: 4_294_967_295 }],
    replication: 3,
    max_key_bytes: 16,
    max_value_bytes: 1_048_576,
    restoring: false,
    id: expect.stringMatching(/^\d+$/) as string,
    created_at: TIME,
  };

  it('create, describe, list and drop', async () => {
    const options = ['--partitions', '1', '--max-key-bytes', '16'];
    expect(await json(['keyspace', 'create', 'small', ...options])).toEqual(small);
    expect(await json(['keyspace', 'describe', 'small'])).toEqual(small);
    const { keyspaces } = (await json(['keyspace', 'list'])) as { keyspaces: { name: string }[] };
    expect(keyspaces.map(({ name }) => name)).toEqual(['default', 'small']);
    expect(await refusal(['keyspace', 'create', 'small'])).toMatchObject({
      code: 1,
      error: { reason: 'KEYSPACE_EXISTS' },
    });
    expect(await json(['keyspace', 'drop', 'small'])).toEqual({ name: 'small', dropped: true });
    expect(await refusal(['kv', 'get', 'a', '--keyspace', 'small'])).toMatchObject({
      code: 1,
      error: { reason: 'KEYSPACE_UNKNOWN' },
    });
  });

  it('refuses what there is not yet', async () => {
    expect(await refusal(['keyspace', 'create', 'q', '--mode', 'quorum'])).toMatchObject({
      code: 1,
      error: { reason: 'MODE_UNSUPPORTED' },
    });
  });
});

describe('holdfast cluster status', () => {
  it('tells of the node', async () => {
    expect(await json(['cluster', 'status'])).toMatchObject({
      cluster_id: expect.any(String) as string,
      nodes: [
        {
          name: 'n1',
          pid: node.pid,
          state: 'running',
          endpoints: { grpc: node.grpc, http: node.http },
          started_at: TIME,
        },
      ],
    });
  });

  it('ends with 3 when nobody answers', async () => {
    const { code, stdout } = await run(['cluster', 'status', '--json', '--endpoints', '127.0.0.1:9']);
    expect(code).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({ nodes: [{ state: 'unreachable', pid: null }] });
  });
});

describe('exit codes', () => {
  it('2 for wrong usage', async () => {
    expect(await refusal(['kv', 'cas', 'a', 'b'])).toMatchObject({ code: 2, error: { reason: 'USAGE' } });
  });

  it('3 when no node can be reached', async () => {
    expect(await refusal(['kv', 'put', 'a', 'b', '--endpoints', '127.0.0.1:9'])).toMatchObject({
      code: 3,
      error: { reason: 'UNAVAILABLE', outcome: 'NOT_APPLIED' },
    });
  });
});
