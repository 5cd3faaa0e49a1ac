/**
 * The configuration, strictly serializable by revision:
 *
 *  1. The applied log, carried out by a model that copies all keys for each revision, makes the
 *     changes that nodes have, at the revisions that they say.
 *  2. A write is answered with what the log says of it, and with a greater revision than every
 *     write that was answered, and every list that was read, before it was asked for.
 *  3. A write is applied at most once; one that failed as NOT_APPLIED or was refused is not applied.
 *  4. A read finds what there was at one moment between its call and its answer; as of a
 *     revision, what there was at it; a stale one, what there was at some time.
 *  5. The keys of a lease that ends are gone at one revision.
 *
 * Every write has a value of its own.
 */
import { decodeTransactOutcome } from '../../../node/coordination/config-outcome.ts';
import type { ConfigTransact, KeySpan } from '../../../node/coordination/config-command.ts';
import type { ConfigHistory } from '../../../node/coordination/config-history.ts';
import type { ConfigEvent } from '../../../node/coordination/coordination-events.ts';
import { ConfigOracle, type OracleEntry, type OracleEvent } from '../../coordination/config-oracle.ts';
import { CheckFailed } from './check-failed.ts';

/** An entry as a client has it. */
export interface ReadEntry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly version: bigint;
  readonly lease: bigint | undefined;
}

/** A call that is under way. */
export interface ConfigCall {
  readonly who: string;
  readonly what: string;
  /** What it sees, and what it writes comes after, is at least this. */
  readonly known: number;
}

export class ConfigChecker {
  readonly #oracle = new ConfigOracle();
  /** By the value that was written: where. */
  readonly #applied = new Map<string, number>();
  readonly #failed = new Map<string, string>();
  /** Of a tree that somebody was told of. */
  #known = 0;
  #compacted = 0;

  /** Of the last change or other revision that a node has applied. */
  get revision(): number {
    return this.#oracle.revision;
  }

  /** Greatest revision that anybody was told. */
  get known(): number {
    return this.#known;
  }

  get compacted(): number {
    return this.#compacted;
  }

  /** Changes at a revision. */
  eventsAt(revision: number): readonly OracleEvent[] {
    return this.#oracle.events[revision] ?? [];
  }

  onLease(lease: bigint): void {
    this.#oracle.leases.add(lease);
  }

  /** A lease has ended at `revision`, or, if that is not known, at the next one that changed anything. */
  onLeaseEnded(lease: bigint, revision: number | undefined, history: ConfigHistory, upTo: number): void {
    const oracle = this.#oracle;
    const hasKeys = oracle.select({ start: '', end: undefined }).some((entry) => entry.lease === lease);
    if (!hasKeys) {
      oracle.leases.delete(lease);
      return;
    }
    let at = revision ?? oracle.revision + 1;
    while (revision === undefined && at < upTo && history.event({ revision: at, number: 0 }) === undefined)
      at++;
    oracle.revision = at - 1;
    oracle.endLease(lease);
    this.#compare(at, history);
  }

  onTransact({ transaction }: ConfigTransact, result: Uint8Array, history: ConfigHistory): void {
    const oracle = this.#oracle;
    const outcome = decodeTransactOutcome(result);
    const { revision } = outcome;
    const hasChanged = history.event({ revision, number: 0 }) !== undefined && revision > oracle.revision;
    if (revision < oracle.revision)
      throw new CheckFailed('configuration', `revision ${revision} after ${oracle.revision}`);
    oracle.revision = hasChanged ? revision - 1 : revision;
    const expected = oracle.transact(transaction);
    if (shown(expected) !== shown(outcome))
      throw new CheckFailed(
        'configuration',
        `a transaction resulted in ${shown(outcome)}, and should have in ${shown(expected)}`,
      );
    if (hasChanged) this.#compare(revision, history);
  }

  /** It was refused. */
  onRefused({ transaction }: ConfigTransact, reason: string): void {
    if (reason === 'QUOTA_REACHED') return;
    const { revision } = this.#oracle;
    const expected = this.#oracle.transact(transaction);
    if (expected !== reason)
      throw new CheckFailed(
        'configuration',
        `a transaction was refused as ${reason}, and should be ${shown(expected)} at ${revision}`,
      );
  }

  onCompacted(revision: number): void {
    this.#compacted = Math.max(this.#compacted, revision);
  }

  /** An entry is applied: the tree is at this revision. */
  onEntry(revision: number): void {
    this.#oracle.revision = Math.max(this.#oracle.revision, revision);
  }

