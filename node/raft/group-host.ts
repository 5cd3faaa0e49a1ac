/**
 * Runs all groups of a node over one log, one row store and one link to each peer. In a
 * turn of the event loop every group that has work says what is to be sent, written and
 * applied; what all of them want to write is one batch of the log, what they say to a peer
 * one envelope. While a batch is being written messages go on being handled, and what the
 * next batch is made of gathers.
 *
 *  1. What a core wants written is durable, in its order, before the core is told so and
 *     before what depends on it is sent.
 *  2. Entries of a group are applied in order of index, each once.
 *  3. The queue is bounded in bytes; what does not fit is refused at once.
 *  4. After a failure of the log nothing is proposed, applied or answered as done.
 *  5. A leader whose clock is far from the others' hands over instead of stamping.
 */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import { StoreDamaged, type AppliedEntry, type RowStore, type StoreMark } from '../storage/row-store.ts';
import type { WriteAheadLog } from '../storage/write-ahead-log.ts';
import { ApplyQueue } from './apply-queue.ts';
import { shrinkCaches } from './cache-bound.ts';
import { ClockComparison } from './clock-comparison.ts';
import { ClockGuard } from './clock-guard.ts';
import { CommitNews } from './commit-news.ts';
import { NO_CONFIGURATION, type ConfigurationChange } from './core/configuration.ts';
import type { Entry } from './core/entry.ts';
import type { GroupMessage } from './core/message-codec.ts';
import type { ProposalResult, Refused } from './core/proposal.ts';
import type { SnapshotPoint } from './core/raft-log.ts';
import type { Ready } from './core/ready.ts';
import type { RaftSettings } from './core/settings.ts';
import { GroupReplica, type MachineMaker } from './group-replica.ts';
import { HostTimers } from './host-timers.ts';
import { IdleWait } from './idle-wait.ts';
import { Proposing, type ProposalCounts } from './proposing.ts';
import { RecoveredGroups, storeMarkRecord } from './log-records.ts';
import { Leaderships } from './leaderships.ts';
import { LogWriter, type PendingWrite } from './log-writer.ts';
import type { Member } from './members.ts';
import { removeOrphanRows } from './orphan-rows.ts';
import { PeerCourier, type Peers } from './peer-courier.ts';
import { PeerMemory, notKnownAgain } from './peer-memory.ts';
import type { ReadWaiter } from './read-queue.ts';
import { RecoveryWait } from './recovery-wait.ts';
import { Snapshots } from './snapshots.ts';
import type { FailureCause, NotLed, Proposal, StateMachine } from './state-machine.ts';

/** Entries kept in memory for replicas that lag, of all groups together. More: fewer snapshots. */
const CACHE_BYTES = 64 * 1024 * 1024;

/** Longest that a stopping host waits for what was proposed to it. */
const STOP_WAIT_MS = 3_000;

/** What a failure is called when this node must not go on. */
export type FatalCause = 'storage failed' | 'storage damaged' | 'not known again' | 'removed';

export interface GroupHostOptions {
  readonly log: WriteAheadLog;
  readonly rows: RowStore;
  readonly clock: Clock;
  readonly random: Random;
  /** Bound on the bytes of commands that wait for the log. */
  readonly queueBytes: number;
  readonly self: Member;
  /** The nodes that may hold replicas at first, this one too. */
  readonly members: readonly Member[];
  /** Undefined: there is no other node. */
  readonly peers: Peers | undefined;
  readonly settings?: Partial<RaftSettings>;
  /** Bytes of entries kept for replicas that lag. */
  readonly cacheBytes?: number;
  /** What the log holds. */
  readonly recovered: RecoveredGroups;
  /** The node must stop serving. */
  readonly onFailure: (cause: FatalCause, error: Error) => void;
  readonly observe?: HostObserver;
}

/** Figures for metrics. */
export interface HostObserver {
  applied(entries: number, commands: number, durationMs: number): void;
  /** An entry of commands that was proposed here is applied, so long after the log took it. */
  committed(durationMs: number): void;
  /** An entry is applied here, with what its commands resulted in: for comparing replicas. */
  entry?(replica: GroupReplica, entry: Entry, results: readonly unknown[]): void;
}

