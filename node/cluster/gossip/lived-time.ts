/**
 * Time that a node was awake for. A stall, a machine that slept and a clock that leapt count for
 * at most one step, and a clock that goes back for nothing: nobody is given up for what this
 * node did not live through.
 */
export class LivedTime {
  readonly #maxStepMs: number;
  #clockMs: number | undefined;
  #livedMs = 0;

  constructor(maxStepMs: number) {
    this.#maxStepMs = maxStepMs;
  }

  get ms(): number {
    return this.#livedMs;
  }

  /** Goes on to the clock's time. Returns whether more has passed than the node was awake for. */
  advance(clockMs: number): boolean {
    const passedMs = Math.max(0, clockMs - (this.#clockMs ?? clockMs));
    this.#clockMs = clockMs;
    this.#livedMs += Math.min(passedMs, this.#maxStepMs);
    return passedMs > this.#maxStepMs;
  }
}
