import type { Clock, Timer } from '@holdfast/client/clock';

/** setTimeout turns a longer delay into 1 ms; such a timer is set again in steps. */
const LONGEST_STEP_MS = 2 ** 31 - 1;

/**
 * The machine's clocks. Timers do not keep the process alive: a node lives by the ports
 * it listens on, and once those are closed a forgotten timer must not hold it back. A
 * program that does nothing but wait for a timer therefore ends.
 */
export class SystemClock implements Clock {
  wallMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const dueMs = this.monotonicMs() + (delayMs > 0 ? delayMs : 0);
    let handle: NodeJS.Timeout;
    // Node's timers count whole milliseconds of the loop's own time and can come a little early.
    const wait = () => {
      const restMs = dueMs - this.monotonicMs();
      if (restMs <= 0) callback();
      else handle = setTimeout(wait, Math.min(Math.ceil(restMs), LONGEST_STEP_MS)).unref();
    };
    const firstMs = Math.min(Math.ceil(Math.max(delayMs, 0) || 0), LONGEST_STEP_MS);
    handle = setTimeout(wait, firstMs).unref();
    return { cancel: () => clearTimeout(handle) };
  }

  afterTurn(callback: () => void): void {
    setImmediate(callback);
  }
}
