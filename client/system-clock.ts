import type { Clock, Timer } from './clock.ts';

/** The clock of the machine and the timers of Node.js. */
export class SystemClock implements Clock {
  wallMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    // setTimeout may fire up to 1 ms early, the port promises "at least".
    const timeout = setTimeout(callback, Math.ceil(delayMs) + 1);
    return { cancel: () => clearTimeout(timeout) };
  }

  afterTurn(callback: () => void): void {
    setImmediate(callback);
  }
}
