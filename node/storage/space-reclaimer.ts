/**
 * Turns deletes into free space while the disk is low. LevelDB gives the space of removed
 * rows back when it compacts, and by itself it compacts only as it is written to: on a
 * disk that is low for writes it would never do so, and deleting data would be in vain.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { RowStore } from './row-store.ts';

const EVERY_MS = 1_000;
/** After a compaction comes a pause of so many times its length: reads need the disk as well. */
const PAUSE_FACTOR = 5;

export class SpaceReclaimer {
  readonly #rows: RowStore;
  readonly #clock: Clock;
  #low = false;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;

  constructor(rows: RowStore, clock: Clock) {
    this.#rows = rows;
    this.#clock = clock;
  }

  /** Begins when the disk is low, and ends when it is not. */
  setLow(low: boolean): void {
    this.#low = low;
    if (!low) this.#timer?.cancel();
    else if (this.#running === undefined) this.#schedule(EVERY_MS);
  }

  /** Ends for good; resolves when the compaction under way is done. */
  async stop(): Promise<void> {
    this.setLow(false);
    await this.#running;
  }

  #schedule(afterMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(afterMs, () => {
      this.#running = this.#reclaim();
    });
  }

  async #reclaim(): Promise<void> {
    const startedMs = this.#clock.monotonicMs();
    // A store that cannot be compacted cannot be written either, and its flush says so.
    await this.#rows.reclaim().catch(() => undefined);
    this.#running = undefined;
    const tookMs = this.#clock.monotonicMs() - startedMs;
    if (this.#low) this.#schedule(Math.max(EVERY_MS, PAUSE_FACTOR * tookMs));
  }
}
