/**
 * What a caller can make a node spend before any handler looks: connections, time,
 * headers, pings, resets, bytes. Every bound is reached by a real connection, and others
 * are served as before.
 */
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket, type Socket } from 'node:net';
import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connect, type Holdfast } from '@holdfast/client';
import { errorFromGrpc } from '@holdfast/client/error-mapping';
import { KvService, PipelineRequestSchema, PutRequestSchema } from '@holdfast/proto/kv/v1/kv';
import { frame, GrpcCaller } from './grpc-caller.ts';
import { FrameType, PREFACE, RawConnection } from './raw-http2.ts';
import { RealNode, until, within } from './real-node.ts';

const MiB = 1_048_576;
const PUT = `/${KvService.typeName}/Put`;
const PIPELINE = `/${KvService.typeName}/Pipeline`;
const ENHANCE_YOUR_CALM = 11;
const REFUSED_STREAM = 7;
/** What a connection has to become one. */
const LATE_MS = 10_000;
/** What is to happen at once, on a busy machine. */
const SOON_MS = 20_000;

let node: RealNode;
let others: Holdfast;

beforeAll(async () => {
  node = await RealNode.start({
    limits: [
      'connections: 60',
      'header_bytes: 8KiB',
      'streams_per_connection: 100',
      'connection_in_flight_bytes: 1MiB',
    ],
  });
  others = await connect({ endpoints: node.grpc, timeout: '20s' });
  await others.keyspace('default').put('others', 'x');
});
afterEach(async () => {
  expect((await others.keyspace('default').get('others'))?.text()).toBe('x');
  expect((await fetch(`${node.url}/livez`)).status).toBe(200);
});
afterAll(async () => {
  await others?.close();
  expect(node.output).not.toMatch(/"level":[56]0|\n\s+at /);
  // Whatever is left of all this, the node stops in order.
  expect((await node.stop()).code).toBe(0);
  await node[Symbol.asyncDispose]();
});

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  return Number(line?.split(' ')[1] ?? 0);
}

function cut(port: 'grpc' | 'http', cause: string): Promise<number> {
  return metric(`holdfast_connections_cut_total{port="${port}",cause="${cause}"}`);
}

function socketTo(address: string): Socket {
  const [host, port] = address.split(':');
  return connectSocket(Number(port), host)
    .on('error', () => undefined)
    .resume();
}

/** How long a connection lasts. */
async function lifeMs(socket: Socket, atMostMs: number): Promise<number> {
  const beganMs = performance.now();
  if (!socket.closed) await within(once(socket, 'close'), atMostMs, () => 'the connection stays open');
  return performance.now() - beganMs;
}

describe('connections', () => {
  it.each(['grpc', 'http'] as const)('over the limit of the %s port are closed at once', async (port) => {
    const before = await cut(port, 'limit');
    const sockets = Array.from({ length: 80 }, () => socketTo(node[port]));
    await until(
      () => sockets.filter(({ closed }) => closed).length >= 20,
      SOON_MS,
      () => 'all 80 are let in',
    );
    const living = sockets.filter(({ closed }) => !closed);
    expect(living.length).toBeGreaterThan(40);
    // The client that was there before goes on; newcomers find room when some have left.
    expect((await others.keyspace('default').get('others'))?.text()).toBe('x');
    for (const socket of sockets) socket.destroy();
    await until(
      async () => (await fetch(`${node.url}/livez`).catch(() => undefined))?.status === 200,
      SOON_MS,
      () => 'no room',
    );
    expect(await cut(port, 'limit')).toBeGreaterThanOrEqual(before + 20);
    await until(
      async () => (await metric(`holdfast_connections{port="${port}"}`)) < 10,
      SOON_MS,
      () => 'not given back',
    );
  });
});

