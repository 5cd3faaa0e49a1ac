import { connect, type Socket } from 'node:net';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { SystemClock } from '../../node/runtime/system-clock.ts';
import { SystemRandom } from '../../node/runtime/system-random.ts';
import {
  GrpcPeerTransport,
  type GrpcPeerTransportOptions,
} from '../../node/transport/grpc-peer-transport.ts';
import { until } from '../conformance/stage.ts';
import { startPeer } from './grpc-peers.ts';

const clock = new SystemClock();

function peer(self: string, options: Partial<GrpcPeerTransportOptions> = {}): GrpcPeerTransport {
  const clusterId = new Uint8Array(16).fill(1);
  return new GrpcPeerTransport({
    clock,
    random: new SystemRandom(),
    self,
    clusterId,
    addressOf: () => undefined,
    ...options,
  });
}

/** Sends until `condition` holds; each attempt may be dropped while the link waits. */
function sendUntil(from: GrpcPeerTransport, to: string, condition: () => boolean): Promise<void> {
  return until(clock, () => {
    from.send(to, Uint8Array.of(1));
    return condition();
  });
}

it('refuses another cluster and a stranger, and says why', async () => {
  const b = peer('b', { isMember: (name) => name === 'a' });
  const { server, port } = await startPeer(b);
  const heard: string[] = [];
  b.onMessage((from) => heard.push(from));
  const errors: string[] = [];
  const reach = {
    addressOf: () => `127.0.0.1:${port}`,
    onLinkBroken: (_: string, e: Error) => errors.push(e.message),
  };
  const foreign = peer('a', { ...reach, clusterId: new Uint8Array(16).fill(2) });
  await sendUntil(foreign, 'b', () => errors.length > 0);
  const stranger = peer('x', reach);
  await sendUntil(stranger, 'b', () => errors.some((error) => error.includes('PERMISSION_DENIED')));
  expect(errors[0]).toMatch(/FAILED_PRECONDITION.*another cluster/);
  expect(heard).toEqual([]);
  for (const transport of [foreign, stranger, b]) await transport.close();
  server.forceShutdown();
});

it('finds a peer again that was restarted, within the backoff', async () => {
  const first = await startPeer(peer('b'));
  const a = peer('a', { addressOf: () => `127.0.0.1:${first.port}` });
  a.send('b', Uint8Array.of(1));
  first.server.forceShutdown();
  const b = peer('b');
  let heard = 0;
  b.onMessage(() => heard++);
  const { server } = await startPeer(b, first.port);
  await sendUntil(a, 'b', () => heard > 0);
  await a.close();
  await b.close();
  server.forceShutdown();
});

it('bounds the queue to a peer that does not read, and drops the rest', async () => {
  const b = peer('b');
  const { server, port } = await startPeer(b);
  const wire = stallingProxy(port);
  const a = peer('a', { addressOf: () => `127.0.0.1:${wire.port()}`, maxQueuedBytes: 4 * 2 ** 20 });
  let heard = 0;
  b.onMessage(() => heard++);
  await until(clock, () => wire.port() !== 0);
  await sendUntil(a, 'b', () => heard > 0);
  wire.stall();
  await until(clock, () => {
    for (let i = 0; i < 100; i++) a.send('b', new Uint8Array(64 * 1024));
    return a.dropped > 1000;
  });
  expect(a.queuedBytes('b')).toBeLessThanOrEqual(4 * 2 ** 20);
  expect(a.queuedBytes('b')).toBeGreaterThan(3 * 2 ** 20);
  await a.close();
  await b.close();
  expect(a.queuedBytes('b')).toBe(0);
  wire.close();
  server.forceShutdown();
});

/** A wire to `target` that can stop carrying without breaking. */
function stallingProxy(target: number) {
  const sockets: Socket[] = [];
  const server = createServer((inner) => {
    const outer = connect(target, '127.0.0.1');
    sockets.push(inner, outer);
    for (const socket of [inner, outer]) socket.on('error', () => undefined);
    inner.pipe(outer);
    outer.pipe(inner);
  }).listen(0, '127.0.0.1');
  return {
    port: () => (server.address() as { port: number } | null)?.port ?? 0,
    stall: () => sockets.forEach((socket) => socket.unpipe().pause()),
    close: () => {
      sockets.forEach((socket) => socket.destroy());
      server.close();
    },
  };
}
