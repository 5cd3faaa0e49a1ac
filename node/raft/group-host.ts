/**
 * Runs all groups of a node over one log and one row store. What became ready in one
 * turn of the event loop, from all groups, is one batch of the log; while it is being
 * synced the next one gathers, and while that one is being synced the first is applied.
 *
 *  1. A proposal is applied, and answered, only after its entry is durable.
 *  2. Entries of a group are applied in order of index, each once.
 *  3. The queue is bounded in bytes; what does not fit is refused at once.
 *  4. After a failure of the log nothing is proposed, applied or answered as done.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import { RecordType, type LogRecord } from '../storage/log-format.ts';
import { StoreDamaged, type AppliedEntry, type RowStore, type StoreMark } from '../storage/row-store.ts';
import type { WriteAheadLog } from '../storage/write-ahead-log.ts';
import { EntryKind, commandBytes, decodeCommands, type Command, type Entry } from './entry.ts';
import { GroupReplica, entryRecord, type ProposedEntry } from './group-replica.ts';
import type { Proposal, ProposalFailure, StateMachine } from './state-machine.ts';

/** An applying slice gives way to input after this long. */
const SLICE_MS = 8;
/** Applied rows go to the store at least this often, so that recovery is short. */
const FLUSH_EVERY_MS = 1_000;

export interface GroupHostOptions {
  readonly log: WriteAheadLog;
  readonly rows: RowStore;
  readonly clock: Clock;
  /** Bound on the bytes of commands that wait for the log. */
  readonly queueBytes: number;
  /** Number of this node as a voter. */
  readonly voter: number;
  /** Entries found in the log, by group. */
  readonly recovered: Map<number, readonly Entry[]>;
  /** Storage failed or is damaged: the node must stop serving. */
  readonly onFailure: (cause: 'storage failed' | 'storage damaged', error: Error) => void;
  readonly observe?: HostObserver;
}

/** Figures for metrics. */
export interface HostObserver {
  applied(entries: number, commands: number, durationMs: number): void;
}

export class GroupHost {
  readonly #options: GroupHostOptions;
  readonly #replicas = new Map<number, GroupReplica>();
  readonly #ready = new Set<GroupReplica>();
  #records: LogRecord[] = [];
  #queuedBytes = 0;
  #driving = false;
  #idle: (() => void)[] = [];
  #failure: ProposalFailure['cause'] | undefined;
  #flushTimer: Timer | undefined;
  #replayed = 0;
  #isRecovered = false;

  constructor(options: GroupHostOptions) {
    this.#options = options;
    this.#scheduleFlush();
  }

  /** Bytes of commands that wait for the log. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Entries applied again at start. */
  get replayedEntries(): number {
    return this.#replayed;
  }

  /** Why the node no longer serves; undefined: it does. */
  get failure(): ProposalFailure['cause'] | undefined {
    return this.#failure;
  }