describe('slow connections', () => {
  it.concurrent.each([
    ['that says nothing', Buffer.alloc(0)],
    ['with half an opening', PREFACE.subarray(0, 10)],
    ['without its first SETTINGS', PREFACE],
    ['that stops inside its first SETTINGS', Buffer.concat([PREFACE, Buffer.from('000006040000', 'hex')])],
  ])(
    'of gRPC %s is closed after 10 s',
    async (_, bytes) => {
      const before = await cut('grpc', 'late');
      const socket = socketTo(node.grpc);
      socket.write(bytes);
      const ms = await lifeMs(socket, LATE_MS + SOON_MS);
      expect(ms).toBeGreaterThan(LATE_MS - 1_000);
      expect(await cut('grpc', 'late')).toBeGreaterThan(before);
    },
    60_000,
  );

  it.concurrent.each([
    ['that says nothing', ''],
    ['with half a head', 'GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: '],
  ])(
    'of HTTP %s is closed after 10 s',
    async (_, text) => {
      const socket = socketTo(node.http);
      socket.write(text);
      // One byte at a time does not help.
      const drip = setInterval(() => socket.write(text === '' ? '' : 'x'), 500);
      const ms = await lifeMs(socket, LATE_MS + SOON_MS);
      clearInterval(drip);
      expect(ms).toBeGreaterThan(LATE_MS - 1_000);
    },
    60_000,
  );

  it.concurrent(
    'whose peer no longer answers pings is dropped after 30 s',
    async () => {
      using raw = new RawConnection(node.grpc);
      raw.open();
      const ms = await lifeMs(raw.socket, 30_000 + SOON_MS);
      expect(ms).toBeGreaterThan(25_000);
      expect(raw.frames.filter(({ type }) => type === FrameType.PING)).toHaveLength(1);
    },
    90_000,
  );
});

describe('requests that are no gRPC', () => {
  const common = { ':scheme': 'http', ':authority': 'test' };

  it.each([
    ['CONNECT, which has no path', { ':method': 'CONNECT', ':authority': 'test' }],
    [
      'CONNECT with the content type of gRPC',
      { ':method': 'CONNECT', ':authority': 'test', 'content-type': 'application/grpc' },
    ],
    ['GET', { ...common, ':method': 'GET', ':path': PUT, 'content-type': 'application/grpc' }],
    ['OPTIONS without a path', { ...common, ':method': 'OPTIONS', ':path': '*' }],
  ])('%s', async (_, fields) => {
    using raw = new RawConnection(node.grpc);
    raw.open();
    raw.request(1, fields as Record<string, string>);
    await until(
      () => raw.answered(1),
      SOON_MS,
      () => 'no answer',
    );
    // The same connection goes on.
    raw.call(3, '/nothing');
    await until(
      () => raw.answered(3),
      SOON_MS,
      () => 'the connection is stuck',
    );
    expect(raw.goodbye).toBeUndefined();
    expect(raw.isOpen).toBe(true);
  });
});

describe('headers', () => {
  it('just under the limit are taken, over it the call is refused, on the gRPC port', async () => {
    using caller = new GrpcCaller(node.grpc);
    const body = frame(
      toBinary(PutRequestSchema, create(PutRequestSchema, { keyspace: 'default', key: Buffer.from('h') })),
    );
    expect((await caller.raw(PUT, body, { 'x-large': 'x'.repeat(7_000) })).status).toBe(0);
    const end = await caller.raw(PUT, body, { 'x-large': 'x'.repeat(9_000) });
    expect(end.status).not.toBe(0);
    expect(end.message).toMatch(/ENHANCE_YOUR_CALM|431/);
    // The connection lives on.
    expect((await caller.raw(PUT, body)).status).toBe(0);
  });

  it('over the limit are refused also from a caller that has not heard of it yet', async () => {
    const session = connectHttp2(`http://${node.grpc}`);
    session.on('error', () => undefined);
    const path = { ':method': 'POST', ':path': PUT, 'content-type': 'application/grpc', te: 'trailers' };
    // Sent before the node's settings can have arrived.
    const request = session.request({ ...path, 'x-large': '~'.repeat(40_000) });
    request.on('error', () => undefined);
    request.resume();
    await new Promise((resolve) => request.once('close', resolve));
    expect(request.rstCode).toBe(ENHANCE_YOUR_CALM);
    session.destroy();
  });

  it('over the limit are refused on the HTTP port', async () => {
    const headers = { 'x-large': 'x'.repeat(9_000) };
    const answer = await fetch(`${node.url}/livez`, { headers });
    expect(answer.status).toBe(431);
    expect((await fetch(`${node.url}/livez`, { headers: { 'x-large': 'x'.repeat(7_000) } })).status).toBe(
      200,
    );
  });

  it('that never end are bounded', async () => {
    using raw = new RawConnection(node.grpc);
    raw.open();
    raw.send(FrameType.HEADERS, 1, Buffer.alloc(0), 0);
    for (let sent = 0; sent < 10_000 && raw.isOpen; sent++) {
      raw.send(FrameType.CONTINUATION, 1, Buffer.alloc(1_000));
      if (sent % 100 === 0) await new Promise(setImmediate);
    }
    await lifeMs(raw.socket, LATE_MS - 1_000);
  });
});

