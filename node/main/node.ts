/** One node in this process: engine, transports, metrics, and their life from start to stop. */
import { join } from 'node:path';
import type { Timer } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { LoginOptions } from '@holdfast/client/options';
import { ForwardService } from '@holdfast/proto/raft/v1/forward';
import { Metrics } from '../observe/metrics.ts';
import { ClockWatch } from '../observe/clock-watch.ts';
import { createLogger, type Logger } from '../observe/logger.ts';
import { takeDirectory, type NodePorts } from '../runtime/node-ports.ts';
import { clusterService } from '../services/cluster-service.ts';
import { accessRules } from '../services/access-rules.ts';
import { Access, tokenOf } from '../services/access.ts';
import type { ServedService } from '../services/handler.ts';
import { forwardService } from '../services/forward-service.ts';
import type { FatalCause } from '../raft/group-host.ts';
import type { Founder } from '../cluster/founder.ts';
import { addressOfMember, memberNamed, type Introduction, type Membership } from '../cluster/membership.ts';
import { bootstrapService } from '../services/bootstrap-service.ts';
import { deferredService } from '../services/deferred-service.ts';
import { claimDirectory, DirectoryCondemned, readIdentity, type Identity } from '../storage/identity.ts';
import { asideFolder, completeRebuild } from '../storage/rebuilt-directory.ts';
import { verifyLevelFiles, verifyNextTable } from '../storage/level-verifier.ts';
import { CallEdge } from '../transport/call-edge.ts';
import { givenUp } from './begin-anew.ts';
import { checkAddresses, linkCounters, linkGauges, linkToMembers } from './cluster-link.ts';
import type { ClusterConfig, NodeConfig } from './cluster-file.ts';
import { CONTENTS, DataDamaged, openEngine, type Engine } from './engine.ts';
import { JoinRequest } from './join-request.ts';
import { createFounder } from './node-founder.ts';
import { startingError, stoppingError } from './node-errors.ts';
import { NodeCalls } from './node-calls.ts';
import { parseNetworkAddress } from './network-address.ts';
import { engineServices } from './node-services.ts';
import { addEngineFigures } from './engine-figures.ts';
import { gossipOf } from './gossip-settings.ts';
import { statusSource, type NodeFacts } from './node-status.ts';
import { Serving } from './serving.ts';
import { authSettings } from './auth-settings.ts';
import { diskFailed, startError } from './start-error.ts';
import { VERSION } from './version.ts';

/** Time that a stopping node gives the calls it took. */
const STOP_MS = 10_000;
/** How often a node that waits for a leader looks for one. */
const LOOK_MS = 50;
/** What is answered before there is an engine. */
const ALWAYS = new Set([
  'holdfast.raft.v1.BootstrapService/Introduce',
  'holdfast.cluster.v1.ClusterService/GetStatus',
]);

export interface RunNodeOptions {
  readonly config: ClusterConfig;
  /** Name of the node in the configuration. */
  readonly node: string;
  readonly dataDirectory: string;
  /** The cluster that the node joins, if it does not belong to one yet. */
  readonly join?: { readonly addresses: readonly string[]; readonly login: LoginOptions | undefined };
  /** The node serves: it knows who leads. */
  onReady(leader: string): void;
}

export interface RunningNode {
  /** Finishes what was taken, then stops. */
  stop(): Promise<void>;
  /** Resolves when the node has ended, with the error that ended it. */
  readonly closed: Promise<{ error?: Error }>;
}

/** Starts a node, and once more whenever its directory is to begin anew. Error: StartError, with what to do. */
export async function runNode(options: RunNodeOptions): Promise<RunningNode> {
  let node = await begunNode(options);
  let isStopping = false;
  const ended = async (): Promise<{ error?: Error }> => {
    for (;;) {
      const end = await node.closed;
      if (!end.beginsAnew || isStopping) return end;
      try {
        node = await begunNode(options);
      } catch (error) {
        return { error: error as Error };
      }
      if (isStopping) void node.stop();
    }
  };
  const closed = ended();
  const stop = async () => {
    isStopping = true;
    await node.stop();
    await closed;
  };
  return { closed, stop };
}

