import type { Clock, Timer } from './clock.ts';

/** Something with an end in time, linked into the list of its tick while it is pending. */
export abstract class Expiring {
  /** When it ends, in monotonic milliseconds of the clock. */
  readonly deadlineMs: number;
  /** @internal */ next: Expiring | undefined = undefined;
  /** @internal */ previous: Expiring | undefined = undefined;
  /** @internal */ tick = -1;

  constructor(deadlineMs: number) {
    this.deadlineMs = deadlineMs;
  }

  /** Called once at the deadline, unless it was removed before. */
  abstract expire(): void;

  /** Ends it before its time, with CLIENT_CLOSED. */
  abstract abandon(): void;
}

/**
 * The deadlines of all pending calls under one timer: a wheel of 25 ms ticks with
 * intrusive lists, so that a call costs neither a timer nor an allocation. A call
 * expires no earlier than its deadline and no more than one tick (and the lateness of
 * the event loop) after it.
 */
export class Deadlines {
  static readonly tickMs = 25;
  readonly #clock: Clock;
  readonly #ticks = new Map<number, Expiring | undefined>();
  #timer: Timer | undefined;
  #armedTick = Infinity;
  #size = 0;
  #isClosed = false;
  #onIdle: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Number of pending items. */
  get size(): number {
    return this.#size;
  }

  add(item: Expiring): void {
    const tick = Math.ceil(item.deadlineMs / Deadlines.tickMs);
    const head = this.#ticks.get(tick);
    item.tick = tick;
    item.next = head;
    if (head !== undefined) head.previous = item;
    this.#ticks.set(tick, item);
    this.#size += 1;
    // After `close` everything is refused at once: a timer would only keep the process alive.
    if (tick < this.#armedTick && !this.#isClosed) this.#arm(tick);
  }

  /** Does nothing when the item is not pending. */
  remove(item: Expiring): void {
    if (item.tick < 0) return;
    if (item.previous !== undefined) item.previous.next = item.next;
    // An emptied tick keeps its place: deleting and making it anew for every call of a
    // single caller would cost more than the few hundred ticks that can exist at once.
    else this.#ticks.set(item.tick, item.next);
    if (item.next !== undefined) item.next.previous = item.previous;
    item.next = item.previous = undefined;
    item.tick = -1;
    this.#size -= 1;
    if (this.#size === 0) this.#onIdle?.();
  }

  /** Calls back once when nothing is pending, at once if that is so now. */
  whenIdle(callback: () => void): void {
    if (this.#size === 0) callback();
    else this.#onIdle = callback;
  }

  /** Ends everything that is pending and stops the timer. */
  close(): void {
    this.#isClosed = true;
    for (const tick of this.#ticks.keys()) this.#endAll(tick, (item) => item.abandon());
    this.#timer?.cancel();
    this.#ticks.clear();
    this.#armedTick = Infinity;
  }

  #arm(tick: number): void {
    this.#timer?.cancel();
    this.#armedTick = tick;
    const delayMs = Math.max(0, tick * Deadlines.tickMs - this.#clock.monotonicMs());
    this.#timer = this.#clock.setTimer(delayMs, () => this.#sweep());
  }

  #sweep(): void {
    this.#armedTick = Infinity;
    this.#timer = undefined;
    const nowTick = Math.floor(this.#clock.monotonicMs() / Deadlines.tickMs);
    let nextTick = Infinity;
    for (const [tick, head] of this.#ticks) {
      if (tick <= nowTick) {
        this.#endAll(tick, (item) => item.expire());
        this.#ticks.delete(tick);
      } else if (head === undefined) this.#ticks.delete(tick);
      else if (tick < nextTick) nextTick = tick;
    }
    if (nextTick < this.#armedTick) this.#arm(nextTick);
  }

  #endAll(tick: number, end: (item: Expiring) => void): void {
    // From the head each time: to end one item may remove others.
    for (let item = this.#ticks.get(tick); item !== undefined; item = this.#ticks.get(tick)) {
      this.remove(item);
      end(item);
    }
  }
}
