import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { HoldfastError } from '@holdfast/client/error';
import { ErrorSchema, Outcome } from '@holdfast/proto/error/v1/error';
import { ErrorInfoSchema, RetryInfoSchema } from '@holdfast/proto/google/rpc/error_details';
import { KvService } from '@holdfast/proto/kv/v1/kv';
import { HttpRig } from './http-rig.ts';

let rig: HttpRig;
beforeEach(async () => {
  rig = await HttpRig.start();
});
afterEach(() => rig.stop());

const options = () => ({ baseUrl: rig.url, httpVersion: '1.1' as const });
const PROTOCOLS = {
  'Connect/JSON': () =>
    createClient(KvService, createConnectTransport({ ...options(), useBinaryFormat: false })),
  'Connect/binary': () =>
    createClient(KvService, createConnectTransport({ ...options(), useBinaryFormat: true })),
  'gRPC-web': () => createClient(KvService, createGrpcWebTransport(options())),
};
const key = Buffer.from('a');
const json = (method: string, body: string, headers: Record<string, string> = {}) =>
  rig.fetch(`/holdfast.kv.v1.KvService/${method}`, {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json', ...headers },
  });

async function failure(call: Promise<unknown>): Promise<ConnectError> {
  return ConnectError.from(
    await call.then(
      () => expect.unreachable(),
      (error: unknown) => error,
    ),
  );
}

describe.each(Object.keys(PROTOCOLS) as (keyof typeof PROTOCOLS)[])('%s', (protocol) => {
  it('calls unary methods', async () => {
    const client = PROTOCOLS[protocol]();
    expect((await client.put({ keyspace: 'default', key, value: Buffer.from('Ada') })).version).toBe(1n);
    const { entry } = await client.get({ keyspace: 'default', key });
    expect(Buffer.from(entry!.value).toString()).toBe('Ada');
    await expect.poll(() => rig.records, { timeout: 20_000 }).toHaveLength(2);
    expect(rig.records[0]).toMatchObject({
      transport: 'http',
      method: 'holdfast.kv.v1.KvService/Put',
      code: 'OK',
    });
    expect(rig.records[0]!.requestBytes).toBeGreaterThan(10);
    expect(rig.records[1]!.responseBytes).toBeGreaterThan(3);
  });

  it('streams', async () => {
    for (const name of ['a', 'b', 'c']) rig.state.put(Buffer.from(name), Buffer.from(name));
    const keys: string[] = [];
    for await (const { entries } of PROTOCOLS[protocol]().scan({ keyspace: 'default' }))
      keys.push(...entries.map((entry) => Buffer.from(entry.key).toString()));
    expect(keys).toEqual(['a', 'b', 'c']);
    expect(rig.state.scansEnded).toBe(1);
  });

  it('gives errors with their details', async () => {
    rig.state.failure = new HoldfastError({
      reason: 'VERSION_MISMATCH',
      message: 'other',
      outcome: 'NOT_APPLIED',
      currentVersion: 7n,
      retryAfterMs: 1_500,
    });
    const error = await failure(PROTOCOLS[protocol]().put({ keyspace: 'default', key }));
    expect([error.code, error.rawMessage]).toEqual([Code.Aborted, 'other [VERSION_MISMATCH]']);
    expect(error.findDetails(ErrorInfoSchema)[0]).toMatchObject({
      reason: 'VERSION_MISMATCH',
      domain: 'holdfast',
      metadata: { outcome: 'NOT_APPLIED', current_version: '7' },
    });
    expect(error.findDetails(ErrorSchema)[0]).toMatchObject({
      reason: 'VERSION_MISMATCH',
      outcome: Outcome.NOT_APPLIED,
      currentVersion: 7n,
    });
    expect(error.findDetails(RetryInfoSchema)[0]!.retryDelay).toMatchObject({
      seconds: 1n,
      nanos: 500_000_000,
    });
    const streamed = await failure(
      PROTOCOLS[protocol]().scan({ keyspace: 'default' })[Symbol.asyncIterator]().next(),
    );
    expect([streamed.code, streamed.findDetails(ErrorSchema)[0]!.reason]).toEqual([
      Code.Aborted,
      'VERSION_MISMATCH',
    ]);
  });

  it('gives errors of admission and defects', async () => {
    rig.state.failure = new TypeError('secret');
    const defect = await failure(PROTOCOLS[protocol]().get({ keyspace: 'default', key }));
    expect([defect.code, defect.findDetails(ErrorSchema)[0]!.reason]).toEqual([Code.Internal, 'INTERNAL']);
    rig.refusal = new HoldfastError({ reason: 'SHUTTING_DOWN', message: 'stopping', outcome: 'NOT_APPLIED' });
    expect((await failure(PROTOCOLS[protocol]().get({ keyspace: 'default', key }))).code).toBe(
      Code.Unavailable,
    );
  });

  it('takes the deadline of the call', async () => {
    await PROTOCOLS[protocol]().get({ keyspace: 'default', key }, { timeoutMs: 60_000 });
    const leftMs = rig.state.contexts[0]!.deadlineMs - rig.clock.monotonicMs();
    expect(leftMs).toBeLessThanOrEqual(60_000);
    expect(leftMs).toBeGreaterThan(30_000);
  });
});

