/**
 * One replica's log: how far it reaches, what of it is durable, committed, handed out
 * and applied, the terms of all its entries, the configurations in it. Payloads are kept
 * only until they are durable; after that they are read from the host's `EntrySource`.
 *
 *   base ≤ applied ≤ handed ≤ min(committed, durable), all of them ≤ last
 *
 * except that while a snapshot is being installed, base, committed and last are ahead.
 *
 *  1. Indexes are without gap, terms and stamps never fall.
 *  2. A committed entry is never cut off, and `committed` never falls.
 *  3. Entries are handed out to be applied in order, each once, only when they are
 *     committed and durable here, and no more than `maxApplyingBytes` of them at a time.
 *  4. `durable` counts only what was written and never cut off since (`PendingWrites`).
 *  5. Nothing is compacted that was not applied.
 */
import { decodeConfiguration, type Configuration, type ReplicaId } from './configuration.ts';
import { ConfigurationHistory } from './configuration-history.ts';
import { EntryKind, countFitting, entryBytes, type Entry } from './entry.ts';
import { mustHold } from './invariant.ts';
import { PendingWrites, type CompletedWrites, type HardState } from './pending-writes.ts';
import { TermRuns } from './term-runs.ts';

/** The state machine's rows as of one entry, and who the members were. The rows travel outside the core. */
export interface SnapshotPoint {
  readonly index: number;
  readonly term: number;
  readonly stampMs: number;
  readonly configuration: Configuration;
}

/** Durable entries, kept by the host. */
export interface EntrySource {
  /**
   * Entries from `first` on, at least one and none after `last`, stopping at about
   * `maxBytes`. Undefined when they are not at hand: the host fetches them and then
   * calls `takeReady`, which asks again.
   */
  read(first: number, last: number, maxBytes: number): readonly Entry[] | undefined;
}

/** What a restarted replica finds on its disk. */
export interface RestoredLog {
  readonly base: SnapshotPoint;
  /** The state machine has applied up to here; from `base.index` on. */
  readonly applied: number;
  /** All entries after the base, in order; of payloads only configurations are looked at. */
  readonly entries: Iterable<Entry>;
}

export class RaftLog {
  readonly #source: EntrySource;
  readonly #writes = new PendingWrites();
  #baseIndex: number;
  #terms: TermRuns;
  #configurations: ConfigurationHistory;
  #lastIndex: number;
  #lastTerm: number;
  #lastStampMs: number;
  #committed: number;
  #durable: number;
  #handed: number;
  #applied: number;
  /** Sizes of what was handed out and not applied, oldest first. */
  #applying: { readonly lastIndex: number; readonly bytes: number }[] = [];
  #applyingBytes = 0;
  /** The entries after `durable`, up to the last. */
  #unstable: Entry[] = [];
  /** The first entry that no write has taken. */
  #unwritten: number;
  #snapshot: SnapshotPoint | undefined;

  constructor(restored: RestoredLog, source: EntrySource) {
    const { base, applied } = restored;
    this.#source = source;
    this.#baseIndex = base.index;
    this.#terms = new TermRuns(base.index, base.term);
    this.#configurations = new ConfigurationHistory(base.index, base.configuration);
    this.#lastIndex = base.index;
    this.#lastTerm = base.term;
    this.#lastStampMs = base.stampMs;
    for (const entry of restored.entries) this.#note(entry);
    mustHold(
      applied >= base.index && applied <= this.#lastIndex,
      () => `applied is ${applied}, the log ends at ${this.#lastIndex}`,
    );
    this.#committed = this.#handed = this.#applied = applied;
    this.#durable = this.#lastIndex;
    this.#unwritten = this.#lastIndex + 1;
  }

  /** Entries up to this one are gone; its term is still known. */
  get baseIndex(): number {
    return this.#baseIndex;
  }

  get lastIndex(): number {
    return this.#lastIndex;
  }

  get lastTerm(): number {
    return this.#lastTerm;
  }

  get lastStampMs(): number {
    return this.#lastStampMs;
  }

  get committed(): number {
    return this.#committed;
  }

  get durable(): number {
    return this.#durable;
  }

  get applied(): number {
    return this.#applied;
  }

  /** Entries that are kept here because they are not durable yet. */
  get unstableCount(): number {
    return this.#unstable.length;
  }

  /** The newest configuration in the log, committed or not. */
  get configuration(): Configuration {
    return this.#configurations.current;
  }

