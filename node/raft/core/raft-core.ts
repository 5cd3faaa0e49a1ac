/**
 * One replica of a Raft group: inputs go in (messages, ticks, proposals, what the host
 * has done), and `takeReady` gives what is to be done about them. Plain synchronous
 * code: no I/O, no clock, no randomness but what is passed in.
 *
 * Follows "In Search of an Understandable Consensus Algorithm" (Ongaro, Ousterhout) and
 * Ongaro's dissertation, with pre-vote, check-quorum, joint consensus, read-index and
 * writes that complete while messages go on being handled.
 *
 *  1. A term never falls, and has at most one vote of this replica.
 *  2. What promises something about this replica's disk (a vote, a request for votes, an
 *     acknowledgement of entries) leaves after the write that makes it true, and is not
 *     said at all when the term has moved on before that write was taken.
 *  3. A replica that hears a live leader helps nobody to unseat it, except when the leader
 *     itself asked for it.
 *  4. Only entries of the leader's term are committed by counting (`Leader`).
 *  5. Entries are handed out in order, each once, committed and durable (`RaftLog`).
 *  6. A read is confirmed by a round that began after it came (`ReadRounds`).
 *  7. The newest configuration in the log counts; one change at a time (`Leader`).
 *  8. A write's completion vouches only for what is still in the log (`PendingWrites`).
 *  9. Nothing grows without bound: unstable and uncommitted bytes, windows, reads.
 */
import { Candidate } from './candidate.ts';
import type { Configuration, ConfigurationChange, ReplicaId } from './configuration.ts';
import { EntryKind, type NewEntry } from './entry.ts';
import { Follower } from './follower.ts';
import { mustHold } from './invariant.ts';
import { Leader } from './leader.ts';
import type { InstallSnapshot, Message, PreVote, VoteRequest } from './messages.ts';
import type { HardState } from './pending-writes.ts';
import type { Progress } from './progress.ts';
import type { ProposalResult, Refused } from './proposal.ts';
import { RaftLog, type EntrySource, type RestoredLog, type SnapshotPoint } from './raft-log.ts';
import type { Ready, RoleChange, RoleName, Write } from './ready.ts';
import { Replica, type Campaign, type Transitions } from './replica.ts';
import { resolveSettings, type RaftSettings } from './settings.ts';

export interface RaftCoreOptions {
  readonly id: ReplicaId;
  readonly settings?: Partial<RaftSettings>;
  /** What is on this replica's disk. */
  readonly hardState: HardState;
  readonly log: RestoredLog;
  /** Where durable entries are read. */
  readonly source: EntrySource;
  /** Numbers in [0, 1): election timeouts, ids of reads. */
  readonly random: () => number;
}

/** For metrics, operators and tests. */
export interface RaftStatus {
  readonly id: ReplicaId;
  readonly role: RoleName;
  readonly term: number;
  readonly vote: ReplicaId;
  readonly leader: ReplicaId;
  readonly transferee: ReplicaId;
  readonly baseIndex: number;
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly committed: number;
  readonly durable: number;
  readonly applied: number;
  readonly unstableCount: number;
  readonly uncommittedBytes: number;
  readonly configuration: Configuration;
  /** Of the leader only. */
  readonly followers: ReadonlyMap<
    ReplicaId,
    Readonly<Pick<Progress, 'state' | 'match' | 'next' | 'isActive' | 'snapshotIndex'>>
  >;
}

/**
 * Terms that a replica can have missed: more than a century of elections. Taken over, one
 * such message would carry every term of the group to where numbers end.
 */
const LONGEST_TERM_LEAP = 2 ** 32;

export class RaftCore {
  readonly #replica: Replica;
  readonly #transitions: Transitions;
  #role: Follower | Candidate | Leader;
  #writtenState: HardState;
  #reported: RoleChange;

