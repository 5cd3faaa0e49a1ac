/**
 * Writes that the host has taken and not yet reported durable, in order.
 *
 *  1. Completing a write vouches for what was in it and is still in the log. An entry
 *     that was cut off and came back (same index, same term) after the write was taken
 *     is another entry: on disk something else may stand in between.
 */
export interface HardState {
  readonly term: number;
  /** Who got this replica's vote in `term`; 0: nobody. */
  readonly vote: number;
}

interface PendingWrite {
  readonly sequence: number;
  readonly hardState: HardState;
  /** Last index that is durable with it; lowered when the log is cut. */
  lastIndex: number;
  readonly snapshotIndex: number;
}

export interface CompletedWrites {
  readonly hardState: HardState;
  readonly lastIndex: number;
  readonly snapshotIndex: number;
}

export class PendingWrites {
  #writes: PendingWrite[] = [];
  #lastSequence = 0;

  get isEmpty(): boolean {
    return this.#writes.length === 0;
  }

  /** Notes a write that makes everything up to `lastIndex` durable; returns its number. */
  begin(hardState: HardState, lastIndex: number, snapshotIndex: number): number {
    this.#writes.push({ sequence: ++this.#lastSequence, hardState, lastIndex, snapshotIndex });
    return this.#lastSequence;
  }

  /** The log was cut: nothing from `index` on is what these writes hold. Invariant 1. */
  truncate(index: number): void {
    for (const write of this.#writes) write.lastIndex = Math.min(write.lastIndex, index - 1);
  }

  /** The writes up to `sequence` are durable; undefined when that is known already. */
  complete(sequence: number): CompletedWrites | undefined {
    if (sequence > this.#lastSequence) throw new RangeError(`write ${sequence} was never handed out`);
    let completed: CompletedWrites | undefined;
    while (this.#writes.length > 0 && this.#writes[0]!.sequence <= sequence) {
      const { hardState, lastIndex, snapshotIndex } = this.#writes.shift()!;
      completed = {
        hardState,
        lastIndex: Math.max(lastIndex, completed?.lastIndex ?? 0),
        snapshotIndex: Math.max(snapshotIndex, completed?.snapshotIndex ?? 0),
      };
    }
    return completed;
  }
}
