import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeKv, startServer } from '../client/fake-kv.ts';
import { runHoldfast, type RunOptions } from './run-holdfast.ts';

const kv = new FakeKv();
let server: Awaited<ReturnType<typeof startServer>>;

beforeAll(async () => {
  server = await startServer(kv);
});
afterAll(() => server.stop());

async function run(args: string[], options: RunOptions = {}) {
  return runHoldfast(args, { ...options, env: { HOLDFAST_ENDPOINTS: server.endpoint } });
}

async function json(args: string[], options: RunOptions = {}) {
  const { code, stdout, stderr } = await run([...args, '--json'], options);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout.toString()) as Record<string, unknown>;
}

describe('JSON of', () => {
  it('put and get', async () => {
    const { version } = await json(['kv', 'put', 'a/1', 'Ada', '--ttl', '1h']);
    expect(version).toMatch(/^\d+$/);
    expect(await json(['kv', 'get', 'a/1'])).toEqual({ key: 'a/1', value: 'Ada', version, expires_at: null });
  });

  it('bytes that are not text', async () => {
    const input = Buffer.from([0xff, 0, 0xfe]);
    await json(['kv', 'put', '/wA=', '--base64-keys', '--file', '-'], { input });
    expect(await json(['kv', 'get', '/wA=', '--base64-keys'])).toMatchObject({
      key_base64: '/wA=',
      value_base64: '/wD+',
    });
    expect((await run(['kv', 'get', '/wA=', '--base64-keys'])).stdout).toEqual(input);
  });

  it('create, cas and their refusals', async () => {
    const { version } = await json(['kv', 'create', 'c', 'one']);
    const refused = await run(['kv', 'create', 'c', 'two', '--json']);
    expect(refused.code).toBe(1);
    expect(refused.stdout.toString()).toBe('');
    expect(JSON.parse(refused.stderr)).toEqual({
      error: {
        reason: 'KEY_EXISTS',
        code: 'ALREADY_EXISTS',
        message: 'the key is another [KEY_EXISTS]',
        outcome: 'NOT_APPLIED',
        field: null,
        actual: null,
        limit: null,
        current_version: version,
      },
    });
    const next = await json(['kv', 'cas', 'c', 'two', '--if-version', String(version)]);
    expect(await json(['kv', 'cas', 'c', 'three', '--if-value', 'two'])).toMatchObject({ key: 'c' });
    const stale = await run(['kv', 'cas', 'c', 'four', '--if-version', String(next['version'])]);
    expect([stale.code, stale.stderr]).toEqual([1, 'the key is another [VERSION_MISMATCH]\n']);
  });

  it('incr', async () => {
    expect(await json(['kv', 'incr', 'n', '--by', '-3'])).toEqual({
      key: 'n',
      value: '-3',
      version: expect.stringMatching(/^\d+$/),
    });
    expect((await run(['kv', 'incr', 'n'])).stdout.toString()).toBe('-2\n');
  });

  it('del', async () => {
    await json(['kv', 'put', 'd', '']);
    expect(await json(['kv', 'del', 'd'])).toEqual({ key: 'd', existed: true });
    expect(await json(['kv', 'del', 'd'])).toEqual({ key: 'd', existed: false });
  });

  it('scan, line by line', async () => {
    for (const key of ['s/1', 's/2', 's/3']) kv.rows.set(Buffer.from(key).toString('hex'), row(key));
    const { stdout } = await run(['kv', 'scan', 's/', '--limit', '2', '--json']);
    const lines = stdout.toString().trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { key: 's/1', value: 'x', version: '9', expires_at: null },
      { key: 's/2', value: 'x', version: '9', expires_at: null },
    ]);
    const keys = await run(['kv', 'scan', 's/', '--keys-only']);
    expect(keys.stdout.toString()).toBe('s/1\ns/2\ns/3\n');
  });

  it('keyspace describe', async () => {
    expect(await json(['keyspace', 'describe', 'default'])).toMatchObject({
      name: 'default',
      mode: 'raft',
      partitions: [{ group: '7', first_hash: 0, last_hash: 4_294_967_295 }],
    });
  });
});

function row(key: string) {
  return { key: Buffer.from(key), value: Buffer.from('x'), version: 9n };
}

it('a missing key is an error without output', async () => {
  const { code, stdout, stderr } = await run(['kv', 'get', 'none', '--json']);
  expect({ code, stdout: stdout.toString() }).toEqual({ code: 1, stdout: '' });
  expect(JSON.parse(stderr)).toMatchObject({
    error: { reason: 'KEY_NOT_FOUND', code: 'NOT_FOUND', actual: 'none' },
  });
});

it('a refusal before anything was sent ends with 1, too', async () => {
  const { code, stderr } = await run(['kv', 'put', 'a', 'b', '--ttl', '-5s', '--json']);
  expect(code).toBe(1);
  expect(JSON.parse(stderr)).toMatchObject({ error: { reason: 'TTL_OUT_OF_RANGE', outcome: 'NOT_APPLIED' } });
});

it('a value goes to a file as it is, without a newline', async () => {
  await json(['kv', 'put', 'plain', 'text']);
  expect((await run(['kv', 'get', 'plain'])).stdout.toString()).toBe('text');
});
