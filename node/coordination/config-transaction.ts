/**
 * One transaction on the configuration: compares, then does one of two lists of operations, each
 * of which sees what those before it did. All changes have one revision.
 *
 *  1. A refusal leaves everything as it was: what was changed by then is undone.
 *  2. What one transaction looks at by ranges, and what it answers, are bounded, wherever in it.
 */
import {
  ConfigComparator,
  ConfigSort,
  isOneKey,
  type ConfigComparison,
  type ConfigOperation,
  type ConfigTransact,
  type ConfigTransaction,
  type DeleteOperation,
  type KeySpan,
  type ListOrder,
  type PutOperation,
} from './config-command.ts';
import type { ConfigHistory, MadeChange } from './config-history.ts';
import { MAX_TOUCHED_KEYS, MAX_TRANSACTION_ANSWER_BYTES } from './config-limits.ts';
import type { DeleteResult, OperationResult, PutResult, TransactionResult } from './config-outcome.ts';
import { changeBytes, type FoundVersion, type KeyVersion } from './config-rows.ts';
import { sortEntries } from './config-sort.ts';
import type { ConfigEntry, ConfigEvent } from './coordination-events.ts';
import type { KeyLeases } from './lease-keys.ts';
import type { Refusal } from './refusal.ts';

const NO_VALUE = new Uint8Array(0);
const NO_LEASE = 0n;
const DELETED: KeyVersion = { createRevision: 0, version: 0, lease: NO_LEASE, valueBytes: 0 };

export class TransactionRun {
  /** What was changed, in order. */
  readonly events: ConfigEvent[] = [];
  readonly #history: ConfigHistory;
  readonly #leases: KeyLeases;
  readonly #revision: number;
  readonly #quotaBytes: number;
  readonly #changes: MadeChange[] = [];
  #steps = 0;
  #answerBytes = 0;

  /** Changes get `revision`. */
  constructor(
    history: ConfigHistory,
    leases: KeyLeases,
    revision: number,
    { quotaBytes }: Pick<ConfigTransact, 'quotaBytes'>,
  ) {
    this.#history = history;
    this.#leases = leases;
    this.#revision = revision;
    this.#quotaBytes = quotaBytes;
  }

  /** Does it, or leaves everything as it was. Invariant 1. */
  run(transaction: ConfigTransaction): TransactionResult | Refusal {
    const result = this.#transaction(transaction);
    if ('refused' in result) this.#undo();
    return result;
  }

  /** Deletes the keys of a lease that ends. */
  deleteKeysOf(lease: bigint): void {
    for (const key of this.#leases.keysOf(lease)) {
      this.#leases.detach(lease, key);
      const found = this.#history.find(key);
      if (found !== undefined) this.#change(key, DELETED, NO_VALUE, found);
    }
  }

