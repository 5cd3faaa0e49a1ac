/**
 * What the store may still hold space for: rows that were removed, and the iterators that
 * keep them. LevelDB moves a row that an open iterator may still read to its last level,
 * where no later compaction looks unless somebody writes beside it: space that is not given
 * back at once may never be.
 */
import type { OrderedStore, RowIterator } from '../runtime/ordered-store.ts';
import { binaryBytes, type RowKey } from './row-key.ts';

/** Keys from the first to the last, both included. */
export interface RowRange {
  readonly first: RowKey;
  readonly last: RowKey;
}

/** Between which keys rows were removed. A pure core. */
export class RemovedRows {
  #removed: RowRange | undefined;
  /** What was compacted last: LevelDB's own compaction may have moved rows out of its way. */
  #reclaimed: RowRange | undefined;

  /** Takes in the rows of a flush; what is `undefined` was removed. */
  note(rows: ReadonlyMap<RowKey, unknown>): void {
    let { first, last } = this.#removed ?? { first: undefined, last: undefined };
    for (const [key, row] of rows) {
      if (row !== undefined) continue;
      if (first === undefined || key < first) first = key;
      if (last === undefined || key > last) last = key;
    }
    if (first !== undefined && last !== undefined) this.#removed = { first, last };
  }

  /** What to compact: each range comes twice. */
  get range(): RowRange | undefined {
    const removed = this.#removed;
    const again = this.#reclaimed;
    if (removed === undefined || again === undefined) return removed ?? again;
    return {
      first: removed.first < again.first ? removed.first : again.first,
      last: removed.last > again.last ? removed.last : again.last,
    };
  }

  /** Says that `range` is being compacted now. */
  reclaiming(): void {
    this.#reclaimed = this.#removed;
    this.#removed = undefined;
  }
}

/** Opens iterators, and knows which of them are not closed yet. */
export class OpenIterators {
  readonly #store: OrderedStore;
  readonly #open = new Set<Promise<void>>();

  constructor(store: OrderedStore) {
    this.#store = store;
  }

  /** Walks the rows of [start, end). The caller closes it. */
  open(start: RowKey, end: RowKey): RowIterator {
    const iterator = this.#store.iterate(binaryBytes(start), binaryBytes(end));
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#open.add(promise);
    const close = () =>
      iterator.close().finally(() => {
        this.#open.delete(promise);
        resolve();
      });
    return { next: (count) => iterator.next(count), close };
  }

  /** Resolves when those that are open now are closed. */
  async closed(): Promise<void> {
    await Promise.all(this.#open);
  }
}