  constructor(options: RaftCoreOptions) {
    const { id, hardState } = options;
    const log = new RaftLog(options.log, options.source);
    mustHold(
      log.lastTerm <= hardState.term,
      () => `log of term ${log.lastTerm}, hard state of ${hardState.term}`,
    );
    this.#replica = new Replica(id, resolveSettings(options.settings), log, hardState, options.random);
    this.#transitions = {
      becomeFollower: (term, leader) => this.#becomeFollower(term, leader),
      becomeCandidate: (campaign) => this.#becomeCandidate(campaign),
      becomeLeader: () => this.#becomeLeader(),
    };
    this.#role = new Follower(this.#replica, this.#transitions, 0);
    this.#writtenState = hardState;
    this.#reported = { role: 'follower', term: hardState.term, leader: 0 };
  }

  get id(): ReplicaId {
    return this.#replica.id;
  }

  get isLeader(): boolean {
    return this.#role instanceof Leader;
  }

  /** 0: not known. */
  get leader(): ReplicaId {
    return this.#role.leader;
  }

  get term(): number {
    return this.#replica.term;
  }

  /** The newest configuration in the log, committed or not. */
  get configuration(): Configuration {
    return this.#replica.log.configuration;
  }

  get status(): RaftStatus {
    const { id, term, vote, log } = this.#replica;
    const leader = this.#role instanceof Leader ? this.#role : undefined;
    return {
      id,
      role: this.#role.name,
      term,
      vote,
      leader: this.#role.leader,
      transferee: leader?.transferee ?? 0,
      baseIndex: log.baseIndex,
      lastIndex: log.lastIndex,
      lastTerm: log.lastTerm,
      committed: log.committed,
      durable: log.durable,
      applied: log.applied,
      unstableCount: log.unstableCount,
      uncommittedBytes: leader?.uncommittedBytes ?? 0,
      configuration: log.configuration,
      followers: leader?.followers ?? new Map(),
    };
  }

  /** Time has passed; `wallMs` is this node's clock. After a stall: one tick, not those missed. */
  tick(wallMs: number): void {
    this.#replica.wallMs = wallMs;
    this.#role.tick();
  }

  /** As `tick`, for a replica that is not to stand for election. One that is standing already goes on to do so. */
  rest(wallMs: number): void {
    this.#replica.wallMs = wallMs;
    if (this.#role instanceof Follower) this.#role.rest();
  }

  /** A message has come. One that is not for this replica is ignored. */
  step(message: Message): void {
    const { id, term } = this.#replica;
    if (message.to !== id || message.from === id) return;
    if (message.term > term + LONGEST_TERM_LEAP) return;
    if (message.term < term) return this.#answerEarlierTerm(message);
    if (message.type === 'preVote') return this.#onPreVote(message);
    if (message.term > term && !this.#followLaterTerm(message)) return;
    if (message.type === 'vote') return this.#onVoteRequest(message);
    if (isFromLeader(message) && !(this.#role instanceof Follower)) {
      mustHold(!(this.#role instanceof Leader), () => `${message.from} leads term ${term} as well as ${id}`);
      this.#becomeFollower(message.term, message.from);
    }
    this.#role.receive(message);
  }

  /** Adds entries to the log if this replica leads. They share a fate only as far as each is applied. */
  propose(entries: readonly NewEntry[], wallMs: number): ProposalResult {
    if (!(this.#role instanceof Leader)) return { refused: 'not leader' };
    if (entries.length === 0 || entries.some(({ kind }) => kind === EntryKind.configuration)) {
      return { refused: 'invalid', detail: 'no entries, or one that is a configuration' };
    }
    this.#replica.wallMs = wallMs;
    return this.#role.propose(entries);
  }

  /** Begins a change of members; it is complete when a configuration without `outgoing` is applied. */
  changeConfiguration(changes: readonly ConfigurationChange[]): ProposalResult {
    return this.#role instanceof Leader ? this.#role.changeConfiguration(changes) : { refused: 'not leader' };
  }

  /**
   * Asks from which index on a read that came before may be served. The answer comes in
   * `Ready.reads`, or the context in `Ready.droppedReads`. False: no leader is known, or
   * too many reads wait.
   */
  readIndex(context: number): boolean {
    return this.#role instanceof Candidate ? false : this.#role.readIndex(context);
  }

  /** Hands leadership to a voter. Meanwhile, for up to `electionTicks`, proposals are refused. */
  transferLeader(to: ReplicaId): Refused | undefined {
    return this.#role instanceof Leader ? this.#role.transferTo(to) : { refused: 'not leader' };
  }

  /** Hands leadership to whoever is best placed, for a leader whose clock or disk is not fit; false: nobody is. */
  handOver(): boolean {
    return this.#role instanceof Leader && this.#role.handOver();
  }

  /** Stands for election now, if this replica is a voter and does not lead. */
  campaign(): void {
    if (!(this.#role instanceof Leader)) this.#becomeCandidate('preVote');
  }

  /** A follower has committed entries and was not told so yet: `tellCommitted`, unless more entries come soon. */
  get isCommitUntold(): boolean {
    return this.#role instanceof Leader && this.#role.isCommitUntold;
  }

  /** The next messages say how far the log is committed; else it goes with entries and heartbeats. */
  tellCommitted(): void {
    if (this.#role instanceof Leader) this.#role.tellCommitted();
  }

  /** Messages to a replica were dropped: what was sent ahead may be lost. */
  reportUnreachable(replica: ReplicaId): void {
    if (this.#role instanceof Leader) this.#role.reportUnreachable(replica);
  }

  /** A snapshot's way to a replica has ended: its host has it all, or it broke off. */
  reportSnapshot(replica: ReplicaId, isDelivered: boolean): void {
    if (this.#role instanceof Leader) this.#role.reportSnapshot(replica, isDelivered);
  }

  /**
   * The message for a follower named in `Ready.snapshotsWanted`, once the host has chosen
   * the rows: those as of entry `index`, which is applied and has this stamp. Undefined:
   * not leader any more, the follower needs none, or the log no longer reaches there.
   */
  snapshotFor(replica: ReplicaId, index: number, stampMs: number): InstallSnapshot | undefined {
    return this.#role instanceof Leader ? this.#role.snapshotFor(replica, index, stampMs) : undefined;
  }

  /** What the log says of an applied entry, to be kept when the log before it is dropped. */
  snapshotPoint(index: number, stampMs: number): SnapshotPoint | undefined {
    return this.#replica.log.snapshotPoint(index, stampMs);
  }

  /** All writes up to this one are durable. Invariant 8. */
  onPersisted(sequence: number): void {
    const completed = this.#replica.log.completeWrites(sequence);
    if (completed === undefined) return;
    this.#replica.durableState = completed.hardState;
    this.#role.notePersisted();
  }

  /** The state machine has applied everything up to this entry. */
  onApplied(index: number): void {
    this.#replica.log.noteApplied(index);
  }

  /** The entries up to this one, which is applied and in a durable store, are not needed any more. */
  compact(index: number): void {
    this.#replica.log.compact(index);
  }

  /**
   * What is to be done now, or undefined when there is nothing. To be called after every
   * turn with inputs, and when entries that the source lacked are at hand. The host
   *
   *  - makes `write` durable, after the writes before it, while inputs go on; then calls
   *    `onPersisted` and sends `write.messages`;
   *  - sends `messages`, in any order with everything else;
   *  - applies `committed`, then calls `onApplied`. More is handed out as that goes on;
   *  - serves each of `reads` when its index is applied.
   */
  takeReady(): Ready | undefined {
    this.#role.completeTurn();
    const replica = this.#replica;
    const write = this.#takeWrite();
    const committed = replica.log.takeCommitted(replica.settings.maxApplyingBytes);
    const roleChange = this.#takeRoleChange();
    const { messages, reads, droppedReads, snapshotsWanted } = replica;
    const isQuiet =
      write === undefined &&
      roleChange === undefined &&
      committed.length + messages.length + reads.length + droppedReads.length + snapshotsWanted.length === 0;
    if (isQuiet) return undefined;
    return {
      write,
      messages: messages.splice(0),
      committed,
      reads: reads.splice(0),
      droppedReads: droppedReads.splice(0),
      snapshotsWanted: snapshotsWanted.splice(0),
      roleChange,
    };
  }

  /** Invariant 2. Promises about what is durable already need no write. */
  #takeWrite(): Write | undefined {
    const { log, term, vote, promises, messages } = this.#replica;
    const hardState = { term, vote };
    const isChanged = term !== this.#writtenState.term || vote !== this.#writtenState.vote;
    const { snapshot, entries } = log.takeUnwritten();
    const isEmpty = !isChanged && snapshot === undefined && entries.length === 0;
    if (isEmpty && (promises.length === 0 || !log.isWriting)) {
      messages.push(...promises.splice(0));
      return undefined;
    }
    this.#writtenState = hardState;
    return {
      sequence: log.beginWrite(hardState, snapshot),
      hardState: isChanged ? hardState : undefined,
      snapshot,
      entries,
      messages: promises.splice(0),
    };
  }

  #takeRoleChange(): RoleChange | undefined {
    const { name: role, leader } = this.#role;
    const { term } = this.#replica;
    const { role: lastRole, term: lastTerm, leader: lastLeader } = this.#reported;
    if (role === lastRole && term === lastTerm && leader === lastLeader) return undefined;
    this.#reported = { role, term, leader };
    return this.#reported;
  }

  /** Somebody is ahead. Returns whether the message is to be handled. Invariant 3. */
  #followLaterTerm(message: Message): boolean {
    if (message.type === 'preVoteResponse' && message.granted) return true; // the term is only named
    if (message.type === 'vote' && !message.isTransfer && this.#role.hasLiveLeader) return false;
    this.#becomeFollower(message.term, isFromLeader(message) ? message.from : 0);
    return true;
  }

  /** Somebody is behind: the answer's term tells. */
  #answerEarlierTerm(message: Message): void {
    const { id: from, term, messages } = this.#replica;
    const to = message.from;
    if (message.type === 'preVote')
      messages.push({ type: 'preVoteResponse', from, to, term, granted: false });
    if (message.type === 'vote') messages.push({ type: 'voteResponse', from, to, term, granted: false });
    if (isFromLeader(message)) messages.push({ type: 'heartbeatResponse', from, to, term, round: 0 });
  }

  /** Changes nothing here. Invariant 3. */
  #onPreVote(request: PreVote): void {
    const { id: from, term, log, messages } = this.#replica;
    if (this.#role.hasLiveLeader) return;
    const granted = request.term > term && log.isUpToDate(request.lastIndex, request.lastTerm);
    const answerTerm = granted ? request.term : term;
    messages.push({ type: 'preVoteResponse', from, to: request.from, term: answerTerm, granted });
  }

  /** Invariants 1, 2. Learners vote too: who asks knows a configuration in which they may. */
  #onVoteRequest({ from: candidate, lastIndex, lastTerm }: VoteRequest): void {
    const { id: from, term, vote, log, messages, promises } = this.#replica;
    const isFree = vote === candidate || (vote === 0 && this.#role.leader === 0);
    const granted = isFree && log.isUpToDate(lastIndex, lastTerm);
    if (granted) this.#giveVote(candidate);
    (granted ? promises : messages).push({ type: 'voteResponse', from, to: candidate, term, granted });
  }

  #giveVote(candidate: ReplicaId): void {
    this.#replica.voteFor(candidate);
    if (!(this.#role instanceof Follower)) this.#becomeFollower(this.#replica.term, 0);
    else this.#role.deferElection();
  }

  #becomeFollower(term: number, leader: ReplicaId): void {
    this.#role.end();
    if (term > this.#replica.term) this.#replica.enterTerm(term);
    this.#role = new Follower(this.#replica, this.#transitions, leader);
  }

  #becomeCandidate(campaign: Campaign): void {
    if (!this.#replica.mayLead) return;
    this.#role.end();
    const candidate = new Candidate(this.#replica, this.#transitions, campaign);
    this.#role = candidate;
    candidate.start();
  }

  #becomeLeader(): void {
    this.#role.end();
    const leader = new Leader(this.#replica, this.#transitions);
    this.#role = leader;
    leader.start();
  }
}

type FromLeader = Extract<Message, { type: 'append' | 'heartbeat' | 'snapshot' }>;

function isFromLeader(message: Message): message is FromLeader {
  return message.type === 'append' || message.type === 'heartbeat' || message.type === 'snapshot';
}
