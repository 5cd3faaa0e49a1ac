/** Peers that talk gRPC over ports as nodes have them. */
import { connect, createServer, type Socket } from 'node:net';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/client/error';
import type { Clock } from '@holdfast/client/clock';
import type { PeerLane } from '../../node/runtime/peer-transport.ts';
import { SystemClock } from '../../node/runtime/system-clock.ts';
import { SystemRandom } from '../../client/system-random.ts';
import type { ByteBudget } from '../../node/services/handler.ts';
import {
  GrpcPeerTransport,
  type GrpcPeerTransportOptions,
  type PeerLinkStats,
} from '../../node/transport/grpc-peer-transport.ts';
import { GrpcPort } from '../../node/transport/grpc-port.ts';
import { createGrpcCalls } from '../../node/transport/grpc-server.ts';
import { TlsIdentity, type TlsEvents } from '../../node/transport/tls-identity.ts';
import type { ClientAuth } from '../../node/transport/tls-files.ts';
import { until } from '../conformance/stage.ts';
import type { Pem } from '../process/certificates.ts';

export const clock = new SystemClock();
/** Small, so that a peer's stream would soon come up against it. */
const CONNECTION_BYTES = 1_048_576;

/** Where the TLS files of a node are. */
export interface PeerFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface PortOptions {
  /** Default: a free one. */
  readonly port?: number;
  /** Of the port; default: the machine's. */
  readonly clock?: Clock;
  readonly tls?: PeerFiles;
  readonly clientAuth?: ClientAuth;
}

/** A peer and its port. */
export class PeerNode {
  readonly transport: GrpcPeerTransport;
  /** Links that broke: `peer lane: error`. */
  readonly broken: string[] = [];
  /** What came, by sender. */
  readonly heard: { peer: string; message: Uint8Array }[] = [];
  /** What the port cut. */
  readonly cuts: string[] = [];
  #port: GrpcPort | undefined;
  #tls: TlsIdentity | undefined;

  constructor(self: string, options: Partial<GrpcPeerTransportOptions> = {}) {
    this.transport = new GrpcPeerTransport({
      clock,
      random: new SystemRandom(),
      self,
      clusterId: new Uint8Array(16).fill(1),
      addressOf: () => undefined,
      onLinkBroken: (peer, error, lane) => this.broken.push(`${peer} ${lane}: ${error.message}`),
      ...options,
    });
    this.transport.onMessage((peer, message) => this.heard.push({ peer, message }));
  }

  /** `host:port` while it listens. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get port(): number {
    return this.#port!.address!.port;
  }

  async listen({ port = 0, clock: portClock = clock, tls, clientAuth = 'none' }: PortOptions = {}) {
    const calls = createGrpcCalls((cause) => this.cuts.push(cause));
    this.transport.addTo(calls);
    if (tls !== undefined)
      this.#tls = await TlsIdentity.open({ ...tls, clientAuth, httpClientAuth: 'none' }, clock, NO_EVENTS);
    this.#port = new GrpcPort({
      calls,
      clock: portClock,
      budget: new NoBudget(),
      tls: this.#tls,
      connections: 100,
      streamsPerConnection: 100,
      headerBytes: 8_192,
      connectionInFlightBytes: CONNECTION_BYTES,
      events: {
        onCut: (cause) => this.cuts.push(cause),
        onHandshakeFailure: () => undefined,
        onDefect: (where, error) => this.cuts.push(`${where}: ${String(error)}`),
      },
    });
    await this.#port.listen('127.0.0.1', port);
    return this;
  }

  closePort(graceMs: number): Promise<void> {
    return this.#port!.close(graceMs);
  }

  /** As a process that dies: its port is gone at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport.close();
    this.#tls?.stop();
    await this.#port?.close(0);
  }

  stats(peer: string, lane: PeerLane = 'control'): PeerLinkStats {
    return this.transport.stats().find((stats) => stats.peer === peer && stats.lane === lane)!;
  }
}

/** Nodes that listen, know each other and are connected. */
export async function connectedPeers(
  names: readonly string[],
  options: (name: string) => Partial<GrpcPeerTransportOptions> = () => ({}),
  port: PortOptions = {},
): Promise<PeerNode[]> {
  const addresses = new Map<string, string>();
  const addressOf = (peer: string) => addresses.get(peer);
  const nodes = names.map((name) => new PeerNode(name, { addressOf, ...options(name) }));
  for (const [at, node] of nodes.entries()) addresses.set(names[at]!, (await node.listen(port)).address);
  for (const { transport } of nodes) transport.start(names);
  await until(clock, () => nodes.every(isConnected));
  return nodes;
}

/** Whether all streams stand, both ways. */
export function isConnected({ transport }: PeerNode): boolean {
  return transport.stats().every(({ incoming, outgoing }) => incoming.isOpen && outgoing.isOpen);
}

/** Writes TLS files of a node. */
export function writeFiles(directory: string, { certificate, key }: Pem, ca: string): PeerFiles {
  const files = {
    cert: join(directory, 'n.crt'),
    key: join(directory, 'n.key'),
    ca: join(directory, 'ca.crt'),
  };
  writeFileSync(files.cert, certificate);
  writeFileSync(files.key, key);
  writeFileSync(files.ca, ca);
  return files;
}

/** A wire to `target` that can stop carrying without breaking. */
export async function stallingWire(target: number) {
  const sockets: Socket[] = [];
  const server = createServer((inner) => {
    const outer = connect(target, '127.0.0.1');
    sockets.push(inner, outer);
    for (const socket of [inner, outer]) socket.on('error', () => undefined);
    inner.pipe(outer);
    outer.pipe(inner);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(server.address() as { port: number }).port}`,
    stall: () => sockets.forEach((socket) => socket.unpipe().pause()),
    [Symbol.dispose]: () => {
      sockets.forEach((socket) => socket.destroy());
      server.close();
    },
  };
}

/** Takes connections and never says anything. */
export async function silentListener() {
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket.on('error', () => undefined).resume()));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(server.address() as { port: number }).port}`,
    /** Connections that were made. */
    get taken(): number {
      return sockets.length;
    },
    /** Those that the other side has not ended. */
    get open(): number {
      return sockets.filter((socket) => !socket.readableEnded && !socket.destroyed).length;
    },
    [Symbol.dispose]: () => {
      sockets.forEach((socket) => socket.destroy());
      server.close();
    },
  };
}

const NO_EVENTS: TlsEvents = { onReload: () => undefined, onBroken: () => undefined };

class NoBudget implements ByteBudget {
  tryTake(): boolean {
    return true;
  }

  give(): void {}

  refusal(): HoldfastError {
    return new HoldfastError({ reason: 'OVERLOADED', message: 'there is no bound' });
  }
}
