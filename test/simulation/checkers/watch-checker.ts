/**
 * What a watch tells: exactly the changes of its selection from where it began on, in order
 * by revision, whole revisions, none twice and none missing, but across a `resync`. A position
 * is never above what was told.
 */
import type { OracleEvent } from '../../coordination/config-oracle.ts';
import { CheckFailed } from './check-failed.ts';
import { shownEntry, shownRead, type ConfigChecker, type ReadEntry } from './config-checker.ts';

/** What is followed. */
export interface WatchPlan {
  /** For people. */
  readonly what: string;
  selects(key: string): boolean;
  readonly puts: boolean;
  readonly deletes: boolean;
  readonly previous: boolean;
}

export interface ToldEvent {
  readonly isDelete: boolean;
  readonly key: string;
  readonly revision: bigint;
  /** Of a put. */
  readonly entry: ReadEntry | undefined;
  readonly previous: ReadEntry | undefined;
}

export class WatchChecker {
  readonly #who: string;
  readonly #plan: WatchPlan;
  readonly #config: ConfigChecker;
  /** Everything before it was told; undefined: where it began is not known. */
  #next: number | undefined;
  /** Told of the revision that is being told. */
  #started = false;

  /** `from`: first revision to tell; undefined: what comes after now. */
  constructor(who: string, plan: WatchPlan, config: ConfigChecker, from: number | undefined) {
    this.#who = who;
    this.#plan = plan;
    this.#config = config;
    this.#next = from;
    this.#started = from !== undefined;
  }

  /** It has begun, at the latest here. `latest`: of the tree when that was known. */
  started(position: number, latest: number): void {
    if (this.#started) return;
    this.#started = true;
    if (position > latest + 1) this.#fail(`began at ${position}, beyond ${latest}`);
    this.#next ??= position;
  }

  changes(revision: number, events: readonly ToldEvent[]): void {
    const first = Number(events[0]!.revision);
    // What was told before anybody asked where it began.
    if (!this.#started || this.#next === undefined) this.#next = first;
    const expected: OracleEvent[] = [];
    const at: number[] = [];
    for (let each = this.#next; each <= revision; each++)
      for (const event of this.#selected(each)) {
        expected.push(event);
        at.push(each);
      }
    const told = events.map((event) => this.#shown(event)).join('; ');
    const due = expected.map((event, position) => this.#due(event, at[position]!)).join('; ');
    if (told !== due)
      this.#fail(`from ${this.#next} to ${revision} was told ${told}, and should have been ${due}`);
    this.#next = revision + 1;
  }

  progress(revision: number): void {
    if (revision > this.#config.revision) this.#fail(`is at ${revision}, beyond ${this.#config.revision}`);
    this.#next ??= revision + 1;
    for (let each = this.#next; each <= revision; each++) {
      const missed = this.#selected(each);
      if (missed.length > 0) this.#fail(`is at ${revision}, and was not told of ${each}`);
    }
    this.#next = Math.max(this.#next, revision + 1);
  }

  resync(revision: number): void {
    if (revision >= this.#config.compacted)
      this.#fail(
        `is to read anew at ${revision}, and only what is before ${this.#config.compacted} is compacted`,
      );
    this.#next = Math.max(this.#next ?? 0, revision + 1);
  }

  /** Whether everything there is was told. */
  get isCaughtUp(): boolean {
    if (this.#next === undefined) return false;
    for (let each = this.#next; each <= this.#config.revision; each++)
      if (this.#selected(each).length > 0) return false;
    return true;
  }

  /** Where it is, in words. */
  toString(): string {
    return `${this.#who} on ${this.#plan.what} at ${this.#next}`;
  }

  #selected(revision: number): OracleEvent[] {
    const { selects, puts, deletes } = this.#plan;
    return this.#config
      .eventsAt(revision)
      .filter(({ key, isDelete }) => selects(key) && (isDelete ? deletes : puts));
  }

  #due({ isDelete, key, entry, previous }: OracleEvent, revision: number): string {
    const now = isDelete ? `delete ${key} at ${revision}` : `put ${shownEntry(entry)}`;
    if (!this.#plan.previous) return now;
    // What is compacted need not be told.
    const isForgotten = revision <= this.#config.compacted;
    return isForgotten ? now : `${now} after ${shownEntry(previous)}`;
  }

  #shown({ isDelete, key, revision, entry, previous }: ToldEvent): string {
    const now = isDelete ? `delete ${key} at ${revision}` : `put ${shownRead(entry)}`;
    if (!this.#plan.previous || Number(revision) <= this.#config.compacted) return now;
    return `${now} after ${shownRead(previous)}`;
  }

  #fail(message: string): never {
    throw new CheckFailed('watches', `${this.#who} on ${this.#plan.what} ${message}`);
  }
}