  /** All groups on this node, by number. */
  get replicas(): readonly GroupReplica[] {
    return [...this.#replicas.values()].sort((a, b) => a.group - b.group);
  }

  /** The replica of a group, if it is here. */
  replica(group: number): GroupReplica | undefined {
    return this.#replicas.get(group);
  }

  /** Log time of a group: stamp of the last applied entry. */
  logTimeMs(group: number): number {
    return this.#replicas.get(group)?.applied.stampMs ?? 0;
  }

  /** Adds a group: applies what the log has beyond the store, then takes proposals. */
  addGroup(group: number, machine: StateMachine): GroupReplica {
    const replica = new GroupReplica(group, machine, this.#options.rows.stored(group));
    this.#replicas.set(group, replica);
    this.#replay(replica);
    this.#records.push(replica.becomeLeader(this.#options.log.group(group).term, this.#options.voter));
    this.#wake(replica);
    return replica;
  }

  /** All groups that there are have been added: from now on the log may forget what no group needs. */
  completeRecovery(): void {
    this.#options.recovered.clear();
    this.#isRecovered = true;
  }

  /** Removes a group; what waits for it fails as not applied. */
  removeGroup(group: number): void {
    const replica = this.#replicas.get(group);
    if (replica === undefined) return;
    this.#replicas.delete(group);
    this.#ready.delete(replica);
    for (const proposal of replica.drain())
      this.#fail(proposal, { cause: 'group gone', outcome: 'NOT_APPLIED' });
    this.#options.rows.forget(group);
  }

  /** Whether a command of this size fits into the queue now. Invariant 3. */
  hasRoom(bytes: number): boolean {
    return this.#queuedBytes + bytes <= this.#options.queueBytes;
  }

  /** Queues a command for a group's log. The caller has asked `hasRoom`. */
  propose(group: number, proposal: Proposal): void {
    const replica = this.#replicas.get(group);
    if (this.#failure !== undefined)
      return proposal.onFailed({ cause: this.#failure, outcome: 'NOT_APPLIED' });
    if (replica === undefined) return proposal.onFailed({ cause: 'group gone', outcome: 'NOT_APPLIED' });
    this.#queuedBytes += commandBytes(proposal);
    replica.enqueue(proposal);
    this.#wake(replica);
  }

  /** Moves a group's log time to the clock; resolves when that is applied, or at once when the group is gone. */
  advanceTime(group: number): Promise<void> {
    const replica = this.#replicas.get(group);
    if (replica === undefined || this.#failure !== undefined) return Promise.resolve();
    return new Promise((resolve) => {
      replica.enqueueTime(resolve);
      this.#wake(replica);
    });
  }

  /** Finishes what was proposed, writes the overlay to the store and stops. */
  async stop(): Promise<void> {
    this.#flushTimer?.cancel();
    await this.#untilIdle();
    await this.#options.rows.flushed();
    this.#options.rows.startFlush(); // does nothing when storage failed
    await this.#options.rows.flushed();
    await this.#untilIdle();
    this.#failure ??= 'stopped';
  }

  /** Lets go without finishing anything, when the node could not be opened. */
  abandon(): void {
    this.#flushTimer?.cancel();
    this.#failure ??= 'stopped';
  }

  /** To be called when the row store completed a flush: notes it in the log and frees segments. */
  noteFlushed(mark: StoreMark, stored: ReadonlyMap<number, AppliedEntry>): void {
    this.#records.push({
      type: RecordType.storeMark,
      group: 0,
      term: 0,
      index: mark.flush,
      stampMs: 0,
      kind: 0,
      version: 1,
      payload: new Uint8Array(0),
    });
    this.#schedule();
    if (!this.#isRecovered) return; // groups that are still to be added need their entries
    const present = new Set(this.#replicas.keys());
    this.#options.log
      .release(stored, present)
      .catch((error: unknown) => this.#stopServing('storage failed', error as Error));
  }

  /** Stops serving for good: storage failed or is damaged. Invariant 4. */
  stopServing(cause: 'storage failed' | 'storage damaged', error: Error): void {
    this.#stopServing(cause, error);
  }

  #replay(replica: GroupReplica): void {
    for (const entry of this.#options.recovered.get(replica.group) ?? []) {
      if (entry.index <= replica.applied.index) continue;
      if (entry.index !== replica.applied.index + 1) {
        throw new StoreDamaged(
          `group ${replica.group}: the store ends at entry ${replica.applied.index}, the log goes on at ${entry.index}`,
        );
      }
      this.#applyEntry(replica, entry);
      this.#replayed++;
    }
    this.#options.recovered.delete(replica.group);
    const { lastIndex } = this.#options.log.group(replica.group);
    if (lastIndex > replica.applied.index) {
      throw new StoreDamaged(
        `group ${replica.group}: the log was trimmed after entry ${lastIndex}, the store ends at ${replica.applied.index}`,
      );
    }
  }

  #wake(replica: GroupReplica): void {
    this.#ready.add(replica);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#driving || this.#failure !== undefined) return;
    this.#driving = true;
    this.#options.clock.afterTurn(() => void this.#drive());
  }

  /** One batch in the log at a time; the one before is applied meanwhile. */
  async #drive(): Promise<void> {
    let durable: ProposedEntry[] = [];
    try {
      for (;;) {
        const { records, entries } = this.#takeRound();
        if (records.length === 0 && durable.length === 0) break;
        const appended = records.length === 0 ? undefined : this.#options.log.append(records);
        appended?.catch(() => undefined);
        const applying = durable;
        durable = entries;
        await this.#apply(applying);
        await appended;
        if (this.#options.rows.isFull) await this.#makeRoom();
      }
      this.#driving = false;
      for (const resolve of this.#idle.splice(0)) resolve();
    } catch (error) {
      this.#abandon(durable, error as Error);
    }
  }

  async #makeRoom(): Promise<void> {
    this.#options.rows.startFlush();
    await this.#options.rows.flushed();
  }

  #takeRound(): { records: LogRecord[]; entries: ProposedEntry[] } {
    const records = this.#records;
    this.#records = [];
    const entries: ProposedEntry[] = [];
    const expired: Proposal[] = [];
    const { clock } = this.#options;
    const wallMs = clock.wallMs();
    const monotonicMs = clock.monotonicMs();
    for (const replica of this.#ready) {
      for (const proposed of replica.makeEntries(wallMs, monotonicMs, expired)) {
        entries.push(proposed);
        records.push(entryRecord(replica.group, proposed.entry));
        for (const proposal of proposed.proposals) this.#queuedBytes -= commandBytes(proposal);
      }
    }
    this.#ready.clear();
    for (const proposal of expired) {
      this.#queuedBytes -= commandBytes(proposal);
      proposal.onFailed({ cause: 'deadline', outcome: 'NOT_APPLIED' });
    }
    return { records, entries };
  }

  /** Invariants 1 and 2: the entries are durable and in order. */
  async #apply(entries: readonly ProposedEntry[]): Promise<void> {
    const { clock, observe } = this.#options;
    let sliceStarted = clock.monotonicMs();
    let commands = 0;
    let spentMs = 0;
    for (const [position, proposed] of entries.entries()) {
      commands += this.#settle(proposed, entries, position);
      const now = clock.monotonicMs();
      if (now - sliceStarted < SLICE_MS) continue;
      spentMs += now - sliceStarted;
      await new Promise<void>((resolve) => clock.afterTurn(resolve));
      sliceStarted = clock.monotonicMs();
    }
    if (entries.length > 0)
      observe?.applied(entries.length, commands, spentMs + clock.monotonicMs() - sliceStarted);
  }

  /** Applies one durable entry and answers who waits for it; returns the number of commands. */
  #settle(proposed: ProposedEntry, entries: readonly ProposedEntry[], position: number): number {
    const { replica, entry, proposals, onApplied } = proposed;
    if (this.#replicas.get(replica.group) !== replica) {
      for (const proposal of proposals) proposal.onFailed({ cause: 'group gone', outcome: 'NOT_APPLIED' });
      onApplied?.();
      return 0;
    }
    let results: unknown[];
    try {
      results = this.#applyEntry(replica, entry, proposals);
    } catch (error) {
      // Before anything else can run: half an entry must not reach the store.
      this.#options.rows.freeze();
      abandonEntries(entries.slice(position), 'storage damaged');
      throw error;
    }
    for (let i = 0; i < proposals.length; i++) proposals[i]!.onApplied(results[i]);
    onApplied?.();
    return results.length;
  }

  /** `commands`: those of the entry, where they are at hand. */
  #applyEntry(replica: GroupReplica, entry: Entry, commands?: readonly Command[]): unknown[] {
    const results: unknown[] = [];
    if (entry.kind === EntryKind.commands) {
      for (const command of commands ?? decodeCommands(entry.payload))
        results.push(replica.machine.apply(command, entry.stampMs));
    }
    replica.noteApplied(entry);
    this.#options.rows.applied(replica.group, replica.applied);
    return results;
  }

  #abandon(durable: readonly ProposedEntry[], error: Error): void {
    const cause = error instanceof StoreDamaged ? 'storage damaged' : 'storage failed';
    this.#stopServing(cause, error);
    abandonEntries(durable, cause);
  }

