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
const FURTHER_PASSES = 5;

export class SpaceReclaimer {
  readonly #rows: RowStore;
  readonly #clock: Clock;
  #low = false;
  /** Compactions still to come when the disk is no longer low. */
  #passesLeft = 0;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  readonly #stopped = Promise.withResolvers<void>();

  constructor(rows: RowStore, clock: Clock) {
    this.#rows = rows;
    this.#clock = clock;
  }

  /**
   * Begins when the disk is low. When it no longer is, a few more compactions take what is
   * deleted meanwhile, or the first bit of space would be all that comes back.
   */
  setLow(low: boolean): void {
    if (this.#low === low) return;
    this.#low = low;
    if (!low) this.#passesLeft = FURTHER_PASSES;
    else if (this.#running === undefined) this.#start(this.#rows.emptyMemory());
  }

  /** Ends for good; resolves when the compaction under way is done. */
  async stop(): Promise<void> {
    this.#low = false;
    this.#passesLeft = 0;
    this.#timer?.cancel();
    this.#stopped.resolve();
    await this.#running;
  }

  #schedule(afterMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(afterMs, () => this.#start(this.#rows.reclaim(this.#stopped.promise)));
  }

  #start(pass: Promise<void>): void {
    this.#timer?.cancel();
    this.#running = this.#follow(pass);
  }

  async #follow(pass: Promise<void>): Promise<void> {
    const startedMs = this.#clock.monotonicMs();
    // A store that cannot be compacted cannot be written either, and its flush says so.
    await pass.catch(() => undefined);
    this.#running = undefined;
    const tookMs = this.#clock.monotonicMs() - startedMs;
    if (!this.#low && this.#passesLeft-- <= 0) return;
    this.#schedule(Math.max(EVERY_MS, PAUSE_FACTOR * tookMs));
  }
}
