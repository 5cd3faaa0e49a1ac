import { ConfigService, type ListRequest, type ListResponse } from '@holdfast/proto/config/v1/config';
import { callCoordinator, callTimeoutMs } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { integer64, type Key, type Value } from '../values.ts';
import type { BatchableCall, BatchedResult } from './batched-call.ts';
import { ConfigBatches } from './config-batches.ts';
import type { ConfigWatchOptions } from './config-event.ts';
import { ConfigEntry, entryOf } from './config-entry.ts';
import type {
  ConfigDeleteOptions,
  ConfigDeleteResult,
  ConfigDescription,
  ConfigList,
  ConfigListOptions,
  ConfigPutOptions,
  ConfigPutResult,
  ConfigReadOptions,
  ConfigSelection,
  ConfigTransaction,
  ConfigTransactionResult,
} from './config-options.ts';
import {
  callBytes,
  deletedOf,
  deleteRequest,
  getRequest,
  listRequest,
  putRequest,
  selectionOf,
  putOf,
  transactedOf,
  transactRequest,
  valueOf,
} from './config-requests.ts';

import { ConfigView, type ShapedValues, type ViewOptions, type ViewShape } from './config-view.ts';
import type { ConfigWatch } from './config-watch.ts';
import type { ValueSchema } from './value-schema.ts';
import { WatchStreams } from './watch-streams.ts';

/**
 * The configuration of the cluster: one small tree of keys with one revision that every
 * change counts up, history, transactions and watches. Keys are 1 to 4,096 bytes, values up
 * to 1 MiB; keys that begin with `/holdfast/` are the cluster's own and refused with KEY_RESERVED.
 *
 * Every call settles by its timeout, is linearizable (a read may ask for less) and is retried
 * by itself where that is safe: a write is applied at most once. Every error is a
 * HoldfastError; that of a write has an `outcome`. Gets, puts, deletes and transactions of one turn
 * of the event loop travel together and take effect in any order; who needs one after the
 * other awaits the earlier one.
 */
export class Config {
  readonly #core: ClientCore;
  readonly #batches: ConfigBatches;
  readonly #streams: WatchStreams;

  /** @internal */
  constructor(core: ClientCore) {
    this.#core = core;
    this.#batches = new ConfigBatches(core);
    this.#streams = new WatchStreams(core);
  }

