/**
 * The applied-once identity of this client's writes: numbers from 1, and below which
 * number every write has been answered or given up. Writes that are given up are never
 * sent again, so a node need not keep their results either.
 */
export class Sequences {
  /** 16 random bytes. */
  readonly clientId: Uint8Array;
  #last = 0;
  #ackedBelow = 1;
  readonly #settledAbove = new Set<number>();

  constructor(clientId: Uint8Array) {
    this.clientId = clientId;
  }

  /** Lowest sequence without an answer; all below it are settled. */
  get ackedBelow(): number {
    return this.#ackedBelow;
  }

  /** Draws a sequence; `settle` must be called for it in the end. */
  next(): number {
    this.#last += 1;
    return this.#last;
  }

  /** The write was answered or will not be sent again. Saying it twice does no harm. */
  settle(sequence: number): void {
    if (sequence > this.#ackedBelow) this.#settledAbove.add(sequence);
    if (sequence !== this.#ackedBelow) return;
    this.#ackedBelow += 1;
    while (this.#settledAbove.delete(this.#ackedBelow)) this.#ackedBelow += 1;
  }
}
