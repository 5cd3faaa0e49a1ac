import type { Timer } from '@holdfast/client/clock';

/**
 * The one queue of events of a simulated world. Virtual time passes only from event to
 * event, in the order (time, order of insertion), so one seed gives one run.
 *
 * Between two events every promise continuation that is ready runs: each event is one
 * turn of the real event loop. That hop is what makes code with `await` deterministic
 * here; code without it may use `step` directly, which is about ten times as fast.
 */
export class SimulatedScheduler implements EventQueue {
  readonly #heap: Event[] = [];
  #nowMs = 0;
  #inserted = 0;
  #executed = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  /** Events run so far. */
  get executed(): number {
    return this.#executed;
  }

  after(delayMs: number, run: () => void): Timer {
    const atMs = this.#nowMs + (delayMs > 0 ? delayMs : 0);
    const event: Event = { atMs, order: this.#inserted++, run };
    push(this.#heap, event);
    return { cancel: () => (event.run = undefined) };
  }

  /** Runs the next event, without letting promise continuations run. False when there is none. */
  step(limitMs = Infinity): boolean {
    const event = this.#peek();
    if (event === undefined || event.atMs > limitMs) return false;
    pop(this.#heap);
    this.#nowMs = event.atMs;
    this.#executed++;
    event.run!();
    return true;
  }

  /** Runs everything up to and including the time `atMs`, and stops there. */
  async runUntil(atMs: number): Promise<void> {
    await this.#run(() => !this.step(atMs));
    this.#nowMs = Math.max(this.#nowMs, atMs);
  }

  /** Runs everything in the next `durationMs` milliseconds. */
  runFor(durationMs: number): Promise<void> {
    return this.runUntil(this.#nowMs + durationMs);
  }

  /**
   * Runs until `condition` holds, looked at before the first and after each event. False
   * when it does not hold after `withinMs` of virtual time or when no event is left.
   */
  async runUntilTrue(condition: () => boolean, withinMs: number): Promise<boolean> {
    const limitMs = this.#nowMs + withinMs;
    let held = false;
    await this.#run(() => (held = condition()) || !this.step(limitMs));
    if (!held) this.#nowMs = Math.max(this.#nowMs, limitMs);
    return held;
  }

  /**
   * Runs until `promise` settles and gives its result. Throws when no event is left or
   * `withinMs` of virtual time has passed and the promise is still pending.
   */
  async settle<T>(promise: Promise<T>, withinMs = Infinity): Promise<T> {
    let settled = false;
    const mark = () => (settled = true);
    promise.then(mark, mark);
    const limitMs = this.#nowMs + withinMs;
    await this.#run(() => settled || !this.step(limitMs));
    if (!settled) throw new Error(`still pending at ${this.#nowMs} ms of virtual time`);
    return promise;
  }

  /** Calls `turn` once per turn of the real event loop until it returns true. */
  #run(turn: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const next = () => {
        try {
          if (turn()) resolve();
          else setImmediate(next);
        } catch (error) {
          reject(error as Error);
        }
      };
      setImmediate(next);
    });
  }

  /** The next event that was not cancelled. */
  #peek(): Event | undefined {
    while (this.#heap.length > 0 && this.#heap[0]!.run === undefined) pop(this.#heap);
    return this.#heap[0];
  }
}

/** Where simulated things put what happens later: the whole world's scheduler, or one process in it. */
export interface EventQueue {
  /** Virtual time in milliseconds since the world began. */
  nowMs(): number;
  /** Runs `run` once, `delayMs` of virtual time from now; 0 means after what is queued for now. */
  after(delayMs: number, run: () => void): Timer;
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  /** Undefined once cancelled; a cancelled event stays in the heap until it comes up. */
  run: (() => void) | undefined;
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function push(heap: Event[], event: Event): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(event, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (!isBefore(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}
