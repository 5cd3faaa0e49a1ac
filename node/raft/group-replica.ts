/**
 * One group's replica on this node: its core, its state machine, and what waits on either.
 * Plain synchronous bookkeeping; `GroupHost` does the I/O.
 */
import type { AppliedEntry } from '../storage/row-store.ts';
import { decodeConfiguration, encodeConfiguration, type Configuration } from './core/configuration.ts';
import type { HardState } from './core/pending-writes.ts';
import { RaftCore } from './core/raft-core.ts';
import type { SnapshotPoint } from './core/raft-log.ts';
import type { RaftSettings } from './core/settings.ts';
import { EntryCache } from './entry-cache.ts';
import { ENTRY_VERSION, EntryKind, decodeCommands, type Command, type Entry } from './entry.ts';
import { ProposalQueue } from './proposal-queue.ts';
import { ReadQueue } from './read-queue.ts';
import type { StateMachine } from './state-machine.ts';

/** Makes a group's state machine over the rows of one generation. */
export type MachineMaker<M extends StateMachine> = (generation: number) => M;

/** What is on this node's disk of a replica. */
export interface RestoredReplica {
  readonly hardState: HardState;
  /** What the rows hold. */
  readonly applied: AppliedEntry;
  /** The store says that it has the group's rows up to here. */
  readonly storedIndex: number;
  readonly configuration: Configuration;
  /** What the log has beyond. */
  readonly entries: readonly Entry[];
}

export interface GroupReplicaOptions<M extends StateMachine> {
  readonly group: number;
  readonly self: number;
  readonly settings: Partial<RaftSettings>;
  readonly random: () => number;
  readonly restored: RestoredReplica;
  readonly createMachine: MachineMaker<M>;
  /** So many more, or fewer, bytes of commands wait for the log. */
  readonly onQueued: (bytes: number) => void;
}

/** A snapshot's rows are in the store, as a generation that no one reads yet. */
export interface ReceivedRows {
  readonly point: SnapshotPoint;
  readonly generation: number;
}

const KNOWN_KINDS: ReadonlySet<number> = new Set(Object.values(EntryKind));

export class GroupReplica<M extends StateMachine = StateMachine> {
  readonly group: number;
  readonly core: RaftCore;
  readonly cache: EntryCache;
  readonly proposals: ProposalQueue;
  readonly reads = new ReadQueue();
  /** It was taken out of its group, and stands for election no more; should it be added again, it goes on. */
  isResting = false;
  readonly #createMachine: MachineMaker<M>;
  #machine: M;
  #applied: AppliedEntry;
  /** Entry of the leader's term that has been applied: from there on its rows are all that was committed. */
  #termBegun = 0;
  #storedIndex: number;
  /** Generations that were replaced, and whose rows are still there. */
  readonly #stale: number[] = [];
  /** Rows that the next snapshot of the core is made of. */
  #received: ReceivedRows | undefined;

  constructor(options: GroupReplicaOptions<M>) {
    const { group, self, settings, random, restored } = options;
    const { hardState, applied, configuration, entries } = restored;
    this.group = group;
    this.proposals = new ProposalQueue(options.onQueued);
    this.#createMachine = options.createMachine;
    this.#machine = options.createMachine(applied.generation);
    this.#applied = applied;
    this.#storedIndex = restored.storedIndex;
    this.cache = new EntryCache(applied.index);
    this.cache.put(entries);
    const { index, term, stampMs } = applied;
    this.core = new RaftCore({
      id: self,
      settings,
      hardState,
      log: { base: { index, term, stampMs, configuration }, applied: index, entries },
      source: this.cache,
      random,
    });
  }

  /** Over the rows of the present generation: a snapshot replaces it. */
  get machine(): M {
    return this.#machine;
  }

  get generation(): number {
    return this.#applied.generation;
  }

  get applied(): AppliedEntry {
    return this.#applied;
  }

  /** The store durably has the group's rows up to here. */
  get storedIndex(): number {
    return this.#storedIndex;
  }

  get term(): number {
    return this.core.term;
  }

  get lastIndex(): number {
    return this.core.status.lastIndex;
  }

  get isLeader(): boolean {
    return this.core.isLeader;
  }

  /** There is nobody else in this group. */
  get isOnly(): boolean {
    return this.isAlone && this.core.configuration.learners.length === 0;
  }

  /** The last entry that no follower that is on its way still needs; leaders know. */
  neededIndex(): number {
    let index = Infinity;
    for (const { isActive, match, snapshotIndex } of this.core.status.followers.values())
      if (isActive) index = Math.min(index, Math.max(match, snapshotIndex));
    return index;
  }

