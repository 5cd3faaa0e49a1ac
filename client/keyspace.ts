import type { ClientCore } from './core.ts';
import { stalenessMs, timeoutMs, ttlMs } from './duration.ts';
import type { Entry } from './entry.ts';
import { HoldfastError } from './error.ts';
import { keyHash } from './key-hash.ts';
import type {
  BatchOperation,
  CallOptions,
  DeleteOptions,
  ExpiringWriteOptions,
  PutOptions,
  ReadOptions,
  ScanOptions,
  Transaction,
  WriteOptions,
} from './keyspace-options.ts';
import {
  batchOperation,
  deleteMutation,
  encoded,
  type EncodedOperation,
  incrementMutation,
  putOperation,
} from './operations.ts';
import type { PartitionDirectory } from './partition-directory.ts';
import type { Pipeline } from './pipeline.ts';
import { type Answer, encodeGet } from './pipeline-codec.ts';
import { Scan } from './scan.ts';
import { runTransaction, type TransactionResult } from './transaction.ts';
import { asHoldfastError } from './unary.ts';
import { type Key, keyBytes, type Value } from './values.ts';

/** Calls of one `getMany`, `putMany` or `write` that are on their way at a time. */
const WINDOW_CALLS = 4_096;

/** Result of one write of a batch. */
export type WriteResult =
  | { ok: true; version: bigint; counter: bigint | undefined; existed: boolean | undefined }
  | { ok: false; error: HoldfastError };

/** What the keyspace needs of its client. */
export interface KeyspaceHost {
  readonly core: ClientCore;
  readonly pipeline: Pipeline;
  readonly directory: PartitionDirectory;
  /** Aborted when close() no longer waits. */
  readonly ended: AbortSignal;
}

/**
 * The keys of one keyspace. Making one costs nothing and asks nobody; a name that does not
 * exist shows in the first call, as KEYSPACE_UNKNOWN.
 *
 * Calls made in one turn of the event loop travel together. Every call settles by its
 * timeout, is linearizable, and is retried by itself where that is safe: a write is
 * applied at most once. Every error is a HoldfastError; that of a write has an `outcome`.
 * Calls on one key take effect in the order made as long as none has to be retried; who
 * needs more awaits the earlier one.
 */
export class Keyspace {
  /** Its name. */
  readonly name: string;
  readonly #host: KeyspaceHost;

  /** @internal */
  constructor(name: string, host: KeyspaceHost) {
    this.name = name;
    this.#host = host;
  }

  /** Reads a key; undefined if it does not exist or has expired. */
  get(key: Key, options: ReadOptions = {}): Promise<Entry | undefined> {
    return this.#call(options, false, () => getOperation(key, options), entryOf);
  }

  /** Reads keys, in the order given; not atomic across keys. Fails when one read fails. */
  async getMany(keys: Iterable<Key>, options: ReadOptions = {}): Promise<(Entry | undefined)[]> {
    const entries: (Entry | undefined)[] = [];
    for (const part of windows(keys)) {
      entries.push(...(await Promise.all(part.map((key) => this.get(key, options)))));
    }
    return entries;
  }

  /**
   * Writes a key, whatever it held before, or with a condition: `ifVersion`, `ifValue`,
   * `ifAbsent`. Errors of conditions: VERSION_MISMATCH, VALUE_MISMATCH, KEY_EXISTS, each
   * with `current`.
   */
  put(key: Key, value: Value, options: PutOptions = {}): Promise<{ version: bigint }> {
    return this.#call(options, true, () => putOperation(key, value, options), versionOf);
  }

  /** Writes a key that does not exist; else KEY_EXISTS with `current`. */
  create(key: Key, value: Value, options: ExpiringWriteOptions = {}): Promise<{ version: bigint }> {
    return this.put(key, value, { ...options, ifAbsent: true });
  }

