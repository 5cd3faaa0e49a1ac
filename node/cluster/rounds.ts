/** Does something again and again, one time after the other. What fails is done again, perhaps by another node. */
import type { Clock, Timer } from '@holdfast/client/clock';

export class Rounds {
  readonly #clock: Clock;
  readonly #delayMs: () => number;
  readonly #round: () => void | Promise<void>;
  #timer: Timer | undefined;
  #isStopped = false;

  /** `delayMs`: from the end of a round to the next. */
  constructor(clock: Clock, delayMs: () => number, round: () => void | Promise<void>) {
    this.#clock = clock;
    this.#delayMs = delayMs;
    this.#round = round;
    this.#schedule();
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** A round that is under way ends. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(this.#delayMs(), () => void this.#run());
  }

  async #run(): Promise<void> {
    try {
      await this.#round();
    } catch {
      // The next round finds what is left to do.
    }
    if (!this.#isStopped) this.#schedule();
  }
}
