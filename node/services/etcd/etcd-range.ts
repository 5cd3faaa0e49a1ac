/** What a RangeRequest selects, and what of the selected is shown. */
import { create } from '@bufbuild/protobuf';
import {
  RangeRequest_SortOrder as SortOrder,
  RangeRequest_SortTarget as SortTarget,
  RangeResponseSchema,
  type RangeRequest,
  type RangeResponse,
  type ResponseHeader,
} from '@holdfast/proto/etcd/rpc';
import { ConfigSort, type KeySpan, type ListOrder } from '../../coordination/config-command.ts';
import { sortStably } from '../../coordination/config-sort.ts';
import type { ConfigEntry } from '../../coordination/coordination-events.ts';
import { invalid } from './etcd-error.ts';
import { keyValue, rangeSpan } from './etcd-keys.ts';

const SORTS: Readonly<Record<number, ConfigSort>> = {
  [SortTarget.KEY]: ConfigSort.key,
  [SortTarget.VERSION]: ConfigSort.version,
  [SortTarget.CREATE]: ConfigSort.createRevision,
  [SortTarget.MOD]: ConfigSort.modRevision,
  [SortTarget.VALUE]: ConfigSort.value,
};

/** More keys than there can be. */
const MAX_LIMIT = 0xffff_ffff;
/** A range that has no key in it: nothing is before the first key. */
export const NO_KEYS: KeySpan = { start: '', end: '' };

/** A range as it is read: everything that it selects, by key, and what is done with it afterwards. */
export class EtcdRange {
  readonly request: RangeRequest;
  readonly order: ListOrder;
  readonly #sortBy: ConfigSort;

  /** Errors: key is not provided, invalid sort option. */
  constructor(request: RangeRequest) {
    this.request = request;
    const sortBy = SORTS[request.sortTarget];
    if (sortBy === undefined || SortOrder[request.sortOrder] === undefined)
      throw invalid('invalid sort option', 'sort_target');
    this.#sortBy = sortBy;
    this.order = {
      span: rangeSpan(request.key, request.rangeEnd) ?? NO_KEYS,
      limit: this.#isByKey && !this.#isFiltered ? this.#limit : 0,
      keysOnly: request.keysOnly && sortBy !== ConfigSort.value,
      countOnly: request.countOnly,
      sortBy: ConfigSort.key,
      isDescending: this.#isByKey && request.sortOrder === SortOrder.DESCEND,
    };
  }

  /** 0: now. */
  get revision(): number {
    return Math.max(0, Number(this.request.revision));
  }

  /** Of all that is selected, or, where it is by key and not filtered, as much as the limit. */
  response(header: ResponseHeader, found: readonly ConfigEntry[], count: number): RangeResponse {
    const filtered = this.#isFiltered ? found.filter((entry) => this.#shows(entry)) : found;
    const { sortOrder, keysOnly, countOnly } = this.request;
    const sorted = this.#isByKey
      ? filtered
      : sortStably(filtered, this.#sortBy, sortOrder === SortOrder.DESCEND);
    const shown = this.#limit > 0 ? sorted.slice(0, this.#limit) : sorted;
    return create(RangeResponseSchema, {
      header,
      kvs: shown.map((entry) => keyValue(entry, keysOnly)),
      more: this.#limit > 0 && !countOnly && (sorted.length > this.#limit || found.length < count),
      count: BigInt(count),
    });
  }

  get #isByKey(): boolean {
    return this.#sortBy === ConfigSort.key;
  }

  get #limit(): number {
    return Math.min(Math.max(0, Number(this.request.limit)), MAX_LIMIT);
  }

  get #isFiltered(): boolean {
    const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = this.request;
    return [minModRevision, maxModRevision, minCreateRevision, maxCreateRevision].some(
      (bound) => bound !== 0n,
    );
  }

  #shows({ modRevision, createRevision }: ConfigEntry): boolean {
    const { request } = this;
    return (
      isWithin(modRevision, request.minModRevision, request.maxModRevision) &&
      isWithin(createRevision, request.minCreateRevision, request.maxCreateRevision)
    );
  }
}

function isWithin(revision: number, least: bigint, most: bigint): boolean {
  return (least === 0n || revision >= Number(least)) && (most === 0n || revision <= Number(most));
}
