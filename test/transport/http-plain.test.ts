import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HttpRig } from './http-rig.ts';

let rig: HttpRig;
beforeEach(async () => {
  rig = await HttpRig.start();
});
afterEach(() => rig.stop());

const put = (path: string, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
  rig.fetch(path, { method: 'PUT', body, headers });

async function lines(response: Response): Promise<unknown[]> {
  return (await response.text())
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
}

async function reason(response: Response): Promise<string> {
  return ((await response.json()) as { error: { reason: string } }).error.reason;
}

describe('keys', () => {
  it('are written, read and deleted', async () => {
    const written = await put('/v1/kv/default/user/1', 'Ada');
    expect(written.status).toBe(200);
    expect(written.headers.get('etag')).toBe('"1"');
    expect(await written.json()).toEqual({ key: 'user/1', version: '1' });

    const read = await rig.fetch('/v1/kv/default/user/1');
    expect(read.status).toBe(200);
    expect(read.headers.get('etag')).toBe('"1"');
    expect(read.headers.get('content-type')).toBe('application/octet-stream');
    expect(read.headers.get('holdfast-expires-at')).toBeNull();
    expect(await read.text()).toBe('Ada');

    const deleted = await rig.fetch('/v1/kv/default/user/1', { method: 'DELETE' });
    expect(await deleted.json()).toEqual({ key: 'user/1', existed: true });
    const again = await rig.fetch('/v1/kv/default/user/1', { method: 'DELETE' });
    expect(await again.json()).toEqual({ key: 'user/1', existed: false });
    expect(rig.records.map(({ transport, method, code }) => [transport, method, code])).toContainEqual([
      'http',
      'holdfast.kv.v1.KvService/Put',
      'OK',
    ]);
  });

  it('that do not exist are 404', async () => {
    const response = await rig.fetch('/v1/kv/default/none');
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({
      error: {
        reason: 'KEY_NOT_FOUND',
        code: 'NOT_FOUND',
        message: expect.stringContaining('does not exist') as string,
        field: 'key',
      },
    });
  });

  it('answer HEAD with the head of GET', async () => {
    await put('/v1/kv/default/a', 'four');
    const response = await rig.fetch('/v1/kv/default/a', { method: 'HEAD' });
    expect([response.status, response.headers.get('content-length'), response.headers.get('etag')]).toEqual([
      200,
      '4',
      '"1"',
    ]);
    expect(await response.text()).toBe('');
    expect((await rig.fetch('/v1/kv/default/b', { method: 'HEAD' })).status).toBe(404);
  });

  it.each([
    ['a%2Fb', Buffer.from('a/b')],
    ['a//b/', Buffer.from('a//b/')],
    ['%ff%00%80', Buffer.from([0xff, 0x00, 0x80])],
    ['100%25', Buffer.from('100%')],
    ['a+b', Buffer.from('a+b')],
    ['%D0%B6', Buffer.from('ж')],
    ['a%3Fb%23c', Buffer.from('a?b#c')],
  ])('are percent-decoded: %s', async (path, key) => {
    const written = await put(`/v1/kv/default/${path}`, 'v');
    expect([...rig.state.rows.values()].map((row) => Buffer.from(row.key))).toEqual([key]);
    const json = (await written.json()) as { key?: string; key_base64?: string };
    expect(json.key ?? Buffer.from(json.key_base64!, 'base64')).toEqual(
      path.startsWith('%ff') ? key : key.toString(),
    );
  });

  it('keep the dots of the path', async () => {
    const head =
      'PUT /v1/kv/default/a/../b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nv';
    expect(await rig.raw(head)).toContain('200 OK');
    expect([...rig.state.rows.keys()]).toEqual(['a/../b']);
    expect(await rig.raw(head.replace('/v1', 'http://x/v1').replace('PUT', 'DELETE'))).toContain(
      '"existed":true',
    );
  });

  it('sent as raw bytes are answered with what to do', async () => {
    expect(await rig.raw('GET /v1/kv/default/ж HTTP/1.1\r\nHost: x\r\n\r\n')).toMatch(
      /^HTTP\/1.1 400 .*percent-encoded/s,
    );
  });

  it('are refused when empty or badly encoded', async () => {
    const empty = await put('/v1/kv/default/', 'v');
    expect([empty.status, await reason(empty)]).toEqual([400, 'KEY_EMPTY']);
    const bad = await put('/v1/kv/default/a%zz', 'v');
    expect([bad.status, await reason(bad)]).toEqual([400, 'INVALID_FIELD']);
    expect(rig.state.rows.size).toBe(0);
  });

  it('live as long as told', async () => {
    await put('/v1/kv/default/a?ttl=1h', 'v');
    const read = await rig.fetch('/v1/kv/default/a');
    expect(read.headers.get('holdfast-expires-at')).toBe(new Date(1_000_000 + 3_600_000).toISOString());
    for (const [ttl, ms] of [
      ['500ms', 500n],
      ['30s', 30_000n],
      ['10m', 600_000n],
      ['2d', 172_800_000n],
    ] as const) {
      await put(`/v1/kv/default/${ttl}?ttl=${ttl}`, 'v');
      expect(rig.state.rows.get(ttl)!.expiresAtMs).toBe(1_000_000n + ms);
    }
    for (const ttl of ['5', 'soon', '-1s', ''])
      expect((await put(`/v1/kv/default/x?ttl=${ttl}`, 'v')).status).toBe(400);
  });

  it('count', async () => {
    const first = await rig.fetch('/v1/kv/default/visits?increment=5', { method: 'POST' });
    expect(await first.json()).toEqual({ key: 'visits', value: '5', version: '1' });
    const second = await rig.fetch('/v1/kv/default/visits?increment=-7', { method: 'POST' });
    expect(await second.json()).toEqual({ key: 'visits', value: '-2', version: '2' });
    const third = await rig.fetch('/v1/kv/default/visits?increment', { method: 'POST' });
    expect(await third.json()).toMatchObject({ value: '-1' });
    for (const query of ['', '?increment=x', '?increment=9223372036854775808']) {
      expect((await rig.fetch(`/v1/kv/default/visits${query}`, { method: 'POST' })).status).toBe(400);
    }
  });
});

describe('conditional headers', () => {
  it('If-Match on PUT is compare-and-set', async () => {
    await put('/v1/kv/default/a', '1');
    const done = await put('/v1/kv/default/a', '2', { 'If-Match': '"1"' });
    expect([done.status, done.headers.get('etag')]).toEqual([200, '"2"']);
    const late = await put('/v1/kv/default/a', '3', { 'If-Match': '"1"' });
    expect(late.status).toBe(412);
    expect(await late.json()).toMatchObject({
      error: { reason: 'VERSION_MISMATCH', code: 'ABORTED', outcome: 'NOT_APPLIED', current_version: '2' },
    });
    expect((await put('/v1/kv/default/none', '3', { 'If-Match': '"1"' })).status).toBe(412);
  });

  it('If-None-Match: * on PUT is create-only', async () => {
    const created = await put('/v1/kv/default/a', '1', { 'If-None-Match': '*' });
    expect([created.status, created.headers.get('etag')]).toEqual([201, '"1"']);
    const again = await put('/v1/kv/default/a', '2', { 'If-None-Match': '*' });
    expect(again.status).toBe(412);
    expect(await again.json()).toMatchObject({ error: { reason: 'KEY_EXISTS', current_version: '1' } });
  });

  it('If-Match on DELETE deletes one version', async () => {
    await put('/v1/kv/default/a', '1');
    const headers = { 'If-Match': '"7"' };
    expect((await rig.fetch('/v1/kv/default/a', { method: 'DELETE', headers })).status).toBe(412);
    const done = await rig.fetch('/v1/kv/default/a', { method: 'DELETE', headers: { 'If-Match': '"1"' } });
    expect(await done.json()).toEqual({ key: 'a', existed: true });
  });

  it.each(['"1"', '"9", "1"', 'W/"1"', '*'])(
    'If-None-Match: %s on GET is 304 when it is the version',
    async (tag) => {
      await put('/v1/kv/default/a', '1');
      const response = await rig.fetch('/v1/kv/default/a', { headers: { 'If-None-Match': tag } });
      expect([response.status, await response.text(), response.headers.get('etag')]).toEqual([
        304,
        '',
        '"1"',
      ]);
      const other = await rig.fetch('/v1/kv/default/a', { headers: { 'If-None-Match': '"2"' } });
      expect(other.status).toBe(200);
    },
  );

  it.each([
    ['PUT', { 'If-Match': '*' }],
    ['PUT', { 'If-Match': 'W/"1"' }],
    ['PUT', { 'If-Match': '"1", "2"' }],
    ['PUT', { 'If-Match': '"99999999999999999999"' }],
    ['PUT', { 'If-None-Match': '"1"' }],
    ['PUT', { 'If-None-Match': '*', 'If-Match': '"1"' }],
    ['DELETE', { 'If-None-Match': '*' }],
    ['GET', { 'If-Match': '"1"' }],
    ['POST', { 'If-Match': '"1"' }],
  ])('%s refuses %j', async (method, headers) => {
    const query = method === 'POST' ? '?increment=1' : '';
    const response = await rig.fetch(`/v1/kv/default/a${query}`, {
      method,
      headers: headers as Record<string, string>,
    });
    expect(response.status).toBe(400);
    expect(rig.state.contexts).toHaveLength(0);
  });
});

describe('scans', () => {
  beforeEach(async () => {
    for (const key of ['a', 'b1', 'b2', 'b3', 'c']) await put(`/v1/kv/default/${key}`, key.toUpperCase());
  });

  it('send JSON lines in key order', async () => {
    const response = await rig.fetch('/v1/kv/default?prefix=b');
    expect(response.headers.get('content-type')).toBe('application/jsonl');
    expect(await lines(response)).toEqual([
      { key: 'b1', value: 'B1', version: '2' },
      { key: 'b2', value: 'B2', version: '3' },
      { key: 'b3', value: 'B3', version: '4' },
    ]);
  });

  it('take a range, and keys only', async () => {
    expect(await lines(await rig.fetch('/v1/kv/default?start=b2&end=c&keys_only=true'))).toEqual([
      { key: 'b2', version: '3' },
      { key: 'b3', version: '4' },
    ]);
    expect(await lines(await rig.fetch('/v1/kv/default?end=b1&keys_only'))).toHaveLength(1);
  });

  it('say where to go on only when the limit cut them', async () => {
    const first = await lines(await rig.fetch('/v1/kv/default?limit=3&keys_only=1'));
    expect(first).toHaveLength(4);
    const { continuation } = first.at(-1) as { continuation: string };
    const rest = await lines(
      await rig.fetch(`/v1/kv/default?limit=3&keys_only=1&continuation=${continuation}`),
    );
    expect(rest).toEqual([
      { key: 'b3', version: '4' },
      { key: 'c', version: '5' },
    ]);
  });

  it('of nothing send nothing', async () => {
    const response = await rig.fetch('/v1/kv/default?prefix=zz');
    expect([response.status, await response.text()]).toEqual([200, '']);
  });

  it('show bytes that are no text in base64, and the expiry', async () => {
    await put('/v1/kv/default/%ff?ttl=1s', new Uint8Array([0xfe, 0x01]));
    expect(await lines(await rig.fetch('/v1/kv/default?prefix=%ff'))).toEqual([
      {
        key_base64: '/w==',
        value_base64: '/gE=',
        version: '6',
        expires_at: new Date(1_001_000).toISOString(),
      },
    ]);
  });

  it.each([
    'prefix=a&start=b',
    'limit=x',
    'limit=-1',
    'limit=4294967296',
    'keys_only=maybe',
    'continuation=%2a',
    'prefx=a',
    'limit=1&limit=2',
    'prefix=%g0',
  ])('refuse ?%s', async (query) => {
    const response = await rig.fetch(`/v1/kv/default?${query}`);
    expect([response.status, await reason(response)]).toEqual([400, 'INVALID_FIELD']);
  });

  it('that fail at once have the status of the error', async () => {
    const { HoldfastError } = await import('@holdfast/client/error');
    rig.state.failure = new HoldfastError({
      reason: 'KEYSPACE_UNKNOWN',
      message: 'none',
      outcome: 'NOT_APPLIED',
    });
    const response = await rig.fetch('/v1/kv/none');
    expect(response.status).toBe(404);
    expect((await response.json()) as object).toEqual({
      error: { reason: 'KEYSPACE_UNKNOWN', code: 'NOT_FOUND', message: 'none [KEYSPACE_UNKNOWN]' },
    });
  });
});

describe('keyspaces and status', () => {
  it('are created, described, listed and dropped', async () => {
    const created = await rig.fetch('/v1/keyspaces/orders', {
      method: 'PUT',
      body: '{"partitions":2,"max_key_bytes":10}',
    });
    expect(created.status).toBe(201);
    expect(await created.json()).toMatchObject({
      name: 'orders',
      max_key_bytes: 10,
      max_value_bytes: 1_048_576,
    });
    const described = await rig.fetch('/v1/keyspaces/orders');
    expect(
      ((await described.json()) as { partitions: { group: string }[] }).partitions.map(({ group }) => group),
    ).toEqual(['0', '1']);
    expect(await (await rig.fetch('/v1/keyspaces')).json()).toMatchObject({
      keyspaces: [{ name: 'orders' }],
    });
    expect((await rig.fetch('/v1/keyspaces/orders', { method: 'PUT' })).status).toBe(409);
    expect(
      (await rig.fetch('/v1/keyspaces/orders', { method: 'PUT', headers: { 'If-None-Match': '*' } })).status,
    ).toBe(412);
    expect(await (await rig.fetch('/v1/keyspaces/orders', { method: 'DELETE' })).json()).toEqual({
      name: 'orders',
      dropped: true,
    });
    expect((await rig.fetch('/v1/keyspaces/orders')).status).toBe(404);
  });

  it.each([
    '{',
    '[]',
    '3',
    '{"partition":2}',
    '{"partitions":"2"}',
    '{"partitions":1.5}',
    '{"partitions":-1}',
    '{"__proto__":1}',
  ])('refuse settings %s', async (body) => {
    expect((await rig.fetch('/v1/keyspaces/orders', { method: 'PUT', body })).status).toBe(400);
    expect(rig.state.keyspaces.size).toBe(0);
  });

  it('show the cluster', async () => {
    expect(await (await rig.fetch('/v1/status')).json()).toMatchObject({
      cluster_id: 'c0ffee',
      nodes: [{ name: 'n1', pid: 7, state: 'NODE_STATE_UNSPECIFIED' }],
    });
  });
});
