/**
 * One node of the world: a machine with a disk and a clock, and on it one process after
 * another that runs the real engine, handlers and edge.
 */
import type { HoldfastError } from '../../../client/error.ts';
import { ForwardService } from '@holdfast/proto/raft/v1/forward';
import { Founder } from '../../../node/cluster/founder.ts';
import {
  membershipOf,
  withMembership,
  type Introduction,
  type Membership,
} from '../../../node/cluster/membership.ts';
import { givenUp } from '../../../node/main/begin-anew.ts';
import { CONTENTS, type Engine } from '../../../node/main/engine.ts';
import { engineServices } from '../../../node/main/node-services.ts';
import { statusSource } from '../../../node/main/node-status.ts';
import type { FatalCause } from '../../../node/raft/group-host.ts';
import type { CrashPolicy } from '../../../node/runtime/simulated/crash-policy.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedDisk } from '../../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedProcess } from '../../../node/runtime/simulated/simulated-process.ts';
import {
  SimulatedOrderedStore,
  SimulatedStoreMedium,
} from '../../../node/runtime/simulated/simulated-store.ts';
import { bootstrapService } from '../../../node/services/bootstrap-service.ts';
import { clusterService } from '../../../node/services/cluster-service.ts';
import { deferredService } from '../../../node/services/deferred-service.ts';
import { forwardService } from '../../../node/services/forward-service.ts';
import {
  claimDirectory,
  readIdentity,
  writeIdentity,
  type Identity,
} from '../../../node/storage/identity.ts';
import { completeRebuild, nextIdentity } from '../../../node/storage/rebuilt-directory.ts';
import { CallEdge } from '../../../node/transport/call-edge.ts';
import { SimulatedServer } from '../../../node/transport/simulated/simulated-server.ts';
import { SimulatedTransport } from '../../../node/transport/simulated/simulated-transport.ts';
import { startingError, stoppingError } from './node-errors.ts';
import type { NodeSurroundings } from './node-surroundings.ts';
import { gossipOf, LOG_SECURES_ITS_END, openMember, type Member } from './open-member.ts';
import { openAccess } from '../../../node/services/access.ts';

const ANSWERED = /\/(?:Introduce|GetStatus)$/;
const WALL_START_MS = 1_760_000_000_000;
/** Capacity of a disk that is not short of space. */
export const ROOMY_BYTES = 2 ** 40;
/** A node that has not stopped by then is killed. */
const STOP_MS = 5_000;

/** `spare`: its directory is empty, and nobody has asked for it. */
export type NodeState = 'down' | 'starting' | 'up' | 'stopping' | 'refused' | 'spare';

export class WorldNode {
  readonly member: Member;
  readonly medium = new SimulatedStoreMedium();
  disk: SimulatedDisk;
  store: SimulatedOrderedStore | undefined;
  clock: SimulatedClock;
  process: SimulatedProcess;
  engine: Engine | undefined;
  edge: CallEdge | undefined;
  /**
   * Its data was damaged on purpose, so it has to refuse to start; `repair` undoes it, if that
   * is possible. With `isToBeGivenUp` the node is to begin anew when the others let it.
   */
  damage: { readonly repair: (() => void) | undefined; readonly isToBeGivenUp?: boolean } | undefined;
  /** It lost data that others know of: before all is over it has to be refused. */
  mustBeRefused = false;
  /** Its disk is or was so full that writes failed: whatever the process does of it is right. */
  isFull = false;
  /** Somebody has asked to let it go: it may find itself removed. */
  mayBeRemoved = false;
  /** Somebody took it for lost and asked to have another in its place; should it have come back by then, it is removed. */
  mayBeReplaced = false;
  /** Its directory was emptied, and it is to come back as a new member. */
  wasWiped = false;
  /** The member that it was before. */
  lostReplica = 0;
  /** Its directory was emptied so that it could be added. */
  wasSpare = false;
  /** Times that it came up, that it ended by itself, and that it refused to start. */
  starts = 0;
  selfEnded = 0;
  refusals = 0;
  /** Times that its damaged data was given up. */
  rebuilds = 0;
  /** What other nodes did for its callers. */
  forwarded = 0;
  readonly #around: NodeSurroundings;
  readonly #random: SeededRandom;
  #state: NodeState;
  #replica = 0;
  #isPaused = false;
  #drift = 0;
  /** Greatest rate that its clock has had, 1 for a right one. */
  fastest = 1;
  #stopping = new AbortController();
  #server: SimulatedServer | undefined;
  #founder: Founder | undefined;
  /** What it says of its directory while it asks to be given up. */
  #own = { node_id: '', incarnation: 1 };
  /** The cluster that its directory belongs to, once it does. */
  clusterId: string | undefined;
  /** Faults of the disk that this process met. */
  #failuresBefore = 0;
  #runs = 0;

