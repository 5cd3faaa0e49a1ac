import type { Timer } from '@holdfast/client/clock';

/**
 * The one queue of events of a simulated world. Virtual time passes only from event to
 * event, in the order (time, order of insertion), so one seed gives one run.
 *
 * Between two events every promise continuation that is ready runs, however long the chain:
 * that is what makes code with `await` deterministic here. `drainPromises` does it without
 * leaving the turn of the real event loop, about six times as fast as a turn for each event.
 */
export class SimulatedScheduler implements EventQueue {
  readonly #heap: Event[] = [];
  #nowMs = 0;
  #inserted = 0;
  #executed = 0;
  /** Told of each event before it runs; a trace hashes it. */
  observe: ((atMs: number, order: number) => void) | undefined;

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
    this.observe?.(event.atMs, event.order);
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

  /** Calls `turn` until it returns true, with all continuations of one call run before the next. */
  #run(turn: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const next = () => {
        try {
          const perTurn = canDrain() ? EVENTS_PER_TURN : 1;
          for (let events = 0; events < perTurn; events++) {
            if (turn()) return resolve();
            if (perTurn > 1) drainPromises!();
          }
          setImmediate(next);
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

/** Events after which the real event loop gets a turn: the program around the world lives there. */
const EVENTS_PER_TURN = 4_096;

/**
 * Runs every promise continuation and `nextTick` callback that is ready, and those that they
 * make ready, before it returns. Node.js does this between two timers of one turn and
 * exposes it under this old name.
 */
const drainPromises = (process as unknown as { readonly _tickCallback?: () => void })._tickCallback;

/** Whether draining works here and now; it does not inside of a promise continuation, nor in a Node.js without it. */
function canDrain(): boolean {
  if (drainPromises === undefined) return false;
  let hasRun = false;
  void Promise.resolve().then(() => (hasRun = true));
  drainPromises();
  return hasRun;
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