  /** Nobody else decides anything in this group. */
  get isAlone(): boolean {
    const { voters, outgoing } = this.core.configuration;
    return voters.length === 1 && outgoing.length === 0 && voters[0] === this.core.id;
  }

  /** Whether what is applied here is all that was ever acknowledged: nobody needs to be asked. */
  get canReadNow(): boolean {
    return this.isAlone && this.core.isLeader && this.#termBegun === this.core.term;
  }

  /** Applies one entry; `commands`: those of the entry, where they are at hand. Returns their results. */
  apply(entry: Entry, commands: readonly Command[] | undefined): unknown[] {
    if (entry.index !== this.#applied.index + 1) {
      throw new Error(`group ${this.group}: entry ${entry.index} applied after ${this.#applied.index}`);
    }
    if (entry.version !== ENTRY_VERSION || !KNOWN_KINDS.has(entry.kind))
      throw unknownEntry(this.group, entry);
    const results: unknown[] = [];
    if (entry.kind === EntryKind.commands) {
      for (const command of commands ?? decodeCommands(entry.payload))
        results.push(this.#machine.apply(command, entry.stampMs));
    }
    const { generation, configuration } = this.#applied;
    this.#applied = {
      index: entry.index,
      term: entry.term,
      stampMs: entry.stampMs,
      generation,
      configuration: entry.kind === EntryKind.configuration ? Uint8Array.from(entry.payload) : configuration,
    };
    if (entry.term === this.core.term) this.#termBegun = entry.term;
    return results;
  }

  /** Whether the rows of a generation are those of this replica, or are about to be. */
  owns(generation: number): boolean {
    return this.generation === generation || this.#received?.generation === generation;
  }

  /** A snapshot is on its way from the core to the disk. */
  get isInstalling(): boolean {
    return this.#received !== undefined;
  }

  /** The rows for a snapshot that is about to be given to the core. */
  receive(rows: ReceivedRows): void {
    this.#received = rows;
  }

  /** The core had no use for the snapshot. */
  forgetReceived(): void {
    this.#received = undefined;
  }

  /** The rows that belong to a snapshot of the core. */
  receivedRows(point: SnapshotPoint): ReceivedRows {
    const received = this.#received;
    if (received?.point.index !== point.index || received.point.term !== point.term) {
      throw new Error(`group ${this.group}: the rows of snapshot ${point.index} are not here`);
    }
    return received;
  }

  /** Puts received rows in place of the present ones; the log before them is gone. */
  install(rows: SnapshotPoint): AppliedEntry {
    const { point, generation } = this.receivedRows(rows);
    this.#received = undefined;
    this.#stale.push(this.#applied.generation);
    this.#applied = snapshotEntry(point, generation);
    this.#machine = this.#createMachine(generation);
    this.cache.reset(point.index);
    this.#machine.onInstalled?.();
    return this.#applied;
  }

  /** The rows as of this entry are in the store; returns the generations that nobody needs any more. */
  noteStored({ index, generation }: AppliedEntry): readonly number[] {
    this.#storedIndex = index;
    return generation === this.generation ? this.#stale.splice(0) : [];
  }

  /** Keeps about `bytes` of entries, and those after `needed` or not in the store; returns how many bytes were freed. */
  shrinkCache(bytes: number, needed: number): number {
    const before = this.cache.bytes;
    const freed = this.cache.shrinkTo(bytes, Math.min(this.#storedIndex, this.#applied.index, needed));
    if (freed > 0) this.core.compact(freed);
    return before - this.cache.bytes;
  }
}

/** Passed over, it would leave this replica with other rows than those that know what it means. */
function unknownEntry(group: number, { index, kind, version }: Entry): RangeError {
  return new RangeError(
    `group ${group}: entry ${index} is of kind ${kind}, version ${version}, which this program does not know. A newer one has written it; start that one.`,
  );
}

/** What a replica with exactly a snapshot's rows has applied. */
export function snapshotEntry(point: SnapshotPoint, generation: number): AppliedEntry {
  const { index, term, stampMs } = point;
  return { index, term, stampMs, generation, configuration: encodeConfiguration(point.configuration) };
}

/** The configuration as of an applied entry; undefined: that of a group's beginning. */
export function appliedConfiguration({ configuration }: AppliedEntry): Configuration | undefined {
  return configuration === undefined ? undefined : decodeConfiguration(configuration);
}
