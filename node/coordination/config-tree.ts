/**
 * The configuration: the users' keys with their history, as a part of the coordination. Keys of
 * the cluster's own are in a tree of their own, so no range ever shows them.
 */
import type { ByteReader } from '../storage/byte-codec.ts';
import { ByteWriter } from '../storage/byte-codec.ts';
import { binaryString, type RowKey } from '../storage/row-key.ts';
import { readPurge, readTransact, type ConfigPurge, type ConfigTransact } from './config-command.ts';
import { ConfigHistory } from './config-history.ts';
import { encodeTransactOutcome } from './config-outcome.ts';
import { TransactionRun } from './config-transaction.ts';
import { CoordinationKind } from './coordination-command.ts';
import type { ConfigEntry, CoordinationEvents, EventPosition } from './coordination-events.ts';
import type { KeyLeases } from './lease-keys.ts';
import type { Applying, MachinePart, PartRows } from './machine-part.ts';
import type { Outcome } from './refusal.ts';

const NOTHING = new Uint8Array(0);

export class ConfigTree implements MachinePart {
  readonly kinds = [
    CoordinationKind.configTransact,
    CoordinationKind.configCompact,
    CoordinationKind.configPurge,
  ];
  /** The changes, for whoever reads. */
  readonly history: ConfigHistory;
  /** What keys hang on. */
  readonly leases: KeyLeases;
  readonly #events: CoordinationEvents;

  constructor(rows: PartRows, prefix: RowKey, leases: KeyLeases, events: CoordinationEvents) {
    this.leases = leases;
    this.history = new ConfigHistory(rows, prefix);
    this.#events = events;
  }

  /** A key as of a revision, default now; undefined: there was none. The caller has compared it with the compact revision. */
  get(key: Uint8Array, revision?: number): ConfigEntry | undefined {
    const found = this.history.find(binaryString(key), revision);
    return found && this.history.entry(found);
  }

  /** An entry as a change has made it; undefined: it is forgotten. */
  entryAt(position: EventPosition): ConfigEntry | undefined {
    return this.history.event(position)?.entry;
  }

  /** History before it is forgotten. */
  get compactRevision(): number {
    return this.history.counters.compactRevision;
  }

  parse(kind: number, reader: ByteReader): unknown {
    switch (kind) {
      case CoordinationKind.configTransact:
        return readTransact(reader);
      case CoordinationKind.configCompact:
        return reader.u64();
      default:
        return readPurge(reader);
    }
  }

  apply(kind: number, body: unknown, applying: Applying): Outcome {
    switch (kind) {
      case CoordinationKind.configTransact:
        return this.#transact(body as ConfigTransact, applying);
      case CoordinationKind.configCompact:
        return this.#compact(body as number, applying.revision);
      default:
        this.history.purge(body as ConfigPurge);
        return NOTHING;
    }
  }

  /** Deletes all keys that end with a lease, at this revision, and tells of it. */
  deleteKeysOf(lease: bigint, revision: number): void {
    const run = new TransactionRun(this.history, this.leases, revision, { quotaBytes: Infinity });
    run.deleteKeysOf(lease);
    if (run.events.length > 0) this.#events.onChanges(revision, run.events);
  }

  #transact(transact: ConfigTransact, applying: Applying): Outcome {
    const run = new TransactionRun(this.history, this.leases, applying.revision + 1, transact);
    const result = run.run(transact.transaction);
    if ('refused' in result) return result;
    const revision = run.events.length > 0 ? applying.nextRevision() : applying.revision;
    if (run.events.length > 0) this.#events.onChanges(revision, run.events);
    return encodeTransactOutcome({ ...result, revision });
  }

  #compact(revision: number, now: number): Outcome {
    const { compactRevision } = this;
    const compared = { actual: String(revision), current: now };
    if (revision > now) return { refused: 'REVISION_FUTURE', limit: String(now), ...compared };
    if (revision <= compactRevision)
      return { refused: 'REVISION_COMPACTED', limit: String(compactRevision), ...compared };
    this.history.compact(revision);
    this.#events.onCompacted(revision);
    return new ByteWriter(8).u64(now).finish();
  }
}
