/** The two ports of a node: what is served on them, their TLS, and what is told of both. */
import type { Clock } from '@holdfast/client/clock';
import { PeerService } from '@holdfast/proto/raft/v1/peer';
import type { Logger } from '../observe/logger.ts';
import type { Metrics } from '../observe/metrics.ts';
import { guardedService, type AccessRules } from '../services/guarded-service.ts';
import type { ServedService } from '../services/handler.ts';
import type { CallEdge } from '../transport/call-edge.ts';
import { GrpcPort } from '../transport/grpc-port.ts';
import { addService, createGrpcCalls } from '../transport/grpc-server.ts';
import type { GrpcCalls } from '../transport/grpc-calls.ts';
import type { GrpcPeerTransport } from '../transport/grpc-peer-transport.ts';
import { Health } from '../transport/health.ts';
import { HttpServer } from '../transport/http-server.ts';
import type { PortEvents } from '../transport/port-security.ts';
import { addReflection } from '../transport/reflection.ts';
import { TlsIdentity } from '../transport/tls-identity.ts';
import type { ClusterConfig, NodeConfig } from './cluster-file.ts';
import { isLoopback } from './network-address.ts';
import { addServingGauges, tlsEvents } from './serving-report.ts';

export interface ServingOptions {
  readonly limits: ClusterConfig['limits'];
  readonly settings: NodeConfig;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly edge: CallEdge;
  /** For applications, on both ports. */
  readonly services: readonly ServedService[];
  /** For other nodes: on the gRPC port only. */
  readonly nodeServices: readonly ServedService[];
  /** Who may call what: a service with a method that they do not name is not served. */
  readonly rules: AccessRules;
  /** There is a new certificate for connections. */
  readonly onCertificate: () => void;
  readonly readiness: () => { readonly ready: boolean; readonly reason: string };
  /** Aborted when the node begins to stop. */
  readonly stopping: AbortSignal;
}

export class Serving {
  readonly #options: ServingOptions;
  readonly #tls: TlsIdentity | undefined;
  readonly #grpc: GrpcPort;
  readonly #http: HttpServer;
  readonly #health: Health;
  readonly #calls: GrpcCalls;

  /** Reads the certificate and listens. Errors: TlsFilesError, those of the system. */
  static async start(options: ServingOptions): Promise<Serving> {
    const { settings, clock, logger, metrics } = options;
    const { tls: files } = settings;
    const tls =
      files === undefined
        ? undefined
        : await TlsIdentity.open(files, clock, tlsEvents(logger, metrics, options.onCertificate));
    let serving: Serving | undefined;
    try {
      serving = new Serving(options, tls);
      await serving.#listen();
      return serving;
    } catch (error) {
      tls?.stop(); // it watches its files
      await serving?.close(0);
      throw error;
    }
  }

  private constructor(options: ServingOptions, tls: TlsIdentity | undefined) {
    this.#options = options;
    this.#tls = tls;
    const { limits, clock, edge, stopping, metrics, rules } = options;
    const services = options.services.map((one) => guardedService(one, rules));
    const onGrpc = [...services, ...options.nodeServices.map((one) => guardedService(one, rules))];
    const names = onGrpc.map(({ service }) => service.typeName);
    const calls = (this.#calls = createGrpcCalls((cause) => metrics.callCut(cause)));
    for (const service of onGrpc) addService(calls, edge, service);
    addReflection(calls, edge, [...names, PeerService.typeName, 'grpc.health.v1.Health'], stopping);
    this.#health = new Health(calls, names);
    const events = this.#events('grpc');
    this.#grpc = new GrpcPort({ ...limits, calls, clock, budget: edge.budget, tls, events });
    this.#http = new HttpServer({
      edge,
      services,
      clock,
      tls,
      headerBytes: limits.headerBytes,
      connections: limits.connections,
      metrics: () => metrics.render(),
      live: () => true,
      ready: options.readiness,
      events: this.#events('http'),
    });
  }

  /** What gRPC health says. */
  set healthy(healthy: boolean) {
    this.#health.set(healthy);
  }

  /** Serves the links of peers from now on. */
  addPeers(peers: GrpcPeerTransport): void {
    peers.addTo(this.#calls);
  }

  /** Takes nothing new, finishes what was taken, and cuts what is not done after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#tls?.stop();
    await Promise.all([this.#grpc.close(graceMs), this.#http.close(graceMs)]);
  }

  async #listen(): Promise<void> {
    const { grpc, http } = this.#options.settings;
    this.#warn();
    addServingGauges(this.#options.metrics, {
      connections: () => ({ grpc: this.#grpc.connections, http: this.#http.connections }),
      notAfterMs: () => this.#tls?.facts.notAfterMs ?? 0,
    });
    await this.#grpc.listen(grpc.host, grpc.port);
    await this.#http.listen(http.host, http.port);
  }

  /** What an operator should not find out from an attacker or from callers that stay away. */
  #warn(): void {
    const { settings, logger } = this.#options;
    const { grpc, http } = settings;
    const problem = this.#tls?.datesProblem;
    if (problem !== undefined)
      logger.error(
        { cert: settings.tls!.cert },
        `the certificate of this node ${problem}: callers will refuse it`,
      );
    if (this.#tls !== undefined || (isLoopback(grpc) && isLoopback(http))) return;
    logger.warn(
      { grpc: grpc.text, http: http.text },
      'WITHOUT TLS BEYOND THIS MACHINE: whoever reaches these ports can read and change all data. ' +
        'Listen on 127.0.0.1, or set tls in cluster.yaml.',
    );
  }

  #events(port: 'grpc' | 'http'): PortEvents {
    const { logger, metrics } = this.#options;
    return {
      onCut: (cause) => metrics.connectionCut(port, cause),
      onHandshakeFailure: (error) => {
        metrics.connectionCut(port, 'handshake');
        logger.debug({ port, why: error.message }, 'a TLS handshake failed');
      },
      onDefect: (where, error) => logger.error({ where, err: error }, 'a port failed by a defect'),
    };
  }
}
