/** Links between nodes over real ports: who is refused, what breaks and comes back, what is bounded. */
import { mkdtempDisposableSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { sleep } from '@holdfast/client/clock';
import type { GrpcPeerTransportOptions } from '../../node/transport/grpc-peer-transport.ts';
import { until } from '../conformance/stage.ts';
import { Authority } from '../process/certificates.ts';
import { StallWatch } from '../process/stall-watch.ts';
import {
  clock,
  connectedPeers,
  isConnected,
  PeerNode,
  silentListener,
  stallingWire,
  writeFiles,
} from './grpc-peers.ts';
import { ManualClock } from './http-rig.ts';

const MIB = 2 ** 20;
const byte = Uint8Array.of(1);

it.each<[string, string, string, Partial<GrpcPeerTransportOptions>, RegExp]>([
  ['another cluster', 'a', 'b', { clusterId: new Uint8Array(16).fill(2) }, /9 FAILED_PRECONDITION.*cluster/],
  ['who means another node', 'a', 'c', {}, /9 FAILED_PRECONDITION: this is node "b"/],
  ['a stranger', 'x', 'b', {}, /7 PERMISSION_DENIED: node "x" is no member/],
])('refuses %s, and the caller is told once for each lane', async (_, self, peer, options, problem) => {
  await using b = await new PeerNode('b').listen();
  b.transport.start(['a']);
  let dials = 0;
  const addressOf = () => (dials++, b.address);
  await using caller = new PeerNode(self, { addressOf, ...options });
  caller.transport.start([peer]);
  await until(clock, () => dials >= 8);
  expect(caller.broken.sort()).toEqual([expect.stringMatching(problem), expect.stringMatching(problem)]);
  b.transport.send('a', byte);
  expect([caller.heard, b.stats('a').outgoing.droppedMessages]).toEqual([[], 1]);
});

it('reaches a peer within 2 s after it has come back on its port', async () => {
  const [a, b] = (await connectedPeers(['a', 'b'])) as [PeerNode, PeerNode];
  await using _ = a;
  const { port } = b;
  await b[Symbol.asyncDispose]();
  await until(clock, () => !a.stats('b').incoming.isOpen);
  a.transport.send('b', byte);
  expect(a.stats('b').outgoing).toMatchObject({ isOpen: false, droppedMessages: 1, queuedBytes: 0 });
  await sleep(clock, 3_000); // until the backoff is at its longest
  await using again = await new PeerNode('b', { addressOf: () => a.address }).listen({ port });
  again.transport.start(['a']);
  using stalls = new StallWatch();
  const tookMs = stalls.begin();
  await until(clock, () => isConnected(a));
  expect(tookMs()).toBeLessThan(2_000);
  a.transport.send('b', byte);
  again.transport.send('a', byte);
  await until(clock, () => again.heard.length === 1 && a.heard.length === 1);
  expect(a.stats('b').incoming).toMatchObject({ isOpen: true, reconnects: 1, messages: 1, bytes: 1 });
  // One end and one kind of failure for each lane.
  expect(a.broken.length).toBeLessThanOrEqual(2 * 3);
});

it('does not hang where nobody answers', async () => {
  using silent = await silentListener();
  await using b = await new PeerNode('b').listen();
  b.transport.start(['a']);
  let address = silent.address;
  await using a = new PeerNode('a', { addressOf: () => address });
  a.transport.start(['b']);
  await until(clock, () => a.broken.length === 2 && silent.taken > 6);
  // One of each lane that grpc-js keeps, and one that each has under way.
  expect(silent.open).toBeLessThanOrEqual(4);
  expect(a.broken).toContainEqual(expect.stringContaining('did not answer within 1500 ms'));
  address = b.address;
  using stalls = new StallWatch();
  const tookMs = stalls.begin();
  await until(clock, () => a.stats('b').incoming.isOpen && a.stats('b', 'bulk').incoming.isOpen);
  expect(tookMs()).toBeLessThan(2_500);
});

it('bounds what waits for a peer that does not read, each lane for itself, and drops the rest', async () => {
  const bound = 16 * MIB;
  await using b = await new PeerNode('b', { maxQueuedBytes: bound }).listen();
  b.transport.start(['a']);
  using wire = await stallingWire(b.port);
  await using a = new PeerNode('a', { addressOf: () => wire.address });
  a.transport.start(['b']);
  await until(clock, () => b.transport.stats().every(({ outgoing }) => outgoing.isOpen));
  wire.stall();
  const message = new Uint8Array(64 * 1024);
  const fill = (lane: 'control' | 'bulk') =>
    until(clock, () => {
      for (let i = 0; i < 100; i++) b.transport.send('a', message, lane);
      return b.stats('a', lane).outgoing.droppedMessages > 1_000;
    });
  await fill('bulk');
  const bulk = b.transport.queuedBytes('a');
  expect(bulk / bound).toBeGreaterThan(0.74);
  expect(bulk / bound).toBeLessThanOrEqual(0.75);
  expect(b.stats('a').outgoing.droppedMessages).toBe(0);
  await fill('control');
  expect(b.transport.queuedBytes('a') / bound).toBeGreaterThan(0.98);
  expect(b.transport.queuedBytes('a')).toBeLessThanOrEqual(bound);
  await a.transport.close();
  await b.transport.close();
  expect([b.transport.queuedBytes('a'), b.transport.stats()]).toEqual([0, []]);
});

it('drops all that waits when the stream ends, and counts it', async () => {
  await using b = await new PeerNode('b').listen();
  b.transport.start(['a']);
  using wire = await stallingWire(b.port);
  await using a = new PeerNode('a', { addressOf: () => wire.address });
  a.transport.start(['b']);
  await until(clock, () => b.stats('a', 'bulk').outgoing.isOpen);
  wire.stall();
  for (let i = 0; i < 40; i++) b.transport.send('a', new Uint8Array(MIB), 'bulk');
  const before = b.stats('a', 'bulk').outgoing;
  expect(before.queuedBytes).toBeGreaterThan(30 * MIB);
  wire[Symbol.dispose]();
  await until(clock, () => !b.stats('a', 'bulk').outgoing.isOpen);
  const { queuedBytes, messages, droppedMessages, droppedBytes } = b.stats('a', 'bulk').outgoing;
  expect([queuedBytes, messages + droppedMessages, droppedBytes]).toEqual([0, 40, droppedMessages * MIB]);
});

it('keeps the order of each lane, and loses nothing while the link is well', async () => {
  const [a, b] = (await connectedPeers(['a', 'b'])) as [PeerNode, PeerNode];
  await using _ = a;
  await using __ = b;
  const count = 4_000;
  for (let i = 0; i < count; i++) {
    const message = Buffer.alloc(5 + (i % 700));
    message.writeUInt32LE(i);
    message[4] = i % 2;
    a.transport.send('b', message, i % 2 === 0 ? 'control' : 'bulk');
    if (i % 500 === 0) await sleep(clock, 1);
  }
  await until(clock, () => b.heard.length === count);
  const numbers = (lane: number) =>
    b.heard
      .filter(({ message }) => message[4] === lane)
      .map(({ message }) => Buffer.from(message).readUInt32LE());
  for (const lane of [0, 1])
    expect(numbers(lane)).toEqual(Array.from({ length: count / 2 }, (_, i) => 2 * i + lane));
  const [control, bulk] = [a.stats('b').outgoing, a.stats('b', 'bulk').outgoing];
  expect([control.messages, bulk.messages, control.droppedMessages]).toEqual([count / 2, count / 2, 0]);
  expect(b.stats('a', 'bulk').incoming.bytes).toBe(bulk.bytes);
});

it('carries messages beyond what a connection of clients may hold', async () => {
  const [a, b] = (await connectedPeers(['a', 'b'])) as [PeerNode, PeerNode];
  await using _ = a;
  await using __ = b;
  const sizes = [5 * MIB, 1, 16 * MIB, 5 * MIB];
  for (const size of sizes) a.transport.send('b', new Uint8Array(size).fill(size % 251), 'bulk');
  await until(clock, () => b.heard.length === sizes.length);
  expect(b.heard.map(({ message }) => message.length)).toEqual(sizes);
  expect(b.heard.every(({ message }) => message.every((one) => one === message.length % 251))).toBe(true);
  a.transport.send('b', new Uint8Array(65 * MIB), 'bulk');
  expect([a.stats('b', 'bulk').outgoing.droppedMessages, a.cuts]).toEqual([1, []]);
});

it('keeps a stream on which nothing is sent', async () => {
  const portClock = new ManualClock();
  const [a, b] = (await connectedPeers(['a', 'b'], undefined, { clock: portClock })) as [PeerNode, PeerNode];
  for (let seconds = 0; seconds < 300; seconds++) portClock.pass(1_000);
  await sleep(clock, 50); // a stream that was cut would end now
  a.transport.send('b', byte);
  a.transport.send('b', byte, 'bulk');
  await until(clock, () => b.heard.length === 2);
  for (const lane of ['control', 'bulk'] as const) expect(b.stats('a', lane).incoming.reconnects).toBe(0);
  expect([a.cuts, b.cuts, a.broken, b.broken]).toEqual([[], [], [], []]);
  const closing = Promise.all([a, b].map((node) => node[Symbol.asyncDispose]()));
  await a.transport.close();
  portClock.pass(1);
  await closing;
});

it('does not hold up a port that closes', async () => {
  const [a, b] = (await connectedPeers(['a', 'b'])) as [PeerNode, PeerNode];
  await using _ = a;
  let isClosed = false;
  void b.closePort(60_000).then(() => (isClosed = true));
  await until(clock, () => isClosed);
  await b.transport.close();
});

it('ends a stream when the same node calls again', async () => {
  const [b, first] = (await connectedPeers(['b', 'a'])) as [PeerNode, PeerNode];
  await using _ = b;
  await using __ = first;
  await using second = new PeerNode('a', { addressOf: () => b.address });
  second.transport.start(['b']);
  await until(clock, () => first.broken.length >= 2);
  expect(first.broken).toContainEqual(
    expect.stringMatching(/b control: 10 ABORTED: node "a" has called again/),
  );
  await first.transport.close();
  await until(clock, () => second.stats('b').incoming.isOpen && b.stats('a').outgoing.isOpen);
  b.transport.send('a', byte);
  await until(clock, () => second.heard.length === 1);
  expect([first.heard, b.stats('a').outgoing.reconnects >= 1]).toEqual([[], true]);
});

it('ends an earlier stream of the same node even where its answers do not get through', async () => {
  await using b = await new PeerNode('b').listen();
  b.transport.start(['a']);
  using wire = await stallingWire(b.port);
  await using first = new PeerNode('a', { addressOf: () => wire.address });
  first.transport.start(['b']);
  await until(clock, () => b.stats('a', 'bulk').outgoing.isOpen);
  wire.stall();
  for (let i = 0; i < 20; i++) b.transport.send('a', new Uint8Array(MIB), 'bulk');
  await using second = new PeerNode('a', { addressOf: () => b.address });
  second.transport.start(['b']);
  await until(clock, () => b.stats('a', 'bulk').outgoing.reconnects === 1);
  expect(b.transport.queuedBytes('a')).toBe(0);
  b.transport.send('a', byte, 'bulk');
  await until(clock, () => second.heard.length === 1);
});

it('follows the members: links come and go with those that it is started with', async () => {
  const [a, b, c] = (await connectedPeers(['a', 'b', 'c'])) as [PeerNode, PeerNode, PeerNode];
  await using _ = a;
  await using __ = b;
  await using ___ = c;
  a.transport.start(['a', 'b']);
  expect(new Set(a.transport.stats().map(({ peer }) => peer))).toEqual(new Set(['b']));
  await until(clock, () => c.broken.some((one) => one.includes('PERMISSION_DENIED')));
  expect([a.stats('b').incoming.reconnects, a.broken]).toEqual([0, []]);
  a.transport.start(['b', 'c']);
  await until(clock, () => [a, b, c].every(isConnected));
});

it('dials those that it is made with as soon as there is a receiver', async () => {
  const b = await new PeerNode('b').listen();
  await using _ = b;
  b.transport.start(['a']);
  await using a = new PeerNode('a', { addressOf: () => b.address, peers: ['a', 'b'] });
  await until(clock, () => a.stats('b')?.incoming.isOpen);
  expect(new Set(a.transport.stats().map(({ peer }) => peer))).toEqual(new Set(['b']));
});

it('dials with its certificate, and again with the one that is there by then', async () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'holdfast-peers-'));
  const [authority, other] = [await Authority.create('ours'), await Authority.create('theirs')];
  const files = writeFiles(directory.path, await other.sign(), authority.certificate);
  using served = mkdtempDisposableSync(join(tmpdir(), 'holdfast-peers-'));
  const tls = writeFiles(served.path, await authority.sign(), authority.certificate);
  await using b = await new PeerNode('b').listen({ tls, clientAuth: 'require' });
  b.transport.start(['a']);
  await using a = new PeerNode('a', { addressOf: () => b.address, tls: files });
  a.transport.start(['b']);
  await until(clock, () => a.broken.length >= 2);
  expect(a.stats('b').incoming.sinceMs).toBeUndefined();
  writeFiles(directory.path, await authority.sign(), authority.certificate);
  await until(clock, () => a.stats('b').incoming.isOpen);
  b.transport.send('a', byte);
  await until(clock, () => a.heard.length === 1);
});

it.each(['a stranger signed', 'for another host', 'no TLS at all'])(
  'does not believe a peer with a certificate that %s',
  async (kind) => {
    using directory = mkdtempDisposableSync(join(tmpdir(), 'holdfast-peers-'));
    const [authority, other] = [await Authority.create('ours'), await Authority.create('theirs')];
    const pem =
      kind === 'for another host' ? await authority.sign({ hosts: ['b.invalid'] }) : await other.sign();
    const served = writeFiles(directory.path, pem, authority.certificate);
    await using b = await new PeerNode('b').listen(kind === 'no TLS at all' ? {} : { tls: served });
    b.transport.start(['a']);
    using own = mkdtempDisposableSync(join(tmpdir(), 'holdfast-peers-'));
    const tls = writeFiles(own.path, await authority.sign(), authority.certificate);
    await using a = new PeerNode('a', { addressOf: () => b.address, tls });
    a.transport.start(['b']);
    await until(clock, () => a.broken.length === 2);
    expect(a.broken[0]).toMatch(/UNAVAILABLE|did not answer/);
    expect(b.stats('a').outgoing.sinceMs).toBeUndefined();
  },
);
