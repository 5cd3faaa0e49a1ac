/** What a node logs at its most talkative: every call with its request id, never keys or values. */
import { expect, it } from 'vitest';
import { connect } from '@holdfast/client';
import { KvService } from '@holdfast/proto/kv/v1/kv';
import { frame, GrpcCaller } from './grpc-caller.ts';
import { RealNode, until } from './real-node.ts';

const KEY = 'patient-4711';
const VALUE = 'diagnosis-mumps';
/** In each form in which bytes could find their way into a line. */
const SECRETS = [KEY, VALUE].flatMap((text) => [
  text,
  Buffer.from(text).toString('base64').replace(/=+$/, ''),
  Buffer.from(text).toString('hex'),
  [...Buffer.from(text)].slice(0, 6).join(','),
]);

/** Calls of all kinds, good and bad, over both ports. */
async function callEverything(node: RealNode): Promise<void> {
  const hf = await connect({ endpoints: node.grpc });
  const kv = hf.keyspace('default');
  const { version } = await kv.put(KEY, VALUE);
  await kv.put(KEY, VALUE, { ifVersion: version + 1n }).catch(() => undefined);
  await kv.increment(KEY).catch(() => undefined);
  await kv.put(KEY.repeat(1_000), VALUE).catch(() => undefined);
  await kv.transact({ then: [{ put: KEY, value: VALUE }] } as never).catch(() => undefined);
  for await (const { key } of kv.scan({ prefix: KEY.slice(0, 3) })) expect(key).toBe(KEY);
  await hf
    .keyspace(`unknown.${KEY.length}`)
    .get(KEY)
    .catch(() => undefined);
  await hf.close();
  using caller = new GrpcCaller(node.grpc);
  const noise = Buffer.from(`${KEY}${VALUE}`);
  for (const path of ['Put', 'Pipeline', 'Nothing'])
    await caller.raw(`/${KvService.typeName}/${path}`, frame(noise));
  const url = `${node.url}/v1/kv/default/${KEY}`;
  await fetch(url, { method: 'PUT', body: VALUE });
  await fetch(url, { method: 'PUT', body: VALUE, headers: { 'if-match': '"99"' } });
  await fetch(`${url}?ttl=${VALUE}`, { method: 'PUT', body: VALUE });
  await fetch(`${node.url}/v1/kv/default?prefix=${KEY}&limit=${VALUE}`);
}

it('has a line for every call with its request id, and no key or value', async () => {
  await using node = await RealNode.start({ log: ['level: debug'] });
  await callEverything(node);
  const answer = await fetch(`${node.url}/v1/status`, { headers: { 'x-request-id': 'req-17' } });
  expect(answer.headers.get('x-request-id')).toBe('req-17');
  await until(
    () => node.output.includes('req-17'),
    30_000,
    () => node.output,
  );
  expect((await node.stop()).code).toBe(0);
  for (const secret of SECRETS) expect(node.output).not.toContain(secret);
  const lines = node.output.split('\n').filter((line) => line.startsWith('{'));
  const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const calls = events.filter(({ msg }) => msg === 'call');
  expect(calls.length).toBeGreaterThan(8);
  for (const call of calls)
    expect(call).toMatchObject({ request_id: expect.stringMatching(/^.{6,}$/), code: expect.any(String) });
  // What a stream is refused for is not UNKNOWN.
  expect(new Set(calls.map(({ code }) => code))).toContain('INVALID_ARGUMENT');
  expect(calls.filter(({ code }) => code === 'UNKNOWN')).toEqual([]);
  for (const event of events)
    expect(event).toMatchObject({ node: 'n1', time: expect.stringMatching(/^\d{4}-.*Z$/) });
});

it('has a form for people', async () => {
  await using node = await RealNode.prepare({ log: ['level: debug'], env: { HOLDFAST_LOG_PRETTY: '1' } });
  void node.spawn();
  await until(
    () => node.output.includes('node is ready'),
    30_000,
    () => node.output,
  );
  await callEverything(node);
  expect((await node.stop()).code).toBe(0);
  expect(node.output).toMatch(/\[\d\d:\d\d:\d\d\.\d{3}\] INFO \(n1\): node is ready\n {4}recovery_ms: \d+\n/);
  expect(node.output).toMatch(/DEBUG: call\n(?: {4}.*\n)* {4}request_id: "/);
  expect(node.output).not.toContain('{"level"');
  for (const secret of SECRETS) expect(node.output).not.toContain(secret);
});
