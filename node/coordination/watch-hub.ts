/**
 * Everybody on this node who follows keys of the configuration. A watcher is at a position: the
 * next revision that it is to be told. Those that are at the end are told while a revision is
 * applied; those that are behind are brought up from what is kept in memory of the last
 * revisions, or from the rows of the changes, one stream after the other.
 *
 *  1. A watcher is told exactly the changes of its span, less those that it leaves out, in order
 *     of revisions, each once, all of a revision together, from its position on.
 *  2. Nothing is held for a watcher whose stream has no room: it is behind, and that is all.
 *  3. A watcher whose position is compacted is ended with the first revision that is left; it is
 *     never told what comes after a gap.
 *  4. Only what was applied when a part of the history was begun to be read is taken from it: a
 *     revision is never seen half.
 */
import type { Clock } from '@holdfast/client/clock';
import { binaryString } from '../storage/row-key.ts';
import type { KeySpan } from './config-command.ts';
import type { ConfigHistory } from './config-history.ts';
import type { ConfigEvent, CoordinationEvents } from './coordination-events.ts';
import { RecentChanges, type RevisionChanges } from './recent-changes.ts';
import { WatchIndex } from './watch-index.ts';

/** Changes read from the rows at a time. */
const PART_EVENTS = 1_000;
/** Revisions told from memory before other work has its turn. */
const SLICE_REVISIONS = 256;
/** Between two attempts to read changes that could not be read. */
const READ_AGAIN_MS = 200;

/** What is applied on this node, to be read anew each time. */
export interface WatchedTree {
  readonly history: ConfigHistory;
  /** History before it is forgotten. */
  readonly compactRevision: number;
  /** Of the last change of anything. */
  readonly revision: number;
}

/** Where the changes of a stream's watchers go. */
export interface WatchSink {
  /** Whether it takes something more; if not, it calls `WatchHub.resume` when it does again. */
  readonly hasRoom: boolean;
  /** Takes the changes of one revision. */
  take(watcher: Watcher, revision: number, events: readonly ConfigEvent[]): void;
  /** A watcher's position is compacted, and it is gone. */
  onCompacted(watcher: Watcher, compactRevision: number): void;
}

/** What a watcher follows. */
export interface WatchTerms {
  readonly span: KeySpan;
  readonly withoutPuts: boolean;
  readonly withoutDeletes: boolean;
}

/** Somebody who follows keys. Made by `WatchHub.add`. */
export class Watcher {
  readonly span: KeySpan;
  readonly sink: WatchSink;
  /** Changes before it were told, or are not wanted. */
  next: number;
  /** It is told what is applied as it is applied. */
  isAtEnd = false;
  readonly #withoutPuts: boolean;
  readonly #withoutDeletes: boolean;

  constructor({ span, withoutPuts, withoutDeletes }: WatchTerms, next: number, sink: WatchSink) {
    this.span = span;
    this.#withoutPuts = withoutPuts;
    this.#withoutDeletes = withoutDeletes;
    this.next = next;
    this.sink = sink;
  }

  wants({ isDelete }: ConfigEvent): boolean {
    return isDelete ? !this.#withoutDeletes : !this.#withoutPuts;
  }
}

/** Those of one stream who are behind, the one that waits longest first. */
interface Behind {
  readonly watchers: Set<Watcher>;
  isRunning: boolean;
}

export interface WatchHubOptions {
  readonly tree: () => WatchedTree;
  readonly clock: Clock;
}

export class WatchHub implements Pick<CoordinationEvents, 'onChanges' | 'onReplaced'> {
  readonly #tree: () => WatchedTree;
  readonly #clock: Clock;
  readonly #atEnd = new WatchIndex<Watcher>();
  /** Those at the end, for when they no longer are. */
  readonly #followers = new Set<Watcher>();
  readonly #behind = new Map<WatchSink, Behind>();
  readonly #recent = new RecentChanges();
  /** Those at the end whose streams have no room for what is being told. */
  #lateOnes: Watcher[] = [];
  #size = 0;
  #told = 0;

  constructor({ tree, clock }: WatchHubOptions) {
    this.#tree = tree;
    this.#clock = clock;
  }

  /** Watchers on this node. */
  get size(): number {
    return this.#size;
  }

  /** Of them, those that are behind. */
  get behind(): number {
    return this.#size - this.#followers.size;
  }

  /** Changes told so far, once for each watcher. */
  get told(): number {
    return this.#told;
  }

  /** History before it is forgotten. */
  get compactRevision(): number {
    return this.#tree().compactRevision;
  }

  /** Of the last change that is applied here. */
  get revision(): number {
    return this.#tree().revision;
  }

