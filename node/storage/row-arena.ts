/** Size of one piece of memory. */
const SLAB_BYTES = 256 * 1024;
/** Larger buffers get memory of their own: a slab would be mostly wasted. */
const LARGE_BYTES = SLAB_BYTES / 8;
/** Slabs that are kept for later, 16 MiB: as much as the rows of a flush take. */
const SPARE_SLABS = 64;

const NO_SLAB = Buffer.alloc(0);

/**
 * Buffers that live and die together, cut from large pieces of memory that are used again
 * and again. A buffer of its own for each costs the garbage collector as much as everything
 * else that a write does; and slabs that are left to it pile up, because they are old when
 * they die and it looks at what is old only after tens of megabytes.
 */
export class RowArena {
  #slab: Buffer = NO_SLAB;
  #used = 0;
  /** With the one in use. */
  #slabs: Buffer[] = [];
  readonly #spare: Buffer[] = [];

  /** A buffer with unspecified content. */
  take(bytes: number): Buffer {
    if (bytes > LARGE_BYTES) return Buffer.allocUnsafeSlow(bytes);
    if (this.#used + bytes > this.#slab.length) this.#nextSlab();
    const from = this.#used;
    this.#used += bytes;
    return this.#slab.subarray(from, this.#used);
  }

  /** The memory of all buffers taken until now. What is taken from now on shares nothing with it. */
  detach(): readonly Buffer[] {
    const slabs = this.#slabs;
    this.#slabs = [];
    this.#slab = NO_SLAB;
    this.#used = 0;
    return slabs;
  }

  /** Memory that was detached is used again: nobody may look at buffers in it any more. */
  reuse(slabs: readonly Buffer[]): void {
    this.#spare.push(...slabs.slice(0, SPARE_SLABS - this.#spare.length));
  }

  #nextSlab(): void {
    this.#slab = this.#spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#used = 0;
    this.#slabs.push(this.#slab);
  }
}
