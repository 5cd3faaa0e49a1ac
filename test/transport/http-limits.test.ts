import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { MAX_BODY_BYTES } from '../../node/transport/http-body.ts';
import type { HttpServerOptions } from '../../node/transport/http-server.ts';
import { HttpRig } from './http-rig.ts';

let rig: HttpRig;
const start = async (options: Partial<HttpServerOptions> = {}) => (rig = await HttpRig.start(options));
afterEach(() => rig.stop());

const FAST = { headersMs: 50, requestMs: 100, keepAliveMs: 50 };
const GET = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n';

describe('what arrives is bounded', () => {
  it.each([
    ['noise', Buffer.from([0x00, 0xff, 0x13, 0x37, 0x0d, 0x0a])],
    ['a TLS hello', Buffer.from('160301020001000001fc0303', 'hex')],
    ['the preface of HTTP/2', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
    ['a request without a host', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    [
      'two lengths',
      Buffer.from('PUT /v1/kv/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'),
    ],
  ])('%s gets 400 and a closed connection', async (_, bytes) => {
    await start();
    expect(await rig.raw(bytes)).toMatch(/^HTTP\/1.1 400 /);
    expect((await rig.fetch('/livez')).status).toBe(200);
  });

  it('a head over the limit gets 431', async () => {
    await start({ headerBytes: 1_024 });
    const answer = await rig.raw(`GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(2_000)}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 431 .*HEADERS_TOO_LARGE/s);
  });

  it('a head that does not come gets 408', async () => {
    await start({ timeouts: FAST });
    expect(await rig.raw('GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ')).toMatch(
      /^HTTP\/1.1 408 .*REQUEST_TIMEOUT/s,
    );
  });

  it('a body that does not come gets 408', async () => {
    await start({ timeouts: FAST });
    expect(await rig.raw('PUT /v1/kv/default/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab')).toMatch(
      /^HTTP\/1.1 408 /,
    );
    expect([rig.state.rows.size, rig.defects]).toEqual([0, []]);
  });

  it('an idle connection is closed', async () => {
    await start({ timeouts: { ...FAST, headersMs: 10_000, requestMs: 10_000 } });
    expect(await rig.raw(GET)).toMatch(/^HTTP\/1.1 200 /);
  });

  it('a connection over the limit is closed', async () => {
    await start({ connections: 1 });
    const first = rig.socket();
    first.write(GET);
    await once(first, 'data');
    expect(await rig.raw(GET)).toBe('');
    first.destroy();
  });

  it('a body over the limit by a byte gets 413, also without a length', async () => {
    await start();
    const body = new Uint8Array(MAX_BODY_BYTES + 1);
    const announced = await rig.fetch('/v1/kv/default/a', { method: 'PUT', body });
    expect(announced.status).toBe(413);
    expect(await announced.json()).toMatchObject({
      error: { reason: 'BODY_TOO_LARGE', limit: String(MAX_BODY_BYTES) },
    });
    const stream = new Blob([body]).stream();
    const chunked = await rig.fetch('/v1/kv/default/a', {
      method: 'PUT',
      body: stream,
      duplex: 'half',
    } as RequestInit);
    expect(chunked.status).toBe(413);
    expect(rig.state.rows.size).toBe(0);
    expect((await rig.fetch('/v1/kv/default/a', { method: 'PUT', body: body.subarray(1) })).status).toBe(200);
  });

  it('too long a body is refused before it is sent, to a caller that asks', async () => {
    await start();
    const answer = rig.raw(
      `PUT /v1/kv/default/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: ${MAX_BODY_BYTES + 1}\r\n\r\n`,
    );
    expect(await answer).toMatch(/^HTTP\/1.1 413 /);
    const fitting = rig.raw(
      'PUT /v1/kv/default/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nv',
    );
    expect(await fitting).toMatch(/^HTTP\/1.1 100 .*HTTP\/1.1 200 /s);
  });

  it('all bodies together', async () => {
    await start({ bodyBufferBytes: 10 });
    const response = await rig.fetch('/v1/kv/default/a', { method: 'PUT', body: 'x'.repeat(11) });
    expect(response.status).toBe(429);
    expect(await response.json()).toMatchObject({ error: { reason: 'OVERLOADED', outcome: 'NOT_APPLIED' } });
    const connect = await rig.fetch('/holdfast.kv.v1.KvService/Get', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{"keyspace": "a"}',
    });
    expect(await connect.json()).toMatchObject({ code: 'resource_exhausted' });
    expect((await rig.fetch('/v1/kv/default/a', { method: 'PUT', body: 'x'.repeat(10) })).status).toBe(200);
  });

  it('a caller that leaves in the middle of its body', async () => {
    await start();
    const socket = rig.socket();
    socket.write('PUT /v1/kv/default/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab');
    await once(socket, 'connect');
    socket.destroy();
    expect((await rig.fetch('/v1/kv/default/b', { method: 'PUT', body: 'v' })).status).toBe(200);
    expect([rig.state.rows.has('a'), rig.defects]).toEqual([false, []]);
  });
});

describe('a caller that does not read', () => {
  it.each(['/v1/kv/default', 'connect'])(
    'holds up its scan, not the node, and is cut after its deadline: %s',
    async (path) => {
      await start();
      rig.state.partEntries = 1;
      for (let number = 0; number < 64; number++)
        rig.state.put(Buffer.from(`k${number}`), Buffer.alloc(1_048_576));
      const request =
        path === 'connect' ? scanByConnect() : httpRequest(`${rig.url}${path}`, { agent: false });
      const [response] = (await once(request.end(), 'response')) as [import('node:http').IncomingMessage];
      expect(response.statusCode).toBe(200);
      const recorded = rig.recorded();
      rig.clock.pass(300_000); // the deadline of a stream that brings none
      rig.clock.pass(1_000); // and the time for the answer to leave
      const record = await recorded;
      expect(record.method).toBe('holdfast.kv.v1.KvService/Scan');
      expect(record.code).not.toBe('OK');
      expect(record.responseBytes).toBeLessThan(64 * 1_048_576);
      expect([rig.state.scansEnded, rig.edge.inFlight, rig.clock.pending, rig.defects]).toEqual([
        1,
        0,
        0,
        [],
      ]);
      await expect(text(response)).rejects.toThrow();
    },
  );

  function scanByConnect() {
    const message = Buffer.from('{"keyspace":"default"}');
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    const request = httpRequest(`${rig.url}/holdfast.kv.v1.KvService/Scan`, {
      method: 'POST',
      agent: false,
      headers: { 'Content-Type': 'application/connect+json' },
    });
    request.write(Buffer.concat([head, message]));
    return request;
  }
});

describe('listening and closing', () => {
  it('says which port is taken', async () => {
    await start();
    const other = new HttpRig();
    await expect(other.server.listen('127.0.0.1', rig.port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    expect(other.server.address).toBeUndefined();
    await other.stop();
  });

  it('finishes what was taken, and takes no more', async () => {
    await start();
    const idle = rig.socket();
    const used = rig.socket();
    used.write(GET);
    await once(used, 'data');
    let open = () => undefined as void;
    rig.state.gate = new Promise((resolve) => (open = resolve));
    const entered = rig.entered();
    const answer = rig.fetch('/v1/kv/default/a', { method: 'PUT', body: 'v' });
    await entered;
    const gone = Promise.all([once(idle, 'close'), once(used, 'close')]);
    idle.resume();
    used.resume();
    const closed = rig.server.close(10_000);
    await gone;
    await expect(fetch(`http://127.0.0.1:${rig.server.address?.port ?? 1}/livez`)).rejects.toThrow();
    open();
    const response = await answer;
    expect([response.status, response.headers.get('connection')]).toEqual([200, 'close']);
    await closed;
    expect(rig.clock.pending).toBe(0);
  });

  it('cuts what is not done in time', async () => {
    await start();
    rig.state.gate = new Promise(() => undefined);
    const entered = rig.entered();
    const answer = rig.fetch('/v1/kv/default/a').catch(() => 'cut');
    await entered;
    const closed = rig.server.close(1_000);
    rig.clock.pass(1_000);
    await closed;
    expect(await answer).toBe('cut');
    expect(rig.edge.inFlight).toBe(0);
  });
});
