/**
 * All changes of the configuration's keys that are still known: an index of them by key, the
 * newest of each key first, and a row for each with its value. What a key was at a revision is
 * the newest change of it that is not above. Knows no transactions.
 *
 *  1. There is a row for each change in the index, and none else; both are counted in `bytes`.
 *  2. Everything at or above the compact revision can be read as if nothing had been forgotten.
 *  3. What a change has replaced is removed once that change lies before the compact revision,
 *     and so is a delete itself. Each change is looked at for it once, in order.
 */
import { prefixEnd, type RowKey } from '../storage/row-key.ts';
import { MAX_PURGED_ROWS } from './config-limits.ts';
import type { KeySpan } from './config-command.ts';
import {
  ConfigCounters,
  EventRows,
  VERSIONS,
  behindKey,
  changeBytes,
  decodeEvent,
  encodeEvent,
  entryWithoutValue,
  indexedKey,
  indexedPosition,
  indexedUpTo,
  keyOfPart,
  keyPart,
  positionOf,
  type FoundVersion,
  type KeyVersion,
} from './config-rows.ts';
import type { ConfigEntry, ConfigEvent, EventPosition } from './coordination-events.ts';
import type { PartRows } from './machine-part.ts';
import { TreePages, type TreeCursor } from './tree-pages.ts';

/** Bytes of changes read at a time. */
const READ_BYTES = 1024 * 1024;

/** A change that is made. */
export interface Change {
  readonly key: string;
  readonly position: EventPosition;
  readonly made: KeyVersion;
  readonly value: Uint8Array;
  /** What there was; undefined: no such key. */
  readonly replaced: FoundVersion | undefined;
}

/** Changes in order, and where further ones may be; undefined: there are none yet. */
export interface HistoryPart {
  readonly events: readonly ConfigEvent[];
  readonly next: EventPosition | undefined;
}

export class ConfigHistory {
  readonly #rows: PartRows;
  readonly #countersRow: RowKey;
  readonly #eventsPrefix: RowKey;
  readonly #eventRows: EventRows;
  readonly #index: TreePages<KeyVersion>;

  constructor(rows: PartRows, prefix: RowKey) {
    this.#rows = rows;
    this.#countersRow = `${prefix}g`;
    this.#eventsPrefix = `${prefix}e`;
    this.#eventRows = new EventRows(this.#eventsPrefix);
    this.#index = new TreePages(rows, `${prefix}p`, VERSIONS);
  }

  get counters(): Readonly<ConfigCounters> {
    return this.#counters();
  }

  /** A key as of a revision; undefined: there was none. */
  find(key: string, revision = Infinity): FoundVersion | undefined {
    const part = indexedKey(key);
    const cursor = this.#index.seek(part + indexedUpTo(revision));
    const found = cursor.key;
    if (found === undefined || !found.startsWith(part)) return undefined;
    return cursor.value.version === 0 ? undefined : { key, position: positionOf(found), ...cursor.value };
  }

  /** The keys of a span as of a revision, in order. Of no use after a change. */
  walk(span: KeySpan, revision = Infinity, isDescending = false): KeyWalk {
    return new KeyWalk(this.#index, span, revision, isDescending);
  }

  /** An entry with its value. */
  entry(found: FoundVersion, keysOnly = false): ConfigEntry {
    if (keysOnly || found.valueBytes === 0) return entryWithoutValue(found);
    const event = this.event(found.position);
    if (event === undefined) throw new RangeError('a change of the index has no row');
    return event.entry;
  }

  /** A change by its position; undefined: it is forgotten, or none. */
  event(position: EventPosition): ConfigEvent | undefined {
    const content = this.#rows.get(this.#eventRows.row(position));
    return content === undefined ? undefined : decodeEvent(content, position);
  }

  /**
   * The changes from a position on, in parts of about `maxRows`; a part may end within a
   * revision. Whoever asks for what is before the compact revision misses some.
   */
  async events(from: EventPosition, maxRows: number, maxBytes = READ_BYTES): Promise<HistoryPart> {
    const start = this.#eventRows.row(from);
    const { rows, more } = await this.#rows.range(start, prefixEnd(this.#eventsPrefix), maxRows, maxBytes);
    const events = rows.map(([row, content]) => decodeEvent(content, this.#eventRows.positionOf(row)));
    const last = events.at(-1);
    return { events, next: more ? after(last!) : undefined };
  }

  /** Makes a change; returns it as it is told. */
  make({ key, position, made, value, replaced }: Change): ConfigEvent {
    const content = encodeEvent(key, made, value, replaced?.position);
    this.#rows.put(this.#eventRows.row(position), content);
    this.#index.set(indexedKey(key) + indexedPosition(position), made);
    const isKey = made.version > 0 ? 1 : 0;
    this.#count(changeBytes(key, value.byteLength), isKey - (replaced === undefined ? 0 : 1));
    return decodeEvent(content, position);
  }

  /** As if a change had not been made, which was the last one. */
  undo({ key, position, made, value, replaced }: Change): void {
    this.#remove(key, position);
    const isKey = made.version > 0 ? 1 : 0;
    this.#count(-changeBytes(key, value.byteLength), (replaced === undefined ? 0 : 1) - isKey);
  }

  /** Forgets history before a revision, which is removed by and by. */
  compact(revision: number): void {
    const counters = this.#counters();
    counters.compactRevision = revision;
    this.#rows.putLive(this.#countersRow, counters);
  }

  /** Positions of the next changes to look at; empty: everything forgotten is removed. */
  async toPurge(): Promise<EventPosition[]> {
    const { purged, compactRevision } = this.counters;
    const start = this.#eventRows.row(after(purged));
    const end = this.#eventRows.row({ revision: compactRevision, number: 0 });
    if (start >= end) return [];
    const { rows } = await this.#rows.range(start, end, MAX_PURGED_ROWS, READ_BYTES);
    return rows.map(([row]) => this.#eventRows.positionOf(row));
  }

  /** Removes what changes have replaced. Invariant 3. */
  purge(positions: readonly EventPosition[]): void {
    for (const position of positions) {
      const { purged, compactRevision } = this.counters;
      if (position.revision >= compactRevision || !isAfter(position, purged)) continue;
      const event = this.event(position);
      if (event !== undefined) this.#purge(event);
      const counters = this.#counters();
      counters.purged = position;
      this.#rows.putLive(this.#countersRow, counters);
    }
  }

  #purge({ entry, isDelete, previous, revision, number }: ConfigEvent): void {
    const key = Buffer.from(entry.key).toString('latin1');
    if (previous !== undefined) this.#forget(key, previous);
    if (isDelete) this.#forget(key, { revision, number });
  }

  #forget(key: string, position: EventPosition): void {
    const version = this.#index.get(indexedKey(key) + indexedPosition(position));
    if (version === undefined) return;
    this.#remove(key, position);
    this.#count(-changeBytes(key, version.valueBytes), 0);
  }

  #remove(key: string, position: EventPosition): void {
    this.#index.delete(indexedKey(key) + indexedPosition(position));
    this.#rows.delete(this.#eventRows.row(position));
  }

  #count(bytes: number, keys: number): void {
    const counters = this.#counters();
    counters.bytes += bytes;
    counters.keys += keys;
    this.#rows.putLive(this.#countersRow, counters);
  }

