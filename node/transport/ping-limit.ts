import type { Clock } from '@holdfast/client/clock';

/** Pings that may come at once, and how many a second after that. */
const BURST = 100;
const PER_SECOND = 10;
/** Sent between two pings, more than the answers to pings are: the connection works. */
const WORK_BYTES = 256;

/**
 * How often a peer may ping. Clients ping to see whether a node lives, a few times a
 * minute, and some to measure the way while an answer is being sent, once a round trip;
 * the latter is free. What is left over is a flood.
 */
export class PingLimit {
  readonly #clock: Clock;
  #left = BURST;
  #atMs: number;
  #sentBytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#atMs = clock.monotonicMs();
  }

  /** Whether a ping is within bounds; `sentBytes` is all that the connection has sent so far. */
  allows(sentBytes: number): boolean {
    const nowMs = this.#clock.monotonicMs();
    const refill = ((nowMs - this.#atMs) / 1_000) * PER_SECOND;
    const works = sentBytes - this.#sentBytes >= WORK_BYTES;
    this.#left = works ? BURST : Math.min(BURST, this.#left + refill);
    this.#atMs = nowMs;
    this.#sentBytes = sentBytes;
    this.#left -= 1;
    return this.#left >= 0;
  }
}
