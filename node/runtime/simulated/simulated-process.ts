import type { Timer } from '@holdfast/client/clock';
import type { EventQueue } from './simulated-scheduler.ts';

/**
 * One run of one program in the simulated world: from its start until it is killed. Give
 * it, in place of the scheduler, to the clock, disk, store and transport of a node, and
 * the node can be paused (SIGSTOP: nothing runs, then everything that became due runs at
 * once) and killed (nothing that was under way ever completes). A restart is a new one.
 */
export class SimulatedProcess implements EventQueue {
  readonly #world: EventQueue;
  #state: 'running' | 'paused' | 'killed' = 'running';
  #held: (() => void)[] = [];

  constructor(world: EventQueue) {
    this.#world = world;
  }

  nowMs(): number {
    return this.#world.nowMs();
  }

  get isKilled(): boolean {
    return this.#state === 'killed';
  }

  after(delayMs: number, run: () => void): Timer {
    let cancelled = false;
    const start = () => {
      if (!cancelled) this.#arrive(start, run);
    };
    const timer = this.#world.after(delayMs, start);
    const cancel = () => {
      cancelled = true;
      timer.cancel();
    };
    return { cancel };
  }

  /** Stops everything; what becomes due is kept. */
  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  /** Goes on, with everything that became due meanwhile, in its order. */
  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    const held = this.#held;
    this.#held = [];
    for (const start of held) this.#world.after(0, start);
  }

  /** Ends it: no callback of this process runs any more. */
  kill(): void {
    this.#state = 'killed';
    this.#held = [];
  }

  #arrive(start: () => void, run: () => void): void {
    if (this.#state === 'running') run();
    else if (this.#state === 'paused') this.#held.push(start);
  }
}
