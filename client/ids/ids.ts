import { callTimeoutMs } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { describeId, type IdDescription, MAX_IDS } from './id-layout.ts';
import { fetchIds, IdStock } from './id-stock.ts';

/**
 * Unique IDs: 63 bits, greater than 0, in order of time as far as the clocks of the nodes
 * agree. Given from a stock that is fetched ahead, so most calls ask nobody.
 */
export class Ids {
  readonly #core: ClientCore;
  readonly #stock: IdStock;

  /** @internal */
  constructor(core: ClientCore) {
    this.#core = core;
    this.#stock = new IdStock(core);
  }

  /**
   * A new ID: at once from the stock, else when a node has answered. Its time is that of the
   * call, or up to a second before. Errors: those of the fetch that it waited for, within the
   * client's timeout: ID_WORKER_UNAVAILABLE, CLOCK_BEHIND, DEADLINE_EXCEEDED, CLIENT_CLOSED.
   */
  next(): Promise<bigint> {
    const id = this.#stock.take();
    return id === undefined ? this.#stock.wait() : Promise.resolve(id);
  }

  /**
   * A new ID without waiting; undefined when there is none in stock: the first time, after a
   * second of silence, or when IDs are taken faster than they come. Some are fetched then.
   */
  tryNext(): bigint | undefined {
    return this.#stock.take();
  }

  /**
   * New IDs, 1 to 65,536, made by one node for this call; they increase. Errors: as `next`,
   * COUNT_OUT_OF_RANGE.
   */
  async nextMany(count: number, options: CallOptions = {}): Promise<bigint[]> {
    checkCount(count, MAX_IDS);
    const timeoutMs = callTimeoutMs(this.#core, options);
    const blocks = await fetchIds(this.#core, count, { timeoutMs, signal: options.signal });
    const ids: bigint[] = [];
    for (const block of blocks)
      for (let id = block.first, left = block.count; left > 0; left -= 1) ids.push(id++);
    return ids;
  }

  /** When and by which worker an ID was made; asks nobody. Error: ID_INVALID. */
  describe(id: bigint): IdDescription {
    return describeId(id);
  }
}

/** Error: COUNT_OUT_OF_RANGE, unless it is a whole number from 1 to `most`. */
export function checkCount(count: number, most: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= most) return;
  throw new HoldfastError({
    reason: 'COUNT_OUT_OF_RANGE',
    message: `count is ${String(count)}, one call gives 1 to ${most}. Nothing was given out.`,
    outcome: 'NOT_APPLIED',
    field: 'count',
    actual: String(count),
    limit: `1..${most}`,
  });
}
