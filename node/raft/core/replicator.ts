/**
 * How a leader brings its log to the others: one `Progress` each, and what to send next.
 * Sending happens once a turn, so that everything proposed in a turn shares a message.
 *
 *  1. What is sent follows an entry whose index and term are named in the message.
 *  2. A follower has no more than a window of entries under way, in messages and bytes.
 *  3. One that needs entries which are gone gets a snapshot, and nothing else meanwhile.
 */
import { isVoter, members, type ReplicaId } from './configuration.ts';
import { entryBytes, type Entry } from './entry.ts';
import type { AppendRejected } from './messages.ts';
import { Progress } from './progress.ts';
import type { Replica } from './replica.ts';

export class Replicator {
  readonly #replica: Replica;
  #followers = new Map<ReplicaId, Progress>();

  constructor(replica: Replica) {
    this.#replica = replica;
    this.reconfigure();
  }

  get followers(): ReadonlyMap<ReplicaId, Progress> {
    return this.#followers;
  }

  progress(replica: ReplicaId): Progress | undefined {
    return this.#followers.get(replica);
  }

  /** Follows the configuration; who stays keeps its progress. New members count as active at first. */
  reconfigure(): void {
    const { id, log, settings } = this.#replica;
    const others = members(log.configuration).filter((member) => member !== id);
    const progressOf = (member: ReplicaId) =>
      this.#followers.get(member) ?? new Progress(log.lastIndex + 1, true, settings);
    this.#followers = new Map(others.map((member) => [member, progressOf(member)]));
  }

  /** How far a replica holds the leader's log durably, the leader itself included. */
  matchOf(replica: ReplicaId): number {
    const { id, log } = this.#replica;
    return replica === id ? log.durable : (this.#followers.get(replica)?.match ?? 0);
  }

  /** To everyone; or, when only a round of reads is to be confirmed, to the voters. */
  sendHeartbeats(round: number, isBeat: boolean): void {
    const { id: from, term, log, messages } = this.#replica;
    for (const [to, progress] of this.#followers) {
      if (isBeat) progress.isBeatAnswered = false;
      else if (!isVoter(log.configuration, to)) continue;
      const committed = Math.min(progress.match, log.committed);
      progress.told = Math.max(progress.told, committed);
      messages.push({ type: 'heartbeat', from, to, term, committed, round });
    }
  }

  /**
   * Sends everyone what it lacks and may get now. How far the log is committed goes with
   * entries and heartbeats, or when the host asks: a message of its own for each would be
   * every second one.
   */
  sendAppends(): void {
    for (const [follower, progress] of this.#followers) {
      while (this.#sendAppend(follower, progress));
    }
  }

  /** Somebody has entries that are committed and has not been told so. */
  get isCommitUntold(): boolean {
    for (const progress of this.#followers.values()) if (this.#isUntold(progress)) return true;
    return false;
  }

  /** The next turn's messages say how far the log is committed, to everyone who has it and was not told. */
  tellCommitted(): void {
    for (const progress of this.#followers.values()) if (this.#isUntold(progress)) progress.isProbeDue = true;
  }

  #isUntold({ state, match, told }: Progress): boolean {
    return state === 'replicate' && told < Math.min(match, this.#replica.log.committed);
  }

  onAccepted(progress: Progress, index: number): boolean {
    const isNews = progress.noteAccepted(index);
    if (progress.state === 'probe') progress.becomeReplicate();
    else if (progress.state === 'snapshot' && progress.match >= this.#replica.log.baseIndex) {
      progress.becomeReplicate();
    }
    return isNews;
  }

  /** Goes back over all entries that cannot agree: those of terms above the hint's. */
  onRejected(progress: Progress, { prevIndex, hintIndex, hintTerm }: AppendRejected): void {
    progress.noteRejected(prevIndex, this.#replica.log.lastUpTo(hintIndex, hintTerm));
  }

  /** Returns whether there may be more to send at once. */
  #sendAppend(to: ReplicaId, progress: Progress): boolean {
    const { log, snapshotsWanted } = this.#replica;
    if (progress.state === 'snapshot' || progress.isPaused) return false;
    const prevTerm = log.termAt(progress.next - 1);
    if (prevTerm === undefined) {
      if (!progress.isActive) return false; // the snapshot would not arrive
      progress.becomeSnapshot();
      snapshotsWanted.push(to);
      return false;
    }
    const entries = this.#entriesFor(progress);
    const isDue = progress.state === 'probe' || progress.isProbeDue;
    if (entries.length === 0 && !isDue) return false;
    this.#push(to, progress, prevTerm, entries);
    return entries.length > 0;
  }

  /** Invariant 2. Entries that are not at hand are sent when they are. */
  #entriesFor(progress: Progress): readonly Entry[] {
    const { log, settings } = this.#replica;
    if (progress.next > log.lastIndex || progress.window.isFull) return [];
    return log.read(progress.next, settings.maxMessageBytes) ?? [];
  }

  /** Invariant 1. */
  #push(to: ReplicaId, progress: Progress, prevTerm: number, entries: readonly Entry[]): void {
    const { id: from, term, log, messages } = this.#replica;
    const prevIndex = progress.next - 1;
    const { committed } = log;
    messages.push({ type: 'append', from, to, term, prevIndex, prevTerm, committed, entries });
    let bytes = 0;
    for (const entry of entries) bytes += entryBytes(entry);
    progress.noteSent(prevIndex + entries.length, bytes);
    progress.told = committed;
    progress.isProbeDue = false;
  }
}
