import type { CallOptions, Comparator } from '../keyspace-options.ts';
import type { Key, Value } from '../values.ts';
import type { ConfigEntry } from './config-entry.ts';

/** Keys with a prefix (empty: all), or from `start` up to but not including `end` (absent: to the end). */
export type ConfigSelection =
  { readonly prefix: Key } | { readonly start: Key; readonly end?: Key | undefined };

/** A lease, or its number. */
export type LeaseReference = bigint | { readonly id: bigint };

/** Options of a read. */
export interface ConfigReadOptions extends CallOptions {
  /** As of this revision. Default: now. Errors: REVISION_COMPACTED, REVISION_FUTURE. */
  revision?: bigint | number | undefined;
  /**
   * Answer at once from what the asked node has, which may be behind and may go back in time
   * between two reads. Default: linearizable, which sees every write that was acknowledged before.
   */
  stale?: boolean | undefined;
}

/** What entries are sorted by. Others than `key` look at all that are selected, at most 10,000. */
export type ConfigSortBy = 'key' | 'version' | 'createRevision' | 'modRevision' | 'value';

/** Options of `list`. */
export interface ConfigListOptions extends ConfigReadOptions {
  /** Greatest number of entries. Default: all. */
  limit?: number | undefined;
  /** Leave values out. */
  keysOnly?: boolean | undefined;
  /** Default: `key`. */
  sortBy?: ConfigSortBy | undefined;
  /** Greatest first. */
  descending?: boolean | undefined;
}

/** What a list found. */
export interface ConfigList {
  readonly entries: ConfigEntry[];
  /** There are more than `limit`. */
  readonly more: boolean;
  /** Revision of the tree when it was read: a watch from the one after it misses nothing. */
  readonly revision: bigint;
}

/** Options of `put`. */
export interface ConfigPutOptions extends CallOptions {
  /** Lease that the key ends with. Default: none, also if it had one. Error: LEASE_UNKNOWN. */
  lease?: LeaseReference | undefined;
  /** Only if the key was last changed at this revision; else REVISION_MISMATCH with `current`. */
  ifModRevision?: bigint | number | undefined;
  /** Only if the key does not exist; else REVISION_MISMATCH with `current`. */
  ifAbsent?: boolean | undefined;
  /** Answer with what was there before. */
  returnPrevious?: boolean | undefined;
  /** Keep the lease that is there, and change the value alone; else KEY_UNKNOWN. */
  keepLease?: boolean | undefined;
}

/** What a put did. */
export interface ConfigPutResult {
  /** Of this change. */
  readonly revision: bigint;
  /** With `returnPrevious`; undefined: there was no such key. */
  readonly previous: ConfigEntry | undefined;
}

/** Options of `delete`. */
export interface ConfigDeleteOptions extends CallOptions {
  /** Of a single key: only if it was last changed at this revision; else REVISION_MISMATCH with `current`. */
  ifModRevision?: bigint | number | undefined;
  /** Answer with what was deleted. */
  returnPrevious?: boolean | undefined;
}

/** What a delete did. */
export interface ConfigDeleteResult {
  /** Of this change; of the tree, if nothing was deleted. */
  readonly revision: bigint;
  /** How many keys were deleted. */
  readonly deleted: number;
  /** With `returnPrevious`. */
  readonly previous: ConfigEntry[];
}

/** What the tree is at. */
export interface ConfigDescription {
  /** Of the last change. */
  readonly revision: bigint;
  /** History before it is gone. */
  readonly compactRevision: bigint;
  /** Keys that there are. */
  readonly keys: bigint;
  /** Bytes of keys and values, history included. */
  readonly bytes: bigint;
  /** Bytes from which on writes are refused with QUOTA_REACHED. */
  readonly quotaBytes: bigint;
  /** Watches on the asked node. */
  readonly watches: bigint;
}

/**
 * A condition on a key, or on every key of a selection. Of a key that is not there version,
 * revisions and lease are 0, and no comparison of its value holds.
 */
export type ConfigCondition = ({ readonly key: Key } | ConfigSelection) &
  (
    | { readonly exists: boolean }
    | ({ readonly is?: Comparator | undefined } & (
        | { readonly version: bigint | number }
        | { readonly createRevision: bigint | number }
        | { readonly modRevision: bigint | number }
        | { readonly value: Value }
        | { readonly lease: LeaseReference }
      ))
  );

/** An operation of a transaction; it sees what those before it did. */
export type ConfigOperation =
  | { readonly get: Key }
  | ({ readonly list: ConfigSelection } & Pick<
      ConfigListOptions,
      'limit' | 'keysOnly' | 'sortBy' | 'descending'
    >)
  | ({ readonly put: Key; readonly value: Value } & Omit<ConfigPutOptions, keyof CallOptions>)
  | ({ readonly delete: Key | ConfigSelection } & Omit<ConfigDeleteOptions, keyof CallOptions>)
  | { readonly transaction: ConfigTransaction };

/** Compare, then do one of two things, at one revision. At most 1,024 operations and conditions, 8 deep. */
export interface ConfigTransaction {
  /** All must hold for `then`; none: they do. */
  readonly if?: readonly ConfigCondition[];
  readonly then?: readonly ConfigOperation[];
  /** Applied when a condition does not hold. */
  readonly else?: readonly ConfigOperation[];
}

/** What an operation of a transaction did; which fields are set depends on the operation. */
export interface ConfigOperationResult {
  /** Of a get: what it found; undefined: no such key. */
  entry?: ConfigEntry | undefined;
  /** Of a list. */
  list?: ConfigList;
  /** Of a put or a delete of one key: what was there, with `returnPrevious`. */
  previous?: ConfigEntry | undefined;
  /** Of a delete: what was deleted. */
  deleted?: ConfigDeleteResult;
  /** Of a transaction within. */
  transaction?: ConfigTransactionResult;
}

/** What a transaction did. */
export interface ConfigTransactionResult {
  /** Whether all conditions held. */
  readonly succeeded: boolean;
  /** Of this change; of the tree, if nothing was changed. */
  readonly revision: bigint;
  /** One for each operation that was done, in order. */
  readonly results: ConfigOperationResult[];
}
