/**
 * A replica that leads: takes proposals, brings its log to the others, commits, confirms
 * reads, carries changes of members through, and hands over.
 *
 *  1. A leader only appends to its log.
 *  2. Only an entry of the leader's own term is committed by counting replicas; those
 *     before it are committed with it (Raft paper, section 5.4.2).
 *  3. Before an entry of its own term is committed, a leader confirms no read and begins
 *     no change of members: until then it does not know what is committed.
 *  4. One change of members at a time; a joint configuration is left as soon as it is
 *     committed, by whoever leads then. A leader that is no voter any more leads until
 *     that is committed, and hands over.
 *  5. A leader that a quorum does not answer within `electionTicks` steps down.
 *  6. While leadership is handed over nothing is proposed.
 *  7. Stamps never fall.
 */
import {
  applyChanges,
  encodeConfiguration,
  isJoint,
  isVoter,
  leaveJoint,
  type ConfigurationChange,
  type ReplicaId,
} from './configuration.ts';
import { ENTRY_VERSION, EntryKind, entryBytes, type NewEntry } from './entry.ts';
import { mustHold } from './invariant.ts';
import type { AppendAccepted, HeartbeatResponse, InstallSnapshot, Message } from './messages.ts';
import type { Progress } from './progress.ts';
import type { ProposalResult, Refused } from './proposal.ts';
import { hasQuorum, quorumIndex } from './quorum.ts';
import { ReadRounds, type PendingRead } from './read-rounds.ts';
import type { Replica, Role, Transitions } from './replica.ts';
import { Replicator } from './replicator.ts';
import { UncommittedBytes } from './uncommitted-bytes.ts';

const NO_PAYLOAD = new Uint8Array(0);

export class Leader implements Role {
  readonly name = 'leader';
  readonly hasLiveLeader = true;
  readonly #replica: Replica;
  readonly #transitions: Transitions;
  readonly #replicator: Replicator;
  readonly #reads = new ReadRounds();
  readonly #uncommitted: UncommittedBytes;
  #sinceBeat = 0;
  #isBeatDue = false;
  #sinceQuorum = 0;
  /** Who is to take over; 0: nobody. */
  #transferee: ReplicaId = 0;
  #sinceTransfer = 0;

  constructor(replica: Replica, transitions: Transitions) {
    this.#replica = replica;
    this.#transitions = transitions;
    this.#replicator = new Replicator(replica);
    this.#uncommitted = new UncommittedBytes(replica.settings.maxUncommittedBytes);
  }

  get leader(): ReplicaId {
    return this.#replica.id;
  }

  get transferee(): ReplicaId {
    return this.#transferee;
  }

  get followers(): ReadonlyMap<ReplicaId, Progress> {
    return this.#replicator.followers;
  }

  get uncommittedBytes(): number {
    return this.#uncommitted.bytes;
  }

  /** Begins the term with an entry of its own, which commits what earlier terms left. */
  start(): void {
    this.#append({ kind: EntryKind.noOp, version: ENTRY_VERSION, payload: NO_PAYLOAD });
  }

