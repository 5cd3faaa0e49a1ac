/**
 * The trace of a run: every event of the scheduler goes into a hash, and what happened, in
 * words, too. Two runs with one hash were the same run, as far as anybody can tell.
 */
export class Trace {
  readonly #now: () => number;
  readonly #print: ((line: string) => void) | undefined;
  #low = 0x811c9dc5;
  #high = 0x01000193;
  #lines = 0;
  readonly #float = new Float64Array(1);
  readonly #words = new Uint32Array(this.#float.buffer);

  /** With `print`, notes are printed as they come. */
  constructor(now: () => number, print: ((line: string) => void) | undefined) {
    this.#now = now;
    this.#print = print;
  }

  /** Notes so far. */
  get lines(): number {
    return this.#lines;
  }

  /** 16 hexadecimal digits. */
  get hash(): string {
    return [this.#high, this.#low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
  }

  /** An event of the scheduler. */
  event(atMs: number, order: number): void {
    this.#float[0] = atMs;
    this.#mix(this.#words[0]!);
    this.#mix(this.#words[1]!);
    this.#mix(order);
  }

  /** Numbers that nobody reads. */
  number(value: number): void {
    this.#mix(value);
  }

  /** Something worth reading. */
  note(who: string, what: string): void {
    this.#lines++;
    this.#text(who);
    this.#text(what);
    this.#print?.(`${this.#now().toFixed(3).padStart(11)} ${who.padEnd(8)} ${what}`);
  }

  #text(text: string): void {
    for (let at = 0; at < text.length; at++) this.#mix(text.charCodeAt(at));
  }

  /** FNV-1a in two lanes. */
  #mix(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#high = Math.imul(this.#high ^ (word + (this.#low >>> 13)), 0x85ebca6b);
  }
}
