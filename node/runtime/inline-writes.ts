/** Larger writes take so long on any disk that handing them to another thread costs little beside them. */
const MAX_INLINE_BYTES = 128 * 1024;
/** An inline write that took longer shows that the disk is slow or busy. */
const SLOW_MS = 2;
/** The way through the pool takes some time by itself, and waits for the loop: a fast disk is below this. */
const POOLED_SLOW_MS = 5;
/** So many fast writes in a row through the pool show that the disk is fast again; doubled while it is not. */
const FIRST_TRIAL = 16;
const LONGEST_TRIAL = 4_096;

/**
 * Decides whether a small durable write is done on the event loop's own thread. A fast disk
 * has it in 0.15 ms; the way through the thread pool and back takes longer than that, the
 * more so on a busy machine. After one slow write all go through the pool, until a number of
 * them in a row was fast there: a slow disk is tried out beside the loop, never on it.
 */
export class InlineWrites {
  /** Fast writes through the pool that are still wanted; 0: inline. */
  #wanted = 0;
  #trial = FIRST_TRIAL / 2;
  #inlineInARow = 0;

  /** Whether a write of this size may be done inline now. */
  allows(bytes: number): boolean {
    return bytes <= MAX_INLINE_BYTES && this.#wanted === 0;
  }

  /** Notes how long an inline write took. */
  note(tookMs: number): void {
    if (tookMs <= SLOW_MS) {
      // A disk that stays fast for as long as it was doubted has its good name back.
      if (++this.#inlineInARow >= this.#trial * 4) this.#trial = FIRST_TRIAL / 2;
      return;
    }
    this.#trial = Math.min(this.#trial * 2, LONGEST_TRIAL);
    this.#wanted = this.#trial;
    this.#inlineInARow = 0;
  }

  /** Notes how long a write through the pool took. Large ones say nothing of small ones. */
  notePooled(bytes: number, tookMs: number): void {
    if (this.#wanted === 0 || bytes > MAX_INLINE_BYTES) return;
    this.#wanted = tookMs <= POOLED_SLOW_MS ? this.#wanted - 1 : this.#trial;
  }
}