  get configurationIndex(): number {
    return this.#configurations.currentIndex;
  }

  /**
   * Whether a replica may stand for election. Its own removal does not count before it is
   * committed: until then the others may not have it, and may need this replica's log to
   * get a leader at all (dissertation, section 4.2.2).
   */
  mayLead(replica: ReplicaId): boolean {
    return this.#configurations.isVoterSince(this.#committed, replica);
  }

  /** Whether writes are under way. */
  get isWriting(): boolean {
    return !this.#writes.isEmpty;
  }

  /** Term of an entry, or undefined when it is not in the log. */
  termAt(index: number): number | undefined {
    return index < this.#baseIndex || index > this.#lastIndex ? undefined : this.#terms.at(index);
  }

  /** Whether a log with this last entry has everything that this one has, as far as votes go. */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.#lastTerm || (lastTerm === this.#lastTerm && lastIndex >= this.#lastIndex);
  }

  /** The last entry up to `index` that is in the log and whose term is at most `term`. */
  lastUpTo(index: number, term: number): number {
    const from = Math.min(index, this.#lastIndex);
    return from <= this.#baseIndex ? from : this.#terms.lastUpTo(from, term);
  }

  /** Adds an entry at the end. Invariant 1. */
  append(entry: Entry): void {
    this.#note(entry);
    this.#unstable.push(entry);
  }

  /**
   * Takes a leader's entries, which follow one that both logs have. What is here already
   * stays, so that a late message cannot cut off what a newer one brought.
   */
  merge(entries: readonly Entry[]): void {
    const start = entries.findIndex(({ index, term }) => this.termAt(index) !== term);
    if (start < 0) return;
    if (entries[start]!.index <= this.#lastIndex) this.#truncate(entries[start]!.index);
    for (let position = start; position < entries.length; position++) this.append(entries[position]!);
  }

  /** Invariant 2. */
  commitTo(index: number): void {
    mustHold(index <= this.#lastIndex, () => `${index} is committed, the log ends at ${this.#lastIndex}`);
    this.#committed = Math.max(this.#committed, index);
  }

  /** Entries from `first` on for a follower; undefined when they are not at hand. */
  read(first: number, maxBytes: number): readonly Entry[] | undefined {
    if (first <= this.#durable) return this.#readSource(first, this.#durable, maxBytes);
    const start = first - this.#lastIndex - 1 + this.#unstable.length;
    return this.#unstable.slice(start, start + countFitting(this.#unstable, start, maxBytes));
  }

  /** What no write has taken yet. */
  takeUnwritten(): { snapshot: SnapshotPoint | undefined; entries: readonly Entry[] } {
    const snapshot = this.#snapshot;
    const count = this.#lastIndex + 1 - this.#unwritten;
    this.#snapshot = undefined;
    this.#unwritten = this.#lastIndex + 1;
    return { snapshot, entries: count === 0 ? [] : this.#unstable.slice(-count) };
  }

  /** Notes that a write with everything up to the last entry is on its way; returns its number. */
  beginWrite(hardState: HardState, snapshot: SnapshotPoint | undefined): number {
    return this.#writes.begin(hardState, this.#lastIndex, snapshot?.index ?? 0);
  }

  /** Invariant 4. */
  completeWrites(sequence: number): CompletedWrites | undefined {
    const completed = this.#writes.complete(sequence);
    if (completed === undefined) return undefined;
    this.#durable = Math.max(this.#durable, completed.lastIndex);
    this.#unstable.splice(0, Math.max(0, this.#unstable.length - (this.#lastIndex - this.#durable)));
    if (completed.snapshotIndex > this.#applied) {
      this.#applied = this.#handed = completed.snapshotIndex;
      this.#applying = [];
      this.#applyingBytes = 0;
    }
    return completed;
  }

  /** The next committed entries to apply. Invariant 3. */
  takeCommitted(maxApplyingBytes: number): readonly Entry[] {
    const last = Math.min(this.#committed, this.#durable);
    if (this.#handed >= last || this.#durable < this.#baseIndex) return [];
    let taken: readonly Entry[] = [];
    while (this.#handed < last && this.#applyingBytes < maxApplyingBytes) {
      const entries = this.#readSource(this.#handed + 1, last, maxApplyingBytes - this.#applyingBytes);
      if (entries === undefined) break;
      this.#hand(entries);
      taken = taken.length === 0 ? entries : [...taken, ...entries];
    }
    return taken;
  }

  /** The state machine has applied everything up to `index`. */
  noteApplied(index: number): void {
    mustHold(index <= this.#handed, () => `${index} is applied, handed out is ${this.#handed}`);
    this.#applied = Math.max(this.#applied, index);
    while (this.#applying.length > 0 && this.#applying[0]!.lastIndex <= index) {
      this.#applyingBytes -= this.#applying.shift()!.bytes;
    }
  }

  /** Forgets the entries up to `index`. Invariant 5. */
  compact(index: number): void {
    if (index <= this.#baseIndex) return;
    mustHold(index <= this.#applied, () => `${index} is compacted, applied is ${this.#applied}`);
    this.#baseIndex = index;
    this.#terms.compact(index);
    this.#configurations.compact(index);
  }

  /** Starts again from a snapshot that is beyond everything committed here. */
  restore(snapshot: SnapshotPoint): void {
    mustHold(
      snapshot.index > this.#committed,
      () => `snapshot at ${snapshot.index}, committed is ${this.#committed}`,
    );
    this.#writes.truncate(0);
    this.#snapshot = snapshot;
    this.#baseIndex = this.#lastIndex = this.#committed = snapshot.index;
    this.#lastTerm = snapshot.term;
    this.#lastStampMs = snapshot.stampMs;
    this.#terms = new TermRuns(snapshot.index, snapshot.term);
    this.#configurations = new ConfigurationHistory(snapshot.index, snapshot.configuration);
    this.#durable = Math.min(this.#durable, snapshot.index - 1);
    this.#unstable = [];
    this.#unwritten = snapshot.index + 1;
  }

  /** What a snapshot of the state machine at `index` is to say of the log; undefined when the log does not know. */
  snapshotPoint(index: number, stampMs: number): SnapshotPoint | undefined {
    const term = this.termAt(index);
    if (term === undefined || index > this.#applied) return undefined;
    const configuration = this.#configurations.at(index);
    return configuration.voters.length === 0 ? undefined : { index, term, stampMs, configuration };
  }

  #note(entry: Entry): void {
    mustHold(entry.index === this.#lastIndex + 1 && entry.term >= this.#lastTerm, () => {
      return `entry ${entry.index} of term ${entry.term} after ${this.#lastIndex} of term ${this.#lastTerm}`;
    });
    this.#lastIndex = entry.index;
    this.#lastTerm = entry.term;
    this.#lastStampMs = Math.max(this.#lastStampMs, entry.stampMs);
    this.#terms.append(entry.index, entry.term);
    if (entry.kind === EntryKind.configuration) {
      this.#configurations.append(entry.index, decodeConfiguration(entry.payload));
    }
  }

  /** Cuts off the entries from `index` on; the caller appends others. Invariant 2. */
  #truncate(index: number): void {
    mustHold(
      index > this.#committed,
      () => `entry ${index} would be cut off, committed is ${this.#committed}`,
    );
    this.#writes.truncate(index);
    this.#unstable.length -= Math.min(this.#unstable.length, this.#lastIndex + 1 - index);
    this.#durable = Math.min(this.#durable, index - 1);
    this.#unwritten = Math.min(this.#unwritten, index);
    this.#terms.truncate(index);
    this.#configurations.truncate(index);
    this.#lastIndex = index - 1;
    this.#lastTerm = this.#terms.at(index - 1);
    this.#lastStampMs = 0; // the entry that follows at once has a stamp of its own
  }

  /** Entries of the source; it must not give what was cut off. */
  #readSource(first: number, last: number, maxBytes: number): readonly Entry[] | undefined {
    const entries = this.#source.read(first, last, maxBytes);
    if (entries === undefined || entries.length === 0) return undefined;
    const { index, term } = entries.at(-1)!;
    mustHold(
      entries[0]!.index === first && index <= last && this.termAt(index) === term,
      () => `the entry source gave ${index} of term ${term} when asked for ${first} to ${last}`,
    );
    return entries;
  }

  #hand(entries: readonly Entry[]): void {
    let bytes = 0;
    for (const entry of entries) bytes += entryBytes(entry);
    this.#handed = entries.at(-1)!.index;
    this.#applyingBytes += bytes;
    this.#applying.push({ lastIndex: this.#handed, bytes });
  }
}
