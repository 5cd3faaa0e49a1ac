/** A gRPC port whose clock the test moves: what is sent or read too slowly is cut, and others are served. */
import { once } from 'node:events';
import type { ClientHttp2Stream } from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { errorFromGrpc } from '@holdfast/client/error-mapping';
import { GetRequestSchema, KvService, PutRequestSchema } from '@holdfast/proto/kv/v1/kv';
import type { CallContext, MessageStream } from '../../node/services/handler.ts';
import { GrpcPort } from '../../node/transport/grpc-port.ts';
import { addService, createGrpcCalls } from '../../node/transport/grpc-server.ts';
import { ended, frame, GrpcCaller } from '../process/grpc-caller.ts';
import { until } from '../process/real-node.ts';
import { fakeServices, HttpRig } from './http-rig.ts';

const GET = `/${KvService.typeName}/Get`;
const PUT = `/${KvService.typeName}/Put`;
const PIPELINE = `/${KvService.typeName}/Pipeline`;
const REQUEST = create(PutRequestSchema, {
  keyspace: 'default',
  key: Buffer.from('a'),
  value: new Uint8Array(200_000),
});
const put = frame(toBinary(PutRequestSchema, REQUEST));

let rig: HttpRig;
let port: GrpcPort;
let caller: GrpcCaller;
let cuts: string[];

beforeEach(async () => {
  rig = new HttpRig();
  cuts = [];
  const calls = createGrpcCalls((cause) => cuts.push(cause));
  for (const { service, handlers } of fakeServices(rig.state))
    addService(calls, rig.edge, { service, handlers: { ...handlers, pipeline } });
  const defect = (_: string, error: unknown) => rig.defects.push(error);
  port = new GrpcPort({
    calls,
    clock: rig.clock,
    budget: rig.edge.budget,
    connections: 100,
    streamsPerConnection: 100,
    headerBytes: 8_192,
    connectionInFlightBytes: 1_048_576,
    events: { onCut: () => undefined, onHandshakeFailure: () => undefined, onDefect: defect },
  });
  await port.listen('127.0.0.1', 0);
  caller = new GrpcCaller(`127.0.0.1:${port.address!.port}`);
  expect((await caller.raw(PUT, put)).status).toBe(0);
});
afterEach(async () => {
  caller[Symbol.dispose]();
  await port.close(0);
  expect(rig.clock.pending).toBe(0);
  expect(rig.defects).toEqual([]);
});

const ANSWER_BYTES = 1_048_576;

/** A pipeline that does nothing with messages, but for those of one byte: that many answers, before it takes more. */
function pipeline(_: CallContext, stream: MessageStream): void {
  stream.onMessage((message) => {
    if (message.length > 1) return;
    for (let answers = message[0]!; answers > 0; answers--) stream.send(new Uint8Array(ANSWER_BYTES));
    stream.pause();
  });
}

/** Reads so much of a stream, and waits until the port knows. */
async function take(stream: ClientHttp2Stream, bytes: number): Promise<void> {
  let taken = 0;
  const enough = new Promise<void>((resolve) => {
    const onData = (chunk: Buffer) => {
      taken += chunk.length;
      if (taken < bytes) return;
      stream.off('data', onData).pause();
      resolve();
    };
    stream.on('data', onData).resume();
  });
  await enough;
  await caller.raw(PUT, put);
}

function pass(ms: number): void {
  for (let passed = 0; passed < ms; passed += 1_000) rig.clock.pass(1_000);
}

const held = (bytes: number) =>
  until(
    () => rig.edge.inFlightBytes === bytes,
    20_000,
    () => `${rig.edge.inFlightBytes} bytes are held, not ${bytes}`,
  );

it.each([
  ['a request', PUT, 4, 'DEADLINE_EXCEEDED', 'NOT_APPLIED'],
  ['a message of a stream', PIPELINE, 14, 'UNAVAILABLE', undefined],
])('%s that never becomes whole is cut after 30 s', async (_, path, status, reason, outcome) => {
  const stalled = caller.open(path);
  const end = ended(stalled);
  stalled.write(put.subarray(0, 100_000));
  await held(100_000);
  pass(29_000);
  // A byte now and then does not help.
  stalled.write(put.subarray(100_000, 100_001));
  await held(100_001);
  expect((await caller.raw(PUT, put)).status).toBe(0);
  pass(7_000);
  await held(0);
  expect((await caller.raw(PUT, put)).status).toBe(0);
  // Whoever goes on not ending its call is reset.
  pass(10_000);
  const { status: code, message, statusDetails } = await end;
  expect(code, message).toBe(status);
  const error = errorFromGrpc({ code: status, details: message, statusDetails });
  expect(error).toMatchObject({ reason, outcome });
  expect(cuts).toEqual(['late']);
});

it('a stream of which an answer is not read is cut after 30 s, and what it sent is given back', async () => {
  const stream = caller.open(PIPELINE).on('error', () => undefined);
  stream.pause();
  stream.write(frame(Uint8Array.of(4)));
  await once(stream, 'response');
  stream.write(put);
  stream.write(put);
  await held(2 * put.length);
  pass(29_000);
  expect(rig.edge.inFlightBytes).toBe(2 * put.length);
  pass(7_000);
  await held(0);
  expect(cuts).toEqual(['unread']);
  stream.resume();
  if (!stream.closed) await once(stream, 'close');
  expect((await caller.raw(PUT, put)).status).toBe(0);
});

it('a stream of which answers are read, however slowly, is left alone', async () => {
  const stream = caller.open(PIPELINE).on('error', () => undefined);
  stream.pause();
  stream.write(frame(Uint8Array.of(5)));
  await once(stream, 'response');
  stream.write(put);
  await held(put.length);
  for (let read = 0; read < 4; read++) {
    pass(20_000);
    await take(stream, ANSWER_BYTES);
  }
  expect(cuts).toEqual([]);
  expect(stream.closed).toBe(false);
});

it('a stream that is idle between messages is left alone', async () => {
  const stream = caller.open(PIPELINE).on('error', () => undefined);
  for (let sent = 0; sent < 3; sent++) {
    stream.write(put.subarray(0, 1_000));
    await held(1_000);
    pass(20_000);
    stream.write(put.subarray(1_000));
    await held(0);
    pass(100_000);
  }
  expect(stream.closed).toBe(false);
});

it('answers that are not read are bounded, for their connection alone, and given back', async () => {
  using other = new GrpcCaller(`127.0.0.1:${port.address!.port}`);
  const get = frame(
    toBinary(GetRequestSchema, create(GetRequestSchema, { keyspace: 'default', key: REQUEST.key })),
  );
  const unread = Array.from({ length: 40 }, () => {
    const stream = caller.open(GET).on('error', () => undefined);
    stream.pause();
    stream.end(get);
    return stream;
  });
  // Each has headers; those that did not fit have nothing else but a status.
  const heads = await Promise.all(unread.map((stream) => once(stream, 'response')));
  const refused = heads.filter(([head]) => (head as Record<string, string>)['grpc-status'] !== undefined);
  expect(refused.length).toBeGreaterThan(20);
  expect((await other.raw(GET, get)).status).toBe(0);
  for (const stream of unread) stream.close();
  await until(
    async () => (await caller.raw(GET, get)).status === 0,
    20_000,
    () => 'not given back',
  );
  await held(0);
});
