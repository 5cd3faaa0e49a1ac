import { randomBytes, randomFillSync } from 'node:crypto';
import type { Random } from '@holdfast/client/random';

/** Words drawn at once: one call of the generator costs as much as hundreds of words. */
const BUFFERED_WORDS = 1024;

/** The operating system's randomness: unpredictable, and fit for identities. */
export class SystemRandom implements Random {
  readonly #words = new Uint32Array(BUFFERED_WORDS);
  #next = BUFFERED_WORDS;

  u32(): number {
    if (this.#next === BUFFERED_WORDS) {
      randomFillSync(this.#words);
      this.#next = 0;
    }
    return this.#words[this.#next++]!;
  }

  float(): number {
    return ((this.u32() >>> 5) * 2 ** 26 + (this.u32() >>> 6)) / 2 ** 53;
  }

  bytes(length: number): Uint8Array {
    return randomBytes(length);
  }
}
