/**
 * All changes of the configuration's keys that are still known: a row for each with its value,
 * which says where the one before it is; a row for each key with its last change; and the keys in
 * order. What a key was at a revision is found on the way back from its last change, which is
 * shortened by jumps (Fenwick 1994): most is read as of now, and costs nothing of that. Knows no
 * transactions.
 *
 *  1. Each key that there is, or of which a delete is kept, has a row and stands among the keys.
 *  2. Everything at or above the compact revision can be read as if nothing had been forgotten.
 *  3. What a change has replaced is removed once that change lies before the compact revision,
 *     and so is a delete itself. Each change is looked at for it once, in order.
 *  4. `bytes` counts the changes that have rows.
 */
import { binaryString, prefixEnd, type RowKey } from '../storage/row-key.ts';
import { MAX_PURGED_ROWS } from './config-limits.ts';
import type { ConfigPurge, KeySpan } from './config-command.ts';
import {
  ConfigCounters,
  EventRows,
  KEYS_ALONE,
  changeBytes,
  decodeEvent,
  decodeKey,
  decodeStored,
  encodeEvent,
  encodeKey,
  entryWithoutValue,
  type FoundVersion,
  type KeyRow,
  type KeyVersion,
} from './config-rows.ts';
import type { ConfigEntry, ConfigEvent, EventPosition } from './coordination-events.ts';
import type { PartRows } from './machine-part.ts';
import { TreePages, type TreeCursor } from './tree-pages.ts';

/** Keys whose rows are kept in memory, decoded. */
const CACHED_KEYS = 32_768;
/** What a byte string of a row has its length in. */
const LENGTH_BYTES = 4;
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

/** A change that was made, and what it takes to undo it. */
export interface MadeChange {
  readonly event: ConfigEvent;
  readonly change: Change;
  /** The key's row as it was; undefined: there was none. */
  readonly before: KeyRow | undefined;
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
  readonly #keysPrefix: RowKey;
  readonly #keys: TreePages<true>;
  /** Rows of keys as they are, those that changed last behind the others. */
  readonly #cached = new Map<string, KeyRow>();

  constructor(rows: PartRows, prefix: RowKey) {
    this.#rows = rows;
    this.#countersRow = `${prefix}g`;
    this.#eventsPrefix = `${prefix}e`;
    this.#eventRows = new EventRows(this.#eventsPrefix);
    this.#keysPrefix = `${prefix}k`;
    this.#keys = new TreePages(rows, `${prefix}p`, KEYS_ALONE);
  }

  get counters(): Readonly<ConfigCounters> {
    return this.#counters();
  }

  /** A key as of a revision; undefined: there was none. */
  find(key: string, revision = Infinity): FoundVersion | undefined {
    const row = this.#keyRow(key);
    if (row === undefined) return undefined;
    if (row.position.revision > revision) return this.#findBefore(key, row.position, revision);
    return row.version === 0 ? undefined : { key, ...row };
  }