describe('floods', () => {
  it('pings: GOAWAY with ENHANCE_YOUR_CALM and too_many_pings', async () => {
    using raw = new RawConnection(node.grpc);
    raw.open();
    for (let sent = 0; sent < 1_000; sent++) raw.send(FrameType.PING, 0, Buffer.alloc(8));
    await lifeMs(raw.socket, SOON_MS);
    expect(raw.goodbye).toEqual({ code: ENHANCE_YOUR_CALM, debug: 'too_many_pings' });
    expect(await cut('grpc', 'pings')).toBe(1);
  });

  it('a client that pings now and then is left alone', async () => {
    using raw = new RawConnection(node.grpc);
    raw.open();
    for (let sent = 0; sent < 50; sent++) raw.send(FrameType.PING, 0, Buffer.alloc(8));
    await until(
      () => raw.frames.filter(({ type }) => type === FrameType.PING).length === 50,
      SOON_MS,
      () => 'no answers',
    );
    expect(raw.goodbye).toBeUndefined();
  });

  it('streams that are opened and reset at once (CVE-2023-44487): GOAWAY', async () => {
    const before = await cut('grpc', 'protocol');
    using raw = new RawConnection(node.grpc);
    raw.open();
    for (let stream = 1; stream < 20_000 && raw.isOpen; stream += 2) {
      raw.call(stream, PIPELINE);
      raw.send(FrameType.RST_STREAM, stream, Buffer.from([0, 0, 0, 8]));
      if (stream % 200 === 1) await new Promise(setImmediate);
    }
    await lifeMs(raw.socket, SOON_MS);
    expect(raw.goodbye).toBeDefined();
    expect(await cut('grpc', 'protocol')).toBe(before + 1);
  });

  it('more streams than allowed are refused', async () => {
    using raw = new RawConnection(node.grpc);
    raw.open();
    for (let number = 0; number < 101; number++) raw.call(2 * number + 1, PIPELINE);
    await until(
      () => raw.resetOf(201) !== undefined || raw.goodbye !== undefined,
      SOON_MS,
      () => 'all are taken',
    );
    expect(raw.goodbye).toBeUndefined();
    expect(raw.resetOf(201)).toBe(REFUSED_STREAM);
    expect(raw.resetOf(199)).toBeUndefined();
  });
});

describe('bytes of one connection', () => {
  const put = (bytes: number) =>
    frame(
      toBinary(
        PutRequestSchema,
        create(PutRequestSchema, {
          keyspace: 'default',
          key: Buffer.from('hostile'),
          value: new Uint8Array(bytes),
        }),
      ),
    );

  // Whole and half messages, of calls that are never ended: nobody handles them, somebody holds them.
  it.each([
    ['whole requests that are not ended', PUT, 600_000, 8, 'OVERLOADED', 'NOT_APPLIED'],
    // Earlier messages of a stream may have been applied.
    ['halves of messages in streams', PIPELINE, 500_000, 14, 'UNAVAILABLE', undefined],
  ])('%s are refused over connection_in_flight_bytes', async (_, path, bytes, status, reason, outcome) => {
    using caller = new GrpcCaller(node.grpc);
    const first = caller.open(path).on('error', () => undefined);
    first.write(put(600_000).subarray(0, bytes + 5));
    await until(
      async () => (await metric('holdfast_in_flight_bytes')) >= bytes,
      SOON_MS,
      () => 'not counted',
    );
    const end = await caller.raw(path, Buffer.concat([put(600_000).subarray(0, 600_000)]));
    expect(end.status, end.message).toBe(status);
    const error = errorFromGrpc({ code: status, details: end.message, statusDetails: end.statusDetails });
    expect(error).toMatchObject({ reason, outcome, limit: String(MiB) });
    expect(error.message.includes('Nothing was done')).toBe(outcome === 'NOT_APPLIED');
    expect(error.message).toContain('connection_in_flight_bytes');
    expect(error.retryAfterMs).toBeGreaterThan(0);
    // Another connection has a bound of its own.
    using another = new GrpcCaller(node.grpc);
    expect((await another.raw(PUT, put(600_000))).status).toBe(0);
    // What is given up is given back.
    first.close();
    await until(
      async () => (await metric('holdfast_in_flight_bytes')) < 1_000,
      SOON_MS,
      () => 'not given back',
    );
    expect((await caller.raw(PUT, put(600_000))).status).toBe(0);
  });
});

