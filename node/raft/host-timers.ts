/** What a host does again and again. */
import type { Clock, Timer } from '@holdfast/client/clock';

/** A tick of all groups. */
const TICK_MS = 50;
/** Applied rows go to the store at least this often, so that recovery is short. */
const FLUSH_EVERY_MS = 1_000;

export interface HostTimerActions {
  onTick(): void;
  onFlush(): void;
}

export class HostTimers {
  readonly #clock: Clock;
  readonly #actions: HostTimerActions;
  #tick: Timer | undefined;
  #flush: Timer | undefined;
  #isStopped = false;

  constructor(clock: Clock, actions: HostTimerActions) {
    this.#clock = clock;
    this.#actions = actions;
    this.#scheduleTick();
    this.#scheduleFlush();
  }

  stop(): void {
    this.#isStopped = true;
    this.#tick?.cancel();
    this.#flush?.cancel();
  }

  /**
   * After a stall there is one tick, not those that were missed, and it comes after the
   * input that has been waiting: what the leader sent meanwhile shows that it is there.
   */
  #scheduleTick(): void {
    this.#tick = this.#clock.setTimer(TICK_MS, () => {
      this.#clock.afterTurn(() => {
        if (this.#isStopped) return;
        this.#actions.onTick();
        this.#scheduleTick();
      });
    });
  }

  #scheduleFlush(): void {
    this.#flush = this.#clock.setTimer(FLUSH_EVERY_MS, () => {
      if (this.#isStopped) return;
      this.#actions.onFlush();
      this.#scheduleFlush();
    });
  }
}
