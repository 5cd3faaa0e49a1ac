import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HoldfastError } from '@holdfast/client/error';
import { StatusCode, type Reason, type StatusName } from '@holdfast/client/reasons';
import { errorJson, httpStatus } from '../../node/transport/http-error.ts';
import { HttpRig } from './http-rig.ts';

let rig: HttpRig;
beforeEach(async () => {
  rig = await HttpRig.start();
});
afterEach(() => rig.stop());

const TABLE: [Reason, number, string | null][] = [
  ['INVALID_FIELD', 400, null],
  ['COUNTER_OVERFLOW', 400, null],
  ['UNAUTHENTICATED', 401, null],
  ['PERMISSION_DENIED', 403, null],
  ['KEYSPACE_UNKNOWN', 404, null],
  ['KEY_EXISTS', 409, null],
  ['VERSION_MISMATCH', 409, null],
  ['NOT_A_COUNTER', 409, null],
  ['OVERLOADED', 429, '2'],
  ['DISK_LOW', 507, '2'],
  ['CANCELLED', 499, null],
  ['INTERNAL', 500, null],
  ['STORAGE_DAMAGED', 500, null],
  ['MODE_UNSUPPORTED', 501, null],
  ['SHUTTING_DOWN', 503, '2'],
  ['DEADLINE_EXCEEDED', 504, null],
];

describe('errors', () => {
  it.each(TABLE)('%s is %i', async (reason, status, retryAfter) => {
    rig.state.failure = new HoldfastError({
      reason,
      message: 'why',
      outcome: 'NOT_APPLIED',
      retryAfterMs: 1_001,
    });
    const response = await rig.fetch('/v1/kv/default/a', { method: 'PUT', body: 'v' });
    expect(response.status).toBe(status);
    expect(response.headers.get('retry-after')).toBe(retryAfter);
    expect(await response.json()).toMatchObject({
      error: { reason, message: `why [${reason}]`, outcome: 'NOT_APPLIED' },
    });
  });

  it('have a status for every code', () => {
    const plain = { ifMatch: false, ifNoneMatch: false };
    for (const code of Object.keys(StatusCode) as StatusName[]) {
      expect(
        httpStatus(new HoldfastError({ reason: 'NEW', code: StatusCode[code], message: '' }), plain),
      ).toBeGreaterThanOrEqual(400);
    }
  });

  it('say all they know and nothing else', () => {
    const facts = {
      message: 'm',
      field: 'key',
      actual: '5',
      limit: '4',
      outcome: 'NOT_APPLIED',
      currentVersion: 2n ** 60n,
    } as const;
    expect(errorJson(new HoldfastError({ reason: 'KEY_TOO_LARGE', ...facts })).error).toEqual({
      reason: 'KEY_TOO_LARGE',
      code: 'INVALID_ARGUMENT',
      message: 'm [KEY_TOO_LARGE]',
      field: 'key',
      actual: '5',
      limit: '4',
      outcome: 'NOT_APPLIED',
      current_version: '1152921504606846976',
    });
    expect(Object.keys(errorJson(new HoldfastError({ reason: 'INTERNAL', message: 'm' })).error)).toEqual([
      'reason',
      'code',
      'message',
    ]);
  });

  it('that are defects show nothing of the inside', async () => {
    rig.state.failure = new TypeError('secret');
    const response = await rig.fetch('/v1/kv/default/a', { method: 'PUT', body: 'v' });
    expect(response.status).toBe(500);
    const text = await response.text();
    expect(text).not.toContain('secret');
    expect(JSON.parse(text)).toMatchObject({ error: { reason: 'INTERNAL', outcome: 'UNKNOWN' } });
    expect(rig.defects).toEqual([rig.state.failure]);
  });

  it('of admission come before the handler', async () => {
    rig.refusal = new HoldfastError({ reason: 'SHUTTING_DOWN', message: 'stopping', outcome: 'NOT_APPLIED' });
    const response = await rig.fetch('/v1/kv/default/a');
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect(rig.state.contexts).toHaveLength(0);
  });

  it('of a read have no outcome', async () => {
    rig.state.failure = new HoldfastError({
      reason: 'KEYSPACE_UNKNOWN',
      message: 'none',
      outcome: 'NOT_APPLIED',
    });
    const json = (await (await rig.fetch('/v1/kv/default/a')).json()) as { error: object };
    expect(json.error).not.toHaveProperty('outcome');
  });
});

