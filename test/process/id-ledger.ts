/**
 * All IDs that were given out by anybody, eight bytes each, and the checks of them: none
 * twice, and those of a worker only grow, in the order in which calls followed each other.
 */
import { WORKERS } from '@holdfast/client/ids/id-layout';

const CHUNK = 1 << 18;

/** The greatest ID of each worker that had been answered at some moment. */
export type Reached = BigUint64Array;

export class IdLedger {
  readonly #chunks: BigUint64Array[] = [];
  #free = 0;
  readonly #reached = new BigUint64Array(WORKERS);
  count = 0;

  /** To be taken before a call is sent. */
  reached(): Reached {
    return this.#reached.slice();
  }

  /** How many workers have made IDs. */
  get workers(): number {
    return this.#reached.reduce((sum, id) => sum + (id > 0n ? 1 : 0), 0);
  }

  /** What a call was answered, in order. Error: they do not grow, among themselves or since the call was sent. */
  add(ids: readonly bigint[], before: Reached): void {
    for (const id of ids) {
      const worker = workerOf(id);
      if (id <= before[worker]!)
        throw new Error(`${id} of worker ${worker} came after ${before[worker]} was answered`);
      before[worker] = id;
      if (id > this.#reached[worker]!) this.#reached[worker] = id;
      this.#keep(id);
    }
  }

  /** An ID of a client's stock, which may have been made before others were answered. */
  addStocked(id: bigint): void {
    const worker = workerOf(id);
    if (id > this.#reached[worker]!) this.#reached[worker] = id;
    this.#keep(id);
  }

  /** IDs that were given out twice, the first of them; undefined: none. */
  findDouble(): bigint | undefined {
    const all = new BigUint64Array(this.count);
    let at = 0;
    for (const [index, chunk] of this.#chunks.splice(0).entries()) {
      const used = Math.min(CHUNK, this.count - index * CHUNK);
      all.set(chunk.subarray(0, used), at);
      at += used;
    }
    all.sort();
    for (at = 1; at < all.length; at++) if (all[at] === all[at - 1]) return all[at];
    return undefined;
  }

  #keep(id: bigint): void {
    if (this.#free === 0) {
      this.#chunks.push(new BigUint64Array(CHUNK));
      this.#free = CHUNK;
    }
    this.#chunks.at(-1)![CHUNK - this.#free] = id;
    this.#free--;
    this.count++;
  }
}

function workerOf(id: bigint): number {
  return Number((id >> 12n) & 1_023n);
}