describe('a pipeline whose answers are not read', () => {
  const MANY = 60;

  it('is charged for whole messages that wait, and refused over connection_in_flight_bytes', async () => {
    await others.keyspace('default').put('answer', new Uint8Array(500_000));
    using caller = new GrpcCaller(node.grpc);
    const stream = caller.open(PIPELINE).on('error', () => undefined);
    stream.pause();
    const closed = once(stream, 'close');
    const gets = Array.from({ length: MANY }, (_, id) => ({
      id,
      operation: { case: 'get' as const, value: { key: Buffer.from('answer') } },
    }));
    stream.write(pipelineFrame(gets));
    await once(stream, 'response');
    // Each of these is whole, and none can begin.
    const writes = [
      {
        id: MANY,
        operation: {
          case: 'mutation' as const,
          value: {
            key: Buffer.from('waits'),
            operation: { case: 'put' as const, value: { value: Buffer.alloc(300_000) } },
          },
        },
      },
    ];
    for (let sent = 0; sent < 2; sent++) stream.write(pipelineFrame(writes));
    await until(
      async () => (await metric('holdfast_in_flight_bytes')) >= 600_000,
      SOON_MS,
      () => 'whole messages are charged to nobody',
    );
    for (let sent = 0; sent < 4; sent++) stream.write(pipelineFrame(writes));
    // The gets that were taken go on waiting for a reader.
    await until(
      async () => (await metric('holdfast_in_flight_bytes')) < 20_000,
      SOON_MS,
      () => 'not refused',
    );
    // Behind answers that are not read no status may come, but the stream ends.
    stream.resume();
    await within(closed, SOON_MS, () => 'the stream goes on');
  });

  function pipelineFrame(calls: MessageInitShape<typeof PipelineRequestSchema>['calls']): Buffer {
    const request = create(PipelineRequestSchema, { keyspace: 'default', calls: calls! });
    return frame(toBinary(PipelineRequestSchema, request));
  }
});

describe('what grpc-js refuses by itself has a reason', () => {
  it.each([
    ['a message over 16 MiB', frame(Buffer.alloc(8), 17 * MiB), {}, 8, 'MESSAGE_TOO_LARGE'],
    [
      'compressed nonsense',
      frame(Buffer.from('hostile'), 7, 1),
      { 'grpc-encoding': 'gzip' },
      3,
      'MESSAGE_MALFORMED',
    ],
    [
      'an unknown encoding',
      frame(Buffer.from('hostile'), 7, 1),
      { 'grpc-encoding': 'zstd' },
      12,
      'UNIMPLEMENTED',
    ],
    ['no message', Buffer.alloc(0), {}, 3, 'MESSAGE_MALFORMED'],
    [
      'two messages',
      Buffer.concat([frame(Buffer.alloc(2)), frame(Buffer.alloc(2))]),
      {},
      3,
      'MESSAGE_MALFORMED',
    ],
    ['a deadline that is none', frame(Buffer.alloc(0)), { 'grpc-timeout': 'soon' }, 3, 'INVALID_FIELD'],
  ])('%s', async (_, body, headers, status, reason) => {
    using caller = new GrpcCaller(node.grpc);
    const end = await caller.raw(PUT, body, headers as Record<string, string>);
    const error = errorFromGrpc({
      code: end.status!,
      details: end.message,
      statusDetails: end.statusDetails,
    });
    expect([end.status, error.reason, error.outcome]).toEqual([status, reason, 'NOT_APPLIED']);
  });

  it('a method that there is not', async () => {
    using caller = new GrpcCaller(node.grpc);
    const end = await caller.raw('/holdfast.kv.v1.KvService/Nothing', frame(Buffer.alloc(0)));
    const error = errorFromGrpc({
      code: end.status!,
      details: end.message,
      statusDetails: end.statusDetails,
    });
    expect(error).toMatchObject({ reason: 'UNIMPLEMENTED', code: 'UNIMPLEMENTED', outcome: 'NOT_APPLIED' });
    expect(error.message).toContain('holdfast.kv.v1.KvService/Nothing');
  });

  it('a deadline that passes while a stream waits', async () => {
    using caller = new GrpcCaller(node.grpc);
    const stream = caller.open(PIPELINE, { 'grpc-timeout': '100m' }).on('error', () => undefined);
    const [trailers] = (await once(stream.resume(), 'trailers')) as [Record<string, string>];
    expect(trailers['grpc-status']).toBe('4');
    const details = Buffer.from(trailers['grpc-status-details-bin']!, 'base64');
    expect(errorFromGrpc({ code: 4, details: '', statusDetails: details }).reason).toBe('DEADLINE_EXCEEDED');
  });
});
