/**
 * What was proposed to one group here: first waiting to become entries, then, while this
 * replica leads, in the log and not applied.
 *
 *  1. Each proposal is told its end once.
 *  2. Once a proposal is in the log, only its being applied says that it was; if this
 *     replica stops leading before, nobody here can say what becomes of it.
 */
import { ENTRY_VERSION, EntryKind, commandBytes, encodeCommands } from './entry.ts';
import type { NewEntry } from './core/entry.ts';
import type { Proposal } from './state-machine.ts';

/** An entry is closed at about this size, so that applying one is a short slice. */
const ENTRY_BYTES = 1024 * 1024;
const ENTRY_COMMANDS = 512;

/** Called when a time entry is applied, or when it will not be. */
type TimeWaiter = () => void;

/** An entry to be, with those who wait for it. */
export interface PreparedEntry extends NewEntry {
  readonly proposals: readonly Proposal[];
  readonly onApplied: readonly TimeWaiter[];
  /** What its commands count for as long as they wait for the log. */
  readonly bytes: number;
}

/** An entry of the log that was made here. */
export interface LoggedEntry {
  readonly term: number;
  readonly made: PreparedEntry;
  /** When the log took it, by the monotonic clock. */
  readonly sinceMs: number;
}

const NO_PAYLOAD = new Uint8Array(0);
const NOBODY: readonly never[] = [];

export class ProposalQueue {
  #waiting: Proposal[] = [];
  #timeWaiters: TimeWaiter[] = [];
  #prepared: PreparedEntry[] = [];
  /** Entries in the log that were made here, by index, with the term in which they were. */
  readonly #inFlight = new Map<number, LoggedEntry>();
  /** Those of them that the log does not have durably yet. */
  readonly #unwritten = new Map<number, PreparedEntry>();
  readonly #onQueued: (bytes: number) => void;

  /** `onQueued`: so many more, or fewer, bytes of commands wait for the log. */
  constructor(onQueued: (bytes: number) => void) {
    this.#onQueued = onQueued;
  }

  /** Whether something waits to be proposed. */
  get hasWaiting(): boolean {
    return this.#waiting.length + this.#timeWaiters.length + this.#prepared.length > 0;
  }

  get isEmpty(): boolean {
    return !this.hasWaiting && this.#inFlight.size === 0;
  }

  add(proposal: Proposal): void {
    this.#onQueued(commandBytes(proposal));
    this.#waiting.push(proposal);
  }

  /** Has log time moved on; all who ask in one turn share an entry. */
  addTime(onApplied: TimeWaiter): void {
    this.#timeWaiters.push(onApplied);
  }

  /** The next entries, made of what waits. Proposals past their deadline go to `expired`. */
  prepare(monotonicMs: number, expired: Proposal[]): readonly PreparedEntry[] {
    this.#unpack();
    if (this.#timeWaiters.length > 0) {
      const onApplied = this.#timeWaiters;
      this.#timeWaiters = [];
      this.#prepared.push(entry(EntryKind.time, NO_PAYLOAD, NOBODY, onApplied));
    }
    if (this.#waiting.length > 0) this.#pack(monotonicMs, expired);
    return this.#prepared;
  }

  /** What was prepared is in the log, from `index` on. */
  track(index: number, term: number, nowMs: number): readonly PreparedEntry[] {
    const prepared = this.#prepared;
    this.#prepared = [];
    for (const [position, made] of prepared.entries()) {
      this.#inFlight.set(index + position, { term, made, sinceMs: nowMs });
      if (made.bytes > 0) this.#unwritten.set(index + position, made);
    }
    return prepared;
  }

  /** The log has these entries. */
  noteWritten(entries: readonly { readonly index: number }[]): void {
    if (this.#unwritten.size === 0) return;
    for (const { index } of entries) {
      const made = this.#unwritten.get(index);
      this.#release(index);
      if (made !== undefined) for (const proposal of made.proposals) proposal.onLogged?.();
    }
  }

  /** An entry is being applied; undefined when it was not made here. */
  take(index: number, term: number): LoggedEntry | undefined {
    const logged = this.#inFlight.get(index);
    if (logged?.term !== term) return undefined;
    this.#inFlight.delete(index);
    this.#release(index);
    return logged;
  }

  /** Gives up what waits, unproposed; who waits for log time looks again, and finds out. */
  drainWaiting(): Proposal[] {
    const waiting = [...this.#prepared.flatMap(({ proposals }) => proposals), ...this.#waiting];
    const timeWaiters = [...this.#prepared.flatMap(({ onApplied }) => onApplied), ...this.#timeWaiters];
    this.#prepared = [];
    this.#waiting = [];
    this.#timeWaiters = [];
    for (const proposal of waiting) this.#onQueued(-commandBytes(proposal));
    for (const onApplied of timeWaiters) onApplied();
    return waiting;
  }

  /** Gives up what is in the log. Invariant 2. */
  drainInFlight(): Proposal[] {
    const entries = [...this.#inFlight.values()].map(({ made }) => made);
    this.#inFlight.clear();
    for (const index of this.#unwritten.keys()) this.#release(index);
    for (const { onApplied } of entries) for (const waiter of onApplied) waiter();
    return entries.flatMap(({ proposals }) => proposals);
  }

  /** What could not be proposed yet waits again: deadlines may have passed. */
  #unpack(): void {
    if (this.#prepared.length === 0) return;
    const prepared = this.#prepared;
    this.#prepared = [];
    this.#waiting = [...prepared.flatMap(({ proposals }) => proposals), ...this.#waiting];
    this.#timeWaiters = [...prepared.flatMap(({ onApplied }) => onApplied), ...this.#timeWaiters];
  }

  #release(index: number): void {
    const made = this.#unwritten.get(index);
    if (made === undefined) return;
    this.#unwritten.delete(index);
    this.#onQueued(-made.bytes);
  }

  #pack(monotonicMs: number, expired: Proposal[]): void {
    let part: Proposal[] = [];
    let bytes = 0;
    const close = () => {
      if (part.length > 0) this.#prepared.push(entry(EntryKind.commands, encodeCommands(part), part, NOBODY));
      part = [];
      bytes = 0;
    };
    for (const proposal of this.#waiting) {
      if (proposal.deadlineMs <= monotonicMs) {
        this.#onQueued(-commandBytes(proposal));
        expired.push(proposal);
        continue;
      }
      if (part.length >= ENTRY_COMMANDS || bytes + commandBytes(proposal) > ENTRY_BYTES) close();
      part.push(proposal);
      bytes += commandBytes(proposal);
    }
    close();
    this.#waiting = [];
  }
}

function entry(
  kind: number,
  payload: Uint8Array,
  proposals: readonly Proposal[],
  onApplied: readonly TimeWaiter[],
): PreparedEntry {
  return { kind, version: ENTRY_VERSION, payload, proposals, onApplied, bytes: payload.byteLength };
}