  #stopServing(cause: 'storage failed' | 'storage damaged', error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = cause;
    this.#options.rows.freeze();
    this.#flushTimer?.cancel();
    for (const replica of this.#replicas.values()) {
      for (const proposal of replica.drain()) this.#fail(proposal, { cause, outcome: 'NOT_APPLIED' });
    }
    for (const resolve of this.#idle.splice(0)) resolve();
    this.#options.onFailure(cause, error);
  }

  #fail(proposal: Proposal, failure: ProposalFailure): void {
    this.#queuedBytes -= commandBytes(proposal);
    proposal.onFailed(failure);
  }

  #untilIdle(): Promise<void> {
    if (!this.#driving || this.#failure !== undefined) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #scheduleFlush(): void {
    this.#flushTimer = this.#options.clock.setTimer(FLUSH_EVERY_MS, () => {
      this.#options.rows.startFlush();
      this.#scheduleFlush();
    });
  }
}

/** Entries that are in the log and will not be applied by this process: their fate is not known. */
function abandonEntries(entries: readonly ProposedEntry[], cause: ProposalFailure['cause']): void {
  for (const { proposals, onApplied } of entries) {
    for (const proposal of proposals) proposal.onFailed({ cause, outcome: 'UNKNOWN' });
    onApplied?.();
  }
}