  tick(): void {
    const { electionTicks, heartbeatTicks } = this.#replica.settings;
    if (++this.#sinceQuorum >= electionTicks && !this.#checkQuorum()) return;
    if (this.#transferee !== 0 && ++this.#sinceTransfer >= electionTicks) this.#transferee = 0;
    if (++this.#sinceBeat >= heartbeatTicks) {
      this.#sinceBeat = 0;
      this.#isBeatDue = true;
    }
    this.#completeChange();
  }

  receive(message: Message): void {
    const progress = this.#replicator.progress(message.from);
    if (message.type === 'readIndex') this.#addRead({ from: message.from, id: message.id });
    if (progress === undefined) return; // a member no more
    progress.isActive = true;
    switch (message.type) {
      case 'appendAccepted':
        return this.#onAccepted(progress, message);
      case 'appendRejected':
        return this.#replicator.onRejected(progress, message);
      case 'heartbeatResponse':
        return this.#onBeat(progress, message);
      default: // meant for a role that this replica no longer has
    }
  }

  /** Adds entries to the log. Invariants 6, 7. */
  propose(entries: readonly NewEntry[]): ProposalResult {
    if (this.#transferee !== 0) return { refused: 'transferring' };
    let bytes = 0;
    for (const entry of entries) bytes += entryBytes(entry);
    if (!this.#uncommitted.hasRoom(bytes)) return { refused: 'full' };
    const { log, term } = this.#replica;
    const index = log.lastIndex + 1;
    for (const entry of entries) this.#append(entry);
    this.#uncommitted.add(log.lastIndex, bytes);
    return { index, term };
  }

  /** Invariants 3, 4, 6. */
  changeConfiguration(changes: readonly ConfigurationChange[]): ProposalResult {
    const { log, term } = this.#replica;
    if (this.#transferee !== 0) return { refused: 'transferring' };
    if (!this.#hasCommittedInTerm()) return { refused: 'term not begun' };
    if (log.configurationIndex > log.committed || isJoint(log.configuration)) {
      return { refused: 'change under way' };
    }
    const next = applyChanges(log.configuration, changes);
    if (typeof next === 'string') return { refused: 'invalid', detail: next };
    this.#appendConfiguration(encodeConfiguration(next));
    return { index: log.lastIndex, term };
  }

  /** Confirms a read; false when too many wait. */
  readIndex(context: number): boolean {
    return this.#addRead({ from: this.#replica.id, id: context });
  }

  /** Hands over to a voter, once it has the whole log. Given up after `electionTicks`. */
  transferTo(to: ReplicaId): Refused | undefined {
    const { id, log } = this.#replica;
    if (to === id || !log.configuration.voters.includes(to)) {
      return { refused: 'invalid', detail: `replica ${to} is no other voter` };
    }
    if (this.#transferee === to) return undefined;
    this.#transferee = to;
    this.#sinceTransfer = 0;
    this.#completeTransfer();
    return undefined;
  }

  /** Hands over to the voter that lacks least; false when none is alive. */
  handOver(): boolean {
    const successor = this.#successor();
    return successor !== 0 && this.transferTo(successor) === undefined;
  }

  reportUnreachable(follower: ReplicaId): void {
    const progress = this.#replicator.progress(follower);
    if (progress?.state === 'replicate') progress.becomeProbe();
  }

  reportSnapshot(follower: ReplicaId, isDelivered: boolean): void {
    const progress = this.#replicator.progress(follower);
    if (progress?.state !== 'snapshot') return;
    if (!isDelivered) progress.snapshotIndex = 0;
    progress.becomeProbe();
    progress.isPaused = true; // until it answers: its host may still be installing
  }

  get isCommitUntold(): boolean {
    return this.#replicator.isCommitUntold;
  }

  tellCommitted(): void {
    this.#replicator.tellCommitted();
  }

  /** The message that goes with the rows as of `index`; undefined when they are of no use. */
  snapshotFor(to: ReplicaId, index: number, stampMs: number): InstallSnapshot | undefined {
    const { id: from, term, log } = this.#replica;
    const progress = this.#replicator.progress(to);
    const snapshot = log.snapshotPoint(index, stampMs);
    if (progress?.state !== 'snapshot' || snapshot === undefined) return undefined;
    progress.snapshotIndex = index;
    return { type: 'snapshot', from, to, term, snapshot };
  }

  notePersisted(): void {
    this.#advanceCommit();
  }

  completeTurn(): void {
    const isRoundDue = this.#reads.isRoundDue && this.#hasCommittedInTerm(); // invariant 3
    if (isRoundDue) this.#reads.begin(this.#replica.log.committed);
    if (isRoundDue || this.#isBeatDue) {
      this.#replicator.sendHeartbeats(this.#reads.lastRound, this.#isBeatDue);
      this.#isBeatDue = false;
      this.#confirmReads(); // alone in its group, a leader needs nobody's answer
    }
    this.#replicator.sendAppends();
  }

  end(): void {
    const { id, droppedReads } = this.#replica;
    for (const read of this.#reads.drain()) if (read.from === id) droppedReads.push(read.id);
  }

  /** Invariants 1, 7. */
  #append({ kind, version, payload }: NewEntry): void {
    const { log, term, wallMs } = this.#replica;
    const stampMs = Math.max(log.lastStampMs, wallMs);
    log.append({ index: log.lastIndex + 1, term, stampMs, kind, version, payload });
  }

  #appendConfiguration(payload: Uint8Array): void {
    this.#append({ kind: EntryKind.configuration, version: ENTRY_VERSION, payload });
    this.#replicator.reconfigure();
  }

  #hasCommittedInTerm(): boolean {
    const { log, term } = this.#replica;
    return log.termAt(log.committed) === term;
  }

  #onAccepted(progress: Progress, { from, index }: AppendAccepted): void {
    mustHold(
      index <= this.#replica.log.lastIndex,
      () => `${index} is acknowledged, the log ends at ${this.#replica.log.lastIndex}`,
    );
    if (!this.#replicator.onAccepted(progress, index)) return;
    this.#advanceCommit();
    if (from === this.#transferee) this.#completeTransfer();
  }

  #onBeat(progress: Progress, { round }: HeartbeatResponse): void {
    progress.noteBeat(this.#replica.log.lastIndex);
    if (round <= progress.round) return;
    progress.round = round;
    this.#confirmReads();
  }

  /** Invariant 2. */
  #advanceCommit(): void {
    const { log, term } = this.#replica;
    const index = quorumIndex(log.configuration, (replica) => this.#replicator.matchOf(replica));
    if (index <= log.committed || log.termAt(index) !== term) return;
    log.commitTo(index);
    this.#uncommitted.freeTo(index);
    this.#completeChange();
  }

  /** Invariant 4. */
  #completeChange(): void {
    const { log } = this.#replica;
    const { configuration } = log;
    if (log.configurationIndex > log.committed || !this.#hasCommittedInTerm()) return;
    if (isJoint(configuration)) {
      if (this.#transferee === 0) this.#appendConfiguration(encodeConfiguration(leaveJoint(configuration)));
    } else if (!isVoter(configuration, this.#replica.id)) this.#resign();
  }

  /** Tells the others what is committed, and who is to go on. */
  #resign(): void {
    const { id: from, term, messages } = this.#replica;
    this.#replicator.tellCommitted();
    this.#replicator.sendAppends();
    const to = this.#successor();
    if (to !== 0) messages.push({ type: 'timeoutNow', from, to, term });
    this.#transitions.becomeFollower(term, 0);
  }

  /** The live voter that has most of the log; 0: none. */
  #successor(): ReplicaId {
    let best = 0;
    let bestMatch = -1;
    for (const [follower, { isActive, match }] of this.#replicator.followers) {
      if (!this.#replica.log.configuration.voters.includes(follower)) continue;
      if (isActive && match > bestMatch) [best, bestMatch] = [follower, match];
    }
    return best;
  }

  #completeTransfer(): void {
    const { id: from, term, log, messages } = this.#replica;
    const to = this.#transferee;
    if (to !== 0 && this.#replicator.matchOf(to) === log.lastIndex) {
      messages.push({ type: 'timeoutNow', from, to, term });
    }
  }

  /** Invariant 5. */
  #checkQuorum(): boolean {
    const { id, term, log } = this.#replica;
    const { followers } = this.#replicator;
    const isHeard = (replica: ReplicaId) => replica === id || followers.get(replica)?.isActive === true;
    const isQuorum = hasQuorum(log.configuration, isHeard);
    this.#sinceQuorum = 0;
    for (const progress of followers.values()) progress.isActive = false;
    if (!isQuorum) this.#transitions.becomeFollower(term, 0);
    return isQuorum;
  }

  #addRead(read: PendingRead): boolean {
    if (this.#reads.count >= this.#replica.settings.maxPendingReads) return false;
    this.#reads.add(read);
    return true;
  }

  /** Answers the reads of the rounds that a quorum has answered. */
  #confirmReads(): void {
    const { id: from, term, log, messages, reads } = this.#replica;
    const roundOf = (replica: ReplicaId) =>
      replica === from ? this.#reads.lastRound : (this.#replicator.progress(replica)?.round ?? 0);
    for (const round of this.#reads.take(quorumIndex(log.configuration, roundOf))) {
      for (const { from: reader, id } of round.reads) {
        if (reader === from) reads.push({ context: id, index: round.index });
        else messages.push({ type: 'readIndexResponse', from, to: reader, term, id, index: round.index });
      }
    }
  }
}
