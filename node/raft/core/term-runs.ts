/**
 * The terms of all entries of a log, as runs of equal terms: a few numbers however long
 * the log is, so that every term can be asked for at once while payloads lie elsewhere.
 */
export class TermRuns {
  /** Index of the first entry of each run. */
  readonly #starts: number[];
  readonly #terms: number[];

  /** Of a log whose only known entry has this index and term. */
  constructor(index: number, term: number) {
    this.#starts = [index];
    this.#terms = [term];
  }

  /** Adds the entry after the last. */
  append(index: number, term: number): void {
    if (term === this.#terms.at(-1)) return;
    this.#starts.push(index);
    this.#terms.push(term);
  }

  /** Forgets the entries from `index` on; not all of them. */
  truncate(index: number): void {
    while (this.#starts.at(-1)! >= index) {
      this.#starts.pop();
      this.#terms.pop();
    }
  }

  /** Forgets the entries before `index`. */
  compact(index: number): void {
    const run = this.#runOf(index);
    this.#starts.splice(0, run);
    this.#terms.splice(0, run);
    this.#starts[0] = index;
  }

  /** Term of an entry; the caller knows that it is in the log. */
  at(index: number): number {
    return this.#terms[this.#runOf(index)]!;
  }

  /** The last entry up to `index` whose term is at most `term`; the first entry's index when there is none. */
  lastUpTo(index: number, term: number): number {
    let run = this.#runOf(index);
    let found = index;
    while (run > 0 && this.#terms[run]! > term) found = this.#starts[run--]! - 1;
    return this.#terms[run]! > term ? this.#starts[0]! : found;
  }

  #runOf(index: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    if (index >= this.#starts[high]!) return high; // nearly always
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#starts[middle]! <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
