/**
 * How far this node doubts itself: a node that hears no answers, not even that there are none,
 * is more likely to be ill than all the others. Its probes take longer then, and accuse later.
 * "Lifeguard: Local Health Awareness for More Accurate Failure Detection" (Dadgar, Phillips and
 * Currey, 2018), section IV-A.
 */
export class LocalHealth {
  readonly #maxDoubt: number;
  #doubt = 0;

  constructor(maxDoubt: number) {
    this.#maxDoubt = maxDoubt;
  }

  /** 0: it works as it should. */
  get doubt(): number {
    return this.#doubt;
  }

  /** By what times of probes are multiplied. */
  get stretch(): number {
    return this.#doubt + 1;
  }

  better(): void {
    this.#doubt = Math.max(0, this.#doubt - 1);
  }

  worse(by = 1): void {
    this.#doubt = Math.min(this.#maxDoubt, this.#doubt + by);
  }
}