  #counters(): ConfigCounters {
    return this.#rows.live(this.#countersRow, ConfigCounters.decode) ?? new ConfigCounters();
  }
}

/** Goes over the keys of a span as they were at a revision. */
export class KeyWalk {
  /** Steps so far: what was looked at, keys that did not exist included. */
  steps = 0;
  readonly #index: TreePages<KeyVersion>;
  readonly #revision: number;
  readonly #first: string;
  readonly #end: string | undefined;
  readonly #cursor: TreeCursor<KeyVersion> | undefined;
  /** Going down: everything from here on was looked at. */
  #bound: string | undefined;

  constructor(
    index: TreePages<KeyVersion>,
    { start, end }: KeySpan,
    revision: number,
    isDescending: boolean,
  ) {
    this.#index = index;
    this.#revision = revision;
    this.#first = indexedKey(start);
    this.#end = end === undefined ? undefined : indexedKey(end);
    this.#bound = this.#end;
    this.#cursor = isDescending ? undefined : index.seek(this.#first);
  }

  /** Undefined: that was all, or `maxSteps` are done: see `isDone`. */
  next(maxSteps = Infinity): FoundVersion | undefined {
    while (!this.isDone && this.steps < maxSteps) {
      this.steps++;
      const found = this.#cursor === undefined ? this.#nextBelow() : this.#nextAbove(this.#cursor);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  isDone = false;

  /** Where to go on later: going up the first key that was not looked at, going down the last that was; undefined: nowhere. */
  get reached(): string | undefined {
    if (this.isDone) return undefined;
    if (this.#cursor === undefined) return keyOfPart(this.#bound!);
    const at = this.#cursor.key;
    return at === undefined ? undefined : keyOfPart(keyPart(at));
  }

  #nextAbove(cursor: TreeCursor<KeyVersion>): FoundVersion | undefined {
    const at = cursor.key;
    if (at === undefined || (this.#end !== undefined && at >= this.#end)) {
      this.isDone = true;
      return undefined;
    }
    const part = keyPart(at);
    if (positionOf(at).revision > this.#revision) cursor.seek(part + indexedUpTo(this.#revision));
    const found = this.#visible(cursor, part);
    if (cursor.key?.startsWith(part) === true) cursor.next();
    if (cursor.key?.startsWith(part) === true) cursor.seek(behindKey(part));
    return found;
  }

  #nextBelow(): FoundVersion | undefined {
    const below = this.#index.before(this.#bound);
    if (below === undefined || below.key < this.#first) {
      this.isDone = true;
      return undefined;
    }
    const part = keyPart(below.key);
    this.#bound = part;
    return this.#visible(this.#index.seek(part + indexedUpTo(this.#revision)), part);
  }

  #visible(cursor: TreeCursor<KeyVersion>, part: string): FoundVersion | undefined {
    const at = cursor.key;
    if (at === undefined || !at.startsWith(part) || cursor.value.version === 0) return undefined;
    return { key: keyOfPart(part), position: positionOf(at), ...cursor.value };
  }
}

function after({ revision, number }: EventPosition): EventPosition {
  return { revision, number: number + 1 };
}

function isAfter(a: EventPosition, b: EventPosition): boolean {
  return a.revision > b.revision || (a.revision === b.revision && a.number > b.number);
}