describe('Connect with curl', () => {
  it('takes and gives JSON', async () => {
    expect(await (await json('Put', '{"keyspace":"default","key":"YQ==","value":"dg=="}')).json()).toEqual({
      version: '1',
    });
    expect(await (await json('Get', '{"keyspace":"default","key":"YQ=="}')).json()).toEqual({
      entry: { key: 'YQ==', value: 'dg==', version: '1' },
    });
  });

  it('shows the details of an error', async () => {
    rig.state.failure = new HoldfastError({ reason: 'DISK_LOW', message: 'full', outcome: 'NOT_APPLIED' });
    const response = await json('Put', '{}');
    expect(response.status).toBe(429);
    expect(await response.json()).toMatchObject({
      code: 'resource_exhausted',
      message: 'full [DISK_LOW]',
      details: [{ debug: { reason: 'DISK_LOW' } }, { debug: { outcome: 'OUTCOME_NOT_APPLIED' } }],
    });
  });

  it('refuses what is no message', async () => {
    const response = await json('Put', '{"key":5');
    expect([response.status, rig.state.contexts.length]).toEqual([400, 0]);
    expect(await response.json()).toMatchObject({ code: 'invalid_argument' });
    const unary = await rig.fetch('/holdfast.kv.v1.KvService/Put', { method: 'POST', body: '{}' });
    expect(unary.status).toBe(415);
    expect(await unary.json()).toMatchObject({
      error: {
        reason: 'CONTENT_TYPE_UNSUPPORTED',
        message: expect.stringContaining('application/json') as string,
      },
    });
    expect((await rig.fetch('/holdfast.kv.v1.KvService/Put')).status).toBe(405);
  });

  it('says that a bidirectional stream needs gRPC', async () => {
    const body = Buffer.from([0, 0, 0, 0, 2, 0x7b, 0x7d]);
    const response = await json('Pipeline', body.toString('latin1'), {
      'Content-Type': 'application/connect+json',
    });
    expect(await response.text()).toMatch(/"code":"unimplemented".*use gRPC/s);
  });

  it('refuses a message over 16 MiB, also one that unpacks to it', async () => {
    const { gzipSync } = await import('node:zlib');
    const response = await json('Put', JSON.stringify({ value: 'A'.repeat(16 * 1024 * 1024) }));
    expect(await response.json()).toMatchObject({ code: 'resource_exhausted' });
    const packed = await rig.fetch('/holdfast.kv.v1.KvService/Put', {
      method: 'POST',
      headers: { 'Content-Type': 'application/proto', 'Content-Encoding': 'gzip' },
      body: gzipSync(Buffer.alloc(64 * 1024 * 1024)),
    });
    expect(await packed.json()).toMatchObject({ code: 'resource_exhausted' });
    expect(rig.state.contexts).toHaveLength(0);
  });

  it('refuses a timeout over 5 minutes', async () => {
    expect((await json('Get', '{}', { 'Connect-Timeout-Ms': '300001' })).status).toBe(400);
  });

  it('answers by the deadline and when the caller leaves', async () => {
    rig.state.gate = new Promise(() => undefined);
    let entered = rig.entered();
    const answer = json('Put', '{}');
    await entered;
    rig.clock.pass(60_000);
    const response = await answer;
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({
      code: 'deadline_exceeded',
      details: [{ debug: { metadata: { outcome: 'UNKNOWN' } } }, {}],
    });

    entered = rig.entered();
    const leaving = new AbortController();
    const left = rig
      .fetch('/holdfast.kv.v1.KvService/Get', {
        method: 'POST',
        body: '{}',
        headers: { 'Content-Type': 'application/json' },
        signal: leaving.signal,
      })
      .catch(() => 'left');
    await entered;
    const recorded = rig.recorded();
    leaving.abort();
    expect([(await recorded).code, await left, rig.edge.inFlight, rig.defects]).toEqual([
      'CANCELLED',
      'left',
      0,
      [],
    ]);
  });

  it('works without a host, as HTTP/1.0 allows', async () => {
    expect(
      await rig.raw(
        'POST /holdfast.kv.v1.KvService/Get HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
      ),
    ).toMatch(/^HTTP\/1.1 200 /);
    expect(
      await rig.raw(
        'POST /holdfast.kv.v1.KvService/Get HTTP/1.1\r\nHost: ][\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
      ),
    ).toMatch(/^HTTP\/1.1 200 /);
  });

  it('carries the request id', async () => {
    const response = await json('Get', '{}', { 'X-Request-Id': 'mine' });
    expect([response.headers.get('x-request-id'), rig.state.contexts[0]!.requestId]).toEqual([
      'mine',
      'mine',
    ]);
  });
});