  /**
   * Adds to a counter (a 64-bit integer stored as decimal text; a missing key counts as 0)
   * and gives the sum. Errors: NOT_A_COUNTER, COUNTER_OVERFLOW.
   */
  increment(key: Key, delta: bigint | number = 1n, options: ExpiringWriteOptions = {}): Promise<bigint> {
    const operation = () => encoded(incrementMutation(key, delta, ttlMs(options.ttl)), options.fence);
    return this.#call(options, true, operation, (answer) => answer.counter ?? 0n);
  }

  /** Deletes a key; a missing one is no error unless `ifVersion` is given. */
  delete(key: Key, options: DeleteOptions = {}): Promise<{ existed: boolean }> {
    const operation = () => encoded(deleteMutation(key, options.ifVersion), options.fence);
    return this.#call(options, true, operation, (answer) => ({ existed: answer.existed ?? false }));
  }

  /** Puts many keys; see `write`. */
  putMany(
    entries: Iterable<readonly [Key, Value]>,
    options: ExpiringWriteOptions = {},
  ): Promise<WriteResult[]> {
    const ttl = options.ttl === undefined ? {} : { ttl: options.ttl };
    const puts = Array.from(entries, ([key, value]) => ({ put: key, value, ...ttl }));
    return this.write(puts, options);
  }

  /**
   * Applies independent writes and gives one result for each, in the order given. Not
   * atomic: see `transact`. The promise rejects only when an operation is malformed, and
   * then nothing was sent.
   */
  async write(operations: Iterable<BatchOperation>, options: WriteOptions = {}): Promise<WriteResult[]> {
    const all = Array.from(operations, (operation) => batchOperation(operation, options.fence));
    const results: WriteResult[] = [];
    for (const part of windows(all)) {
      const calls = part.map((operation) => this.#call(options, true, () => operation, resultOf));
      const settled = calls.map((call) => call.catch((error: unknown) => failure(error)));
      results.push(...(await Promise.all(settled)));
    }
    return results;
  }

  /** The entries of a prefix or range in key order; all entries without options. */
  scan(options: ScanOptions = {}): Scan {
    return new Scan(this.#host.core, this.#host.ended, this.name, options);
  }

  /**
   * Atomically compares, then applies one of two lists of operations. All keys must lie in
   * one partition, else CROSS_PARTITION; a keyspace created with one partition has no such limit.
   */
  transact(transaction: Transaction, options: WriteOptions = {}): Promise<TransactionResult> {
    return runTransaction(this.#host.core, this.#host.directory, this.name, transaction, options);
  }

  #call<T>(
    options: CallOptions,
    isWrite: boolean,
    encode: () => EncodedOperation,
    result: (answer: Answer) => T,
  ): Promise<T> {
    // What throws in here rejects the promise: a bad argument is an error like any other.
    return new Promise((resolve, reject) => {
      const { key, operation, isStale } = encode();
      this.#host.pipeline.submit({
        keyspace: this.name,
        operation,
        isWrite,
        isStale,
        hash: keyHash(key),
        timeoutMs: options.timeout === undefined ? this.#host.core.timeoutMs : timeoutMs(options.timeout),
        signal: options.signal,
        onAnswer: (answer) => resolve(result(answer)),
        onError: reject,
      });
    });
  }
}

function getOperation(key: Key, { maxStaleness }: ReadOptions): EncodedOperation {
  const raw = keyBytes(key);
  const staleMs = maxStaleness === undefined ? 0 : stalenessMs(maxStaleness);
  return { key: raw, operation: encodeGet(raw, staleMs), isStale: staleMs > 0 };
}

function entryOf(answer: Answer): Entry | undefined {
  return answer.entry;
}

function versionOf(answer: Answer): { version: bigint } {
  return { version: answer.version };
}

function resultOf({ version, counter, existed }: Answer): WriteResult {
  return { ok: true, version, counter, existed };
}

function failure(error: unknown): WriteResult {
  return { ok: false, error: asHoldfastError(error) };
}

function* windows<T>(items: Iterable<T>): Generator<T[]> {
  let part: T[] = [];
  for (const item of items) {
    if (part.push(item) < WINDOW_CALLS) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}
