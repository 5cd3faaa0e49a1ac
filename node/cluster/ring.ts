/**
 * The nodes on the ring of key hashes 0..2^32-1, each at many places so that all have about
 * the same share, and a node that comes or goes moves about its own share and nothing else.
 * Consistent hashing as in "Dynamo: Amazon's Highly Available Key-value Store" (DeCandia et
 * al., 2007), sections 4.2 and 6.2.
 */
import { keyHash } from '@holdfast/client/key-hash';

/** Places of a node. More: more even shares, and more to search. Every node must use the same. */
const VIRTUAL_NODES = 150;

interface Place {
  readonly hash: number;
  readonly name: string;
}

export class Ring {
  /** By hash; equal hashes by name. */
  readonly #places: readonly Place[];
  readonly #size: number;

  constructor(names: readonly string[]) {
    const distinct = [...new Set(names)];
    this.#size = distinct.length;
    this.#places = distinct
      .flatMap((name) =>
        Array.from({ length: VIRTUAL_NODES }, (_, at) => ({
          hash: keyHash(Buffer.from(`${name}#${at}`)),
          name,
        })),
      )
      .sort((a, b) => a.hash - b.hash || (a.name < b.name ? -1 : 1));
  }

  /** All nodes in the order in which they are met clockwise from a hash. */
  from(hash: number): string[] {
    const met = new Set<string>();
    const start = this.#firstAt(hash);
    for (let step = 0; step < this.#places.length && met.size < this.#size; step++)
      met.add(this.#places[(start + step) % this.#places.length]!.name);
    return [...met];
  }

  /** Index of the first place at or after a hash; past the last one the ring begins anew. */
  #firstAt(hash: number): number {
    let low = 0;
    let high = this.#places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#places[middle]!.hash < hash) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
