import { connect, type Holdfast, HoldfastError } from '@holdfast/client';
import { afterEach, expect, test } from 'vitest';
import { StallWatch } from '../process/stall-watch.ts';
import { FakeKv, startServer } from './fake-kv.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(kv = new FakeKv(), options: Parameters<typeof startServer>[2] = {}) {
  const server = await startServer(kv, 0, options);
  cleanups.push(() => server.stop());
  return server;
}

async function client(...endpoints: string[]): Promise<Holdfast> {
  const hf = await connect({ endpoints });
  cleanups.push(() => hf.close());
  return hf;
}

async function failure(promise: Promise<unknown>): Promise<HoldfastError> {
  const error: unknown = await promise.then(() => undefined).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(HoldfastError);
  return error as HoldfastError;
}

test('every operation crosses a real grpc-js server', async () => {
  const hf = await client((await start()).endpoint);
  const kv = hf.keyspace('default');
  const { version } = await kv.put('user/1', { name: 'Ada' }, { ttl: '1h' });
  const user = await kv.get('user/1');
  expect(user?.json()).toEqual({ name: 'Ada' });
  expect(user?.key).toBe('user/1');
  expect(user?.version).toBe(version);
  expect(await kv.get('nobody')).toBeUndefined();
  expect(await kv.increment('visits')).toBe(1n);
  expect(await kv.increment('visits', -5)).toBe(-4n);
  await kv.put('user/1', 'x', { ifVersion: version });
  const mismatch = await failure(kv.put('user/1', 'y', { ifVersion: version }));
  expect(mismatch).toMatchObject({ reason: 'VERSION_MISMATCH', code: 'ABORTED', outcome: 'NOT_APPLIED' });
  expect(mismatch.current?.version).toBe((await kv.get('user/1'))?.version);
  expect((await failure(kv.create('user/1', 'z'))).reason).toBe('KEY_EXISTS');
  expect((await failure(kv.put('user/1', 'z', { ifValue: 'q' }))).reason).toBe('VALUE_MISMATCH');
  expect(await kv.delete('user/1')).toEqual({ existed: true });
  expect(await kv.delete('user/1')).toEqual({ existed: false });
});

test('scans stream, are limited, and continue', async () => {
  const hf = await client((await start()).endpoint);
  const kv = hf.keyspace('default');
  await kv.putMany(
    Array.from({ length: 25 }, (_, i) => [`k/${String(i).padStart(2, '0')}`, `v${i}`] as const),
  );
  const first = kv.scan({ prefix: 'k/', limit: 10 });
  const keys: unknown[] = [];
  for await (const entry of first) keys.push(entry.key);
  expect(keys).toHaveLength(10);
  for await (const entry of kv.scan({ prefix: 'k/', continuation: first.continuation })) keys.push(entry.key);
  expect(keys).toEqual(Array.from({ length: 25 }, (_, i) => `k/${String(i).padStart(2, '0')}`));
  for await (const entry of kv.scan()) {
    expect(entry.text()).toBe('v0');
    break;
  }
});

test('a scan that is left early, wherever, continues with the next entry', async () => {
  const hf = await client((await start()).endpoint);
  const kv = hf.keyspace('default');
  const all = Array.from({ length: 9 }, (_, i) => `k/${i}`);
  await kv.putMany(all.map((key) => [key, 'v'] as const));
  for (let taken = 1; taken <= all.length; taken += 1) {
    const keys: unknown[] = [];
    const scan = kv.scan({ prefix: 'k/' });
    for await (const entry of scan) if (keys.push(entry.key) === taken) break;
    expect(scan.continuation === undefined).toBe(taken === all.length);
    if (scan.continuation === undefined) continue;
    for await (const entry of kv.scan({ prefix: 'k/', continuation: scan.continuation }))
      keys.push(entry.key);
    expect(keys).toEqual(all);
  }
});

test('transactions, status and error details', async () => {
  const hf = await client((await start()).endpoint);
  const result = await hf.keyspace('default').transact({
    if: [{ key: 'a', exists: false }],
    // oxlint-disable-next-line unicorn/no-thenable -- a list, not a function
    then: [{ put: 'a', value: '1' }, { increment: 'n', delta: 3 }, { get: 'a' }],
  });
  expect(result.succeeded).toBe(true);
  expect(result.results[1]?.counter).toBe(3n);
  expect(result.results[2]?.entry?.text()).toBe('1');
  expect((await hf.status()).clusterId).toBe('c1');
  const unknown = await failure(hf.keyspaces.describe('missing'));
  expect(unknown).toMatchObject({ reason: 'KEYSPACE_UNKNOWN', code: 'NOT_FOUND', field: 'name' });
  expect(unknown.message.match(/\[KEYSPACE_UNKNOWN\]/g)).toHaveLength(1);
});

test('a node without a pipeline is served by unary calls', async () => {
  const hf = await client((await start(new FakeKv(), { pipeline: false })).endpoint);
  const kv = hf.keyspace('default');
  const puts = Array.from({ length: 10 }, (_, i) => kv.put('same', String(i)));
  await Promise.all(puts);
  expect((await kv.get('same'))?.text()).toBe('9');
  expect(await kv.increment('n')).toBe(1n);
});

test('writes on a stream that breaks are applied once', async () => {
  const kv = new FakeKv();
  const server = await start(kv, { breakStream: (count) => count === 2 || count === 3 });
  const keyspace = (await client(server.endpoint)).keyspace('default');
  await keyspace.increment('n');
  const sums = await Promise.all(Array.from({ length: 50 }, () => keyspace.increment('n')));
  expect(sums).toEqual(Array.from({ length: 50 }, (_, i) => BigInt(i + 2)));
});

test('the client comes back after the node was restarted', async () => {
  const kv = new FakeKv();
  const first = await startServer(kv);
  const keyspace = (await client(first.endpoint)).keyspace('default');
  await keyspace.put('a', '1');
  first.stop();
  const during = keyspace.get('a');
  const again = await startServer(kv, first.port);
  cleanups.push(() => again.stop());
  expect((await during)?.text()).toBe('1');
});

test('with one endpoint a call is answered as soon as the node is back', async () => {
  const first = await startServer(new FakeKv());
  first.stop();
  const hf = await client(first.endpoint);
  const put = hf.keyspace('default').put('a', '1');
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const again = await startServer(new FakeKv(), first.port);
  cleanups.push(() => again.stop());
  using stalls = new StallWatch();
  const tookMs = stalls.begin();
  await put;
  expect(tookMs()).toBeLessThan(900); // Back-off of 500 ms and its jitter.
});

test('an endpoint where nobody listens is left for one that answers', async () => {
  const gone = await startServer(new FakeKv());
  gone.stop();
  const hf = await client(gone.endpoint, (await start()).endpoint);
  expect((await hf.keyspace('default').put('a', '1')).version).toBe(1n);
  expect((await hf.status()).clusterId).toBe('c1');
});

test('nobody listens: a clear error in time, and the write is known not to have happened', async () => {
  const gone = await startServer(new FakeKv());
  gone.stop();
  const hf = await client(gone.endpoint);
  const error = await failure(hf.keyspace('default').put('a', '1', { timeout: 300 }));
  expect(error).toMatchObject({ outcome: 'NOT_APPLIED' });
  expect(['UNAVAILABLE', 'DEADLINE_EXCEEDED']).toContain(error.reason);
  const status = await failure(hf.status({ timeout: 300 }));
  expect(['UNAVAILABLE', 'DEADLINE_EXCEEDED']).toContain(status.reason);
});
