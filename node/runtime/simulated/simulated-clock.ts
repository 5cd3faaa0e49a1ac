import type { Clock, Timer } from '@holdfast/client/clock';
import type { EventQueue } from './simulated-scheduler.ts';

/** How a node's clock differs from the world's. */
export interface SimulatedClockOptions {
  /** Wall time at the world's time 0, in milliseconds since 1970. Default 2026-01-01T00:00:00Z. */
  readonly wallStartMs?: number;
  /** Milliseconds by which the wall clock is ahead of the world's; negative: behind. Default 0. */
  readonly offsetMs?: number;
  /** Relative error of the rate: 0.01 gains 10 ms each second. Above -1. Default 0. */
  readonly drift?: number;
}

/** Milliseconds added when rounding made a timer come up just before its time. */
const ROUNDING_MS = 0.001;

/**
 * One node's view of virtual time. The wall clock can jump; the rate of both the wall
 * and the monotonic clock can drift; the monotonic clock never goes back.
 */
export class SimulatedClock implements Clock {
  readonly #queue: EventQueue;
  #wallOffsetMs: number;
  #rate: number;
  /** The world's time and this clock's at the last change of rate. */
  #sinceMs: number;
  #monotonicAtSinceMs: number;

  constructor(queue: EventQueue, options: SimulatedClockOptions = {}) {
    this.#queue = queue;
    this.#rate = 1 + (options.drift ?? 0);
    this.#sinceMs = queue.nowMs();
    this.#monotonicAtSinceMs = queue.nowMs();
    this.#wallOffsetMs = (options.wallStartMs ?? Date.UTC(2026, 0, 1)) + (options.offsetMs ?? 0);
  }

  wallMs(): number {
    return Math.floor(this.#wallOffsetMs + this.monotonicMs());
  }

  monotonicMs(): number {
    return this.#monotonicAtSinceMs + (this.#queue.nowMs() - this.#sinceMs) * this.#rate;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const dueMs = this.monotonicMs() + (delayMs > 0 ? delayMs : 0);
    let pending: Timer;
    // The rate may have fallen since the timer was set; then it is not due yet.
    const fire = () => {
      const restMs = dueMs - this.monotonicMs();
      if (restMs > 0) pending = this.#queue.after(Math.max(restMs / this.#rate, ROUNDING_MS), fire);
      else callback();
    };
    pending = this.#queue.after((dueMs - this.monotonicMs()) / this.#rate, fire);
    return { cancel: () => pending.cancel() };
  }

  afterTurn(callback: () => void): void {
    this.#queue.after(0, callback);
  }

  /** Moves the wall clock by `byMs`, forwards or (negative) backwards, as an administrator or NTP would. */
  jump(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /**
   * Changes the relative error of the rate from now on. A timer that is pending never
   * comes early by this clock; it may come late when the rate rises.
   */
  setDrift(drift: number): void {
    this.#monotonicAtSinceMs = this.monotonicMs();
    this.#sinceMs = this.#queue.nowMs();
    this.#rate = 1 + drift;
  }
}
