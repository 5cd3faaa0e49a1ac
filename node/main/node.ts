/** One node in this process: engine, transports, metrics, and their life from start to stop. */
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/client/error';
import { Metrics } from '../observe/metrics.ts';
import { ClockWatch } from '../observe/clock-watch.ts';
import { createLogger, type Logger } from '../observe/logger.ts';
import { takeDirectory, type NodePorts } from '../runtime/node-ports.ts';
import { clusterService } from '../services/cluster-service.ts';
import type { ServedService } from '../services/handler.ts';
import { keyspaceService } from '../services/keyspace-service.ts';
import { kvService } from '../services/kv-service.ts';
import type { FatalCause } from '../raft/group-host.ts';
import { verifyLevelFiles, verifyNextTable } from '../storage/level-verifier.ts';
import { CallEdge } from '../transport/call-edge.ts';
import type { ClusterConfig, NodeConfig } from './cluster-file.ts';
import { openEngine, type Engine } from './engine.ts';
import { gauges, statusSource, type NodeFacts } from './node-status.ts';
import { Serving } from './serving.ts';
import { diskFailed, startError } from './start-error.ts';
import { VERSION } from './version.ts';

/** Time that a stopping node gives the calls it took. */
const STOP_MS = 10_000;

export interface RunNodeOptions {
  readonly config: ClusterConfig;
  /** Name of the node in the configuration. */
  readonly node: string;
  readonly dataDirectory: string;
  /** The node takes calls. */
  onReady(): void;
}

export interface RunningNode {
  /** Finishes what was taken, then stops. */
  stop(): Promise<void>;
  /** Resolves when the node has ended, with the error that ended it. */
  readonly closed: Promise<{ error?: Error }>;
}

/** Starts a node. Error: StartError, with what to do. */
export async function runNode(options: RunNodeOptions): Promise<RunningNode> {
  const settings = options.config.nodes.find(({ name }) => name === options.node)!;
  const logger = createLogger(settings.name, options.config.log.level);
  try {
    const ports = await takeDirectory(options.dataDirectory);
    const node = new Node(options, settings, logger, ports);
    try {
      await node.start();
    } catch (error) {
      await node.abandon();
      throw node.diskFailure ?? error; // what failed for lack of a disk says less than the disk did
    }
    return node;
  } catch (error) {
    throw startError(error, addresses(settings), options.dataDirectory);
  }
}

class Node implements RunningNode {
  readonly closed: Promise<{ error?: Error }>;
  readonly #options: RunNodeOptions;
  readonly #settings: NodeConfig;
  readonly #logger: Logger;
  readonly #ports: NodePorts;
  readonly #metrics = new Metrics();
  readonly #stopping = new AbortController();
  #engine: Engine | undefined;
  #serving: Serving | undefined;
  #damaged = false;
  #diskFailure: Error | undefined;
  #close: (end: { error?: Error }) => void = () => undefined;
  #stop: Promise<void> | undefined;
  #clockWatch: ClockWatch | undefined;

  constructor(options: RunNodeOptions, settings: NodeConfig, logger: Logger, ports: NodePorts) {
    this.#options = options;
    this.#settings = settings;
    this.#logger = logger;
    this.#ports = ports;
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  /** Why the disk can no longer be written. */
  get diskFailure(): Error | undefined {
    return this.#diskFailure;
  }

  async start(): Promise<void> {
    const engine = (this.#engine = await this.#openEngine());
    this.#clockWatch = new ClockWatch(this.#ports.clock, (byMs) => this.#onClockStep(byMs));
    const edge = this.#createEdge();
    this.#metrics.addGauges(gauges(engine, edge, this.#ports.clock));
    this.#serving = await Serving.start({
      limits: this.#options.config.limits,
      settings: this.#settings,
      clock: this.#ports.clock,
      logger: this.#logger,
      metrics: this.#metrics,
      edge,
      services: this.#services(engine),
      readiness: () => this.#readiness(),
      stopping: this.#stopping.signal,
    });
    const { durationMs, replayedEntries, tornBytes } = engine.recovery;
    this.#logger.info(
      {
        recovery_ms: Math.round(durationMs),
        replayed_entries: replayedEntries,
        torn_bytes: tornBytes,
        ...addresses(this.#settings),
        incarnation: engine.identity.incarnation,
      },
      'node is ready',
    );
    this.#options.onReady();
  }

  stop(): Promise<void> {
    this.#stop ??= this.#shutDown();
    return this.#stop;
  }

  /** Gives back what a failed start had taken. */
  async abandon(): Promise<void> {
    this.#clockWatch?.stop();
    this.#stopping.abort();
    await this.#serving?.close(0).catch(() => undefined);
    await this.#engine?.stop().catch(() => undefined);
    await this.#ports.release().catch(() => undefined);
  }

