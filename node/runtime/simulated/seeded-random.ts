import type { Random } from '@holdfast/client/random';

/**
 * Reproducible randomness: the generator xoshiro128** 1.1 (Blackman and Vigna, 2018),
 * its state filled from the seed. Predictable, so never for real secrets or names.
 */
export class SeededRandom implements Random {
  readonly #seed: string;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: string | number) {
    this.#seed = String(seed);
    this.#a = hash(this.#seed, 1);
    this.#b = hash(this.#seed, 2);
    this.#c = hash(this.#seed, 3);
    // The state must not be all zero, or it stays there.
    this.#d = hash(this.#seed, 4) || 1;
  }

  /**
   * An independent stream. It depends on the seed and the label alone, not on what was
   * drawn so far: a new consumer with its own label leaves every other stream as it was.
   */
  fork(label: string): SeededRandom {
    return new SeededRandom(`${this.#seed}/${label}`);
  }

  u32(): number {
    const scrambled = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotate(this.#d, 11);
    return scrambled;
  }

  float(): number {
    return ((this.u32() >>> 5) * 2 ** 26 + (this.u32() >>> 6)) / 2 ** 53;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 4) {
      const word = this.u32();
      for (let i = 0; i < 4 && at + i < length; i++) bytes[at + i] = word >>> (8 * i);
    }
    return bytes;
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.float() < probability;
  }
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}

/** FNV-1a over the UTF-16 units, then the 32-bit finalizer of MurmurHash3 to spread similar seeds. */
function hash(text: string, lane: number): number {
  let h = 0x811c9dc5 ^ Math.imul(lane, 0x9e3779b1);
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) | 0;
}
