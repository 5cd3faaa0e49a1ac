/** A node beside one of another version: fields that it does not know are passed over, other formats are refused by name. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import { sleep } from '@holdfast/client/clock';
import type { Transport } from '@holdfast/client/transport';
import { IntroduceResponseSchema } from '@holdfast/proto/raft/v1/bootstrap';
import {
  Lane,
  ReceiveRequestSchema,
  ReceiveResponseSchema,
  type ReceiveRequest,
} from '@holdfast/proto/raft/v1/peer';
import { expect, test } from 'vitest';
import { askIntroduction } from '../../node/cluster/introduce.ts';
import { PEER_SERVICE } from '../../node/transport/peer-service.ts';
import { until } from '../conformance/stage.ts';
import { clock, PeerNode } from './grpc-peers.ts';

/** Field 1000 with three bytes: what a later version may add. */
const LATER_FIELD = Uint8Array.of(0xc2, 0x3e, 3, 1, 2, 3);
const byte = Uint8Array.of(1);

const withLaterField = (bytes: Uint8Array) => Buffer.concat([bytes, LATER_FIELD]);

/** Asks a node for its messages as a program of another version would; gives them, or why they are refused. */
async function receive(address: string, change: Partial<ReceiveRequest>, send: () => void): Promise<string> {
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  const request = create(ReceiveRequestSchema, {
    formatVersion: 1,
    clusterId: new Uint8Array(16).fill(1),
    from: 'a',
    to: 'b',
    lane: Lane.CONTROL,
    ...change,
  } as never);
  const call = client.makeServerStreamRequest(
    PEER_SERVICE.receive.path,
    (one: ReceiveRequest) => withLaterField(toBinary(ReceiveRequestSchema, one)),
    (bytes: Buffer) => fromBinary(ReceiveResponseSchema, bytes),
    request,
  );
  try {
    return await new Promise((resolve) => {
      call.on('metadata', send);
      call.on('data', ({ messages }: { messages: Uint8Array[] }) => resolve(`${messages.length} messages`));
      call.on('error', (error: Error) => resolve(error.message));
    });
  } finally {
    call.cancel();
    client.close();
  }
}

test('a caller with fields of a later version is served; one of another format is told what is known', async () => {
  await using b = await new PeerNode('b').listen();
  b.transport.start(['a']);
  const send = () => b.transport.send('a', byte);
  expect(await receive(b.address, {}, send)).toBe('1 messages');
  for (const formatVersion of [0, 2])
    expect(await receive(b.address, { formatVersion }, send)).toContain(
      `FAILED_PRECONDITION: the caller speaks format ${formatVersion}, this node knows 1`,
    );
  expect(await receive(b.address, { lane: 7 as Lane }, send)).toContain('lane is 7, this node knows 1 and 2');
});

test('what a peer sends in another format is not taken, and the log says why', async () => {
  const server = new grpc.Server();
  const answer = create(ReceiveResponseSchema, { formatVersion: 2, messages: [byte] });
  const handler = (call: grpc.ServerWritableStream<ReceiveRequest, Buffer>) =>
    call.write(Buffer.from(toBinary(ReceiveResponseSchema, answer)));
  server.addService(PEER_SERVICE, { receive: handler } as never);
  const port = await new Promise<number>((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure();
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  await using a = new PeerNode('a', { addressOf: () => `127.0.0.1:${port}` });
  a.transport.start(['later']);
  await until(clock, () => a.broken.length > 0);
  expect(a.broken[0]).toContain('the peer sends format 2, this node knows 1');
  expect(a.heard).toEqual([]);
  server.forceShutdown();
  await sleep(clock, 0);
});

test('a node of a later version that introduces itself is understood', async () => {
  const told = create(IntroduceResponseSchema, {
    name: 'n2',
    nodeId: '0123456789abcdef',
    cluster: 'test',
    nodes: ['n1', 'n2'],
    endpoints: { grpc: 'n2:1', http: 'n2:2' },
  });
  const bytes = withLaterField(toBinary(IntroduceResponseSchema, told));
  const transport = { unary: async () => fromBinary(IntroduceResponseSchema, bytes) } as unknown as Transport;
  expect(await askIntroduction(transport, 'n2:1', 'n1')).toMatchObject({
    name: 'n2',
    nodes: ['n1', 'n2'],
    grpc: 'n2:1',
    membership: undefined,
  });
});