  begin(who: string, what: string): ConfigCall {
    return { who, what, known: this.#known };
  }

  /** A write was answered: each of the values is there, all at the revision. Invariant 2. */
  written(call: ConfigCall, revision: bigint, puts: ReadonlyMap<string, string>): void {
    const at = Number(revision);
    if (puts.size > 0 && at <= call.known)
      this.#fail(call, `has revision ${at}, and ${call.known} was told before it was asked for`);
    for (const [key, value] of puts) {
      const event = this.eventsAt(at).findLast((each) => each.key === key);
      if (event?.entry?.value !== value)
        this.#fail(call, `was told revision ${at}, where ${key} is not ${value}`);
    }
    this.#tell(call, at);
  }

  /** Invariant 3. */
  notApplied({ who, what }: ConfigCall, values: Iterable<string>): void {
    for (const value of values) this.#failed.set(value, `${who}: ${what}`);
  }

  /** A key was read; undefined: there was none. Invariant 4. */
  got(
    call: ConfigCall,
    key: string,
    found: ReadEntry | undefined,
    how: { revision?: number; stale?: boolean },
  ): void {
    const low = how.revision ?? (how.stale === true ? 0 : call.known);
    const high = how.revision ?? this.revision;
    for (let at = high; at >= low; at--) {
      const entry = this.#oracle.keysAt(at).get(key);
      if (shownEntry(entry) === shownRead(found)) return;
    }
    this.#fail(call, `found ${shownRead(found)}, which ${key} was not from ${low} to ${high}`);
  }

  /** A range was read, at a revision. Invariant 4. */
  listed(
    call: ConfigCall,
    span: KeySpan,
    found: { entries: readonly ReadEntry[]; revision: bigint },
    how: { revision?: number; stale?: boolean },
  ): void {
    const at = how.revision ?? Number(found.revision);
    if (at > this.revision) this.#fail(call, `is at revision ${at} beyond ${this.revision}`);
    if (how.revision === undefined && how.stale !== true) {
      if (at < call.known) this.#fail(call, `is at revision ${at}, and ${call.known} was told before`);
      this.#tell(call, at);
    }
    const expected = this.#oracle.select(span, at).map(shownEntry).join('; ');
    const actual = found.entries.map(shownRead).join('; ');
    if (actual !== expected)
      this.#fail(call, `found ${actual} at revision ${at}, where there was ${expected}`);
  }

  /** What was not there is right to be forgotten. */
  compactedAway(call: ConfigCall, revision: number): void {
    if (revision >= this.#compacted)
      this.#fail(
        call,
        `was told that ${revision} is compacted, and only what is before ${this.#compacted} is`,
      );
  }

  /** In the end. Invariant 3. */
  checkFailed(): void {
    for (const [value, what] of this.#failed) {
      const at = this.#applied.get(value);
      if (at !== undefined)
        throw new CheckFailed(
          'configuration',
          `${what}: ${value} was not applied by its answer, and is at revision ${at}`,
        );
    }
  }

  #tell(call: ConfigCall, revision: number): void {
    if (revision > this.revision) this.#fail(call, `was told revision ${revision}, beyond ${this.revision}`);
    this.#known = Math.max(this.#known, revision);
  }

  /** The changes of a node at a revision are those of the model. Invariants 1, 5. */
  #compare(revision: number, history: ConfigHistory): void {
    const made = this.eventsAt(revision);
    const expected = made.map(shownOracle).join('; ');
    const actual: string[] = [];
    for (let number = 0; ; number++) {
      const event = history.event({ revision, number });
      if (event === undefined) break;
      actual.push(shownEvent(event));
    }
    if (actual.join('; ') !== expected)
      throw new CheckFailed(
        'configuration',
        `revision ${revision} changed ${actual.join('; ')}, and should have ${expected}`,
      );
    for (const { entry } of made) {
      if (entry === undefined) continue;
      const other = this.#applied.get(entry.value);
      if (other !== undefined && other !== revision)
        throw new CheckFailed(
          'configuration',
          `${entry.value} was applied at ${other} and again at ${revision}`,
        );
      this.#applied.set(entry.value, revision);
    }
  }

  #fail({ who, what }: ConfigCall, message: string): never {
    throw new CheckFailed('configuration', `${who}: ${what} ${message}`);
  }
}

/** As JSON, with names in order, and bytes and big numbers as text. */
function shown(value: unknown): string {
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString('latin1'));
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return `[${value.map(shown).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return `{${fields
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, inner]) => `${name}:${shown(inner)}`)
    .join(',')}}`;
}

export function shownEntry(entry: OracleEntry | undefined): string {
  if (entry === undefined) return 'nothing';
  const { key, value, createRevision, modRevision, version, lease } = entry;
  return `${key}=${value} created ${createRevision} modified ${modRevision} version ${version} lease ${lease}`;
}

export function shownRead(entry: ReadEntry | undefined): string {
  if (entry === undefined) return 'nothing';
  const { key, value, createRevision, modRevision, version, lease = 0n } = entry;
  return `${key}=${value} created ${createRevision} modified ${modRevision} version ${version} lease ${lease}`;
}

function shownOracle({ isDelete, key, entry }: OracleEvent): string {
  return isDelete ? `delete ${key}` : `put ${shownEntry(entry)}`;
}

function shownEvent({ isDelete, entry }: ConfigEvent): string {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
  const key = text(entry.key);
  return isDelete ? `delete ${key}` : `put ${shownEntry({ ...entry, key, value: text(entry.value) })}`;
}
