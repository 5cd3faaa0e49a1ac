/**
 * The HTTP port: plain resources for people with curl, Connect and gRPC-web for
 * browsers, metrics and probes. Everything that arrives is bounded: connections, size of
 * heads and bodies, time to send them.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '@holdfast/client/clock';
import type { ServedService } from '../services/handler.ts';
import { ArrivingConnections } from './arriving-connections.ts';
import type { CallEdge } from './call-edge.ts';
import { ConnectRoutes } from './connect-routes.ts';
import { BodyReader } from './http-body.ts';
import { HttpConnections } from './http-connections.ts';
import { methodNotAllowed, routeUnknown } from './http-error.ts';
import { answerGarbage } from './http-garbage.ts';
import { listeningAddress, listenOn, type ListeningAddress } from './listening.ts';
import { PlainExchange, type PlainPort } from './plain-exchange.ts';
import { splitTarget } from './plain-query.ts';
import { ROUTES, servePlain } from './plain-routes.ts';
import { handshakeError, keepStrangersOut, type PortEvents, tlsServerOptions } from './port-security.ts';
import type { TlsIdentity } from './tls-identity.ts';

export interface HttpServerOptions {
  readonly edge: CallEdge;
  readonly services: readonly ServedService[];
  readonly clock: Clock;
  /** Largest head of a request; more: 431. */
  readonly headerBytes: number;
  /** Open connections; more are closed at once. */
  readonly connections: number;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
  readonly live: () => boolean;
  readonly ready: () => { readonly ready: boolean; readonly reason: string };
  /** Undefined: plain text. */
  readonly tls?: TlsIdentity | undefined;
  readonly events?: PortEvents;
  /** Bytes of bodies that are being received, over all connections; default 128 MiB. More: 429. */
  readonly bodyBufferBytes?: number;
  readonly timeouts?: HttpTimeouts;
}

/** How long a caller may take. Less cuts off slow networks; more lets idle callers hold connections. */
export interface HttpTimeouts {
  /** For the head of a request; default 10 s. */
  readonly headersMs: number;
  /** For the whole request; default 60 s. */
  readonly requestMs: number;
  /** Between two requests; default 30 s. */
  readonly keepAliveMs: number;
}

const DEFAULT_TIMEOUTS: HttpTimeouts = { headersMs: 10_000, requestMs: 60_000, keepAliveMs: 30_000 };
const DEFAULT_BODY_BUFFER_BYTES = 128 * 1024 * 1024;
/** For the TLS handshake of a connection. */
const HANDSHAKE_MS = 10_000;
const TEXT = { 'Content-Type': 'text/plain; charset=utf-8' };

