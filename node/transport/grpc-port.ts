/**
 * The gRPC port: connections from the moment they are taken to the moment they end. Every
 * resource that a caller can make the node spend before a handler looks is bounded here:
 * connections, time to open one, pings, resets, streams, headers, bytes.
 */
import * as http2 from 'node:http2';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '@holdfast/client/clock';
import type { ByteBudget } from '../services/handler.ts';
import { ArrivingConnections } from './arriving-connections.ts';
import { ConnectionBudget } from './connection-budget.ts';
import type { GrpcCalls } from './grpc-calls.ts';
import { handshakeError, keepStrangersOut, type PortEvents, tlsServerOptions } from './port-security.ts';
import { listeningAddress, listenOn, type ListeningAddress } from './listening.ts';
import { PingLimit } from './ping-limit.ts';
import type { TlsIdentity } from './tls-identity.ts';

/** From the connection to its first SETTINGS frame, TLS included. */
const ARRIVE_MS = 10_000;
/**
 * A message must be whole so long after its first byte, and an answer of a stream must leave
 * within it, or the call is cut: it holds bytes that are charged and refuse others.
 */
const STALL_MS = 30_000;
/** How often that is looked at: a message gets at most so much longer. */
const SWEEP_MS = 5_000;
/** Streams that a connection may reset: at once, and a second after that (CVE-2023-44487). */
const RESET_BURST = 1_000;
const RESETS_PER_SECOND = 200;
const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_INTERNAL_ERROR } = http2.constants;

export interface GrpcPortOptions {
  readonly calls: GrpcCalls;
  readonly clock: Clock;
  /** The node's. */
  readonly budget: ByteBudget;
  /** Undefined: plain text. */
  readonly tls?: TlsIdentity | undefined;
  readonly connections: number;
  readonly streamsPerConnection: number;
  readonly headerBytes: number;
  readonly connectionInFlightBytes: number;
  readonly events: PortEvents;
}

type AnyServer = http2.Http2Server | http2.Http2SecureServer;

export class GrpcPort {
  readonly #options: GrpcPortOptions;
  readonly #arriving: ArrivingConnections;
  readonly #sessions = new Map<http2.ServerHttp2Session, ConnectionBudget>();
  readonly #server: AnyServer;
  #open = 0;
  #sweeping: Timer | undefined;

  constructor(options: GrpcPortOptions) {
    this.#options = options;
    this.#arriving = new ArrivingConnections(options.clock, ARRIVE_MS, () => options.events.onCut('late'));
    this.#server = this.#createServer();
  }

  /** Open connections. */
  get connections(): number {
    return this.#open;
  }

  get address(): ListeningAddress | undefined {
    return listeningAddress(this.#server);
  }

  /** Starts to serve; port 0 takes a free one. Rejects with the system's error, such as EADDRINUSE. */
  async listen(host: string, port: number): Promise<void> {
    await listenOn(this.#server, host, port, (error) => this.#options.events.onDefect('grpc port', error));
    this.#sweepLater();
  }

  /** Takes no more connections or calls, finishes what it took, and cuts what is not done after `graceMs`. */
  close(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.setTimer(graceMs, () => this.#destroyAll());
      this.#server.close(() => {
        timer.cancel();
        this.#sweeping?.cancel(); // not before: what is stalled would use up the whole grace
        resolve();
      });
      this.#arriving.destroyAll();
      for (const session of this.#sessions.keys()) session.close();
      this.#options.calls.end();
    });
  }