  /**
   * Begins to tell changes from a revision on. Undefined: that is compacted.
   */
  add(terms: WatchTerms, next: number, sink: WatchSink): Watcher | undefined {
    if (next < this.#tree().compactRevision) return undefined;
    const watcher = new Watcher(terms, next, sink);
    this.#size++;
    if (next > this.revision) this.#join(watcher);
    else this.#fallBehind(watcher);
    return watcher;
  }

  /** Tells nothing more. */
  remove(watcher: Watcher): void {
    this.#size--;
    this.#leaveEnd(watcher);
    const behind = this.#behind.get(watcher.sink);
    if (behind?.watchers.delete(watcher) === true && behind.watchers.size === 0 && !behind.isRunning)
      this.#behind.delete(watcher.sink);
  }

  /** Everything up to this revision was told to a watcher. */
  position(watcher: Watcher): number {
    return watcher.isAtEnd ? this.revision : watcher.next - 1;
  }

  /** A stream has room again. */
  resume(sink: WatchSink): void {
    const behind = this.#behind.get(sink);
    if (behind !== undefined && !behind.isRunning) this.#run(sink, behind);
  }

  onChanges(revision: number, events: readonly ConfigEvent[]): void {
    if (this.#size === 0) {
      this.#recent.forget(revision);
      return;
    }
    const changes = this.#recent.add(revision, events);
    this.#tell(changes, this.#atEnd, (watcher, wanted) => {
      if (revision < watcher.next) return;
      if (watcher.sink.hasRoom) this.#take(watcher, revision, wanted);
      else this.#late(watcher, revision);
    });
    for (const watcher of this.#takeLate()) this.#fallBehind(watcher);
  }

  /** A snapshot came in place of what was applied: what it brought has to be read. */
  onReplaced(): void {
    const { last } = this.#recent;
    this.#recent.forget(this.revision);
    for (const watcher of this.#followers) {
      watcher.next = Math.max(watcher.next, last + 1);
      this.#fallBehind(watcher);
    }
  }