  /** Reads a key; undefined if there is none. Errors: REVISION_COMPACTED, REVISION_FUTURE. */
  get(key: Key, options: ConfigReadOptions = {}): Promise<ConfigEntry | undefined> {
    return this.#call(
      options,
      () => ({ case: 'get', value: getRequest(key, options) }),
      (result) => entryOf(valueOf(result, 'get').entry),
    );
  }

  /**
   * The entries of a prefix or range, in order, as of one revision. However many there are,
   * they are gathered in parts; `timeout` is for all of them. Sorted by another than the key, what
   * comes to more than 16 MiB is cut, with `more`. Errors: REVISION_COMPACTED,
   * REVISION_FUTURE, RANGE_INVERTED, RANGE_TOO_LARGE.
   */
  async list(selection: ConfigSelection, options: ConfigListOptions = {}): Promise<ConfigList> {
    const { clock } = this.#core;
    const request = listRequest(selectionOf(selection), options);
    const endMs = clock.monotonicMs() + callTimeoutMs(this.#core, options);
    const entries: ConfigEntry[] = [];
    for (;;) {
      const timeout = Math.max(1, Math.ceil(endMs - clock.monotonicMs()));
      const more = { timeoutMs: timeout };
      const response = await callCoordinator(this.#core, ConfigService.method.list, request, options, more);
      for (const entry of response.entries) entries.push(new ConfigEntry(entry));
      const isSorted = (options.sortBy ?? 'key') !== 'key';
      const isFull = entries.length >= (options.limit ?? Infinity) || response.entries.length === 0;
      const isWhole = !response.more || isFull || isSorted;
      if (isWhole) return { entries, more: response.more, revision: response.revision };
      goOnBehind(request, response, options);
    }
  }

  /** How many keys are selected. Errors: as `list`. */
  async count(selection: ConfigSelection, options: ConfigReadOptions = {}): Promise<number> {
    const request = listRequest(selectionOf(selection), options);
    request.countOnly = true;
    const { count } = await callCoordinator(this.#core, ConfigService.method.list, request, options);
    return Number(count ?? 0n);
  }

  /**
   * Writes a key, whatever it held before, or with a condition: `ifModRevision`, `ifAbsent`.
   * Errors: REVISION_MISMATCH with `current`, LEASE_UNKNOWN, QUOTA_REACHED, KEY_RESERVED.
   */
  put(key: Key, value: Value, options: ConfigPutOptions = {}): Promise<ConfigPutResult> {
    return this.#call(
      options,
      () => ({ case: 'put', value: putRequest(key, value, options) }),
      (result) => putOf(valueOf(result, 'put')),
    );
  }

  /**
   * Deletes a key, a prefix or a range at once; to delete what is not there is no error. Error:
   * REVISION_MISMATCH with `current`.
   */
  delete(keys: Key | ConfigSelection, options: ConfigDeleteOptions = {}): Promise<ConfigDeleteResult> {
    return this.#call(
      options,
      () => ({ case: 'delete', value: deleteRequest(keys, options) }),
      (result) => deletedOf(valueOf(result, 'delete')),
    );
  }

  /**
   * Atomically compares, then applies one of two lists of operations. Errors: as `put`,
   * DUPLICATE_KEY, TRANSACTION_TOO_DEEP, BATCH_TOO_LARGE.
   */
  transaction(transaction: ConfigTransaction, options: CallOptions = {}): Promise<ConfigTransactionResult> {
    return this.#call(
      options,
      () => ({ case: 'transact', value: transactRequest(transaction) }),
      (result) => transactedOf(transaction, valueOf(result, 'transact')),
    );
  }

  /**
   * Follows a key, a prefix or a range: each change once, in order, all of a revision together.
   * It survives nodes that fail and goes on where it was; what was compacted meanwhile it tells by
   * `resync`. All watches of a client share one stream. The loop ends by leaving it, by
   * `close()`, or with an error: CANCELLED, CLIENT_CLOSED, RANGE_INVERTED.
   */
  watch(keys: Key | ConfigSelection, options: ConfigWatchOptions = {}): ConfigWatch {
    return this.#streams.watch(selectionOf(keys), options);
  }

  /**
   * The values under a prefix as a live object, filled before it resolves: read by one schema
   * for all, or by one for each name. Errors: as `list`, before it resolves; later ones go to `onError`.
   */
  view<S extends ViewShape>(
    prefix: Key,
    shape: S,
    options?: ViewOptions,
  ): Promise<ConfigView<ShapedValues<S>>>;
  view<T>(
    prefix: Key,
    schema: ValueSchema<T>,
    options?: ViewOptions,
  ): Promise<ConfigView<Readonly<Record<string, T>>>>;
  view(
    prefix: Key,
    schema: ValueSchema<unknown> | ViewShape,
    options: ViewOptions = {},
  ): Promise<ConfigView<Record<string, unknown>>> {
    const source = {
      list: (of: Key, how: CallOptions) => this.list({ prefix: of }, how),
      watch: (of: Key, from: bigint) => this.watch({ prefix: of }, { from, signal: options.signal }),
    };
    const view = new ConfigView<Record<string, unknown>>(this.#core, source, prefix, schema, options.onError);
    return view.open(options);
  }

  /**
   * Forgets all history before a revision: what was overwritten or deleted before it cannot be
   * read or watched any more. Gives the revision of the tree. Errors: REVISION_COMPACTED, REVISION_FUTURE.
   */
  async compact(revision: bigint | number, options: CallOptions = {}): Promise<bigint> {
    const request = { revision: integer64(revision, 'revision', false) };
    const more = { isWrite: true, isRepeatable: true };
    const method = ConfigService.method.compact;
    return (await callCoordinator(this.#core, method, request, options, more)).revision;
  }

  /** What the tree is at: revisions, number of keys, size against its quota. */
  async describe(options: CallOptions = {}): Promise<ConfigDescription> {
    const answer = await callCoordinator(this.#core, ConfigService.method.describe, {}, options);
    const { revision, compactRevision, keys, bytes, quotaBytes, watches } = answer;
    return { revision, compactRevision, keys, bytes, quotaBytes, watches };
  }

  #call<T>(
    options: ConfigReadOptions,
    make: () => BatchableCall,
    read: (result: BatchedResult) => T,
  ): Promise<T> {
    // What throws in here rejects the promise: a bad argument is an error like any other.
    return new Promise((resolve, reject) => {
      const call = make();
      this.#batches.submit({
        call,
        bytes: callBytes(call),
        isStale: options.stale === true,
        timeoutMs: callTimeoutMs(this.#core, options),
        signal: options.signal,
        onResult: (result) => {
          try {
            resolve(read(result));
          } catch (error) {
            reject(error as Error);
          }
        },
        onError: reject,
      });
    });
  }
}

/** Makes a request ask for what lies behind the last entry of its answer, at the same revision. */
function goOnBehind(
  request: ListRequest,
  response: ListResponse,
  { limit, descending }: ConfigListOptions,
): void {
  const last = response.entries.at(-1)!.key;
  const { start, end } = boundsOf(request);
  const range = descending === true ? { start, end: last } : { start: following(last), end };
  request.selection = selectionOf(
    range.end === undefined ? { start: range.start } : (range as ConfigSelection),
  );
  request.options!.revision = response.revision;
  if (limit !== undefined) request.limit -= response.entries.length;
}

function boundsOf(request: ListRequest): { start: Uint8Array; end: Uint8Array | undefined } {
  const { selection } = request.selection!;
  if (selection.case === 'range') return { start: selection.value.start, end: selection.value.end };
  const prefix = selection.value as Uint8Array;
  return { start: prefix, end: prefixEnd(prefix) };
}

/** The key right behind one. */
function following(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** The first key behind all that begin with a prefix; undefined: there is none. */
function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  const last = prefix.findLastIndex((byte) => byte < 0xff);
  if (last < 0) return undefined;
  const end = Uint8Array.from(prefix.subarray(0, last + 1));
  end[last]! += 1;
  return end;
}