  #createServer(): AnyServer {
    const { tls, connections, events } = this.#options;
    const server: AnyServer =
      tls === undefined
        ? http2.createServer(this.#http2Options())
        : http2.createSecureServer({
            ...this.#http2Options(),
            ...tlsServerOptions(tls, tls.settings.clientAuth),
          });
    server.maxConnections = connections;
    server.on('drop', () => events.onCut('limit'));
    server.on('connection', (socket) => this.#onConnection(socket));
    server.on('session', (session) => this.#onSession(session));
    server.on('stream', (stream, headers) => this.#onStream(stream as http2.ServerHttp2Stream, headers));
    server.on('sessionError', (error: NodeJS.ErrnoException) => {
      // What a peer does wrong; the connection ends by it. Other codes: its socket failed.
      if (error.code === 'ERR_HTTP2_ERROR') events.onCut('protocol');
    });
    if (tls !== undefined) this.#secure(server as http2.Http2SecureServer, tls);
    return server;
  }

  #secure(server: http2.Http2SecureServer, tls: TlsIdentity): void {
    const { events } = this.#options;
    server.on('tlsClientError', (error: Error, socket: TLSSocket) =>
      events.onHandshakeFailure(handshakeError(error, socket)),
    );
    server.on('unknownProtocol', (socket) => socket.destroy());
    keepStrangersOut(server, (error) => events.onHandshakeFailure(error));
    tls.serve(server);
  }

  #http2Options(): http2.ServerOptions {
    return {
      settings: {
        maxConcurrentStreams: this.#options.streamsPerConnection,
        maxHeaderListSize: this.#options.headerBytes,
      },
      streamResetBurst: RESET_BURST,
      streamResetRate: RESETS_PER_SECOND,
      // The limit of Node.js counts what it cannot give back in time and breaks good
      // connections under load. Ours counts what arrives: see `ReceivedBytes`.
      maxSessionMemory: Number.MAX_SAFE_INTEGER,
      maxSendHeaderBlockLength: Number.MAX_SAFE_INTEGER,
    };
  }

  #onConnection(socket: Socket): void {
    this.#open++;
    socket.once('close', () => this.#open--);
    this.#arriving.add(socket);
  }

  #onSession(session: http2.ServerHttp2Session): void {
    const { calls, budget, connectionInFlightBytes } = this.#options;
    const { remoteAddress, remotePort } = session.socket;
    this.#sessions.set(session, new ConnectionBudget(budget, connectionInFlightBytes));
    session.once('close', () => this.#sessions.delete(session));
    session.once('remoteSettings', () => this.#arriving.arrived({ remoteAddress, remotePort }));
    this.#limitPings(session);
    calls.addSession(session);
  }

  /** Nothing may escape from here: it would end the process. */
  #onStream(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
    const budget = this.#sessions.get(stream.session as http2.ServerHttp2Session);
    if (budget === undefined) return;
    // A caller that has not acknowledged our settings yet is not held to them by nghttp2.
    if (headerListBytes(headers) > this.#options.headerBytes) {
      stream.on('error', () => undefined);
      stream.close(NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    try {
      this.#options.calls.addStream(stream, headers, budget);
    } catch (error) {
      stream.on('error', () => undefined);
      stream.close(NGHTTP2_INTERNAL_ERROR);
      this.#options.events.onDefect('grpc stream', error);
    }
  }

  #limitPings(session: http2.ServerHttp2Session): void {
    const { clock, events } = this.#options;
    const limit = new PingLimit(clock);
    session.on('ping', () => {
      if (session.destroyed || limit.allows(session.socket.bytesWritten)) return;
      events.onCut('pings');
      // The words by which clients of gRPC know that they are to ping less.
      session.goaway(NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from('too_many_pings'));
      session.destroy(NGHTTP2_ENHANCE_YOUR_CALM as never);
    });
  }

  #sweepLater(): void {
    this.#sweeping = this.#options.clock.setTimer(SWEEP_MS, () => {
      this.#options.calls.sweep(STALL_MS / SWEEP_MS, SWEEP_MS);
      this.#sweepLater();
    });
  }

  #destroyAll(): void {
    for (const session of this.#sessions.keys()) session.destroy(NGHTTP2_CANCEL as never);
  }
}

/** Size of headers as HTTP/2 counts it (RFC 9113, 6.5.2): names, values, and 32 bytes each. */
function headerListBytes(headers: http2.IncomingHttpHeaders): number {
  let bytes = 0;
  for (const name in headers) {
    const value = headers[name];
    bytes += name.length + (value?.length ?? 0) + 32;
    if (typeof value === 'object') for (const each of value) bytes += each.length;
  }
  return bytes;
}