  #transaction(transaction: ConfigTransaction): TransactionResult | Refusal {
    let succeeded = true;
    for (const comparison of transaction.comparisons) {
      const holds = this.#compare(comparison);
      if (typeof holds === 'object') return holds;
      succeeded &&= holds;
    }
    const results: OperationResult[] = [];
    for (const operation of succeeded ? transaction.thenOperations : transaction.elseOperations) {
      const result = this.#operation(operation);
      if ('refused' in result) return result;
      results.push(result);
    }
    return { case: 'transaction', succeeded, results };
  }

  #operation(operation: ConfigOperation): OperationResult | Refusal {
    switch (operation.case) {
      case 'list':
        return this.#list(operation);
      case 'put':
        return this.#put(operation);
      case 'delete':
        return this.#delete(operation);
      case 'transaction':
        return this.#transaction(operation.transaction);
    }
  }

  #compare(comparison: ConfigComparison): boolean | Refusal {
    const { span, isKey, noneIsOne } = comparison;
    if (isKey) return this.#holdsOf(comparison, this.#history.find(span.start));
    const found = this.#select(span);
    if (!Array.isArray(found)) return found;
    if (found.length === 0 && noneIsOne === true) return this.#holdsOf(comparison, undefined);
    return found.every((version) => this.#holds(comparison, version));
  }

  /** Of a key that may not be there: it has no value. */
  #holdsOf(comparison: ConfigComparison, found: FoundVersion | undefined): boolean {
    if (found === undefined && comparison.target.case === 'value') return false;
    return this.#holds(comparison, found);
  }

  #holds({ comparator, target }: ConfigComparison, found: FoundVersion | undefined): boolean {
    if (target.case === 'value')
      return compares(comparator, Buffer.compare(this.#history.entry(found!).value, target.value));
    if (target.case === 'lease') return compares(comparator, order(found?.lease ?? NO_LEASE, target.value));
    const actual =
      target.case === 'modRevision' ? (found?.position.revision ?? 0) : (found?.[target.case] ?? 0);
    return compares(comparator, order(actual, target.value));
  }

  #list(list: ListOrder): OperationResult | Refusal {
    const found = this.#select(list.span);
    if (!Array.isArray(found)) return found;
    const count = found.length;
    if (list.countOnly) return { case: 'list', entries: [], more: false, count };
    const shown = list.limit === 0 ? count : Math.min(list.limit, count);
    if (list.isDescending && list.sortBy === ConfigSort.key) found.reverse();
    const isByKey = list.sortBy === ConfigSort.key;
    const read = isByKey ? found.slice(0, shown) : found;
    const readsValues = !list.keysOnly || list.sortBy === ConfigSort.value;
    const entries: ConfigEntry[] = [];
    for (const version of read) {
      const refusal = this.#answers(version, readsValues);
      if (refusal !== undefined) return refusal;
      entries.push(this.#history.entry(version, !readsValues));
    }
    const sorted = isByKey ? entries : sortEntries(entries, list.sortBy, list.isDescending).slice(0, shown);
    const answered = list.keysOnly ? sorted.map((entry) => ({ ...entry, value: NO_VALUE })) : sorted;
    return { case: 'list', entries: answered, more: shown < count, count };
  }

  #put(put: PutOperation): PutResult | Refusal {
    const { key, ifModRevision } = put;
    const found = this.#history.find(key);
    const mismatch = mismatched(ifModRevision, found);
    if (mismatch !== undefined) return mismatch;
    if ((put.keepValue || put.keepLease) && found === undefined) return { refused: 'KEY_UNKNOWN' };
    const lease = put.keepLease ? found!.lease : put.lease;
    if (lease !== NO_LEASE && !this.#leases.exists(lease))
      return { refused: 'LEASE_UNKNOWN', actual: String(lease) };
    const needsEntry = found !== undefined && (put.returnPrevious || put.keepValue);
    const before = needsEntry ? this.#history.entry(found) : undefined;
    const value = put.keepValue ? before!.value : put.value;
    const refusal = this.#overQuota(changeBytes(key, value.byteLength)) ?? this.#hang(key, found, lease);
    if (refusal !== undefined) return refusal;
    const createRevision = found?.createRevision ?? this.#revision;
    const made = {
      createRevision,
      version: (found?.version ?? 0) + 1,
      lease,
      valueBytes: value.byteLength,
    };
    this.#change(key, made, value, found);
    if (!put.returnPrevious) return { case: 'put', previous: undefined };
    const tooLarge = found && this.#answers(found, true);
    return tooLarge ?? { case: 'put', previous: before };
  }

  #delete({ span, ifModRevision, returnPrevious }: DeleteOperation): DeleteResult | Refusal {
    const found = isOneKey(span) ? asList(this.#history.find(span.start)) : this.#select(span);
    if (!Array.isArray(found)) return found;
    const mismatch = mismatched(ifModRevision, found[0]);
    if (mismatch !== undefined) return mismatch;
    const previous: ConfigEntry[] = [];
    for (const version of found) {
      const refusal = returnPrevious ? this.#answers(version, true) : undefined;
      if (refusal !== undefined) return refusal;
      if (returnPrevious) previous.push(this.#history.entry(version));
      if (version.lease !== NO_LEASE) this.#leases.detach(version.lease, version.key);
      this.#change(version.key, DELETED, NO_VALUE, version);
    }
    return { case: 'delete', deleted: found.length, previous };
  }

  /** All keys of a span. Invariant 2. */
  #select(span: KeySpan): FoundVersion[] | Refusal {
    const walk = this.#history.walk(span);
    const found: FoundVersion[] = [];
    const left = MAX_TOUCHED_KEYS - this.#steps;
    for (;;) {
      const version = walk.next(left);
      if (version !== undefined) found.push(version);
      else if (walk.isDone) break;
      else return { refused: 'RANGE_TOO_LARGE', limit: String(MAX_TOUCHED_KEYS) };
    }
    this.#steps += walk.steps;
    return found;
  }

  /** Invariant 2. */
  #answers({ key, valueBytes }: FoundVersion, withValue: boolean): Refusal | undefined {
    this.#answerBytes += 64 + key.length + (withValue ? valueBytes : 0);
    if (this.#answerBytes <= MAX_TRANSACTION_ANSWER_BYTES) return undefined;
    return { refused: 'ANSWER_TOO_LARGE', limit: String(MAX_TRANSACTION_ANSWER_BYTES) };
  }

  #overQuota(bytes: number): Refusal | undefined {
    const after = this.#history.counters.bytes + bytes;
    if (after <= this.#quotaBytes) return undefined;
    return { refused: 'QUOTA_REACHED', actual: String(after), limit: String(this.#quotaBytes) };
  }

  /** Moves a key from the lease that it has to another. */
  #hang(key: string, found: FoundVersion | undefined, lease: bigint): Refusal | undefined {
    const before = found?.lease ?? NO_LEASE;
    if (before === lease) return undefined;
    const refusal = lease === NO_LEASE ? undefined : this.#leases.attach(lease, key);
    if (refusal === undefined && before !== NO_LEASE) this.#leases.detach(before, key);
    return refusal;
  }

  #change(key: string, made: KeyVersion, value: Uint8Array, replaced: FoundVersion | undefined): void {
    const position = { revision: this.#revision, number: this.#changes.length };
    const done = this.#history.make({ key, position, made, value, replaced });
    this.events.push(done.event);
    this.#changes.push(done);
  }

  #undo(): void {
    for (const done of this.#changes.splice(0).reverse()) {
      this.#history.undo(done);
      const { change } = done;
      const [now, before] = [change.made.lease, change.replaced?.lease ?? NO_LEASE];
      if (now === before) continue;
      if (now !== NO_LEASE) this.#leases.detach(now, change.key);
      if (before !== NO_LEASE) this.#leases.attach(before, change.key);
    }
    this.events.length = 0;
  }
}

function mismatched(expected: number | undefined, found: FoundVersion | undefined): Refusal | undefined {
  if (expected === undefined || expected === (found?.position.revision ?? 0)) return undefined;
  return { refused: 'REVISION_MISMATCH', actual: String(expected), current: found?.position.revision };
}

function asList<T>(one: T | undefined): T[] {
  return one === undefined ? [] : [one];
}

function order<T extends number | bigint>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function compares(comparator: ConfigComparator, result: number): boolean {
  switch (comparator) {
    case ConfigComparator.equal:
      return result === 0;
    case ConfigComparator.notEqual:
      return result !== 0;
    case ConfigComparator.less:
      return result < 0;
    case ConfigComparator.greater:
      return result > 0;
  }
}
