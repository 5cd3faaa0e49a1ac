/**
 * What comes over the network and is no request: noise, cut-off and oversized messages,
 * callers that do not read, do not speak, or leave. The node lives on, and others are
 * served as before.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect, type Holdfast } from '@holdfast/client';
import { errorFromGrpc } from '@holdfast/client/error-mapping';
import { BrokerService, FetchStreamRequestSchema } from '@holdfast/proto/broker/v1/broker';
import { KvService, PipelineRequestSchema, PutRequestSchema } from '@holdfast/proto/kv/v1/kv';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { frame, GrpcCaller } from './grpc-caller.ts';
import { RealNode, until, within } from './real-node.ts';

const MiB = 1_048_576;
const PUT = `/${KvService.typeName}/Put`;
const PIPELINE = `/${KvService.typeName}/Pipeline`;
const IDLE_CONNECTIONS = 2_000;
/** An answer to somebody else takes no longer, whatever happens beside it. */
const SERVED_MS = 5_000;
/** What is to happen at once, on a busy machine. */
const SOON_MS = 20_000;

const NOISE = {
  'random bytes': Buffer.from(new SeededRandom(1).bytes(64 * 1_024)),
  zeros: Buffer.alloc(64 * 1_024),
  'a request of HTTP/1': Buffer.from(
    'PUT /v1/kv/default/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx',
  ),
  'a hello of TLS': Buffer.concat([
    Buffer.from('16030100c8010000c40303', 'hex'),
    Buffer.from(new SeededRandom(2).bytes(194)),
  ]),
  'the preface of HTTP/2 and noise': Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    Buffer.from(new SeededRandom(3).bytes(64 * 1_024)),
  ]),
  // A frame of headers whose compressed fields are nonsense.
  'a broken header block': Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    Buffer.from('000000040000000000', 'hex'),
    Buffer.from('00000501050000000180ffffffff', 'hex'),
  ]),
};

let node: RealNode;
let grpc: GrpcCaller;
let others: Holdfast;
let pid: number;

beforeAll(async () => {
  node = await RealNode.start();
  pid = node.pid;
  others = await connect({ endpoints: node.grpc, timeout: '20s', discover: false });
  await others.keyspace('default').put('large', new Uint8Array(MiB));
});
beforeEach(() => {
  grpc = new GrpcCaller(node.grpc);
});
afterEach(async () => {
  grpc[Symbol.dispose]();
  await othersAreServed();
  await until(
    async () => (await metric('holdfast_in_flight_calls')) === 1, // the stream of the others
    SOON_MS,
    () => 'a call goes on that nobody waits for',
  );
});
afterAll(async () => {
  await others?.close();
  // Nothing of all this ended the process, or made it stop in disorder.
  expect(node.output).not.toMatch(/"level":[56]0|\n\s+at /);
  expect((await node.stop()).code).toBe(0);
  await node[Symbol.asyncDispose]();
});

/** The same process still takes and answers calls of others, on both ports, and soon. */
async function othersAreServed(): Promise<void> {
  const startedMs = performance.now();
  const value = String(startedMs);
  await others.keyspace('default').put('others', value);
  const answer = await fetch(`${node.url}/v1/kv/default/others`);
  expect(await answer.text()).toBe(value);
  expect(performance.now() - startedMs).toBeLessThan(SERVED_MS);
  expect((await others.status()).nodes[0]!.pid).toBe(pid);
}

