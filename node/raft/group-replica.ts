/**
 * One group's replica on this node: the end of its log, its log time, what waits to
 * be proposed. Plain synchronous bookkeeping; `GroupHost` does the I/O.
 *
 * A group has one voter for now, so an entry is committed when it is durable here.
 */
import type { AppliedEntry } from '../storage/row-store.ts';
import { RecordType, type LogRecord } from '../storage/log-format.ts';
import { ENTRY_VERSION, EntryKind, commandBytes, encodeCommands, type Entry } from './entry.ts';
import type { Proposal, StateMachine } from './state-machine.ts';

/** An entry is closed at about this size, so that applying one is a short slice. */
const ENTRY_BYTES = 1024 * 1024;
const ENTRY_COMMANDS = 512;

/** An entry that was made here, with those who wait for it. */
export interface ProposedEntry {
  readonly replica: GroupReplica;
  readonly entry: Entry;
  readonly proposals: readonly Proposal[];
  /** Called when the entry is applied; for entries without commands. */
  readonly onApplied: (() => void) | undefined;
}

export class GroupReplica {
  readonly group: number;
  readonly machine: StateMachine;
  #term: number;
  #lastIndex: number;
  #lastStampMs: number;
  #applied: AppliedEntry;
  #waiting: Proposal[] = [];
  #bare: { kind: number; onApplied: (() => void) | undefined }[] = [];

  constructor(group: number, machine: StateMachine, applied: AppliedEntry) {
    this.group = group;
    this.machine = machine;
    this.#applied = applied;
    this.#term = applied.term;
    this.#lastIndex = applied.index;
    this.#lastStampMs = applied.stampMs;
  }

  get term(): number {
    return this.#term;
  }

  get lastIndex(): number {
    return this.#lastIndex;
  }

  get applied(): AppliedEntry {
    return this.#applied;
  }

  /** Whether something waits to be proposed. */
  get hasWork(): boolean {
    return this.#waiting.length > 0 || this.#bare.length > 0;
  }

  /** Begins a term greater than any before, and with it an entry of its own. */
  becomeLeader(lastTerm: number, vote: number): LogRecord {
    this.#term = Math.max(this.#term, lastTerm) + 1;
    this.#bare.push({ kind: EntryKind.noOp, onApplied: undefined });
    return {
      type: RecordType.hardState,
      group: this.group,
      term: this.#term,
      index: vote,
      stampMs: 0,
      kind: 0,
      version: 1,
      payload: new Uint8Array(0),
    };
  }

  /** Queues a command. */
  enqueue(proposal: Proposal): void {
    this.#waiting.push(proposal);
  }

  /** Queues an entry that only moves log time on. */
  enqueueTime(onApplied: () => void): void {
    this.#bare.push({ kind: EntryKind.time, onApplied });
  }

  /** Makes the next entries from what waits. Proposals past their deadline go to `expired`. */
  makeEntries(wallMs: number, monotonicMs: number, expired: Proposal[]): ProposedEntry[] {
    const entries = this.#bare.map(({ kind, onApplied }) =>
      this.#append(kind, new Uint8Array(0), wallMs, [], onApplied),
    );
    this.#bare = [];
    const waiting = this.#waiting;
    this.#waiting = [];
    let part: Proposal[] = [];
    let bytes = 0;
    const close = () => {
      if (part.length > 0)
        entries.push(this.#append(EntryKind.commands, encodeCommands(part), wallMs, part, undefined));
      part = [];
      bytes = 0;
    };
    for (const proposal of waiting) {
      if (proposal.deadlineMs <= monotonicMs) {
        expired.push(proposal);
        continue;
      }
      if (part.length >= ENTRY_COMMANDS || bytes + commandBytes(proposal) > ENTRY_BYTES) close();
      part.push(proposal);
      bytes += commandBytes(proposal);
    }
    close();
    return entries;
  }

  /** Notes that an entry was applied. Entries are applied in order, each once. */
  noteApplied(entry: Entry): void {
    if (entry.index !== this.#applied.index + 1) {
      throw new Error(`group ${this.group}: entry ${entry.index} applied after ${this.#applied.index}`);
    }
    this.#applied = { index: entry.index, term: entry.term, stampMs: entry.stampMs };
    this.#lastIndex = Math.max(this.#lastIndex, entry.index);
    this.#lastStampMs = Math.max(this.#lastStampMs, entry.stampMs);
    this.#term = Math.max(this.#term, entry.term);
  }

  /** Takes everything that waits, when the group or the node is going. */
  drain(): Proposal[] {
    const waiting = this.#waiting;
    const bare = this.#bare;
    this.#waiting = [];
    this.#bare = [];
    for (const { onApplied } of bare) onApplied?.(); // who waits for log time looks again, and finds out
    return waiting;
  }

  #append(
    kind: number,
    payload: Uint8Array,
    wallMs: number,
    proposals: readonly Proposal[],
    onApplied: (() => void) | undefined,
  ): ProposedEntry {
    this.#lastStampMs = Math.max(this.#lastStampMs, wallMs);
    const entry: Entry = {
      index: ++this.#lastIndex,
      term: this.#term,
      stampMs: this.#lastStampMs,
      kind,
      version: ENTRY_VERSION,
      payload,
    };
    return { replica: this, entry, proposals, onApplied };
  }
}

/** The log record of an entry. */
export function entryRecord(group: number, entry: Entry): LogRecord {
  return { type: RecordType.entry, group, ...entry };
}