export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #port: PlainPort;
  readonly #connect: ConnectRoutes;
  readonly #connections = new HttpConnections();
  readonly #server: Server;
  readonly #handshakes: ArrivingConnections;
  #closed: Promise<void> | undefined;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    const { edge, clock, services, bodyBufferBytes } = options;
    this.#port = {
      edge,
      clock,
      services,
      bodies: new BodyReader(bodyBufferBytes ?? DEFAULT_BODY_BUFFER_BYTES),
    };
    this.#connect = new ConnectRoutes(this.#port);
    this.#handshakes = new ArrivingConnections(clock, HANDSHAKE_MS, () => options.events?.onCut('late'));
    this.#server = this.#createServer(options.timeouts ?? DEFAULT_TIMEOUTS);
  }

  /** Open connections. */
  get connections(): number {
    return this.#connections.size + this.#handshakes.size;
  }

  /** Where it listens; undefined when it does not. */
  get address(): ListeningAddress | undefined {
    return listeningAddress(this.#server);
  }

  /** Starts to serve; port 0 takes a free one. Rejects with the system's error, such as EADDRINUSE. */
  listen(host: string, port: number): Promise<void> {
    return listenOn(this.#server, host, port, (error) => this.#options.events?.onDefect('http port', error));
  }

  /** Takes no more connections, finishes what it took, and cuts what is not done after `graceMs`. */
  close(graceMs: number): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      const timer = this.#options.clock.setTimer(graceMs, () => this.#connections.destroyAll());
      this.#server.close(() => {
        timer.cancel();
        resolve();
      });
      this.#handshakes.destroyAll();
      this.#connections.stop();
    });
    return this.#closed;
  }

  #createServer({ headersMs, requestMs, keepAliveMs }: HttpTimeouts): Server {
    const { headerBytes, connections, tls, events } = this.#options;
    const limits = {
      maxHeaderSize: headerBytes,
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: Math.min(1_000, headersMs),
    };
    const server = tls === undefined ? createServer(limits) : this.#createSecureServer(tls, limits);
    server.maxConnections = connections;
    server.on('drop', () => events?.onCut('limit'));
    if (tls === undefined) server.on('connection', (socket) => this.#connections.add(socket));
    server.on('request', (request, response) => void this.#serve(request, response));
    server.on('checkContinue', (request, response) => {
      // Who announces too long a body is told so before it is sent.
      if (!BodyReader.announcesTooMuch(request)) response.writeContinue();
      void this.#serve(request, response);
    });
    server.on('clientError', (error, socket) =>
      answerGarbage(error, socket as Socket, this.#connections.hasBegun(socket as Socket)),
    );
    return server;
  }

  #createSecureServer(tls: TlsIdentity, limits: object): SecureServer {
    const { events } = this.#options;
    const server = createSecureServer({ ...limits, ...tlsServerOptions(tls, tls.settings.httpClientAuth) });
    server.on('connection', (socket) => this.#handshakes.add(socket));
    server.on('secureConnection', (socket) => {
      this.#handshakes.arrived(socket);
      this.#connections.add(socket);
    });
    server.on('tlsClientError', (error: Error, socket: TLSSocket) =>
      events?.onHandshakeFailure(handshakeError(error, socket)),
    );
    keepStrangersOut(server, (error) => events?.onHandshakeFailure(error));
    tls.serve(server);
    return server;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined); // the connection broke; 'close' tells whoever needs to know
    this.#connections.answering(request.socket, response);
    await this.#connections.turn(request.socket, response);
    const { path, query } = splitTarget(request.url ?? '/');
    const exchange = new PlainExchange(this.#port, request, response, query);
    try {
      if (this.#connect.has(path)) await this.#connect.serve(path, request, response);
      else if (path.startsWith('/v1/')) await servePlain(exchange, path);
      else await this.#serveNode(exchange, path);
    } catch (error) {
      exchange.fail(error);
    }
  }

  async #serveNode(exchange: PlainExchange, path: string): Promise<void> {
    const answer = this.#nodeAnswer(path);
    if (answer === undefined) throw routeUnknown(path, ROUTES);
    const method = exchange.request.method ?? '';
    if (method !== 'GET' && method !== 'HEAD') throw methodNotAllowed(method, 'GET, HEAD');
    const { status, body, headers } = await answer();
    exchange.send(status, Buffer.from(body), headers);
  }

  #nodeAnswer(path: string): (() => NodeAnswer | Promise<NodeAnswer>) | undefined {
    const { metrics, live, ready } = this.#options;
    switch (path) {
      case '/':
        return () => text(200, `Holdfast. There is: ${ROUTES}`);
      case '/livez':
        return () => (live() ? text(200, 'ok') : text(503, 'not live'));
      case '/readyz':
        return () => (ready().ready ? text(200, 'ok') : text(503, ready().reason));
      case '/metrics':
        return async () => {
          const { contentType, body } = await metrics();
          return { status: 200, body, headers: { 'Content-Type': contentType } };
        };
      default:
        return undefined;
    }
  }
}

interface NodeAnswer {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

function text(status: number, line: string): NodeAnswer {
  return { status, body: `${line}\n`, headers: TEXT };
}
