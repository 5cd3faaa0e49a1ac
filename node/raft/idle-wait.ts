/** Waiting until a host has nothing under way. */
import type { Clock } from '@holdfast/client/clock';

export class IdleWait {
  readonly #clock: Clock;
  readonly #isIdle: () => boolean;
  #waiting: (() => void)[] = [];

  constructor(clock: Clock, isIdle: () => boolean) {
    this.#clock = clock;
    this.#isIdle = isIdle;
  }

  /** Something has ended. */
  tell(): void {
    if (this.#waiting.length > 0 && this.#isIdle()) for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when the host is idle, after `mostMs` at the latest: what was proposed may never end. */
  wait(mostMs: number): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#clock.setTimer(mostMs, resolve);
      this.#waiting.push(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}
