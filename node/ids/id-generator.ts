/**
 * Makes the IDs of one worker number, from a stretch of time that is this process's alone.
 * Pure: it is told the time and the bounds. It counts in *slots*, of which a millisecond has
 * 4,096, each an ID.
 *
 *  1. A slot is given out once, and each is greater than all before it: whatever the clock does.
 *  2. Nothing is given out below the floor, which is where those who had the number before may
 *     have come to.
 *  3. Nothing is given out at or above the high-water, which whoever has the number next begins at.
 *  4. What is given out is at most MAX_AHEAD_MS ahead of the clock. It is waited for before
 *     anybody sees it, so that no ID is of the future by the clock of its maker.
 *  5. What is refused has taken nothing.
 */
import { IDS_PER_MS, ID_MS_END, composeId } from '@holdfast/client/ids/id-layout';

/** A call waits this long at most for the clock to come to its last ID. */
export const MAX_AHEAD_MS = 500;

/** IDs one after the other. */
export interface IdRun {
  readonly first: bigint;
  readonly count: number;
}

/**
 * What came of asking for IDs. `taken`: they may be used in `waitMs`. `behind`: the clock is so
 * far behind what was given out. `crowded`: more are asked for than milliseconds pass. `spent`:
 * the high-water is reached. `unusable`: IDs have no room for this time.
 */
export type Taking =
  | { readonly case: 'taken'; readonly runs: readonly IdRun[]; readonly waitMs: number }
  | { readonly case: 'behind'; readonly byMs: number }
  | { readonly case: 'crowded' }
  | { readonly case: 'spent' }
  | { readonly case: 'unusable' };

export class IdGenerator {
  readonly worker: number;
  /** The next slot. */
  #next: number;
  #highWaterMs: number;
  /** The latest time by the clock of which something was given out; at least the floor. */
  #reachedMs: number;

  /** Milliseconds are those of IDs, since 2020. */
  constructor(worker: number, floorMs: number, highWaterMs: number) {
    this.worker = worker;
    this.#next = Math.max(1, floorMs) * IDS_PER_MS;
    this.#reachedMs = floorMs;
    this.#highWaterMs = highWaterMs;
  }

  get highWaterMs(): number {
    return this.#highWaterMs;
  }

  /** Allows what is below a later high-water. */
  extend(highWaterMs: number): void {
    this.#highWaterMs = Math.max(this.#highWaterMs, highWaterMs);
  }

  /** Takes IDs, 1 or more, at this time of the clock, whole milliseconds. */
  take(count: number, clockMs: number): Taking {
    if (clockMs < 1) return { case: 'unusable' };
    const byMs = this.#reachedMs - clockMs;
    if (byMs > MAX_AHEAD_MS) return { case: 'behind', byMs };
    const start = Math.max(this.#next, clockMs * IDS_PER_MS);
    const lastMs = Math.floor((start + (count - 1)) / IDS_PER_MS);
    if (lastMs >= ID_MS_END) return { case: 'unusable' };
    if (lastMs - clockMs > MAX_AHEAD_MS) return { case: 'crowded' }; // invariant 4
    if (lastMs >= this.#highWaterMs) return { case: 'spent' }; // invariant 3
    this.#next = start + count; // invariant 1
    this.#reachedMs = Math.max(this.#reachedMs, clockMs);
    return { case: 'taken', runs: this.#runs(start, count), waitMs: Math.max(0, lastMs - clockMs) };
  }

  /** Slots as IDs: those of one millisecond follow each other. */
  #runs(start: number, count: number): IdRun[] {
    const runs: IdRun[] = [];
    for (let slot = start; slot < start + count;) {
      const sequence = slot % IDS_PER_MS;
      const length = Math.min(IDS_PER_MS - sequence, start + count - slot);
      const ms = (slot - sequence) / IDS_PER_MS;
      runs.push({ first: composeId(ms, this.worker, sequence), count: length });
      slot += length;
    }
    return runs;
  }
}
