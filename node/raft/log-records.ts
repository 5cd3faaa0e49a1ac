/**
 * What a replica writes to the log and finds there after a start.
 *
 *  1. An entry that comes again replaces the one before and all that followed it.
 *  2. A snapshot replaces everything before it, and its rows are in the store by then.
 *  3. What the log has must follow what the store has: a gap between them is damage.
 */
import { RecordType, type LogRecord } from '../storage/log-format.ts';
import type { GroupLogState } from '../storage/log-opening.ts';
import { StoreDamaged, type AppliedEntry } from '../storage/row-store.ts';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { Configuration } from './core/configuration.ts';
import { encodeConfiguration } from './core/configuration.ts';
import type { HardState } from './core/pending-writes.ts';
import type { Write } from './core/ready.ts';
import type { Entry } from './entry.ts';
import { appliedConfiguration, type ReceivedRows, type RestoredReplica } from './group-replica.ts';

const NO_PAYLOAD = new Uint8Array(0);
const RECORD = { group: 0, term: 0, index: 0, stampMs: 0, kind: 0, version: 1, payload: NO_PAYLOAD };

/** The store completed a flush. */
export function storeMarkRecord(flush: number): LogRecord {
  return { ...RECORD, type: RecordType.storeMark, index: flush };
}

/** The records of one write of a core, in the order that recovery needs. */
export function writeRecords(
  group: number,
  { hardState, entries }: Write,
  rows: ReceivedRows | undefined,
  records: LogRecord[],
): void {
  // First, because no log may end in a later term than the one its replica knows.
  if (hardState !== undefined) records.push(hardStateRecord(group, hardState));
  if (rows !== undefined) records.push(snapshotRecord(group, rows));
  for (const { index, term, stampMs, kind, version, payload } of entries)
    records.push({ type: RecordType.entry, group, index, term, stampMs, kind, version, payload });
}

function hardStateRecord(group: number, { term, vote }: HardState): LogRecord {
  return { ...RECORD, type: RecordType.hardState, group, term, index: vote };
}

function snapshotRecord(group: number, { point, generation }: ReceivedRows): LogRecord {
  const { index, term, stampMs, configuration } = point;
  const payload = new ByteWriter(64).u32(generation).bytes(encodeConfiguration(configuration)).finish();
  return { ...RECORD, type: RecordType.snapshot, group, index, term, stampMs, payload };
}

function snapshotOf({ index, term, stampMs, payload }: LogRecord): AppliedEntry {
  const reader = new ByteReader(payload);
  return {
    index,
    term,
    stampMs,
    generation: reader.u32(),
    configuration: Uint8Array.from(reader.bytes()),
  };
}

interface RecoveredGroup {
  snapshot: AppliedEntry | undefined;
  entries: Entry[];
}

/** What the log holds of each group, gathered record by record. */
export class RecoveredGroups {
  readonly #groups = new Map<number, RecoveredGroup>();

  /** Groups that nobody has asked for yet. */
  get groups(): IterableIterator<number> {
    return this.#groups.keys();
  }

  /** Takes one record of the log. Invariants 1, 2. */
  note(record: LogRecord): void {
    const { type, group } = record;
    if (type !== RecordType.entry && type !== RecordType.snapshot) return;
    let own = this.#groups.get(group);
    if (own === undefined) this.#groups.set(group, (own = { snapshot: undefined, entries: [] }));
    if (type === RecordType.snapshot) {
      own.snapshot = snapshotOf(record);
      own.entries = [];
      return;
    }
    while (own.entries.length > 0 && own.entries.at(-1)!.index >= record.index) own.entries.pop();
    const { index, term, stampMs, kind, version, payload } = record;
    own.entries.push({ index, term, stampMs, kind, version, payload });
  }

  /** Nobody will ask any more. */
  clear(): void {
    this.#groups.clear();
  }

  /** Last entry that the log has of a group; 0: none. */
  lastIndex(group: number): number {
    const { entries, snapshot } = this.#groups.get(group) ?? { entries: [], snapshot: undefined };
    return entries.at(-1)?.index ?? snapshot?.index ?? 0;
  }

  /** What a replica begins with, once. Error: StoreDamaged. Invariants 2, 3. */
  take(group: number, state: GroupLogState, stored: AppliedEntry, initial: Configuration): RestoredReplica {
    const { snapshot, entries: all } = this.#groups.get(group) ?? { snapshot: undefined, entries: [] };
    this.#groups.delete(group);
    const applied = snapshot !== undefined && snapshot.index > stored.index ? snapshot : stored;
    // Copied: a payload as found holds the whole segment that it was read with.
    const entries = all
      .filter(({ index }) => index > applied.index)
      .map((entry) => ({ ...entry, payload: Uint8Array.from(entry.payload) }));
    const first = entries[0]?.index ?? applied.index + 1;
    if (first !== applied.index + 1) {
      throw new StoreDamaged(
        `group ${group}: the store ends at entry ${applied.index}, the log goes on at ${first}`,
      );
    }
    const last = entries.at(-1)?.index ?? applied.index;
    if (state.lastIndex > last) {
      throw new StoreDamaged(
        `group ${group}: the log was trimmed after entry ${state.lastIndex}, the store ends at ${last}`,
      );
    }
    const lastTerm = entries.at(-1)?.term ?? applied.term;
    if (lastTerm > state.term) {
      throw new StoreDamaged(
        `group ${group}: the last entry is of term ${lastTerm}, the log knows of term ${state.term} only`,
      );
    }
    return {
      hardState: { term: state.term, vote: state.vote },
      applied,
      storedIndex: stored.index,
      configuration: appliedConfiguration(applied) ?? initial,
      entries,
    };
  }
}
