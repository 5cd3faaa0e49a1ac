/**
 * Time as the program sees it. Everything that waits or reads the time does it
 * through a Clock, so that a simulation can own it.
 */
export interface Clock {
  /** Wall time in milliseconds since 1970. May jump, forwards and backwards. */
  wallMs(): number;
  /** Time in milliseconds since some fixed point, with fractions. Never goes back. */
  monotonicMs(): number;
  /** Runs `callback` once, after at least `delayMs` milliseconds of monotonic time. */
  setTimer(delayMs: number, callback: () => void): Timer;
  /**
   * Runs `callback` once, after the input that is ready now has been read: the end of
   * this turn of the event loop. Work queued by one turn is batched this way.
   */
  afterTurn(callback: () => void): void;
}

/** A pending timer. */
export interface Timer {
  /** Stops the timer; does nothing when it has run or was cancelled. */
  cancel(): void;
}

/** Resolves after `delayMs` milliseconds; rejects with the signal's reason when it aborts first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const onAbort = () => {
      timer.cancel();
      reject(signal!.reason as Error);
    };
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