export class GroupHost {
  /** Told when another node says something of a group of which no replica is here: they may add one. */
  readonly onUnknownGroup: ((group: number) => void)[] = [];
  /** Told of gossip: the name of its sender, and what it says. */
  onGossip: (from: string, message: Buffer) => void = () => undefined;
  /** Who leads how many of the groups. */
  readonly leaderships: Leaderships;
  readonly #options: GroupHostOptions;
  readonly #replicas = new Map<number, GroupReplica>();
  readonly #ready = new Set<GroupReplica>();
  readonly #memory: PeerMemory;
  readonly #courier: PeerCourier | undefined;
  readonly #clocks: ClockComparison;
  readonly #clockGuard: ClockGuard;
  readonly #snapshots: Snapshots;
  readonly #news: CommitNews;
  readonly #writer: LogWriter;
  readonly #applying: ApplyQueue;
  readonly #timers: HostTimers;
  #members: readonly Member[];
  #queuedBytes = 0;
  #isScheduled = false;
  #isStopping = false;
  readonly #idle: IdleWait;
  readonly #recovery: RecoveryWait;
  #failure: FailureCause | undefined;
  #replayed = 0;
  readonly #proposing: Proposing;

  constructor(options: GroupHostOptions) {
    this.#options = options;
    const { self, rows, clock, peers, recovered } = options;
    const wake = (replica: GroupReplica) => this.#wake(replica);
    const onFailure = (error: unknown) => this.#onError(error);
    this.#members = options.members;
    this.#idle = new IdleWait(clock, () => this.#isIdle);
    this.#recovery = new RecoveryWait(recovered, () => this.#replicas.get(0));
    this.#memory = new PeerMemory(options.log.peers, () => this.#schedule());
    this.#clocks = new ClockComparison(clock);
    const clockGuard = (this.#clockGuard = new ClockGuard(clock, this.#clocks));
    this.leaderships = new Leaderships({
      self: self.id,
      clock,
      replicas: this.#replicas,
      nameOf: (id) => this.memberName(id),
      clockGuard,
      wake,
    });
    this.#proposing = new Proposing(clock, this.#clockGuard, (group) => this.notLed(group));
    this.#courier = peers && this.#createCourier(peers);
    this.#news = new CommitNews(clock, wake);
    this.#applying = new ApplyQueue({
      rows,
      clock,
      observe: options.observe,
      isPresent: (replica) => this.#isPresent(replica),
      onApplied: (replica) => {
        wake(replica);
        this.#recovery.tell();
      },
      onIdle: () => this.#idle.tell(),
      onError: onFailure,
    });
    this.#snapshots = new Snapshots({
      rows,
      clock,
      wake,
      onFailure,
      offer: (group, message) => {
        this.#courier?.post(group, message);
        this.#schedule();
      },
      send: (to, kind, body) => this.#courier?.sendBulk(to, kind, body),
    });
    this.#writer = new LogWriter({
      log: options.log,
      memory: this.#memory,
      isPresent: (replica) => this.#isPresent(replica),
      onWritten: (writes) => {
        this.#noteWritten(writes);
        this.#turn();
      },
      onIdle: () => this.#idle.tell(),
      onError: onFailure,
    });
    this.#timers = new HostTimers(clock, {
      onTick: () => this.#tick(),
      onFlush: () => rows.startFlush(),
    });
  }

  /** Bytes of commands that wait for the log. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Entries that the log had beyond the store at the start. */
  get replayedEntries(): number {
    return this.#replayed;
  }

  /** What became of the commands that were proposed here. */
  get proposals(): Readonly<ProposalCounts> {
    return this.#proposing.counts;
  }

  /** Snapshots that this node has sent and received whole. */
  get snapshots(): { readonly sent: number; readonly received: number } {
    const { sender, receiver } = this.#snapshots;
    return { sent: sender.sent, received: receiver.received };
  }

  /** How far this node's clock is from the median of all, in ms. */
  get clockOffsetMs(): number {
    return this.#clocks.offsetMs();
  }

  /** Why the node no longer serves; undefined: it does. */
  get failure(): FailureCause | undefined {
    return this.#failure;
  }

  /** All groups on this node, by number. */
  get replicas(): readonly GroupReplica[] {
    return [...this.#replicas.values()].sort((a, b) => a.group - b.group);
  }

  /** The nodes that may hold replicas, by number, this one too. */
  get members(): readonly Member[] {
    return this.#members;
  }

  /** Other nodes may hold replicas from now on. */
  setMembers(members: readonly Member[]): void {
    this.#members = members;
    this.#courier?.setMembers(members);
  }

  /** Sends gossip to another node; it may be lost. */
  sendGossip(to: string, message: Uint8Array): void {
    this.#courier?.sendGossip(to, message);
  }

  /** This node's number as a replica. */
  get self(): number {
    return this.#options.self.id;
  }

  /** Whether anything of a replica of a group is on this node's disk. */
  hasRemains(group: number): boolean {
    const { log, rows, recovered } = this.#options;
    return log.group(group).term + recovered.lastIndex(group) + rows.stored(group).index > 0;
  }

  /** The replica of a group, if it is here. */
  replica(group: number): GroupReplica | undefined {
    return this.#replicas.get(group);
  }

  isLeader(group: number): boolean {
    return this.#replicas.get(group)?.isLeader === true;
  }

  /** Who leads a group, as far as this node knows. */
  leaderOf(group: number): Member | undefined {
    const leader = this.#replicas.get(group)?.core.leader;
    return this.#members.find(({ id }) => id === leader);
  }

  /** What to say of a group that is not led here. */
  notLed(group: number): NotLed {
    return { leader: this.leaderOf(group), unled: this.leaderships.unled(group) };
  }

  /** Log time of a group: stamp of the last applied entry. */
  logTimeMs(group: number): number {
    return this.#replicas.get(group)?.applied.stampMs ?? 0;
  }

  /**
   * Adds a group. `voters` are those that it began with, first the one that should lead it; a
   * replica that is not among them waits to be added by a leader. Error: StoreDamaged.
   */
  addGroup<M extends StateMachine>(
    group: number,
    voters: readonly number[],
    createMachine: MachineMaker<M>,
  ): GroupReplica<M> {
    const { log, rows, self, random, settings = {}, recovered } = this.#options;
    const ascending = [...voters].sort((a, b) => a - b);
    const initial = voters.includes(self.id)
      ? { voters: ascending, outgoing: [], learners: [] }
      : NO_CONFIGURATION;
    const stored = rows.stored(group);
    const restored = recovered.take(group, log.group(group), stored, initial);
    const replica = new GroupReplica({
      group,
      self: self.id,
      settings,
      random: () => random.float(),
      restored,
      createMachine,
      onQueued: (bytes) => {
        this.#queuedBytes += bytes;
      },
    });
    // A snapshot that the log has and the store does not is installed again.
    if (restored.applied !== stored) rows.applied(group, restored.applied);
    this.#replayed += restored.entries.length;
    this.#replicas.set(group, replica as unknown as GroupReplica);
    // Nobody else will. Where there are other nodes, they are greeted first.
    if (replica.isAlone && this.#members.length === 1) replica.core.campaign();
    else if (replica.term === 0 && voters[0] === self.id)
      this.leaderships.leadSoon(replica as unknown as GroupReplica);
    this.#wake(replica as unknown as GroupReplica);
    return replica;
  }

  /** Removes a group; what waits for it fails. */
  removeGroup(group: number): void {
    const replica = this.#replicas.get(group);
    if (replica === undefined) return;
    this.#replicas.delete(group);
    this.#ready.delete(replica);
    this.leaderships.noteChange(undefined);
    this.#snapshots.drop(group);
    this.#proposing.giveUp(replica, 'group gone');
    replica.reads.fail();
    this.#options.rows.forget(group);
  }

  /**
   * All groups that group 0 names have been added, and further ones will be as it names them.
   * Resolves when it is applied as far as the log had it at the start: then all groups are known.
   * Rejects with what stopped the node before.
   */
  completeRecovery(): Promise<void> {
    return this.#recovery.complete();
  }

  /** Group 0 names other groups now: the log forgets nothing until what this returns is called, when they were added. */
  expectGroups(): () => void {
    return this.#recovery.expectGroups();
  }

  /** Whether a command of this size fits into the queue now. Invariant 3. */
  hasRoom(bytes: number): boolean {
    return this.#queuedBytes + bytes <= this.#options.queueBytes;
  }

  /** Queues a command for a group's log. The caller has asked `hasRoom`. */
  propose(group: number, proposal: Proposal): void {
    const replica = this.#replicas.get(group);
    const cause = this.#failure ?? (this.#isStopping ? 'stopped' : undefined);
    if (cause !== undefined) return proposal.onFailed({ cause, outcome: 'NOT_APPLIED' });
    if (replica === undefined) return proposal.onFailed({ cause: 'group gone', outcome: 'NOT_APPLIED' });
    if (!replica.core.isLeader && !replica.isAlone) {
      return this.#proposing.refuse(proposal, group);
    }
    replica.proposals.add(proposal);
    this.#wake(replica);
  }

  /** Whether what is applied here may be read as it is, linearizably. */
  canReadNow(group: number): boolean {
    return this.#replicas.get(group)?.canReadNow === true;
  }

  /** Calls back when everything that was acknowledged before this call is applied here. */
  awaitRead(group: number, waiter: ReadWaiter): void {
    const replica = this.#replicas.get(group);
    if (replica === undefined || this.#failure !== undefined) return waiter.onFailed();
    replica.reads.add(waiter);
    this.#wake(replica);
  }

  /** Moves a group's log time to the clock; resolves when that is applied, or when it cannot be done here. */
  advanceTime(group: number): Promise<void> {
    const replica = this.#replicas.get(group);
    if (replica === undefined || this.#failure !== undefined) return Promise.resolve();
    return new Promise((resolve) => {
      replica.proposals.addTime(resolve);
      this.#wake(replica);
    });
  }

  /** Begins a change of a group's members, on its leader. */
  changeConfiguration(group: number, changes: readonly ConfigurationChange[]): ProposalResult {
    return this.#onCore(group, (replica) => replica.core.changeConfiguration(changes));
  }

  /** Hands a group's leadership to another voter. */
  transferLeader(group: number, to: number): Refused | undefined {
    return this.#onCore(group, (replica) => replica.core.transferLeader(to));
  }

  /** Name of a member; one that is not known by its number. */
  memberName(id: number): string {
    return this.#members.find((member) => member.id === id)?.name ?? String(id);
  }

  /** Hands over whatever is led here, before this node stops, and takes no leadership any more. */
  async handOverAll(): Promise<void> {
    if (this.#courier !== undefined) await this.leaderships.handOverAll(() => this.#failure !== undefined);
  }

  /** Finishes what was proposed, writes the overlay to the store and stops. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#idle.wait(STOP_WAIT_MS);
    for (const replica of this.#replicas.values()) this.#giveUpAll(replica, 'stopped');
    this.#timers.stop();
    this.#news.stop();
    this.leaderships.stop();
    await this.#snapshots.stop();
    await this.#courier?.close();
    const { rows } = this.#options;
    await rows.flushed();
    rows.startFlush(); // does nothing when storage failed
    await rows.flushed();
    await this.#idle.wait(STOP_WAIT_MS);
    this.#failure ??= 'stopped';
    for (const replica of this.#replicas.values()) this.#giveUpAll(replica, 'stopped');
  }

  /** Lets go without finishing anything, when the node could not be opened. */
  abandon(): void {
    this.#timers.stop();
    void this.#courier?.close();
    this.#failure ??= 'stopped';
  }

  /** To be called when the row store completed a flush: notes it in the log, frees segments and entries. */
  noteFlushed(mark: StoreMark, stored: ReadonlyMap<number, AppliedEntry>): void {
    this.#writer.addRecord(storeMarkRecord(mark.flush));
    this.#schedule();
    for (const [group, entry] of stored) {
      const stale = this.#replicas.get(group)?.noteStored(entry) ?? [];
      for (const generation of stale) void this.#snapshots.receiver.remove(group, generation);
    }
    shrinkCaches(this.#replicas.values(), this.#options.cacheBytes ?? CACHE_BYTES);
    if (!this.#recovery.isOver) return; // groups that are still to be added need their entries
    // Also of groups that this flush had nothing of: nobody may have told the log since the start.
    const allStored = new Map(this.replicas.map(({ group, storedIndex }) => [group, { index: storedIndex }]));
    const present = new Set(allStored.keys());
    this.#options.log.release(allStored, present).catch((error: unknown) => this.#onError(error));
  }

  /** Removes rows that belong to no group, or to a generation that is not in use. Once all groups are known. */
  removeOrphans(isStopped: () => boolean): Promise<void> {
    const { receiver } = this.#snapshots;
    return removeOrphanRows(this.#options.rows, receiver, (group) => this.#replicas.get(group), isStopped);
  }

  /** Stops serving for good. Invariant 4. */
  stopServing(cause: FatalCause, error: Error): void {
    if (this.#failure !== undefined) return;
    const areOthers = this.#members.length > 1;
    const isOwn = cause === 'storage failed' || (cause === 'storage damaged' && !areOthers);
    this.#failure = isOwn ? cause : 'node damaged';
    this.#options.rows.freeze();
    this.#timers.stop();
    this.#news.stop();
    this.#applying.stop();
    this.#writer.stop();
    void this.#snapshots.stop();
    this.#recovery.fail(error);
    void this.#courier?.close();
    for (const replica of this.#replicas.values()) this.#giveUpAll(replica, this.#failure);
    this.#idle.tell();
    this.#options.onFailure(cause, error);
  }

  #createCourier({ transport, logId }: Peers): PeerCourier {
    const { self, clock, random, log } = this.#options;
    return new PeerCourier({
      transport,
      self,
      members: this.#members,
      clock,
      random,
      memory: this.#memory,
      logId,
      logSequence: () => log.lastSequence,
      onMessages: (messages) => this.#onMessages(messages),
      clocks: this.#clocks,
      onBulk: (from, kind, body) => this.#snapshots.onMessage(from, kind, body),
      onGossip: (from, message) => this.onGossip(from, message),
      onRefused: (peer, reason) => this.stopServing('not known again', notKnownAgain(peer, reason)),
      led: () => this.leaderships.told,
      onLed: (peer, led) => this.leaderships.heard(peer, led),
      onDropped: ({ group, message }) => this.#replicas.get(group)?.core.reportUnreachable(message.to),
    });
  }

  #wake(replica: GroupReplica): void {
    this.#ready.add(replica);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#failure !== undefined) return;
    this.#isScheduled = true;
    this.#options.clock.afterTurn(() => {
      this.#isScheduled = false;
      this.#turn();
    });
  }

  /** Everything that the cores want done about what came since the last turn. */
  #turn(): void {
    if (this.#failure !== undefined) return;
    try {
      const replicas = [...this.#ready];
      this.#ready.clear();
      for (const replica of replicas) if (this.#isPresent(replica)) this.#advance(replica);
      this.#courier?.flush();
    } catch (error) {
      return this.#onError(error);
    }
    if (this.#writer.hasWork) void this.#writer.run();
    this.#applying.run();
    this.#idle.tell();
  }

  #advance(replica: GroupReplica): void {
    const { core, reads } = replica;
    if (replica.proposals.hasWaiting) this.#proposing.run(replica);
    const isElecting = replica.isAlone && !core.isLeader; // then there is a leader in a moment
    if (reads.hasArrived && !isElecting)
      reads.ask(this.#options.clock.monotonicMs(), (context) => core.readIndex(context));
    const ready = core.takeReady();
    if (ready !== undefined) this.#handle(replica, ready);
    this.#news.note(replica);
  }

  #handle(replica: GroupReplica, ready: Ready): void {
    const { group, reads } = replica;
    for (const message of ready.messages) this.#courier?.post(group, message);
    if (ready.write !== undefined) this.#writer.add(replica, ready.write);
    if (ready.committed.length > 0) this.#applying.add(replica, ready.committed);
    reads.confirm(ready.reads);
    reads.drop(ready.droppedReads);
    reads.serve(replica.applied.index);
    for (const follower of ready.snapshotsWanted) this.#snapshots.sender.start(replica, follower);
    if (ready.roleChange === undefined) return;
    this.leaderships.noteChange(ready.roleChange);
    if (ready.roleChange.role !== 'leader' && !replica.isAlone) this.#proposing.giveUp(replica, 'not leader');
  }

  /** Invariant 1. */
  #noteWritten(writes: readonly PendingWrite[]): void {
    for (const { replica, write } of writes) {
      if (!this.#isPresent(replica)) continue;
      if (write.snapshot !== undefined) this.#install(replica, write.snapshot);
      replica.cache.put(write.entries);
      replica.proposals.noteWritten(write.entries);
      replica.core.onPersisted(write.sequence);
      for (const message of write.messages) this.#courier?.post(replica.group, message);
      this.#ready.add(replica);
    }
  }

  /** The log says that the group goes on from a snapshot: its rows take the place of the others. */
  #install(replica: GroupReplica, point: SnapshotPoint): void {
    this.#applying.drop(replica);
    this.#proposing.giveUp(replica, 'not leader');
    this.#options.rows.applied(replica.group, replica.install(point));
    replica.reads.serve(point.index);
    this.#recovery.tell();
  }

  #tick(): void {
    if (this.#courier?.isAdmitted === false) return;
    const wallMs = this.#options.clock.wallMs();
    const isClockOff = this.#clockGuard.isOff;
    try {
      for (const replica of this.#replicas.values()) {
        const { isLeader } = replica.core;
        if (isLeader && replica.isOnly) continue; // waits for nobody
        if (!isLeader && replica.isResting) {
          replica.core.rest(wallMs);
          continue;
        }
        replica.core.tick(wallMs);
        this.leaderships.tick(replica);
        replica.reads.tick();
        if (isClockOff && replica.core.isLeader) this.#clockGuard.handOver(replica.core);
        this.#ready.add(replica);
      }
    } catch (error) {
      return this.#onError(error);
    }
    if (this.#ready.size > 0) this.#turn();
  }

  #onMessages(messages: readonly GroupMessage[]): void {
    if (this.#failure !== undefined) return;
    try {
      for (const { group, message } of messages) {
        if (message.to !== this.#options.self.id) continue;
        if (!this.#replicas.has(group)) for (const listener of this.onUnknownGroup) listener(group);
        const replica = this.#replicas.get(group);
        if (replica === undefined) continue;
        if (message.type === 'timeoutNow' && this.leaderships.isLeaving) continue; // it would be handed on at once
        if (message.type === 'snapshot') this.#snapshots.receiver.offer(replica, message);
        else replica.core.step(message);
        this.#wake(replica);
      }
    } catch (error) {
      this.#onError(error);
    }
  }

  #onCore<T>(group: number, ask: (replica: GroupReplica) => T): T | Refused {
    const replica = this.#replicas.get(group);
    if (replica === undefined || this.#failure !== undefined) return { refused: 'not leader' };
    const result = ask(replica);
    this.#wake(replica);
    return result;
  }

  #isPresent(replica: GroupReplica): boolean {
    return this.#replicas.get(replica.group) === replica;
  }

  #giveUpAll(replica: GroupReplica, cause: FailureCause): void {
    this.#proposing.giveUp(replica, cause);
    replica.reads.fail();
  }

  #onError(error: unknown): void {
    const cause =
      error instanceof StoreDamaged || (error as Error).name === 'InvariantBroken'
        ? 'storage damaged'
        : 'storage failed';
    this.stopServing(cause, error as Error);
  }

  /** Nothing is being written or applied, and nothing that was proposed here is unanswered. */
  get #isIdle(): boolean {
    if (this.#failure !== undefined) return true;
    if (this.#isScheduled || this.#writer.isBusy || this.#applying.isBusy) return false;
    for (const { proposals } of this.#replicas.values()) if (!proposals.isEmpty) return false;
    return true;
  }
}