async function metric(name: string): Promise<number> {
  const metrics = await (await fetch(`${node.url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)![1]);
}

function socketTo(address: string): Socket {
  const [host, port] = address.split(':');
  return connectSocket(Number(port), host).on('error', () => undefined);
}

function putFrame(key: string, bytes = 8): Buffer {
  const request = { keyspace: 'default', key: Buffer.from(key), value: new Uint8Array(bytes) };
  return frame(toBinary(PutRequestSchema, create(PutRequestSchema, request)));
}

/** Keys of hostile calls begin so; none may be written. */
async function expectNothingWritten(): Promise<void> {
  const found = [];
  for await (const { key } of others.keyspace('default').scan({ prefix: 'hostile' })) found.push(key);
  expect(found).toEqual([]);
}

describe('noise', () => {
  for (const port of ['grpc', 'http'] as const) {
    it.each(Object.keys(NOISE))(`on the ${port} port: %s`, async (name) => {
      const isRequest = port === 'http' && name === 'a request of HTTP/1';
      const bytes = isRequest ? Buffer.from('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n') : NOISE[name as never];
      const socket = socketTo(node[port]);
      let answered = 0;
      socket.on('data', (data) => (answered += data.length));
      socket.write(bytes);
      await othersAreServed();
      if (isRequest)
        await until(
          () => answered > 0,
          SOON_MS,
          () => 'no answer',
        );
      else if (name !== 'zeros' || port === 'http') await gone(socket);
      socket.destroy();
    });
  }

  async function gone(socket: Socket): Promise<void> {
    if (!socket.closed)
      await within(once(socket, 'close'), 10_000 + SOON_MS, () => 'the connection stays open');
  }
});

describe('messages', () => {
  it('a message that is cut off in its middle', async () => {
    const whole = putFrame('hostile');
    const end = await grpc.raw(PUT, whole.subarray(0, whole.length - 4));
    expect(end.status, end.message).not.toBe(0);
    await expectNothingWritten();
  });

  it('bytes that are no such message', async () => {
    const bytes = putFrame('hostile').subarray(5, 20);
    for (const body of [bytes, Buffer.from('ffffffffffffffffff', 'hex')]) {
      const { status, message, statusDetails } = await grpc.raw(PUT, frame(body));
      const error = errorFromGrpc({ code: status!, details: message, statusDetails });
      expect(error).toMatchObject({ reason: 'MESSAGE_MALFORMED', code: 'INVALID_ARGUMENT' });
      expect(error.outcome).toBe('NOT_APPLIED');
      expect(error.message).toContain('holdfast.kv.v1.PutRequest');
    }
    const inPipeline = await grpc.raw(PIPELINE, frame(Buffer.from('ffffffffffffffffff', 'hex')));
    expect(inPipeline.status).toBe(3);
    await expectNothingWritten();
  });

  it('a length of 4 GiB', async () => {
    const end = await grpc.raw(PUT, frame(Buffer.from('hostile'), 0xffff_ffff));
    expect([end.status, end.message]).toEqual([8, expect.stringMatching(/4294967295.*16777216/)]);
    const inPipeline = await grpc.raw(PIPELINE, frame(Buffer.from('hostile'), 0xffff_ffff));
    expect(inPipeline.status).toBe(8);
  });

  it('a message of more than 16 MiB', async () => {
    const end = await grpc.raw(PUT, putFrame('hostile', 16 * MiB));
    // A status, or a reset that stands for one: the node does not take in the rest to be polite.
    expect(`${end.status} ${end.message}`).toMatch(/^8 .*larger than max.*16777216|ENHANCE_YOUR_CALM/);
    await expectNothingWritten();
  });

  it('compressed messages: nonsense, and one that grows to 64 MiB', async () => {
    const bomb = gzipSync(putFrame('hostile', 64 * MiB).subarray(5));
    const grown = await grpc.raw(PUT, frame(bomb, bomb.length, 1), { 'grpc-encoding': 'gzip' });
    expect(grown.status, grown.message).toBe(8);
    const noise = frame(Buffer.from('hostile'), 7, 1);
    const nonsense = await grpc.raw(PUT, noise, { 'grpc-encoding': 'gzip' });
    expect(nonsense.status, nonsense.message).not.toBe(0);
    const unknown = await grpc.raw(PUT, noise, { 'grpc-encoding': 'none-such' });
    expect(unknown.status, unknown.message).toBe(12);
    await expectNothingWritten();
  });

  it('a method, a path and a content type that there are not', async () => {
    expect((await grpc.raw('/holdfast.kv.v1.KvService/Nothing', frame(Buffer.alloc(0)))).status).toBe(12);
    expect((await grpc.raw('/../..', frame(Buffer.alloc(0)))).status).toBe(12);
    const html = await grpc.raw(PUT, putFrame('hostile'), { 'content-type': 'text/html' });
    expect(html.status).not.toBe(0);
    await expectNothingWritten();
  });

  it('headers that are far too large', async () => {
    const end = await grpc.raw(PUT, putFrame('hostile'), { 'x-large': 'x'.repeat(80_000) });
    expect(end.status).not.toBe(0);
    await expectNothingWritten();
  });
});

describe('callers in a hurry', () => {
  it('a deadline that has passed', async () => {
    for (const timeout of ['0m', '1n', '1u']) {
      const end = await grpc.raw(PUT, putFrame('hostile'), { 'grpc-timeout': timeout });
      expect([timeout, end.status]).toEqual([timeout, 4]);
    }
    await expectNothingWritten();
    const kv = others.keyspace('default');
    await expect(kv.put('hostile', 'x', { timeout: 0 })).rejects.toMatchObject({ outcome: 'NOT_APPLIED' });
    await expectNothingWritten();
  });

  it('callers that leave in the middle of a call', async () => {
    const left = 50;
    for (let number = 0; number < left; number++) {
      using caller = new GrpcCaller(node.grpc);
      const calls = Array.from({ length: 100 }, (_, id) => ({
        id,
        operation: {
          case: 'mutation' as const,
          value: {
            key: Buffer.from(`left/${number}/${id}`),
            operation: { case: 'put' as const, value: { value: Buffer.from(String(id)) } },
          },
        },
      }));
      const message = { keyspace: 'default', calls };
      const stream = caller.open(number % 2 === 0 ? PIPELINE : PUT).on('error', () => undefined);
      const bytes =
        number % 2 === 0
          ? frame(toBinary(PipelineRequestSchema, create(PipelineRequestSchema, message)))
          : putFrame(`left/${number}`);
      // Some in the middle of a message, some with a whole one being handled.
      await new Promise((resolve) => stream.write(number % 3 === 0 ? bytes.subarray(0, 20) : bytes, resolve));
    }
    // What was taken is applied whole, or not at all.
    for await (const { key, bytes } of others.keyspace('default').scan({ prefix: 'left/' })) {
      const id = String(key).split('/')[2];
      expect(Buffer.from(bytes)).toEqual(id === undefined ? Buffer.alloc(8) : Buffer.from(id));
    }
  });
});

describe('callers that only take', () => {
  it('a stream that asks for 2,000 values of 1 MiB and never reads', async () => {
    const beforeMiB = await residentMiB();
    const stream = grpc.open(PIPELINE).on('error', () => undefined);
    stream.pause();
    let asked = 0;
    for (let part = 0; part < 20; part++) {
      const calls = Array.from({ length: 100 }, () => ({
        id: asked++,
        operation: { case: 'get' as const, value: { key: Buffer.from('large') } },
      }));
      const request = create(PipelineRequestSchema, { keyspace: 'default', calls });
      stream.write(frame(toBinary(PipelineRequestSchema, request)));
    }
    await once(stream, 'response');
    // The others are served many times over while it does not read.
    let mostMiB = 0;
    for (let round = 0; round < 30; round++) {
      await othersAreServed();
      mostMiB = Math.max(mostMiB, await residentMiB());
    }
    console.log(`a caller that never reads: ${beforeMiB} MiB before, at most ${mostMiB} MiB then`);
    expect(mostMiB - beforeMiB).toBeLessThan(200);
    stream.destroy();
  });

  it('a scan that is never read', async () => {
    const kv = others.keyspace('default');
    for (let number = 0; number < 48; number++) await kv.put(`scan/${number}`, new Uint8Array(MiB));
    const beforeMiB = await residentMiB();
    const scans = Array.from({ length: 20 }, () => {
      const stream = grpc.open(`/${KvService.typeName}/Scan`).on('error', () => undefined);
      stream.pause();
      stream.end(frame(Uint8Array.of(0x0a, 7, ...Buffer.from('default'))));
      return once(stream, 'response');
    });
    await Promise.all(scans);
    let mostMiB = 0;
    for (let round = 0; round < 20; round++) {
      await othersAreServed();
      mostMiB = Math.max(mostMiB, await residentMiB());
    }
    console.log(`20 scans that are never read: ${beforeMiB} MiB before, at most ${mostMiB} MiB then`);
    expect(mostMiB - beforeMiB).toBeLessThan(500);
  });

  it('a topic that is fetched and never read', async () => {
    await others.topics.create('unread', { partitions: 1 });
    const producer = others.producer({ topic: 'unread' });
    for (let number = 0; number < 64; number++) await producer.send({ value: new Uint8Array(MiB - 1_024) });
    const wanted = { partitions: [{ topic: 'unread', partition: 0 }], maxBytes: 8 * MiB };
    const fetch = toBinary(FetchStreamRequestSchema, create(FetchStreamRequestSchema, { fetch: wanted }));
    const beforeMiB = await residentMiB();
    const streams = Array.from({ length: 20 }, () => {
      const stream = grpc.open(`/${BrokerService.typeName}/FetchStream`).on('error', () => undefined);
      stream.pause();
      stream.end(frame(fetch));
      return once(stream, 'response');
    });
    await Promise.all(streams);
    let mostMiB = 0;
    for (let round = 0; round < 20; round++) {
      await producer.send({ value: 'others go on' });
      await othersAreServed();
      mostMiB = Math.max(mostMiB, await residentMiB());
    }
    console.log(`20 fetches that are never read: ${beforeMiB} MiB before, at most ${mostMiB} MiB then`);
    expect(mostMiB - beforeMiB).toBeLessThan(500);
    await producer.close();
  });

  /** Memory of the node by its own metrics. */
  async function residentMiB(): Promise<number> {
    return Math.round((await metric('process_resident_memory_bytes')) / MiB);
  }

  it(`${IDLE_CONNECTIONS} idle connections on each port at once`, async (context) => {
    const limit = Math.min(openFileLimit('self'), openFileLimit(String(node.pid)));
    if (limit < 2 * IDLE_CONNECTIONS + 500) {
      context.skip(`a process here may open ${limit} files; 2 x ${IDLE_CONNECTIONS} connections need more`);
    }
    const sockets: Socket[] = [];
    try {
      for (let opened = 0; opened < IDLE_CONNECTIONS; opened += 100) {
        const some = Array.from({ length: 100 }, () => [socketTo(node.grpc), socketTo(node.http)]).flat();
        sockets.push(...some);
        await Promise.all(some.map((socket) => within(once(socket, 'connect'), SOON_MS, () => 'no room')));
      }
      expect(sockets.filter((socket) => socket.closed)).toEqual([]);
      for (let round = 0; round < 10; round++) await othersAreServed();
      const late = await connect({ endpoints: node.grpc, timeout: '20s', discover: false });
      expect((await late.keyspace('default').get('others'))?.key).toBe('others');
      await late.close();
      console.log(`${sockets.length} idle connections, others served`);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  }, 120_000);
});

/** Files that a process may open. Node.js raises its own limit as far as it is allowed to. */
function openFileLimit(process: string): number {
  if (processLimitsAreShown()) {
    const limits = readFileSync(`/proc/${process}/limits`, 'utf8');
    return Number(/^Max open files\s+(\d+)/m.exec(limits)![1]);
  }
  const hard = execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim();
  return hard === 'unlimited' ? Infinity : Number(hard);
}

function processLimitsAreShown(): boolean {
  return process.platform === 'linux';
}

it('requests that are pipelined on one HTTP connection take effect in the order sent', async () => {
  const [host, port] = node.http.split(':') as [string, string];
  const socket = connectSocket(Number(port), host);
  const put = (value: number) =>
    `PUT /v1/kv/default/pipelined HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n${value}`;
  const get = 'GET /v1/kv/default/pipelined HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  let answer = '';
  socket.on('data', (bytes: Buffer) => (answer += bytes.toString()));
  socket.write([1, 2, 3, 4, 5].map(put).join('') + get);
  await within(once(socket, 'close'), SOON_MS, () => answer);
  expect(answer.match(/HTTP\/1.1 200/g)).toHaveLength(6);
  expect(answer.endsWith('\r\n\r\n5')).toBe(true);
});
