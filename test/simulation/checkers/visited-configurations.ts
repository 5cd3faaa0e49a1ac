/** The memory of a linearizability search: sets of operations, and which of them were visited in which state. */

/** A set of operations by number, with a hash that one change costs nothing to keep (Zobrist 1970). */
export class LinearizedSet {
  readonly #words: Uint32Array;
  #hash = 0;

  constructor(size: number) {
    this.#words = new Uint32Array(Math.ceil(size / 32));
  }

  get hash(): number {
    return this.#hash;
  }

  toggle(index: number): void {
    this.#words[index >>> 5]! ^= 1 << (index & 31);
    this.#hash ^= mixed(index);
  }

  /** Words that it takes. */
  get length(): number {
    return this.#words.length;
  }

  copyTo(words: Uint32Array, offset: number): void {
    words.set(this.#words, offset);
  }

  equals(words: Uint32Array, offset: number): boolean {
    for (let at = 0; at < this.#words.length; at++) if (this.#words[at] !== words[offset + at]) return false;
    return true;
  }
}

/** Exact: a hash only finds the few sets to compare with. All sets lie in one array, or collecting them costs most of the time. */
export class VisitedConfigurations {
  /** The newest set of each hash and state. */
  readonly #newest = new Map<string, number>();
  /** By set: the one before it with the same hash and state. */
  readonly #previous: (number | undefined)[] = [];
  #words = new Uint32Array(1024);

  /** False: it was there already. */
  add(set: LinearizedSet, state: string): boolean {
    const key = `${set.hash} ${state}`;
    const newest = this.#newest.get(key);
    for (let at = newest; at !== undefined; at = this.#previous[at]) {
      if (set.equals(this.#words, at * set.length)) return false;
    }
    const added = this.#previous.push(newest) - 1;
    this.#newest.set(key, added);
    const end = (added + 1) * set.length;
    if (end > this.#words.length) this.#grow(end);
    set.copyTo(this.#words, added * set.length);
    return true;
  }

  #grow(least: number): void {
    const words = new Uint32Array(Math.max(least, 2 * this.#words.length));
    words.set(this.#words);
    this.#words = words;
  }
}

/** Bits of a number, well spread: the finalizer of MurmurHash3. */
function mixed(index: number): number {
  let hash = Math.imul(index + 1, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
