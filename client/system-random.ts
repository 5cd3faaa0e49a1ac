import { randomBytes, randomFillSync } from 'node:crypto';
import type { Random } from './random.ts';

/** Bytes that are taken of the operating system at once: to ask costs more than to be given. */
const POOL_BYTES = 4_096;
/** The same for words. */
const WORDS = 1_024;

/** The generator of the operating system: unpredictable, and fit for identities. */
export class SystemRandom implements Random {
  readonly #pool = new Uint8Array(POOL_BYTES);
  #taken = POOL_BYTES;
  readonly #words = new Uint32Array(WORDS);
  #next = WORDS;

  u32(): number {
    if (this.#next === WORDS) {
      randomFillSync(this.#words);
      this.#next = 0;
    }
    return this.#words[this.#next++]!;
  }

  float(): number {
    return ((this.u32() >>> 5) * 2 ** 26 + (this.u32() >>> 6)) / 2 ** 53;
  }

  bytes(length: number): Uint8Array {
    if (length > POOL_BYTES / 16) return new Uint8Array(randomBytes(length));
    if (this.#taken + length > POOL_BYTES) {
      randomFillSync(this.#pool);
      this.#taken = 0;
    }
    const bytes = this.#pool.slice(this.#taken, this.#taken + length);
    this.#pool.fill(0, this.#taken, this.#taken + length); // may be somebody's key
    this.#taken += length;
    return bytes;
  }
}