  #openEngine(): Promise<Engine> {
    const { disk, clock, random, openStore } = this.#ports;
    const { storage, limits } = this.#options.config;
    return openEngine({
      disk,
      clock,
      random,
      openStore,
      verifyStore: () => verifyLevelFiles(disk, 'store'),
      verifyNextFile: (after) => verifyNextTable(disk, 'store', after),
      nodeName: this.#settings.name,
      segmentBytes: storage.segmentBytes,
      minFreeBytes: storage.minFreeBytes,
      queueBytes: limits.queueBytes,
      onFailure: (cause, error) => this.#onStorageFailure(cause, error),
      onSpaceChange: (low, freeBytes) => this.#onSpaceChange(low, freeBytes),
      observe: this.#metrics,
    });
  }

  #createEdge(): CallEdge {
    return new CallEdge({
      clock: this.#ports.clock,
      random: this.#ports.random,
      authorise: () => 'anyone', // until there are roles
      inFlightBytes: this.#options.config.limits.inFlightBytes,
      refusal: () => (this.#stopping.signal.aborted ? stoppingError() : undefined),
      observe: (call) => {
        this.#metrics.call(call);
        this.#logger.debug(
          { method: call.method, code: call.code, ms: call.durationMs, request_id: call.requestId },
          'call',
        );
      },
      onDefect: (method, requestId, error) =>
        this.#logger.error({ method, request_id: requestId, err: error }, 'a call failed by a defect'),
    });
  }

  #services(engine: Engine): ServedService[] {
    const { kv, keyspaces } = engine;
    const facts: NodeFacts = {
      ...addresses(this.#settings),
      version: VERSION,
      pid: process.pid,
      startedAtMs: this.#ports.clock.wallMs(),
      isStopping: () => this.#stopping.signal.aborted,
    };
    const observe = (operation: string, code: string, durationMs: number) =>
      this.#metrics.pipelineOperation(operation, code, durationMs);
    return [
      kvService({ kv, keyspaces, clock: this.#ports.clock, observe, stopping: this.#stopping.signal }),
      keyspaceService(keyspaces),
      clusterService(statusSource(engine, facts)),
    ];
  }

  #readiness(): { ready: boolean; reason: string } {
    if (this.#stopping.signal.aborted) return { ready: false, reason: 'the node is stopping' };
    if (this.#damaged) return { ready: false, reason: "the node's data is damaged" };
    return { ready: true, reason: 'ok' };
  }

  async #shutDown(): Promise<void> {
    this.#logger.info('node is stopping');
    this.#clockWatch?.stop();
    if (this.#serving !== undefined) this.#serving.healthy = false;
    this.#stopping.abort();
    await this.#serving?.close(STOP_MS);
    await this.#engine?.stop();
    await this.#ports.release();
    this.#logger.info('node has stopped');
    this.#close({});
  }

  /** A disk that failed ends the process: what it still holds is unknown. Damage is kept for a look, and refused. */
  #onStorageFailure(cause: FatalCause, error: Error): void {
    this.#damaged = true;
    if (this.#serving !== undefined) this.#serving.healthy = false;
    this.#logger.fatal({ err: error, directory: this.#options.dataDirectory }, cause);
    if (cause !== 'storage failed') return;
    this.#diskFailure = error;
    this.#close({ error: diskFailed(error, this.#settings.name, this.#options.dataDirectory) });
  }

  #onClockStep(byMs: number): void {
    const facts = { by_ms: Math.round(byMs) };
    this.#logger.warn(
      facts,
      'the wall clock was set: times to live that are running end earlier or later by as much',
    );
  }

  #onSpaceChange(low: boolean, freeBytes: number): void {
    const facts = {
      free_bytes: freeBytes,
      floor_bytes: this.#options.config.storage.minFreeBytes,
      directory: join(this.#options.dataDirectory),
    };
    if (low) this.#logger.warn(facts, 'disk space is low: writes that grow data are refused');
    else this.#logger.info(facts, 'disk space is back: writes are taken again');
  }
}

function addresses({ name, grpc: grpcAddress, http }: NodeConfig): {
  name: string;
  grpc: string;
  http: string;
} {
  return { name, grpc: grpcAddress.text, http: http.text };
}

function stoppingError(): HoldfastError {
  return new HoldfastError({
    reason: 'SHUTTING_DOWN',
    message: 'the node is stopping. Nothing was done; ask another node, or this one again when it is back.',
    outcome: 'NOT_APPLIED',
    retryAfterMs: 500,
  });
}
