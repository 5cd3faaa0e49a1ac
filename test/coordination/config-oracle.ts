/** The configuration as simply as can be: a copy of all keys for each revision. */
import {
  ConfigComparator,
  ConfigSort,
  type ConfigComparison,
  type ConfigOperation,
  type ConfigTransaction,
  type KeySpan,
} from '../../node/coordination/config-command.ts';

export interface OracleEntry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: bigint;
}

type Keys = ReadonlyMap<string, OracleEntry>;

export interface OracleEvent {
  readonly isDelete: boolean;
  readonly key: string;
  readonly entry: OracleEntry | undefined;
  readonly previous: OracleEntry | undefined;
}

/** A refusal: nothing is changed. */
class Refused extends Error {}

export class ConfigOracle {
  /** Keys at each revision; what is between two is as at the lower. */
  readonly snapshots = new Map<number, Keys>([[0, new Map()]]);
  readonly events: OracleEvent[][] = [];
  readonly leases = new Set<bigint>();
  revision = 0;

  keysAt(revision: number): Keys {
    let latest: Keys = new Map();
    for (const [at, keys] of this.snapshots) if (at <= revision) latest = keys;
    return latest;
  }

  select({ start, end }: KeySpan, revision = this.revision): OracleEntry[] {
    return selected(this.keysAt(revision), { start, end });
  }

  /** The result as JSON would have it, or the reason of a refusal. */
  transact(transaction: ConfigTransaction): unknown {
    const keys = new Map(this.keysAt(this.revision));
    const events: OracleEvent[] = [];
    const revision = this.revision + 1;
    try {
      const result = this.#transaction(transaction, keys, events, revision);
      if (events.length > 0) this.#commit(keys, events);
      return { ...result, revision: this.revision };
    } catch (error) {
      if (error instanceof Refused) return error.message;
      throw error;
    }
  }

  /** Takes a revision also if nothing hangs on it. */
  endLease(lease: bigint): void {
    if (!this.leases.delete(lease)) return;
    const keys = new Map(this.keysAt(this.revision));
    const ended = selected(keys, { start: '', end: undefined }).filter((entry) => entry.lease === lease);
    for (const { key } of ended) keys.delete(key);
    this.#commit(
      keys,
      ended.map((previous) => ({ isDelete: true, key: previous.key, entry: undefined, previous })),
    );
  }

  #commit(keys: Keys, events: OracleEvent[]): void {
    this.revision++;
    this.snapshots.set(this.revision, keys);
    if (events.length > 0) this.events[this.revision] = events;
  }

  #transaction(
    transaction: ConfigTransaction,
    keys: Map<string, OracleEntry>,
    events: OracleEvent[],
    revision: number,
  ): { case: string; succeeded: boolean; results: unknown[] } {
    const succeeded = transaction.comparisons.every((comparison) => holds(keys, comparison));
    const operations = succeeded ? transaction.thenOperations : transaction.elseOperations;
    const results = operations.map((operation) => this.#operation(operation, keys, events, revision));
    return { case: 'transaction', succeeded, results };
  }

  #operation(
    operation: ConfigOperation,
    keys: Map<string, OracleEntry>,
    events: OracleEvent[],
    revision: number,
  ): unknown {
    if (operation.case === 'transaction')
      return this.#transaction(operation.transaction, keys, events, revision);
    if (operation.case === 'list') return list(keys, operation);
    if (operation.case === 'delete') {
      const gone = selected(keys, operation.span);
      checkRevision(operation.ifModRevision, gone[0]);
      for (const previous of gone) {
        keys.delete(previous.key);
        events.push({ isDelete: true, key: previous.key, entry: undefined, previous });
      }
      return { case: 'delete', deleted: gone.length, previous: operation.returnPrevious ? gone : [] };
    }
    const { key } = operation;
    const previous = keys.get(key);
    checkRevision(operation.ifModRevision, previous);
    if ((operation.keepValue || operation.keepLease) && previous === undefined)
      throw new Refused('KEY_UNKNOWN');
    const lease = operation.keepLease ? previous!.lease : operation.lease;
    if (lease !== 0n && !this.leases.has(lease)) throw new Refused('LEASE_UNKNOWN');
    const entry: OracleEntry = {
      key,
      value: operation.keepValue ? previous!.value : Buffer.from(operation.value).toString('latin1'),
      createRevision: previous?.createRevision ?? revision,
      modRevision: revision,
      version: (previous?.version ?? 0) + 1,
      lease,
    };
    keys.set(key, entry);
    events.push({ isDelete: false, key, entry, previous });
    return { case: 'put', previous: operation.returnPrevious ? previous : undefined };
  }
}

function checkRevision(expected: number | undefined, found: OracleEntry | undefined): void {
  if (expected !== undefined && expected !== (found?.modRevision ?? 0))
    throw new Refused('REVISION_MISMATCH');
}

function selected(keys: Keys, { start, end }: KeySpan): OracleEntry[] {
  return [...keys.values()]
    .filter(({ key }) => key >= start && (end === undefined || key < end))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}

function list(keys: Keys, operation: Extract<ConfigOperation, { case: 'list' }>): unknown {
  const found = selected(keys, operation.span);
  const count = found.length;
  if (operation.countOnly) return { case: 'list', entries: [], more: false, count };
  const by = (a: OracleEntry, b: OracleEntry) => {
    const names = { 1: 'key', 2: 'version', 3: 'createRevision', 4: 'modRevision', 5: 'value' } as const;
    const name = names[operation.sortBy];
    const order = a[name] < b[name] ? -1 : a[name] > b[name] ? 1 : a.key < b.key ? -1 : 1;
    return operation.isDescending ? -order : order;
  };
  found.sort(by);
  const shown = operation.limit === 0 ? found : found.slice(0, operation.limit);
  const entries = operation.keysOnly ? shown.map((entry) => ({ ...entry, value: '' })) : shown;
  return { case: 'list', entries, more: shown.length < count, count };
}

function holds(keys: Keys, { span, isKey, comparator, target }: ConfigComparison): boolean {
  const found = selected(keys, span);
  const test = (entry: OracleEntry | undefined): boolean => {
    if (entry === undefined && target.case === 'value') return false;
    const zero = target.case === 'lease' ? 0n : 0;
    const actual = entry === undefined ? zero : entry[target.case];
    const given = target.case === 'value' ? Buffer.from(target.value).toString('latin1') : target.value;
    if (comparator === ConfigComparator.equal) return actual === given;
    if (comparator === ConfigComparator.notEqual) return actual !== given;
    return comparator === ConfigComparator.less ? actual < given : actual > given;
  };
  return isKey ? test(found[0]) : found.every(test);
}

export const SORTS = Object.values(ConfigSort);
