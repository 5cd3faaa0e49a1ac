/**
 * A durable map of bytes to bytes in byte order. There is no unsynced write: a batch
 * is atomic and durable when its promise resolves, and after a crash the store is
 * exactly its last completed batch, or the one in flight. Detecting damage of the
 * medium is the business of the user (checksums over rows, marks in the log).
 */
export interface OrderedStore {
  /** The value of a key. Synchronous: for rows that are likely in memory. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** The values of many keys, off the event loop. */
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>;
  /** Applies all changes as one atomic, durable batch. `undefined` deletes. */
  writeBatch(changes: readonly RowChange[]): Promise<void>;
  /**
   * Walks the keys in [start, end) in order, over the state at the time of the call.
   * The caller closes it; an open one pins old versions on disk.
   */
  iterate(start: Uint8Array, end: Uint8Array): RowIterator;
  /** Gives space of deleted rows in [start, end) back. May take long; runs in the background. */
  compact(start: Uint8Array, end: Uint8Array): Promise<void>;
  /** About how many bytes the rows take on disk. */
  approximateBytes(): Promise<number>;
  /** Closes the store after the batch in flight. */
  close(): Promise<void>;
}

/** A row to write, or with `undefined` to delete. */
export type RowChange = readonly [key: Uint8Array, value: Uint8Array | undefined];

/** A walk over rows. */
export interface RowIterator {
  /** Up to `count` further rows (fewer if they are large); an empty array at the end. */
  next(count: number): Promise<[key: Uint8Array, value: Uint8Array][]>;
  /** Ends the walk and releases its snapshot. */
  close(): Promise<void>;
}