describe('routes', () => {
  it.each(['/nothing', '/v1/', '/v1/kv', '/v2/kv/a/b', '/holdfast.kv.v1.KvService/Nope'])(
    '%s is not one',
    async (path) => {
      const response = await rig.fetch(path);
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({
        error: {
          reason: 'ROUTE_UNKNOWN',
          message: expect.stringContaining('/v1/kv/{keyspace}/{key}') as string,
        },
      });
    },
  );

  it.each([
    ['PATCH', '/v1/kv/default/a', 'GET, HEAD, PUT, POST, DELETE'],
    ['POST', '/v1/kv/default', 'GET'],
    ['DELETE', '/v1/keyspaces', 'GET, HEAD'],
    ['POST', '/v1/keyspaces/a', 'GET, HEAD, PUT, DELETE'],
    ['POST', '/v1/status', 'GET, HEAD'],
    ['POST', '/metrics', 'GET, HEAD'],
  ])('%s %s is 405', async (method, path, allow) => {
    const response = await rig.fetch(path, { method });
    expect([response.status, response.headers.get('allow')]).toEqual([405, allow]);
  });

  it('of the node itself answer', async () => {
    expect(await (await rig.fetch('/livez')).text()).toBe('ok\n');
    expect(await (await rig.fetch('/readyz')).text()).toBe('ok\n');
    expect(await (await rig.fetch('/')).text()).toContain('/v1/kv/');
    const metrics = await rig.fetch('/metrics');
    expect([metrics.headers.get('content-type'), await metrics.text()]).toEqual([
      'text/plain; version=0.0.4',
      'holdfast_up 1\n',
    ]);
    rig.isLive = false;
    rig.readiness = { ready: false, reason: 'recovering' };
    expect((await rig.fetch('/livez')).status).toBe(503);
    const notReady = await rig.fetch('/readyz');
    expect([notReady.status, await notReady.text()]).toEqual([503, 'recovering\n']);
  });
});

describe('a call', () => {
  it('keeps the request id that it brings, and gets one otherwise', async () => {
    const brought = await rig.fetch('/v1/kv/default/a', { headers: { 'X-Request-Id': 'mine-1' } });
    expect(brought.headers.get('x-request-id')).toBe('mine-1');
    expect(rig.state.contexts[0]!.requestId).toBe('mine-1');
    const given = await rig.fetch('/v1/kv/default/a');
    expect(given.headers.get('x-request-id')).toBe('abababababababab');
    const refused = await rig.fetch('/nothing', { headers: { 'X-Request-Id': 'mine-2' } });
    expect(refused.headers.get('x-request-id')).toBe('mine-2');
  });

  it('has the deadline that it brings', async () => {
    await rig.fetch('/v1/kv/default/a?timeout=5s');
    await rig.fetch('/v1/kv/default/a', { headers: { 'Holdfast-Timeout-Ms': '1500' } });
    await rig.fetch('/v1/kv/default/a?timeout=10m');
    expect(rig.state.contexts.map(({ deadlineMs }) => deadlineMs - rig.clock.monotonicMs())).toEqual([
      5_000, 1_500, 300_000,
    ]);
    for (const [query, header] of [
      ['?timeout=0s', ''],
      ['?timeout=x', ''],
      ['', 'x'],
      ['', '0'],
      ['?timeout=1s', '5'],
    ]) {
      const headers: Record<string, string> = header === '' ? {} : { 'Holdfast-Timeout-Ms': header! };
      expect((await rig.fetch(`/v1/kv/default/a${query}`, { headers })).status).toBe(400);
    }
  });

  it('is answered by its deadline, whatever the handler does', async () => {
    rig.state.gate = new Promise(() => undefined);
    const entered = rig.entered();
    const answer = rig.fetch('/v1/kv/default/a?timeout=1s', { method: 'PUT', body: 'v' });
    await entered;
    rig.clock.pass(1_000);
    const response = await answer;
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({
      error: { reason: 'DEADLINE_EXCEEDED', outcome: 'UNKNOWN' },
    });
    expect(rig.state.contexts[0]!.signal.aborted).toBe(true);
    expect(rig.records.at(-1)!.code).toBe('DEADLINE_EXCEEDED');
    expect(rig.edge.inFlight).toBe(0);
  });

  it('ends when the caller leaves', async () => {
    rig.state.gate = new Promise(() => undefined);
    const entered = rig.entered();
    const leaving = new AbortController();
    const answer = rig.fetch('/v1/kv/default/a', { signal: leaving.signal }).catch(() => 'left');
    await entered;
    const recorded = rig.recorded();
    leaving.abort();
    expect((await recorded).code).toBe('CANCELLED');
    expect(await answer).toBe('left');
    expect(rig.state.contexts[0]!.signal.aborted).toBe(true);
    expect([rig.edge.inFlightBytes, rig.clock.pending, rig.defects]).toEqual([0, 0, []]);
  });
});
