/**
 * A replica that follows: takes entries from its leader, and stands for election when it
 * hears from none. Learners, and replicas that know no configuration yet, only follow, and
 * know no leader any more when they hear from none.
 *
 *  1. An entry is acknowledged when it is durable and the whole log up to it is the
 *     leader's (log matching, Raft paper, section 5.3).
 *  2. An acknowledgement waits for the write (`Replica.promises`); an answer to a heartbeat
 *     says nothing but that the leader is still followed, and goes out at once.
 */
import type { ReplicaId } from './configuration.ts';
import { ForwardedReads } from './forwarded-reads.ts';
import { mustHold } from './invariant.ts';
import type { Append, Heartbeat, InstallSnapshot, Message, ReadIndexResponse } from './messages.ts';
import type { Replica, Role, Transitions } from './replica.ts';

export class Follower implements Role {
  readonly name = 'follower';
  readonly #replica: Replica;
  readonly #transitions: Transitions;
  readonly #reads: ForwardedReads;
  #leader: ReplicaId;
  /** Ticks since the leader was heard, or a vote was given. */
  #elapsed = 0;
  #timeout: number;

  constructor(replica: Replica, transitions: Transitions, leader: ReplicaId) {
    this.#replica = replica;
    this.#transitions = transitions;
    this.#leader = leader;
    this.#reads = new ForwardedReads(replica.random);
    this.#timeout = replica.drawElectionTimeout();
  }

  get leader(): ReplicaId {
    return this.#leader;
  }

  get hasLiveLeader(): boolean {
    return this.#leader !== 0 && this.#elapsed < this.#replica.settings.electionTicks;
  }

  tick(): void {
    const { settings, droppedReads } = this.#replica;
    droppedReads.push(...this.#reads.tick(settings.electionTicks));
    if (++this.#elapsed < this.#timeout) return;
    if (this.#replica.mayLead) this.#transitions.becomeCandidate('preVote');
    else this.#forgetLeader();
  }

  receive(message: Message): void {
    switch (message.type) {
      case 'append':
        this.#hear(message.from);
        return this.#onAppend(message);
      case 'heartbeat':
        this.#hear(message.from);
        return this.#onHeartbeat(message);
      case 'snapshot':
        this.#hear(message.from);
        return this.#onSnapshot(message);
      case 'timeoutNow':
        if (this.#replica.mayLead) this.#transitions.becomeCandidate('transfer');
        return;
      case 'readIndexResponse':
        return this.#onReadIndex(message);
      default: // meant for a role that this replica no longer has
    }
  }

  /** Has the leader confirm a read; false when there is no leader, or too many reads wait. */
  readIndex(context: number): boolean {
    if (this.#leader === 0 || this.#reads.count >= this.#replica.settings.maxPendingReads) return false;
    this.#reads.add(context);
    return true;
  }

  /** A vote was given: the candidate gets time to win. */
  deferElection(): void {
    this.#elapsed = 0;
  }

  notePersisted(): void {
    // Acknowledgements wait for their writes in the host's hands.
  }

  completeTurn(): void {
    const id = this.#reads.takeRequest();
    const { id: from, term, messages } = this.#replica;
    if (id !== undefined) messages.push({ type: 'readIndex', from, to: this.#leader, term, id });
  }

  end(): void {
    this.#replica.droppedReads.push(...this.#reads.drain());
  }

  /** Time has passed for a replica that is not to stand for election, though it may vote. */
  rest(): void {
    if (++this.#elapsed >= this.#timeout) this.#forgetLeader();
  }

  /** Who does not stand for election, and was perhaps taken out of its group, does not believe in a leader for ever. */
  #forgetLeader(): void {
    this.#leader = 0;
    this.end();
  }

  #hear(leader: ReplicaId): void {
    mustHold(
      this.#leader === 0 || this.#leader === leader,
      () => `${leader} and ${this.#leader} both lead term ${this.#replica.term}`,
    );
    this.#leader = leader;
    this.#elapsed = 0;
  }

  /** Invariant 1. */
  #onAppend(append: Append): void {
    const { log } = this.#replica;
    const { prevIndex, prevTerm, entries, committed } = append;
    if (prevIndex < log.committed && prevIndex + entries.length <= log.committed) {
      return this.#accept(append.from, log.committed); // nothing in it is news
    }
    const rest = prevIndex < log.baseIndex ? entries.slice(log.baseIndex - prevIndex) : entries;
    if (rest === entries && log.termAt(prevIndex) !== prevTerm) return this.#reject(append);
    log.merge(rest);
    const last = prevIndex + entries.length;
    log.commitTo(Math.min(committed, last));
    this.#accept(append.from, last);
  }

  #onHeartbeat({ from: leader, committed, round }: Heartbeat): void {
    const { id: from, term, log, messages } = this.#replica;
    mustHold(
      committed <= log.lastIndex,
      () => `the log ends at ${log.lastIndex}, the leader has it acknowledged to ${committed}`,
    );
    log.commitTo(committed);
    messages.push({ type: 'heartbeatResponse', from, to: leader, term, round });
  }

  /** A snapshot that brings nothing new, or what the log has anyway, is not installed. */
  #onSnapshot({ from, snapshot }: InstallSnapshot): void {
    const { log } = this.#replica;
    if (snapshot.index <= log.committed) return this.#accept(from, log.committed);
    if (log.termAt(snapshot.index) === snapshot.term) log.commitTo(snapshot.index);
    else log.restore(snapshot);
    this.#accept(from, snapshot.index);
  }

  #onReadIndex({ id, index }: ReadIndexResponse): void {
    for (const context of this.#reads.answer(id)) this.#replica.reads.push({ context, index });
  }

  /** Invariant 2. */
  #accept(to: ReplicaId, index: number): void {
    const { id: from, term, promises } = this.#replica;
    promises.push({ type: 'appendAccepted', from, to, term, index });
  }

  /** Says where the logs may agree, so that the leader skips whole terms at a time. */
  #reject({ from: leader, prevIndex, prevTerm }: Append): void {
    const { id: from, term, log, messages } = this.#replica;
    const hintIndex = log.lastUpTo(prevIndex, prevTerm);
    const hintTerm = log.termAt(hintIndex) ?? 0;
    messages.push({ type: 'appendRejected', from, to: leader, term, prevIndex, hintIndex, hintTerm });
  }
}