  constructor(member: Member, random: SeededRandom, around: NodeSurroundings) {
    this.member = member;
    this.#state = around.founders.includes(member.name) ? 'down' : 'spare';
    this.#around = around;
    this.#random = random;
    this.process = new SimulatedProcess(around.scheduler);
    this.disk = new SimulatedDisk(this.process, random.fork('disk'));
    this.clock = new SimulatedClock(this.process, { wallStartMs: WALL_START_MS });
  }

  get name(): string {
    return this.member.name;
  }

  get state(): NodeState {
    return this.#state;
  }

  /** Its number as a replica, now or when it was last up; 0: it has none. */
  get replica(): number {
    return this.engine?.host.self ?? this.#replica;
  }

  /** It waits to be taken in, as a node does whose directory is new. */
  get isWaiting(): boolean {
    return this.#state === 'starting' && this.#founder?.introduction.membership === undefined;
  }

  /** A machine whose directory is empty is started, to be added. */
  enlist(): void {
    if (this.#state !== 'spare') return;
    this.#state = 'down';
    this.start();
  }

  /** It is no part of the cluster any more: its directory is emptied, and it may be added again. */
  becomeSpare(): void {
    if (this.#state === 'spare') return;
    this.kill();
    this.disk.restore({ directories: [], files: new Map() });
    this.medium.empty();
    this.damage = undefined;
    this.mustBeRefused = false;
    this.mayBeRemoved = this.mayBeReplaced = false;
    this.clusterId = undefined;
    this.#replica = 0;
    this.wasSpare = true;
    this.wasWiped = false;
    this.#state = 'spare';
    this.#around.trace.note(this.name, 'is a spare');
  }

  get isDamaged(): boolean {
    return this.damage !== undefined;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Begins to start a node that is down. */
  start(): void {
    if (this.#state !== 'down' && this.#state !== 'refused') return;
    this.#around.links.hostOn(this.name);
    this.#state = 'starting';
    if (this.disk.conditions.capacityBytes >= ROOMY_BYTES) this.isFull = false;
    this.#failuresBefore = this.#diskFailures();
    this.#around.trace.note(this.name, 'starts');
    const { process } = this;
    this.#listen();
    this.#open().then(
      (engine) => {
        if (this.process === process) this.#serve(engine);
      },
      (error: unknown) => {
        if (this.process === process) this.#onStartFailed(error as Error);
      },
    );
  }

  /** The process is killed; the machine keeps what was written. */
  kill(): void {
    if (this.#state === 'down') return;
    this.#end('is killed', true);
    this.store?.crash('seeded');
    this.disk = this.disk.kill(this.process);
    if (!LOG_SECURES_ITS_END) this.disk.writeBack();
  }

  /** Dies before it belongs to a cluster; returns whether it did. */
  dieEarly(): boolean {
    if (this.#state !== 'starting' || this.#founder?.introduction.membership !== undefined) return false;
    this.kill();
    return true;
  }

  /** The machine loses power. */
  losePower(policy: CrashPolicy): void {
    this.#around.links.hostOff(this.name);
    this.#end(`loses power, ${policy}`, false);
    this.store?.crash(policy);
    this.disk = this.disk.crash(policy, this.process);
  }

  pause(): void {
    if (this.#isPaused || this.#state === 'down' || this.#state === 'refused') return;
    this.#isPaused = true;
    this.#around.trace.note(this.name, 'is paused');
    this.process.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#around.trace.note(this.name, 'goes on');
    this.process.resume();
  }

  /** Stops in order, as on SIGTERM, then is down. */
  stop(): void {
    if (this.#state !== 'up') return;
    this.#state = 'stopping';
    this.#around.trace.note(this.name, 'stops');
    const stopping = this.#stopping;
    const { process, engine, edge } = this;
    process.after(STOP_MS, () => {
      if (this.process === process) this.kill();
    });
    const ended = engine!
      .handOver()
      .then(() => {
        stopping.abort(stoppingError());
        return edge!.drained();
      })
      .then(() => engine!.stop());
    ended.then(
      () => {
        if (this.process === process) this.kill();
      },
      (error: unknown) => {
        if (this.process === process) this.#dieOf('stopping failed', error as Error);
      },
    );
  }

  /** The rate of its clock, and of those that later processes get. */
  setDrift(drift: number): void {
    this.#drift = drift;
    this.fastest = Math.max(this.fastest, 1 + drift);
    this.clock.setDrift(drift);
  }

  async #open(): Promise<Engine> {
    const { disk, name } = this;
    if ((await nextIdentity(disk)) !== undefined) this.#noteAnew();
    await completeRebuild(disk, CONTENTS);
    const identity = await claimDirectory(disk, this.#fork('identity'), name, CONTENTS);
    return this.#openMember(await this.#belong(identity));
  }

  /** As node/main/node.ts does: a new directory founds a cluster with the others, or waits. */
  async #belong(identity: Identity): Promise<Membership> {
    const { disk, clock, process } = this;
    const { members, founders } = this.#around;
    const { node_name: name, node_id: nodeId } = identity;
    const nodes = [...new Set([...founders, name])].sort();
    this.#founder = new Founder({
      self: {
        name,
        nodeId,
        cluster: 'world',
        nodes,
        grpc: this.member.address,
        http: '',
        membership: membershipOf(identity),
      },
      addressOf: (node) => members.find((member) => member.name === node)!.address,
      transport: this.#calls(),
      clock,
      save: (membership) => writeIdentity(disk, withMembership(identity, membership)),
      onWaiting: (why) => {
        if (this.process === process) this.#onWaiting(why);
      },
    });
    const membership = await this.#founder.belong(new AbortController().signal);
    this.clusterId = membership.clusterId;
    return membership;
  }

  /** Nobody who is named is left out; a directory without what it once held is never let in again under its name. */
  #onWaiting(why: string): void {
    const isGuest = !this.#around.founders.includes(this.name) || this.wasSpare || this.wasWiped;
    if (isGuest && !this.mustBeRefused) return;
    if (why.includes('has to be added to it') && !this.mustBeRefused) {
      this.#around.onDefect('founding', `${this.name} is left out: ${why}`);
    }
    if (!why.includes('with other data') && !why.includes('has to be added to it')) return;
    if (!this.mustBeRefused) this.#around.onDefect('founding', `${this.name} waits for no reason: ${why}`);
    const { process } = this;
    process.after(0, () => {
      if (this.process !== process) return;
      this.#around.trace.note(this.name, `is a stranger: ${why}`);
      this.kill();
      this.refusals++;
      this.#state = 'refused';
    });
  }

  #openMember(membership: Membership): Promise<Engine> {
    const { network, settings } = this.#around;
    return openMember({
      membership,
      cluster: 'world',
      peers: network.transport(this.name, this.process),
      forwarding: this.#calls(),
      disk: this.disk,
      verifyStore: async () => [],
      verifyNextFile: async () => undefined,
      openStore: async () => {
        this.store = new SimulatedOrderedStore(this.process, this.#fork('store'), this.medium);
        return this.store;
      },
      clock: this.clock,
      random: this.#fork('engine'),
      nodeName: this.name,
      segmentBytes: settings.segmentBytes,
      minFreeBytes: settings.minFreeBytes,
      queueBytes: settings.queueBytes,
      entryCacheBytes: settings.entryCacheBytes,
      leaseCheckpointMs: settings.leaseCheckpointMs,
      gossip: settings.gossip ? gossipOf(this.member) : undefined,
      onFailure: (cause, error) => this.#onStorageFailure(cause, error),
      observe: {
        logBatch: () => undefined,
        flush: () => undefined,
        applied: () => undefined,
        committed: () => undefined,
        entry: (replica, entry, results) => this.#around.onApplied?.(this.name, replica, entry, results),
        forwarded: (_, result) => {
          if (result === 'OK') this.forwarded++;
        },
      },
      onSpaceChange: (low) => this.#around.trace.note(this.name, low ? 'is low on space' : 'has space'),
    });
  }

  /** Calls to other nodes. */
  #calls(): SimulatedTransport {
    const { links, settings } = this.#around;
    return new SimulatedTransport({
      links,
      host: this.name,
      process: this.process,
      clock: this.clock,
      isPatient: false,
      windowBytes: settings.windowBytes,
      maxQueuedBytes: settings.maxQueuedBytes,
      routes: '1',
    });
  }

  /** Takes calls, of which only the others' questions are answered before there is an engine. */
  #listen(): void {
    const { links, settings } = this.#around;
    const { clock, process } = this;
    const edge = (this.edge = this.#createEdge());
    const stopping = this.#stopping.signal;
    const engine = () => this.engine!;
    const own = (this.#own = { node_id: '', incarnation: 1 });
    const facts = {
      name: this.name,
      version: 'simulated',
      pid: this.member.id,
      grpc: this.member.address,
      http: '',
      startedAtMs: clock.wallMs(),
      isStopping: () => stopping.aborted,
      waitsFor: () => '',
      isDamaged: () => own.node_id !== '',
    };
    const status = statusSource(() => this.engine, facts, own);
    this.#server = new SimulatedServer({
      process,
      clock,
      edge,
      services: [
        ...engineServices(engine, { clock, observe: () => undefined, stopping }),
        deferredService(ForwardService, () => forwardService({ ...engine(), clock })),
        clusterService({
          status,
          members: () => engine().changes,
          leaders: () => engine().transfer,
          seen: () => engine().seen,
          clock,
          stopping,
        }),
        bootstrapService({ introduction: () => this.#introduction(), rebuilds: () => engine().rebuilds }),
      ],
      connectionInFlightBytes: settings.connectionInFlightBytes,
      sendQueueBytes: settings.sendQueueBytes,
    });
    links.listen(this.member.address, this.name, this.#server);
  }

  /** As node/main/node.ts does. */
  #introduction(): Introduction {
    const { introduction } = this.#founder!;
    return this.engine === undefined
      ? introduction
      : { ...introduction, membership: this.engine.members.current };
  }

  /** With an empty directory, it has come back as another member, and all that the old one held is elsewhere. */
  noteBack(): void {
    this.wasWiped = false;
    this.damage = undefined;
  }

  #serve(engine: Engine): void {
    if (this.wasWiped && engine.host.self === this.lostReplica)
      this.#around.onDefect('identity', `${this.name} is number ${this.lostReplica} again, without its data`);
    this.engine = engine;
    this.#state = 'up';
    this.starts++;
    const { replayedEntries, tornBytes } = engine.recovery;
    this.#around.trace.note(this.name, `is up, replayed ${replayedEntries}, torn ${tornBytes}`);
  }

  /** As node/main/node.ts does. */
  #refusal(method: string, signal: AbortSignal): HoldfastError | undefined {
    if (signal.aborted) return stoppingError();
    if (this.engine !== undefined) return undefined;
    return this.#founder !== undefined && ANSWERED.test(method) ? undefined : startingError();
  }

  #createEdge(): CallEdge {
    const { signal } = this.#stopping;
    return new CallEdge({
      clock: this.clock,
      random: this.#fork('edge'),
      authorise: openAccess,
      inFlightBytes: this.#around.settings.inFlightBytes,
      refusal: (method) => this.#refusal(method, signal),
      observe: () => undefined,
      onDefect: (method, _, error) => {
        this.#around.onDefect('defect', `${this.name}: ${method} failed: ${(error as Error).stack}`);
      },
    });
  }