  /** The keys of a span as of a revision, in order. Of no use after a change. */
  walk(span: KeySpan, revision = Infinity, isDescending = false): KeyWalk {
    return new KeyWalk(this.#keys, (key) => this.find(key, revision), span, isDescending);
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

  /** Makes a change. */
  make(change: Change): MadeChange {
    const { key, position, made, value, replaced } = change;
    const before = this.#keyRow(key);
    const changes = (before?.changes ?? 0) + 1;
    const former = formerOf(before, changes);
    const previous = before?.position;
    // What is just before is known as `previous`.
    const jump = former.length > 0 && former[0] !== previous ? former[0] : undefined;
    const wasDeleted = before?.version === 0;
    const links = { previous, wasDeleted, previousBytes: before?.valueBytes ?? 0, jump };
    const content = encodeEvent(key, made, value, links);
    this.#rows.put(this.#eventRows.row(position), content);
    this.#putKey(key, { ...made, position, changes, former });
    if (before === undefined) this.#keys.set(key, true);
    const isKey = made.version > 0 ? 1 : 0;
    this.#count(changeBytes(key, value.byteLength), isKey - (replaced === undefined ? 0 : 1));
    return { event: madeEvent(change, content, wasDeleted ? undefined : previous), change, before };
  }

  /** As if a change had not been made, which was the last one. */
  undo({ change: { key, position, made, value, replaced }, before }: MadeChange): void {
    this.#rows.delete(this.#eventRows.row(position));
    if (before === undefined) this.#dropKey(key);
    else this.#putKey(key, before);
    const isKey = made.version > 0 ? 1 : 0;
    this.#count(-changeBytes(key, value.byteLength), (replaced === undefined ? 0 : 1) - isKey);
  }

  /** Forgets history before a revision, which is removed by and by. */
  compact(revision: number): void {
    const counters = this.#counters();
    counters.compactRevision = revision;
    this.#rows.putLive(this.#countersRow, counters);
  }

  /** What is to be removed next; undefined: everything forgotten is. */
  async toPurge(): Promise<ConfigPurge | undefined> {
    const { purged, compactRevision } = this.counters;
    const start = this.#eventRows.row(after(purged));
    const end = this.#eventRows.row({ revision: compactRevision, number: 0 });
    if (start >= end) return undefined;
    const { rows } = await this.#rows.range(start, end, MAX_PURGED_ROWS, READ_BYTES);
    const replaced: EventPosition[] = [];
    const deletes: ConfigPurge['deletes'][number][] = [];
    let to = purged;
    let bytes = 0;
    for (const [row, content] of rows) {
      to = this.#eventRows.positionOf(row);
      const { event, links } = decodeStored(content, to);
      const key = binaryString(event.entry.key);
      if (event.previous !== undefined) {
        replaced.push(event.previous);
        bytes += changeBytes(key, links.previousBytes);
      }
      if (!event.isDelete) continue;
      deletes.push({ key, position: to });
      bytes += changeBytes(key, 0);
    }
    return rows.length === 0 ? undefined : { after: purged, to, replaced, deletes, bytes };
  }

  /** Removes it. Invariant 3: nothing is removed twice, or without what is before it. */
  purge({ after: before, to, replaced, deletes, bytes }: ConfigPurge): void {
    const { purged, compactRevision } = this.counters;
    if (!isSame(purged, before) || to.revision >= compactRevision) return;
    for (const position of replaced) this.#rows.delete(this.#eventRows.row(position));
    for (const { key, position } of deletes) {
      this.#rows.delete(this.#eventRows.row(position));
      const row = this.#keyRow(key);
      if (row !== undefined && isSame(row.position, position)) this.#dropKey(key);
    }
    this.#count(-bytes, 0);
    const counters = this.#counters();
    counters.purged = to;
    this.#rows.putLive(this.#countersRow, counters);
  }

  /** Invariant 1. */
  #dropKey(key: string): void {
    this.#cached.delete(key);
    this.#rows.delete(this.#keysPrefix + key);
    this.#keys.delete(key);
  }

  #putKey(key: string, row: KeyRow): void {
    this.#rows.put(this.#keysPrefix + key, encodeKey(row));
    this.#cached.delete(key);
    this.#cached.set(key, row);
    if (this.#cached.size <= CACHED_KEYS) return;
    for (const oldest of this.#cached.keys()) {
      this.#cached.delete(oldest);
      if (this.#cached.size <= CACHED_KEYS / 2) return;
    }
  }

  #keyRow(key: string): KeyRow | undefined {
    const known = this.#cached.get(key);
    if (known !== undefined) return known;
    const content = this.#rows.get(this.#keysPrefix + key);
    return content === undefined ? undefined : decodeKey(content);
  }

  /** On the way back from a change above the revision, which is there: it is not replaced before the compact revision. */
  #findBefore(key: string, above: EventPosition, revision: number): FoundVersion | undefined {
    let at = above;
    for (;;) {
      const content = this.#rows.get(this.#eventRows.row(at));
      if (content === undefined) return undefined;
      const { previous, jump } = decodeStored(content, at).links;
      const isFar = jump !== undefined && jump.revision > revision;
      if (isFar || (previous !== undefined && previous.revision > revision)) at = isFar ? jump : previous!;
      else return previous && this.#version(key, previous);
    }
  }