async function begunNode(options: RunNodeOptions): Promise<Node> {
  const settings = options.config.nodes.find(({ name }) => name === options.node)!;
  const logger = createLogger(settings.name, options.config.log.level);
  for (;;) {
    try {
      return await startedNode(options, settings, logger);
    } catch (error) {
      if (error instanceof DirectoryBeginsAnew) continue;
      throw startError(error, addresses(settings), options.dataDirectory);
    }
  }
}

/** The damaged data of a node was given up: it is to be started once more, and begins empty. */
class DirectoryBeginsAnew extends Error {}

async function startedNode(options: RunNodeOptions, settings: NodeConfig, logger: Logger): Promise<Node> {
  const ports = await takeDirectory(options.dataDirectory);
  const node = new Node(options, settings, logger, ports);
  try {
    await node.start();
    return node;
  } catch (error) {
    await node.abandon();
    throw node.diskFailure ?? error; // what failed for lack of a disk says less than the disk did
  }
}

/** How a node has ended. */
interface NodeEnd {
  readonly error?: Error;
  /** It is to be started once more. */
  readonly beginsAnew?: boolean;
}

class Node implements RunningNode {
  readonly closed: Promise<NodeEnd>;
  readonly #options: RunNodeOptions;
  readonly #settings: NodeConfig;
  readonly #logger: Logger;
  readonly #ports: NodePorts;
  readonly #metrics = new Metrics();
  readonly #stopping = new AbortController();
  #engine: Engine | undefined;
  #serving: Serving | undefined;
  /** What is wrong with the data. */
  #damage: string | undefined;
  /** Why peers, or what was read, ended the engine before it was open. */
  #refused: Error | undefined;
  /** Why damaged data is not given up yet. */
  #rebuildWaitsFor = '';
  #diskFailure: Error | undefined;
  #close: (end: NodeEnd) => void = () => undefined;
  #stop: Promise<void> | undefined;
  #clockWatch: ClockWatch | undefined;
  #founder: Founder | undefined;
  #joining: JoinRequest | undefined;
  #looking: Timer | undefined;
  /** Calls to the other nodes. */
  readonly #calls: NodeCalls;

