/** The queues of all locks, or of all elections, as rows by name. A free one has no row. */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { prefixEnd, type RowKey } from '../storage/row-key.ts';
import type { LiveRow, PartRows } from './machine-part.ts';
import { WaitQueue } from './wait-queue.ts';

/** Bytes of rows that one part of a list is made of. */
const LIST_BYTES = 4 * 1024 * 1024;

/** How many there are of all together. */
export class QueueTotals implements LiveRow {
  /** Held or waited for. */
  inUse = 0;
  holders = 0;
  waiters = 0;

  encode(): Uint8Array {
    return new ByteWriter(24).u64(this.inUse).u64(this.holders).u64(this.waiters).finish();
  }

  static decode(content: Uint8Array): QueueTotals {
    const reader = new ByteReader(content);
    const totals = new QueueTotals();
    totals.inUse = reader.u64();
    totals.holders = reader.u64();
    totals.waiters = reader.u64();
    return totals;
  }
}

export class QueueTable {
  readonly #rows: PartRows;
  readonly #prefix: RowKey;
  readonly #totalsRow: RowKey;

  /** `prefix`: of group and family. */
  constructor(rows: PartRows, prefix: RowKey) {
    this.#rows = rows;
    this.#prefix = prefix;
    this.#totalsRow = `${prefix}\xff`; // no name in UTF-8 begins so
  }

  get totals(): Readonly<QueueTotals> {
    return this.#totals();
  }

  /** By name, binary. */
  get(name: string): WaitQueue | undefined {
    return this.#rows.live(this.#prefix + name, WaitQueue.decode);
  }

  /** Says that a queue has changed. */
  put(name: string, queue: WaitQueue): void {
    const totals = this.#totals();
    const { holders, waiters } = queue.noteSize();
    const wasInUse = this.get(name) !== undefined;
    totals.holders += holders;
    totals.waiters += waiters;
    totals.inUse += (queue.isFree ? 0 : 1) - (wasInUse ? 1 : 0);
    this.#rows.putLive(this.#totalsRow, totals);
    if (!queue.isFree) this.#rows.putLive(this.#prefix + name, queue);
    else if (wasInUse) this.#rows.delete(this.#prefix + name);
  }

  /** Up to `limit` that are in use, of those that begin with `prefix`, after one; as of one moment. */
  async list(
    prefix: string,
    after: string,
    limit: number,
  ): Promise<{ queues: [string, WaitQueue][]; more: boolean }> {
    const start = after >= prefix ? `${this.#prefix}${after}\0` : this.#prefix + prefix;
    const end = prefix === '' ? this.#totalsRow : prefixEnd(this.#prefix + prefix);
    if (start >= end) return { queues: [], more: false };
    const { rows, more } = await this.#rows.range(start, end, limit, LIST_BYTES);
    return {
      queues: rows.map(([row, content]) => [row.slice(this.#prefix.length), WaitQueue.decode(content)]),
      more,
    };
  }

  #totals(): QueueTotals {
    return this.#rows.live(this.#totalsRow, QueueTotals.decode) ?? new QueueTotals();
  }
}
