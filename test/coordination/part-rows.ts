/** Rows of parts of the coordination in memory, which may be written down and read again at any time. */
import type { LiveRow, PartRows } from '../../node/coordination/machine-part.ts';

export class MemoryRows implements PartRows {
  /** Rows that were asked for. */
  reads = 0;
  #rows = new Map<string, Uint8Array | LiveRow>();

  /** Has nothing in memory: all live rows are read anew. */
  reread(): void {
    for (const [key, row] of this.#rows)
      this.#rows.set(key, Uint8Array.from(row instanceof Uint8Array ? row : row.encode()));
  }

  /** All rows as they would be stored. */
  written(): Map<string, string> {
    const text = (row: Uint8Array | LiveRow) =>
      Buffer.from(row instanceof Uint8Array ? row : row.encode()).toString('hex');
    return new Map(
      [...this.#rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, row]) => [key, text(row)]),
    );
  }

  get(key: string): Uint8Array | undefined {
    this.reads++;
    const row = this.#rows.get(key);
    return row === undefined || row instanceof Uint8Array ? row : row.encode();
  }

  live<T extends LiveRow>(key: string, decode: (content: Uint8Array) => T): T | undefined {
    const row = this.#rows.get(key);
    if (row === undefined) return undefined;
    if (!(row instanceof Uint8Array)) return row as T;
    const made = decode(row);
    this.#rows.set(key, made);
    return made;
  }

  put(key: string, content: Uint8Array): void {
    this.#rows.set(key, Uint8Array.from(content));
  }

  putLive(key: string, row: LiveRow): void {
    this.#rows.set(key, row);
  }

  delete(key: string): void {
    this.#rows.delete(key);
  }

  async range(start: string, end: string, count: number, maxBytes = Infinity) {
    const selected = [...this.#rows.keys()].filter((key) => key >= start && key < end).sort();
    const rows: [string, Uint8Array][] = [];
    let bytes = 0;
    for (const key of selected) {
      if (rows.length === count || bytes >= maxBytes) return { rows, more: true };
      const content = Buffer.from(this.get(key)!);
      rows.push([key, content]);
      bytes += key.length + content.byteLength;
    }
    return { rows, more: false };
  }
}
