/**
 * How a leader confirms reads (dissertation of Ongaro, section 6.4). A round is a number
 * that goes out with heartbeats; who answers it still follows this leader after the
 * round began.
 *
 *  1. A read joins a round that has not begun; the round's index is the commit index
 *     when it begins, so it covers everything committed before the read came.
 *  2. An answer to a round confirms that round and those before it, none after it.
 *  3. A read is answered once. Who asks again asks anew.
 */
import type { ReplicaId } from './configuration.ts';

/** A read that waits: of this replica's host, or of a follower. */
export interface PendingRead {
  readonly from: ReplicaId;
  /** The host's context, or the follower's id. */
  readonly id: number;
}

export interface ReadRound {
  readonly round: number;
  readonly index: number;
  readonly reads: readonly PendingRead[];
}

/** Rounds under way at a time. More: a read waits less; fewer: more reads share a message. */
const MAX_ROUNDS = 4;

export class ReadRounds {
  #waiting: PendingRead[] = [];
  #rounds: ReadRound[] = [];
  #lastRound = 0;
  #count = 0;

  /** The newest round that has begun; 0: none. */
  get lastRound(): number {
    return this.#lastRound;
  }

  /** Whether reads wait for a round, and not so many rounds are under way that they had better share a later one. */
  get isRoundDue(): boolean {
    return this.#waiting.length > 0 && this.#rounds.length < MAX_ROUNDS;
  }

  /** Reads that have no answer yet. */
  get count(): number {
    return this.#count;
  }

  add(read: PendingRead): void {
    this.#waiting.push(read);
    this.#count++;
  }

  /** Begins a round with all reads that wait; the caller sends its number out. Invariant 1. */
  begin(committed: number): void {
    this.#rounds.push({ round: ++this.#lastRound, index: committed, reads: this.#waiting });
    this.#waiting = [];
  }

  /** Takes the rounds up to `round`, which a quorum has answered. Invariants 2, 3. */
  take(round: number): readonly ReadRound[] {
    const after = this.#rounds.findIndex((pending) => pending.round > round);
    const taken = this.#rounds.splice(0, after < 0 ? this.#rounds.length : after);
    for (const { reads } of taken) this.#count -= reads.length;
    return taken;
  }

  /** All reads without an answer, when the leader is leader no more. */
  drain(): PendingRead[] {
    const reads = this.#rounds.flatMap((round) => round.reads).concat(this.#waiting);
    this.#rounds = [];
    this.#waiting = [];
    this.#count = 0;
    return reads;
  }
}