  constructor(options: RunNodeOptions, settings: NodeConfig, logger: Logger, ports: NodePorts) {
    this.#options = options;
    this.#settings = settings;
    this.#logger = logger;
    this.#ports = ports;
    const token = () => this.#engine?.auth.nodeToken(settings.name);
    this.#calls = new NodeCalls(settings.tls, ports.clock, token);
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  /** Why the disk can no longer be written. */
  get diskFailure(): Error | undefined {
    return this.#diskFailure;
  }

  async start(): Promise<void> {
    const { clock } = this.#ports;
    const { identity, damage } = await this.#claim();
    const founder = (this.#founder = this.#createFounder(identity));
    const edge = this.#createEdge();
    this.#serving = await this.#startServing(edge, identity);
    this.#calls.open();
    if (damage !== undefined) throw await this.#givenUp(identity, damage);
    const membership = await founder.belong(this.#stopping.signal);
    this.#joining?.close();
    try {
      this.#engine = await this.#openEngine(membership);
      if (this.#refused !== undefined) throw this.#refused; // only just, so that the engine did not see it
    } catch (error) {
      const isDamage = error instanceof DataDamaged || error === this.#refused;
      throw isDamage ? await this.#givenUp(identity, error as Error) : error;
    }
    this.#clockWatch = new ClockWatch(clock, (byMs) => this.#onClockStep(byMs));
    addEngineFigures(this.#metrics, this.#engine, edge, clock);
    this.#awaitLeader(this.#engine);
  }

  stop(): Promise<void> {
    this.#stop ??= this.#shutDown();
    return this.#stop;
  }

  /** Gives back what a failed start had taken; once, whoever is first: this, or a stop. */
  abandon(): Promise<void> {
    this.#stop ??= this.#giveBack();
    return this.#stop;
  }

  async #giveBack(): Promise<void> {
    this.#clockWatch?.stop();
    this.#looking?.cancel();
    this.#stopping.abort(stoppingError());
    this.#joining?.close();
    this.#calls.close();
    await this.#serving?.close(0).catch(() => undefined);
    await this.#engine?.stop().catch(() => undefined);
    await this.#ports.release().catch(() => undefined);
  }

  /** Whose directory it is, and what is known to be wrong with it. */
  async #claim(): Promise<{ identity: Identity; damage?: Error }> {
    const { disk, random } = this.#ports;
    await completeRebuild(disk, CONTENTS);
    try {
      return { identity: await claimDirectory(disk, random, this.#settings.name, CONTENTS) };
    } catch (error) {
      if (error instanceof DirectoryCondemned) return { identity: error.identity, damage: error };
      throw error;
    }
  }

  /**
   * Waits until the others have given up what is in this directory, and has it begin anew.
   * Resolves to why the node cannot go on as it is: the damage itself, if nobody else is there.
   */
  async #givenUp(identity: Identity, damage: Error): Promise<Error> {
    this.#damage = damage.message;
    this.#logger.fatal({ err: damage, directory: this.#options.dataDirectory }, 'the data is damaged');
    const next = await givenUp({
      identity,
      ...this.#ports,
      transport: this.#calls,
      configured: (name) => this.#configured(name),
      signal: this.#stopping.signal,
      onWaiting: (why) => {
        this.#rebuildWaitsFor = why;
        this.#logger.warn(`the others do not give up what this node holds: ${why}`);
      },
    });
    if (next === undefined) return damage;
    this.#logger.warn(
      { aside: join(this.#options.dataDirectory, asideFolder(next)) },
      'the others go on without what this node holds: it is put aside, and the node begins empty. Remove it when nobody wants to look at it',
    );
    return new DirectoryBeginsAnew();
  }

  #configured(name: string): string | undefined {
    return this.#options.config.nodes.find((node) => node.name === name)?.grpc.text;
  }

  #createFounder(identity: Identity): Founder {
    const joining = (this.#joining = this.#createJoinRequest());
    return createFounder({
      config: this.#options.config,
      self: addresses(this.#settings),
      identity,
      transport: this.#calls,
      ...this.#ports,
      joining,
      onWaiting: (why) => this.#logger.info(`waiting: ${why}`),
    });
  }

  #createJoinRequest(): JoinRequest | undefined {
    const { join } = this.#options;
    if (join === undefined) return undefined;
    const onAnswer = (text: string) => this.#logger.info(`the cluster says: ${text}`);
    return new JoinRequest({ ...join, node: this.#settings, onAnswer });
  }

  #startServing(edge: CallEdge, identity: Identity): Promise<Serving> {
    return Serving.start({
      limits: this.#options.config.limits,
      settings: this.#settings,
      clock: this.#ports.clock,
      logger: this.#logger,
      metrics: this.#metrics,
      edge,
      services: this.#services(identity),
      nodeServices: this.#nodeServices(),
      rules: accessRules(() => this.#engine!.sessions),
      readiness: () => this.#readiness(),
      onCertificate: () => this.#calls.renew(),
      stopping: this.#stopping.signal,
    });
  }

  /** Tells that the node serves as soon as it knows who leads; in a cluster without a majority that may take long. */
  #awaitLeader(engine: Engine): void {
    const leader = engine.host.leaderOf(0)?.name;
    if (this.#stopping.signal.aborted || engine.host.failure !== undefined) return;
    if (leader === undefined || !engine.isReady()) {
      this.#looking = this.#ports.clock.setTimer(LOOK_MS, () => this.#awaitLeader(engine));
      return;
    }
    this.#serving!.healthy = true;
    const { durationMs, replayedEntries, tornBytes } = engine.recovery;
    this.#logger.info(
      {
        recovery_ms: Math.round(durationMs),
        replayed_entries: replayedEntries,
        torn_bytes: tornBytes,
        ...addresses(this.#settings),
        incarnation: engine.identity.incarnation,
        leader,
      },
      'node is ready',
    );
    this.#options.onReady(leader);
  }

  #openEngine(membership: Membership): Promise<Engine> {
    const { disk, clock, random, openStore } = this.#ports;
    const { storage, limits, coordination, cluster, auth } = this.#options.config;
    checkAddresses(membership, this.#options.config);
    const { name: self, tls } = this.#settings;
    const { clusterId } = membership;
    const configured = (name: string) => this.#configured(name);
    let known = membership;
    const addressOf = (name: string) => {
      const member = memberNamed(known, name);
      return member && addressOfMember(known, member, configured);
    };
    const link = linkToMembers({ self, clusterId, addressOf, clock, random, tls, logger: this.#logger });
    this.#serving!.addPeers(link);
    const stats = () => link.stats();
    this.#metrics.addCounters(linkCounters(stats));
    this.#metrics.addGauges(linkGauges(stats));
    return openEngine({
      membership,
      cluster,
      addressOf: configured,
      addressProblem,
      onMembers: (changed) => {
        this.#tellMembers(known, changed);
        known = changed;
        link.start(changed.members.map(({ name }) => name));
      },
      peers: link,
      forwarding: this.#calls,
      gossip: {
        ...gossipOf(this.#options.config, this.#settings),
        onSuperseded: ({ member, start }) =>
          this.#logger.warn(
            { member, start },
            'another run of a node has the name of this one, which gossip does not hear any more',
          ),
      },
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
      ...coordination,
      auth: authSettings(auth),
      onFailure: (cause, error) => this.#onStorageFailure(cause, error),
      onSpaceChange: (low, freeBytes) => this.#onSpaceChange(low, freeBytes),
      observe: this.#metrics,
    });
  }

  #createEdge(): CallEdge {
    return new CallEdge({
      clock: this.#ports.clock,
      random: this.#ports.random,
      authorise: ({ token, authorization }) => new Access(this.#engine?.auth, tokenOf(token, authorization)),
      inFlightBytes: this.#options.config.limits.inFlightBytes,
      refusal: (method) => this.#refusal(method),
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

  #services(identity: Identity): ServedService[] {
    const { clock } = this.#ports;
    const engine = () => this.#engine!; // calls are let in when there is one
    const facts: NodeFacts = {
      ...addresses(this.#settings),
      version: VERSION,
      pid: process.pid,
      startedAtMs: clock.wallMs(),
      isStopping: () => this.#stopping.signal.aborted,
      waitsFor: () => this.#waitsFor(),
      isDamaged: () => this.#damage !== undefined,
    };
    const observe = (operation: string, code: string, durationMs: number) =>
      this.#metrics.pipelineOperation(operation, code, durationMs);
    const stopping = this.#stopping.signal;
    return [
      ...engineServices(engine, {
        clock,
        observe,
        stopping,
        etcd: this.#options.config.etcd,
        hasTls: this.#settings.tls !== undefined,
      }),
      clusterService({
        status: statusSource(() => this.#engine, facts, identity),
        members: () => this.#engine!.changes,
        leaders: () => this.#engine!.transfer,
        seen: () => this.#engine!.seen,
        clock,
        stopping,
      }),
    ];
  }

  #nodeServices(): ServedService[] {
    const { clock } = this.#ports;
    return [
      deferredService(ForwardService, () => forwardService({ ...this.#engine!, clock })),
      bootstrapService({
        introduction: () => this.#introduction(),
        rebuilds: () => this.#engine!.rebuilds,
      }),
    ];
  }

  /** What this node says of itself: of the members what it has applied last. */
  #introduction(): Introduction {
    const { introduction } = this.#founder!;
    return this.#engine === undefined
      ? introduction
      : { ...introduction, membership: this.#engine.members.current };
  }

  #tellMembers(before: Membership, { members }: Membership): void {
    const shown = (list: Membership['members']) =>
      list.map(({ name, state }) => `${name} ${state}`).join(', ');
    if (shown(before.members) === shown(members)) return;
    this.#logger.info({ members: shown(members), before: shown(before.members) }, 'the members have changed');
  }

  /** Why a call is not let in; undefined: it is. */
  #refusal(method: string): HoldfastError | undefined {
    if (this.#stopping.signal.aborted) return stoppingError();
    if (this.#engine !== undefined || ALWAYS.has(method)) return undefined;
    return startingError(this.#founder?.waitsFor ?? '');
  }

  #readiness(): { ready: boolean; reason: string } {
    if (this.#stopping.signal.aborted) return { ready: false, reason: 'the node is stopping' };
    if (this.#damage !== undefined)
      return { ready: false, reason: `the node's data is damaged: ${this.#damage} ${this.#rebuildWaitsFor}` };
    const reason = this.#waitsFor();
    if (reason !== '') return { ready: false, reason };
    return { ready: true, reason: 'ok' };
  }

  /** What keeps the node from serving; empty: nothing. */
  #waitsFor(): string {
    const engine = this.#engine;
    if (this.#damage !== undefined) return `its data is damaged. ${this.#rebuildWaitsFor}`;
    if (engine === undefined) return this.#founder?.waitsFor || 'the node is starting';
    if (engine.host.leaderOf(0) !== undefined && engine.isReady()) return '';
    const others = engine.host.members
      .filter(({ id }) => id !== engine.host.self)
      .map((member) => [member.name, engine.gossip?.stateOf(member) ?? []].flat().join(' '));
    return `the node knows no leader of the cluster: with itself a majority of its members must be up (the others: ${others.join(', ')})`;
  }

  async #shutDown(): Promise<void> {
    this.#logger.info('node is stopping');
    this.#clockWatch?.stop();
    if (this.#serving !== undefined) this.#serving.healthy = false;
    this.#looking?.cancel();
    await this.#engine?.handOver();
    this.#stopping.abort(stoppingError());
    await this.#serving?.close(STOP_MS);
    this.#calls.close();
    await this.#engine?.stop();
    await this.#ports.release();
    this.#logger.info('node has stopped');
    this.#close({});
  }

  /** A disk that failed ends the process: what it still holds is unknown. Damage is kept for a look, and refused. */
  #onStorageFailure(cause: FatalCause, error: Error): void {
    this.#damage = error.message;
    if (this.#serving !== undefined) this.#serving.healthy = false;
    this.#logger.fatal({ err: error, directory: this.#options.dataDirectory }, cause);
    if (cause === 'removed') return this.#close({ error });
    if (cause !== 'storage failed') return void this.#giveUpWhileRunning(error);
    this.#diskFailure = error;
    this.#close({ error: diskFailed(error, this.#settings.name, this.#options.dataDirectory) });
  }

  /** Nothing is served any more; the directory is not written any more either. */
  async #giveUpWhileRunning(damage: Error): Promise<void> {
    if (this.#engine === undefined) {
      this.#refused = damage; // the start fails of it
      return;
    }
    try {
      const identity = (await readIdentity(this.#ports.disk)) ?? this.#engine.identity;
      if ((await this.#givenUp(identity, damage)) === damage) return;
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#logger.error({ err: error }, 'the data cannot be put aside');
      return;
    }
    await this.abandon();
    this.#close({ beginsAnew: true });
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

function addressProblem(text: string): string | undefined {
  const parsed = parseNetworkAddress(text);
  return 'problem' in parsed ? parsed.problem : undefined;
}
