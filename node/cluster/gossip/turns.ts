/**
 * Whose turn it is: all in a random order, then all again in another. Among n that stay, each has
 * a turn at least once in 2n - 1 ("SWIM", section 4.3), and none two before all had one.
 */
export class Turns {
  readonly #random: () => number;
  /** In the order of this pass. */
  #names: string[] = [];
  #next = 0;

  /** `random`: numbers in [0, 1). */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Who is new has a turn somewhere in what is left of this pass, or nobody would know when. */
  add(name: string): void {
    if (this.#names.includes(name, this.#next)) return;
    const at = this.#next + Math.floor(this.#random() * (this.#names.length - this.#next + 1));
    this.#names.splice(at, 0, name);
  }

  /** The next of those that still count; `all`: who does, for another pass. Undefined: nobody. */
  next(counts: (name: string) => boolean, all: () => readonly string[]): string | undefined {
    for (let pass = 0; pass < 2; pass++) {
      while (this.#next < this.#names.length) {
        const name = this.#names[this.#next++]!;
        if (counts(name)) return name;
      }
      this.#names = shuffled(all(), this.#random);
      this.#next = 0;
    }
    return undefined;
  }
}

/** The names in a random order; `count`: so many of them. */
export function shuffled(names: readonly string[], random: () => number, count = names.length): string[] {
  const mixed = [...names];
  const wanted = Math.min(count, mixed.length);
  for (let at = 0; at < wanted; at++) {
    const other = at + Math.floor(random() * (mixed.length - at));
    [mixed[at], mixed[other]] = [mixed[other]!, mixed[at]!];
  }
  return mixed.slice(0, wanted);
}
