/**
 * Notices when the wall clock is set: it then moves by another amount than the monotonic
 * one. Times to live are counted by the log's own time, which follows the wall clock
 * forwards and never goes back, so a jump shortens or lengthens them.
 */
import type { Clock, Timer } from '@holdfast/client/clock';

const EVERY_MS = 1_000;
/** Less is the ordinary work of a time service. */
const TOLERATED_MS = 500;

export class ClockWatch {
  readonly #clock: Clock;
  readonly #onStep: (byMs: number) => void;
  #offsetMs: number;
  #timer: Timer | undefined;

  /** `onStep` gets by how much the wall clock was set; negative: back. */
  constructor(clock: Clock, onStep: (byMs: number) => void) {
    this.#clock = clock;
    this.#onStep = onStep;
    this.#offsetMs = this.#offset();
    this.#schedule();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(EVERY_MS, () => {
      const offsetMs = this.#offset();
      const byMs = offsetMs - this.#offsetMs;
      this.#offsetMs = offsetMs;
      if (Math.abs(byMs) > TOLERATED_MS) this.#onStep(byMs);
      this.#schedule();
    });
  }

  #offset(): number {
    return this.#clock.wallMs() - this.#clock.monotonicMs();
  }
}
