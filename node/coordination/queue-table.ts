/** The queues of all locks, or of all elections, as rows by name. A free one has no row. */
import { prefixEnd, type RowKey } from '../storage/row-key.ts';
import type { PartRows } from './machine-part.ts';
import { WaitQueue } from './wait-queue.ts';

/** Bytes of rows that one part of a list is made of. */
const LIST_BYTES = 4 * 1024 * 1024;

export class QueueTable {
  readonly #rows: PartRows;
  readonly #prefix: RowKey;

  /** `prefix`: of group and family. */
  constructor(rows: PartRows, prefix: RowKey) {
    this.#rows = rows;
    this.#prefix = prefix;
  }

  /** By name, binary. */
  get(name: string): WaitQueue | undefined {
    return this.#rows.live(this.#prefix + name, WaitQueue.decode);
  }

  /** Says that a queue has changed. */
  put(name: string, queue: WaitQueue): void {
    if (!queue.isFree) this.#rows.putLive(this.#prefix + name, queue);
    else if (this.get(name) !== undefined) this.#rows.delete(this.#prefix + name);
  }

  /** Up to `limit` that are in use, of those that begin with `prefix`, after one; as of one moment. */
  async list(
    prefix: string,
    after: string,
    limit: number,
  ): Promise<{ queues: [string, WaitQueue][]; more: boolean }> {
    const start = after >= prefix ? `${this.#prefix}${after}\0` : this.#prefix + prefix;
    const end = prefixEnd(this.#prefix + prefix);
    if (start >= end) return { queues: [], more: false };
    const { rows, more } = await this.#rows.range(start, end, limit, LIST_BYTES);
    return {
      queues: rows.map(([row, content]) => [row.slice(this.#prefix.length), WaitQueue.decode(content)]),
      more,
    };
  }
}
