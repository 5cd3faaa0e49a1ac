/**
 * When followers hear how far a group is committed. In a busy group it goes with the next
 * entries; a message of its own for each commit, and its answer, would be the dearest thing
 * that a leader does. In one that falls quiet it is told a moment later, for all groups at once.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { GroupReplica } from './group-replica.ts';

/** How long entries may come that take the news with them. More: followers lag more behind a quiet leader. */
const NEWS_MS = 10;

export class CommitNews {
  readonly #clock: Clock;
  readonly #wake: (replica: GroupReplica) => void;
  readonly #untold = new Set<GroupReplica>();
  #timer: Timer | undefined;

  constructor(clock: Clock, wake: (replica: GroupReplica) => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** To be called after each turn of a group. */
  note(replica: GroupReplica): void {
    if (!replica.core.isCommitUntold) return;
    this.#untold.add(replica);
    this.#timer ??= this.#clock.setTimer(NEWS_MS, () => this.#tell());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#untold.clear();
  }

  #tell(): void {
    this.#timer = undefined;
    for (const replica of this.#untold) {
      replica.core.tellCommitted();
      this.#wake(replica);
    }
    this.#untold.clear();
  }
}
