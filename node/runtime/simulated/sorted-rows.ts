import type { RowChange } from '../ordered-store.ts';

/** A row: key and value. */
export type Row = readonly [key: Uint8Array, value: Uint8Array];

const MAX_CHUNK_ROWS = 256;

/**
 * Rows in byte order of their keys, as a value that never changes: `with` gives a new one
 * that shares every chunk it did not touch. An iterator simply keeps the one it began with.
 */
export class SortedRows {
  static readonly empty = new SortedRows([]);
  /** No chunk is empty; the keys of each come before those of the next. */
  readonly #chunks: readonly (readonly Row[])[];

  private constructor(chunks: readonly (readonly Row[])[]) {
    this.#chunks = chunks;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const chunk = this.#chunks[this.#chunkFor(key)];
    const row = chunk?.[firstAtOrAfter(chunk, key)];
    return row !== undefined && compareBytes(row[0], key) === 0 ? row[1] : undefined;
  }

  /** The rows after these changes, made in their order. Keys and values are copied. */
  with(changes: readonly RowChange[]): SortedRows {
    const chunks = [...this.#chunks];
    const edited = new Set<readonly Row[]>();
    for (const [key, value] of changes) {
      const at = chunkFor(chunks, key);
      const old = chunks[at] ?? [];
      const chunk = edited.has(old) ? (old as Row[]) : [...old];
      edited.add(chunk);
      edit(chunk, key, value);
      if (chunk.length === 0) chunks.splice(at, 1);
      else if (chunk.length <= MAX_CHUNK_ROWS) chunks[at] = chunk;
      else split(chunks, at, chunk, edited);
    }
    return new SortedRows(chunks);
  }

  /** Up to `count` rows with keys in [start, end), or after `start` when `isAfter`. */
  slice(start: Uint8Array, end: Uint8Array, count: number, isAfter = false): Row[] {
    const found: Row[] = [];
    for (let at = this.#chunkFor(start); at < this.#chunks.length; at++) {
      const chunk = this.#chunks[at]!;
      for (let i = firstAtOrAfter(chunk, start); i < chunk.length; i++) {
        const row = chunk[i]!;
        if (found.length >= count || compareBytes(row[0], end) >= 0) return found;
        if (!isAfter || compareBytes(row[0], start) > 0) found.push(row);
      }
    }
    return found;
  }

  /** Every row. */
  all(): Row[] {
    return this.#chunks.flat();
  }

  get size(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  #chunkFor(key: Uint8Array): number {
    return chunkFor(this.#chunks, key);
  }
}

/** Order of byte strings, shorter first when one begins the other. For short keys faster than Buffer.compare. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Number of the last chunk that begins at or before `key`; 0 when there is none. */
function chunkFor(chunks: readonly (readonly Row[])[], key: Uint8Array): number {
  let low = 0;
  let high = chunks.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (compareBytes(chunks[middle]![0]![0], key) <= 0) low = middle;
    else high = middle;
  }
  return low;
}

function firstAtOrAfter(chunk: readonly Row[], key: Uint8Array): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareBytes(chunk[middle]![0], key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function edit(chunk: Row[], key: Uint8Array, value: Uint8Array | undefined): void {
  const at = firstAtOrAfter(chunk, key);
  const row = chunk[at];
  const isThere = row !== undefined && compareBytes(row[0], key) === 0 ? 1 : 0;
  if (value === undefined) chunk.splice(at, isThere);
  else chunk.splice(at, isThere, [key.slice(), value.slice()]);
}

function split(chunks: (readonly Row[])[], at: number, chunk: Row[], edited: Set<readonly Row[]>): void {
  const half = chunk.length >> 1;
  const parts = [chunk.slice(0, half), chunk.slice(half)];
  for (const part of parts) edited.add(part);
  chunks.splice(at, 1, ...parts);
}
