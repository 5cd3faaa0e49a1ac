/** Larger writes take so long on any disk that handing them to another thread costs little beside them. */
const MAX_INLINE_BYTES = 128 * 1024;
/** An inline write that took longer shows that the disk is slow or busy. */
const SLOW_MS = 2;
/** Pause after a slow one; doubled while they follow each other. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 10_000;

/**
 * Decides whether a small durable write is done on the event loop's own thread. A fast disk
 * has it in 0.15 ms; the way through the thread pool and back takes longer than that, the
 * more so on a busy machine. While the disk is slow, writes go through the pool, so that the
 * loop is held up at most by one write now and then, and by none for seconds when all are slow.
 */
export class InlineWrites {
  #pausedUntilMs = 0;
  #pauseMs = 0;

  /** Whether a write of this size may be done inline now. */
  allows(bytes: number, nowMs: number): boolean {
    return bytes <= MAX_INLINE_BYTES && nowMs >= this.#pausedUntilMs;
  }

  /** Notes how long an inline write took. */
  note(startedMs: number, endedMs: number): void {
    if (endedMs - startedMs <= SLOW_MS) {
      // Good for as long as it was bad: a disk that is slow every other time stays paused.
      if (endedMs - this.#pausedUntilMs > this.#pauseMs) this.#pauseMs = 0;
      return;
    }
    this.#pauseMs = Math.min(Math.max(FIRST_PAUSE_MS, this.#pauseMs * 2), LONGEST_PAUSE_MS);
    this.#pausedUntilMs = endedMs + this.#pauseMs;
  }
}