  /** Undefined: a delete, or one that is forgotten. */
  #version(key: string, position: EventPosition): FoundVersion | undefined {
    const event = this.event(position);
    if (event === undefined || event.isDelete) return undefined;
    const { createRevision, version, lease, value } = event.entry;
    return { key, position, createRevision, version, lease, valueBytes: value.byteLength };
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
  isDone = false;
  readonly #keys: TreePages<true>;
  readonly #find: (key: string) => FoundVersion | undefined;
  readonly #span: KeySpan;
  readonly #cursor: TreeCursor<true> | undefined;
  /** Going down: everything from here on was looked at. */
  #bound: string | undefined;

  constructor(
    keys: TreePages<true>,
    find: (key: string) => FoundVersion | undefined,
    span: KeySpan,
    isDescending: boolean,
  ) {
    this.#keys = keys;
    this.#find = find;
    this.#span = span;
    this.#bound = span.end;
    this.#cursor = isDescending ? undefined : keys.seek(span.start);
  }

  /** Undefined: that was all, or `maxSteps` are done: see `isDone`. */
  next(maxSteps = Infinity): FoundVersion | undefined {
    while (!this.isDone && this.steps < maxSteps) {
      this.steps++;
      const key = this.#cursor === undefined ? this.#keyBelow() : this.#keyAbove(this.#cursor);
      const found = key === undefined ? undefined : this.#find(key);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Where to go on later: going up the first key that was not looked at, going down the last that was; undefined: nowhere. */
  get reached(): string | undefined {
    if (this.isDone) return undefined;
    return this.#cursor === undefined ? this.#bound : this.#cursor.key;
  }

  #keyAbove(cursor: TreeCursor<true>): string | undefined {
    const { key } = cursor;
    const { end } = this.#span;
    if (key === undefined || (end !== undefined && key >= end)) {
      this.isDone = true;
      return undefined;
    }
    cursor.next();
    return key;
  }

  #keyBelow(): string | undefined {
    const key = this.#keys.before(this.#bound)?.key;
    if (key === undefined || key < this.#span.start) {
      this.isDone = true;
      return undefined;
    }
    this.#bound = key;
    return key;
  }
}

/** A change as it is told. Its bytes are views of its row: those of the command may be used again. */
function madeEvent(
  { key, position, made, value }: Change,
  row: Uint8Array,
  previous: EventPosition | undefined,
): ConfigEvent {
  const end = row.byteLength - value.byteLength;
  const keyEnd = end - LENGTH_BYTES;
  const entry: ConfigEntry = {
    key: row.subarray(keyEnd - key.length, keyEnd),
    value: row.subarray(end),
    createRevision: made.createRevision,
    modRevision: position.revision,
    version: made.version,
    lease: made.lease,
  };
  const { revision, number } = position;
  return { revision, number, isDelete: made.version === 0, entry, previous };
}

/** The former changes that the row of a key's change number `changes` has: see KeyRow. */
function formerOf(before: KeyRow | undefined, changes: number): EventPosition[] {
  if (before === undefined) return [];
  // Of its number less the lowest bit, and so on: those of the change before, less what has carried.
  const all = [before.position, ...before.former];
  let carried = 0;
  for (let rest = before.changes; rest % 2 === 1; rest = (rest - 1) / 2) carried++;
  return all.slice(changes % 2 === 1 ? 0 : carried);
}

function after({ revision, number }: EventPosition): EventPosition {
  return { revision, number: number + 1 };
}

function isSame(a: EventPosition, b: EventPosition): boolean {
  return a.revision === b.revision && a.number === b.number;
}
