/**
 * Durable entries of one group that are still needed: to be applied here, or to be sent to
 * replicas that lack them. A bounded window of the log in memory; who needs older entries
 * gets a snapshot, so no entry is read from the disk while the node runs.
 */
import { entryBytes, type Entry } from './core/entry.ts';
import type { EntrySource } from './core/raft-log.ts';

/** Small buffers share memory of this size anyway. */
const POOL_BYTES = 8_192;
/** Freed entries that may stand before the window until they are cut off. */
const MAX_FREED = 1_024;

export class EntryCache implements EntrySource {
  /** The window, after `#start` entries that were freed. */
  #entries: (Entry | undefined)[] = [];
  #start = 0;
  /** Index of the first entry in the window. */
  #first: number;
  #bytes = 0;

  /** Begins after entry `base`. */
  constructor(base: number) {
    this.#first = base + 1;
  }

  /** Index of the first entry that is here, or would be. */
  get first(): number {
    return this.#first;
  }

  /** Index of the last entry that is here; `first - 1`: none. */
  get last(): number {
    return this.#first + this.#entries.length - this.#start - 1;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds durable entries, in place of what was there from the first one's index on. */
  put(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.cutFrom(entries[0]!.index);
    for (const entry of entries) {
      this.#entries.push(ownBytes(entry));
      this.#bytes += entryBytes(entry);
    }
  }

  /** Removes the entries from `index` on. */
  cutFrom(index: number): void {
    while (this.last >= index) this.#bytes -= entryBytes(this.#entries.pop()!);
  }

  /** Empties the window; it begins after entry `base` now. */
  reset(base: number): void {
    this.#entries = [];
    this.#start = 0;
    this.#first = base + 1;
    this.#bytes = 0;
  }

  /** Frees the oldest entries, none after `limit`, until no more than `bytes` are left; returns the last freed, or 0. */
  shrinkTo(bytes: number, limit: number): number {
    let freed = 0;
    while (this.#bytes > bytes && this.#first <= limit && this.last >= this.#first) {
      this.#bytes -= entryBytes(this.#entries[this.#start]!);
      this.#entries[this.#start++] = undefined;
      freed = this.#first++;
    }
    if (this.#start > MAX_FREED && this.#start * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start);
      this.#start = 0;
    }
    return freed;
  }

  read(first: number, last: number, maxBytes: number): readonly Entry[] | undefined {
    if (first < this.#first || first > this.last) return undefined;
    const found: Entry[] = [];
    let bytes = 0;
    for (let at = this.#start + first - this.#first; at < this.#entries.length; at++) {
      const entry = this.#entries[at]!;
      bytes += entryBytes(entry);
      if (entry.index > last || (bytes > maxBytes && found.length > 0)) break;
      found.push(entry);
    }
    return found;
  }
}

/** An entry that came in a large message would hold all of it. */
function ownBytes(entry: Entry): Entry {
  const { payload } = entry;
  if (payload.buffer.byteLength <= 2 * payload.byteLength + POOL_BYTES) return entry;
  return { ...entry, payload: Uint8Array.from(payload) };
}
