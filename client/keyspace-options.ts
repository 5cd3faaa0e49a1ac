import type { Duration } from './duration.ts';
import type { Key, Value } from './values.ts';

/** Options of every call. */
export interface CallOptions {
  /** Greatest time until the call settles. Default: that of the client, 5 s. At most 5 min. */
  timeout?: Duration | undefined;
  /** Ends the call with CANCELLED; a write that was sent may still happen (outcome UNKNOWN). */
  signal?: AbortSignal | undefined;
}

/** Options of `get` and `getMany`. */
export interface ReadOptions extends CallOptions {
  /**
   * Let any replica answer at once whose data is at most so old, 1 ms to an hour, such as
   * `'500ms'`. Such a read may miss a write of this client, and two of them may go back in
   * time. Default: linearizable, which sees every write that was acknowledged before.
   */
  maxStaleness?: Duration | undefined;
}

/** Proof of holding a lock; a lock object is one. */
export interface Fence {
  /** Name of the lock. */
  readonly name: string;
  /** Its fencing token, greater than 0. */
  readonly token: bigint;
}

/** Options of every write. */
export interface WriteOptions extends CallOptions {
  /** Refuse the write with FENCED once a later holder of the lock has written to the partition. */
  fence?: Fence | undefined;
}

/** Options of `create` and `increment`. */
export interface ExpiringWriteOptions extends WriteOptions {
  /** Time to live, 1 ms to ten years. Default: for ever; for an increment: as it is. */
  ttl?: Duration | undefined;
}

/** Options of `put`. At most one of the conditions may be given. */
export interface PutOptions extends ExpiringWriteOptions {
  /** Write only if the key has this version; else VERSION_MISMATCH. */
  ifVersion?: bigint | number | undefined;
  /** Write only if the key has this value, byte for byte; else VALUE_MISMATCH. */
  ifValue?: Value | undefined;
  /** Write only if the key does not exist; else KEY_EXISTS. The same as `create`. */
  ifAbsent?: boolean | undefined;
}

/** Options of `delete`. */
export interface DeleteOptions extends WriteOptions {
  /** Delete only if the key has this version; else VERSION_MISMATCH. */
  ifVersion?: bigint | number | undefined;
}

/** What to scan: a prefix, or keys from `start` (included) to `end` (excluded), or all. */
export interface ScanOptions extends CallOptions {
  prefix?: Key | undefined;
  start?: Key | undefined;
  end?: Key | undefined;
  /** Greatest number of entries; default: all. */
  limit?: number | undefined;
  /** Leave values out. */
  keysOnly?: boolean | undefined;
  /** `continuation` of an earlier scan with the same selection: go on after it. */
  continuation?: Uint8Array | undefined;
}

/** A write in a batch: one of the five kinds. */
export type BatchOperation =
  | {
      put: Key;
      value: Value;
      ttl?: Duration;
      ifVersion?: bigint | number;
      ifValue?: Value;
      ifAbsent?: boolean;
    }
  | { create: Key; value: Value; ttl?: Duration }
  | { increment: Key; delta?: bigint | number; ttl?: Duration }
  | { delete: Key; ifVersion?: bigint | number };

/** A condition of a transaction on one key: on its version, its value, or whether it exists. */
export type Condition = { key: Key } & (
  { version: bigint | number; is?: Comparator } | { value: Value; is?: Comparator } | { exists: boolean }
);

/** How a condition compares; default `=`. Values compare in byte order; a missing key has version 0. */
export type Comparator = '=' | '!=' | '<' | '>';

/** An operation of a transaction. */
export type TransactionOperation =
  | { get: Key }
  | { put: Key; value: Value; ttl?: Duration }
  | { increment: Key; delta?: bigint | number; ttl?: Duration }
  | { delete: Key };

/** A transaction: compare, then apply one of two lists. All keys must lie in one partition. */
export interface Transaction {
  /** All must hold for `then`; none: `then` is applied. */
  if?: readonly Condition[];
  then: readonly TransactionOperation[];
  /** Applied when a condition does not hold. */
  else?: readonly TransactionOperation[];
}
