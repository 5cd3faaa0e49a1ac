/**
 * At how many sweeps in a row one and the same thing was not done. Counted in sweeps,
 * because a look at the clock for each message would cost more than all else.
 */
export class StallCount {
  #doneBefore = -1;
  #sweeps = 0;

  /** `isUnfinished`: something is under way; `done`: how many were done before it. */
  sweep(isUnfinished: boolean, done: number): number {
    const isSame = isUnfinished && this.#doneBefore === done;
    this.#doneBefore = isUnfinished ? done : -1;
    this.#sweeps = isSame ? this.#sweeps + 1 : 0;
    return this.#sweeps;
  }
}