  /** As node/main/node.ts does: a disk that failed ends the process, damage is served no more. */
  #onStorageFailure(cause: FatalCause, error: Error): void {
    this.#around.trace.note(this.name, `${cause}: ${error.message}`);
    const isRemoved = cause === 'removed' && (this.mayBeRemoved || this.mayBeReplaced);
    // Who begins with nothing, under a number of its own, promised nothing.
    const isLost = this.isDamaged && (cause !== 'not known again' || !this.wasWiped);
    const isExplained = cause === 'storage failed' ? this.#diskHasFailed() : isLost || isRemoved;
    if (!isExplained) {
      this.#around.onDefect('storage', `${this.name}: ${cause} for no reason: ${error.stack}`);
    }
    if (cause === 'storage damaged') return;
    const { process } = this;
    process.after(0, () => {
      if (this.process !== process) return;
      this.#dieOf(cause, error);
      if (cause === 'storage failed') return;
      if (isRemoved) return this.becomeSpare();
      this.refusals++;
      this.#state = 'refused';
    });
  }

  #onStartFailed(error: Error): void {
    this.#around.trace.note(this.name, `cannot start: ${error.message}`);
    const isRefusal = error.name === 'DataDamaged' || error.name === 'IdentityError';
    const mayBeGone = this.mayBeRemoved || this.mayBeReplaced;
    if (isRefusal && mayBeGone && error.message.includes('was removed from the cluster')) {
      this.becomeSpare();
    } else if (isRefusal && this.damage?.isToBeGivenUp === true) {
      const { process } = this;
      this.#beginAnew().catch((failure: unknown) => {
        if (this.process === process) this.#onStartFailed(failure as Error);
      });
    } else if (isRefusal && this.isDamaged) {
      this.kill();
      this.refusals++;
      this.#state = 'refused';
    } else if (!isRefusal && this.#diskHasFailed()) {
      this.#dieOf('cannot start', error);
    } else {
      this.#around.onDefect('start', `${this.name} cannot start for no reason: ${error.stack}`);
    }
  }

  /** As node/main/node.ts does. */
  async #beginAnew(): Promise<void> {
    const { disk, clock, process } = this;
    const identity = (await readIdentity(disk))!;
    this.#own.node_id = identity.node_id;
    const next = await givenUp({
      identity,
      disk,
      random: this.#fork('anew'),
      clock,
      transport: this.#calls(),
      configured: (name) => this.#around.members.find((member) => member.name === name)?.address,
      signal: new AbortController().signal,
      onWaiting: (why) => this.#around.trace.note(this.name, `is not given up: ${why}`),
    });
    if (this.process !== process || next === undefined) return;
    this.kill();
  }

  /** What it is to begin anew as is written, perhaps by a process that died of it. */
  #noteAnew(): void {
    this.medium.empty(); // with the files of the store
    if (this.wasWiped) return;
    this.#around.trace.note(this.name, 'begins anew');
    this.refusals++;
    this.rebuilds++;
    this.wasWiped = true;
    this.lostReplica = this.replica;
  }

  /** Ends by itself; somebody has to start it again. */
  #dieOf(cause: string, error: Error): void {
    this.#around.trace.note(this.name, `ends itself: ${cause}: ${error.message}`);
    this.selfEnded++;
    this.kill();
  }

  /** Ends this process and makes the next, which does not run anything yet. */
  #end(how: string, isMachineUp: boolean): void {
    const { links, scheduler, trace, network } = this.#around;
    trace.note(this.name, how);
    const wallMs = this.clock.wallMs();
    links.listen(this.member.address, this.name, undefined);
    links.processEnded(this.process, isMachineUp);
    void network.transport(this.name, this.process).close();
    this.process.kill();
    this.#runs++;
    this.#replica = this.engine?.host.self ?? this.#replica;
    this.process = new SimulatedProcess(scheduler);
    this.clock = new SimulatedClock(this.process, {
      wallStartMs: wallMs - scheduler.nowMs(),
      drift: this.#drift,
    });
    this.#stopping = new AbortController();
    this.engine = undefined;
    this.edge = undefined;
    this.#server = undefined;
    this.#founder = undefined;
    this.#isPaused = false;
    this.#state = 'down';
  }

  /** Whether this process met an injected failure. */
  #diskHasFailed(): boolean {
    return this.isFull || this.#diskFailures() > this.#failuresBefore;
  }

  /** Injected failures so far, of any run. */
  #diskFailures(): number {
    const { injections } = this.disk;
    const failures = ['fail-sync', 'fail-write', 'fail-open', 'read-only'].reduce(
      (sum, kind) => sum + injections.of(kind),
      this.medium.injections.of('fail-batch'),
    );
    return failures;
  }

  /** Randomness of this run of the node. */
  #fork(label: string): SeededRandom {
    return this.#random.fork(`${label}-${this.#runs}`);
  }
}
