/**
 * Reads that a follower has its leader confirm. All reads of one turn share a request.
 *
 *  1. A request that got no answer in time is given up, never sent again: a later
 *     answer to it must not be taken for one to a later read.
 *  2. Ids begin at a random number, so that an answer meant for this replica before it
 *     restarted is not taken for a new one.
 */
const ID_RANGE = 2 ** 44;

interface Request {
  readonly contexts: readonly number[];
  age: number;
}

export class ForwardedReads {
  readonly #requests = new Map<number, Request>();
  #waiting: number[] = [];
  #nextId: number;
  #count = 0;

  /** `random` gives a number in [0, 1). Invariant 2. */
  constructor(random: () => number) {
    this.#nextId = Math.floor(random() * ID_RANGE);
  }

  get count(): number {
    return this.#count;
  }

  add(context: number): void {
    this.#waiting.push(context);
    this.#count++;
  }

  /** Makes a request of what waits; returns its id, or undefined when nothing waits. */
  takeRequest(): number | undefined {
    if (this.#waiting.length === 0) return undefined;
    this.#requests.set(this.#nextId, { contexts: this.#waiting, age: 0 });
    this.#waiting = [];
    return this.#nextId++;
  }

  /** The reads that an answer is for. */
  answer(id: number): readonly number[] {
    const contexts = this.#requests.get(id)?.contexts ?? [];
    this.#requests.delete(id);
    this.#count -= contexts.length;
    return contexts;
  }

  /** A tick has passed; returns the reads that were given up. Invariant 1. */
  tick(maxAge: number): readonly number[] {
    const expired: number[] = [];
    for (const [id, request] of this.#requests) {
      if (++request.age > maxAge) expired.push(...this.answer(id));
    }
    return expired;
  }

  /** All reads without an answer. */
  drain(): readonly number[] {
    const contexts = [...this.#requests.values()].flatMap((request) => request.contexts);
    contexts.push(...this.#waiting);
    this.#requests.clear();
    this.#waiting = [];
    this.#count = 0;
    return contexts;
  }
}
