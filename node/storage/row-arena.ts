/** Size of one piece of memory. */
const SLAB_BYTES = 256 * 1024;
/** Larger buffers get memory of their own: a slab would be mostly wasted. */
const LARGE_BYTES = SLAB_BYTES / 8;

/**
 * Buffers that live and die together, cut from large pieces of memory. A buffer of its
 * own for each costs the garbage collector as much as everything else that a write does;
 * Node.js's shared pool would let a row keep unrelated short-lived bytes alive.
 */
export class RowArena {
  #slab = Buffer.alloc(0);
  #used = 0;

  /** A buffer with unspecified content. */
  take(bytes: number): Buffer {
    if (bytes > LARGE_BYTES) return Buffer.allocUnsafeSlow(bytes);
    if (this.#used + bytes > this.#slab.length) this.clear(SLAB_BYTES);
    const from = this.#used;
    this.#used += bytes;
    return this.#slab.subarray(from, this.#used);
  }

  /** What is taken from now on shares nothing with what was taken before. */
  clear(bytes = 0): void {
    this.#slab = Buffer.allocUnsafeSlow(bytes);
    this.#used = 0;
  }
}