  /** It is behind from this revision on; noted, since nobody may leave the index while it is visited. */
  #late(watcher: Watcher, revision: number): void {
    watcher.next = revision;
    this.#lateOnes.push(watcher);
  }

  #takeLate(): Watcher[] {
    const late = this.#lateOnes;
    if (late.length > 0) this.#lateOnes = [];
    return late;
  }

  #take(watcher: Watcher, revision: number, events: readonly ConfigEvent[]): void {
    watcher.next = revision + 1;
    this.#told += events.length;
    watcher.sink.take(watcher, revision, events);
  }

  /** Calls for each watcher of an index with what it wants of a revision. */
  #tell(
    { keys, events }: RevisionChanges,
    index: WatchIndex<Watcher>,
    tell: (watcher: Watcher, wanted: readonly ConfigEvent[]) => void,
  ): void {
    if (events.length === 1) {
      const only = events[0]!;
      index.visit(keys[0]!, (watcher) => {
        if (watcher.wants(only)) tell(watcher, events);
      });
      return;
    }
    const wanted = new Map<Watcher, ConfigEvent[]>();
    for (const [at, event] of events.entries())
      index.visit(keys[at]!, (watcher) => {
        if (!watcher.wants(event)) return;
        const list = wanted.get(watcher);
        if (list === undefined) wanted.set(watcher, [event]);
        else list.push(event);
      });
    for (const [watcher, list] of wanted) tell(watcher, list);
  }

  #join(watcher: Watcher): void {
    watcher.isAtEnd = true;
    this.#followers.add(watcher);
    this.#atEnd.add(watcher);
  }

  #leaveEnd(watcher: Watcher): void {
    if (!watcher.isAtEnd) return;
    watcher.isAtEnd = false;
    this.#followers.delete(watcher);
    this.#atEnd.remove(watcher);
  }

  #fallBehind(watcher: Watcher): void {
    this.#leaveEnd(watcher);
    let behind = this.#behind.get(watcher.sink);
    if (behind === undefined)
      this.#behind.set(watcher.sink, (behind = { watchers: new Set(), isRunning: false }));
    behind.watchers.add(watcher);
    if (!behind.isRunning && watcher.sink.hasRoom) this.#run(watcher.sink, behind);
  }

  /** Brings the watchers of a stream up to the end, as long as it has room. */
  #run(sink: WatchSink, behind: Behind): void {
    behind.isRunning = true;
    // Not at once: whoever adds many at a time has them told together.
    this.#clock.afterTurn(() => void this.#bringUp(sink, behind));
  }

  async #bringUp(sink: WatchSink, { watchers }: Behind): Promise<void> {
    while (watchers.size > 0 && sink.hasRoom) {
      const part = this.#nextPart(watchers);
      if (part.length === 0) continue;
      const from = part[0]!.next;
      const isRecent = this.#recent.reaches(from);
      try {
        const upTo = isRecent ? this.#tellRecent(part, from) : await this.#tellHistory(part, from);
        this.#settle(watchers, part, upTo);
      } catch {
        await this.#pause(READ_AGAIN_MS);
      }
      if (isRecent && watchers.size > 0) await this.#pause(0);
    }
    const behind = this.#behind.get(sink)!;
    behind.isRunning = false;
    if (watchers.size === 0) this.#behind.delete(sink);
  }

  /**
   * The watcher that waits longest, and those that a part of the history from its position on
   * is of use to. Invariant 3.
   */
  #nextPart(watchers: Set<Watcher>): Watcher[] {
    const { compactRevision } = this.#tree();
    const part: Watcher[] = [];
    for (const watcher of watchers) {
      const first = part[0]?.next ?? watcher.next;
      if (watcher.next < compactRevision) this.#end(watchers, watcher, compactRevision);
      else if (watcher.next >= first && watcher.next <= first + PART_EVENTS) part.push(watcher);
    }
    return part;
  }

  #end(watchers: Set<Watcher>, watcher: Watcher, compactRevision: number): void {
    watchers.delete(watcher);
    this.#size--;
    watcher.sink.onCompacted(watcher, compactRevision);
  }

  /** Those that have come to the end join the others there; the rest waits behind all others. */
  #settle(watchers: Set<Watcher>, part: readonly Watcher[], upTo: number): void {
    const { revision } = this;
    for (const watcher of part) {
      if (!watchers.delete(watcher)) continue; // removed meanwhile
      watcher.next = Math.max(watcher.next, upTo + 1);
      if (watcher.next > revision) this.#join(watcher);
      else watchers.add(watcher);
    }
  }

  /** Tells from memory; returns the revision up to which all was told. */
  #tellRecent(part: readonly Watcher[], from: number): number {
    const index = indexOf(part);
    const revisions = this.#recent.from(from, SLICE_REVISIONS);
    for (const changes of revisions) if (!this.#tellPart(changes, index)) return changes.revision - 1;
    const last = revisions.at(-1)?.revision ?? 0;
    return last === this.#recent.last || revisions.length < SLICE_REVISIONS ? this.revision : last;
  }

  /** Tells from the rows of the changes; returns the revision up to which all was told. Invariant 4. */
  async #tellHistory(part: readonly Watcher[], from: number): Promise<number> {
    const applied = this.revision;
    const { revisions, readUpTo } = await this.#read(from, applied);
    if (from < this.#tree().compactRevision) return from - 1; // forgotten while it was read
    const index = indexOf(part.filter(({ sink, next }) => sink.hasRoom && next <= readUpTo));
    for (const changes of revisions) if (!this.#tellPart(changes, index)) return changes.revision - 1;
    return readUpTo;
  }

  /** False: the stream has no room for some of it. */
  #tellPart(changes: RevisionChanges, index: WatchIndex<Watcher>): boolean {
    const { revision } = changes;
    let isWhole = true;
    this.#tell(changes, index, (watcher, wanted) => {
      if (revision < watcher.next) return;
      if (watcher.sink.hasRoom) this.#take(watcher, revision, wanted);
      else isWhole = false;
    });
    return isWhole;
  }

  async #read(from: number, applied: number): Promise<{ revisions: RevisionChanges[]; readUpTo: number }> {
    const events: ConfigEvent[] = [];
    let next: { revision: number; number: number } | undefined = { revision: from, number: 0 };
    const { history } = this.#tree();
    // More than one part only for a revision that does not fit into one.
    do {
      const part = await history.events(next, PART_EVENTS);
      for (const event of part.events) if (event.revision <= applied) events.push(event);
      next = part.next;
    } while (next !== undefined && events.at(-1)?.revision === from && events.length > 0);
    const last = events.at(-1)?.revision;
    // The last revision may go on in the next part.
    if (next === undefined || last === undefined || next.revision > applied)
      return { revisions: byRevision(events), readUpTo: applied };
    const whole = events.filter(({ revision }) => revision < last);
    return { revisions: byRevision(whole), readUpTo: last - 1 };
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.setTimer(ms, resolve));
  }
}

function indexOf(watchers: readonly Watcher[]): WatchIndex<Watcher> {
  const index = new WatchIndex<Watcher>();
  for (const watcher of watchers) index.add(watcher);
  return index;
}

function byRevision(events: readonly ConfigEvent[]): RevisionChanges[] {
  const revisions: RevisionChanges[] = [];
  for (let at = 0; at < events.length;) {
    const { revision } = events[at]!;
    let end = at + 1;
    while (events[end]?.revision === revision) end++;
    const changed = events.slice(at, end);
    revisions.push({ revision, events: changed, keys: changed.map(({ entry }) => binaryString(entry.key)) });
    at = end;
  }
  return revisions;
}
