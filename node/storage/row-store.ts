/**
 * The rows of all groups of a node: a bounded overlay in memory over the durable
 * ordered store. Applied changes go to the overlay; in the background, one at a time,
 * the overlay is written as one atomic, synced batch that also says up to which entry
 * each group is now stored.
 *
 *  1. A read sees the overlay first: active, then flushing, then the store.
 *  2. The store is always exactly one of its flushes: every flush holds all changes
 *     since the one before, with the stored index of each group they belong to.
 *  3. A row read from the store carries a checksum over key and value that is verified;
 *     a mismatch is `StoreDamaged`, never a wrong value.
 *  4. Nothing is written unsynced.
 *  5. Memory of a flushed overlay is used again. No view of a row leaves: what is read is
 *     copied, and while a range is read, whose overlaid rows were noted when it began,
 *     the memory of an overlay that is done is left to the garbage collector.
 *  6. What groups keep in files is durable before the rows that were applied with it are.
 */
import { crc32 } from 'node:zlib';
import type { Clock } from '@holdfast/client/clock';
import type { OrderedStore, RowChange, RowIterator } from '../runtime/ordered-store.ts';
import { ByteReader, ByteWriter, asBuffer } from './byte-codec.ts';
import {
  FILES_FLUSH_BYTES,
  FILES_LIMIT_BYTES,
  FILE_FAMILY,
  NO_FILES,
  type FilesFlush,
  type GroupFiles,
} from './group-files.ts';
import { OpenIterators, RemovedRows } from './removed-rows.ts';
import { RowArena } from './row-arena.ts';
import {
  STORE_GROUP_PREFIX,
  binaryBytes,
  binaryString,
  groupPrefix,
  prefixEnd,
  type RowKey,
} from './row-key.ts';

/** A row kept as an object while it changes often; encoded when it is flushed. */
export interface LiveRow {
  encode(): Uint8Array;
}

/** A row as `newRow` made it, an object that is one, or undefined: deleted. */
type Row = Buffer | LiveRow | undefined;

/** A read met a row whose checksum does not hold. */
export class StoreDamaged extends Error {
  override readonly name = 'StoreDamaged';
}

/** The last entry of a group whose rows are in the overlay or the store. */
export interface AppliedEntry {
  readonly index: number;
  readonly term: number;
  /** Log time of the entry. */
  readonly stampMs: number;
  /** Generation of the group's rows: a snapshot brings a new one. */
  readonly generation: number;
  /** The group's members as of this entry, encoded; undefined: no entry has said so yet. */
  readonly configuration: Uint8Array | undefined;
}

/** How far the store is. */
export interface StoreMark {
  /** Number of the last completed flush; 0: none. */
  readonly flush: number;
  /** Last durable log record when that flush began. */
  readonly logSequence: number;
}

/** A row without what names group and generation. */
export type SnapshotRow = readonly [rest: RowKey, content: Uint8Array];

/** The rows of a group as of one entry. */
export interface GroupSnapshot {
  readonly applied: AppliedEntry;
  /** Further rows, about `count`; an empty array at the end. Error: StoreDamaged. */
  next(count: number): Promise<SnapshotRow[]>;
  close(): Promise<void>;
}

export interface FlushTimes {
  readonly rows: number;
  readonly bytes: number;
  readonly durationMs: number;
}

export interface RowStoreOptions {
  readonly store: OrderedStore;
  readonly clock: Clock;
  /** Sequence of the last durable log record. */
  readonly logSequence: () => number;
  /** A flush is done; `stored` holds the new stored index of each group in it. */
  readonly onFlushed: (mark: StoreMark, stored: ReadonlyMap<number, AppliedEntry>) => void;
  /** The store cannot be written: the process must end. */
  readonly onFailure: (error: Error) => void;
  readonly observe?: (flush: FlushTimes) => void;
  /** What groups keep in files; default: nothing. */
  readonly files?: GroupFiles;
}

/** Rows that start a flush; fewer, larger batches sync less often beside the log. */
const FLUSH_ROWS = 8_000;
const FLUSH_BYTES = 16 * 1024 * 1024;
/** Above this the overlay takes no more: callers wait for the flush. */
export const OVERLAY_LIMIT_ROWS = 64_000;
export const OVERLAY_LIMIT_BYTES = 96 * 1024 * 1024;
/** Rows are made ready for the store in slices of this size; one costs as much as so many bytes. */
const SLICE_BYTES = 1024 * 1024;
const ROW_COST_BYTES = 1_024;
const ROW_VERSION = 1;
/** What stands before a row's content in the store: version and checksum. */
export const ROW_HEADER_BYTES = 5;
/** Before the first entry of a group. */
export const NOTHING_APPLIED: AppliedEntry = {
  index: 0,
  term: 0,
  stampMs: 0,
  generation: 0,
  configuration: undefined,
};
const STORED_FAMILY = 'i';
const END_OF_STORE: RowKey = '\xff'.repeat(16);
const MARK_KEY: RowKey = `${STORE_GROUP_PREFIX}m`;

export class RowStore {
  readonly #options: RowStoreOptions;
  #active = new Map<RowKey, Row>();
  #activeBytes = 0;
  #flushing: ReadonlyMap<RowKey, Row> | undefined;
  #flushingBytes = 0;
  #applied = new Map<number, AppliedEntry>();
  #live = new Map<RowKey, LiveRow>();
  /** Live rows that are in the active overlay: to say so again costs nothing. */
  #dirty = new Set<LiveRow>();
  /** Memory of the rows in the active overlay. Invariant 5. */
  readonly #arena = new RowArena();
  /** Ranges that are being read. */
  #ranges = 0;
  #mark: StoreMark;
  #flush: Promise<void> | undefined;
  /** Rows that were removed, whose space the store may still hold. */
  readonly #removed = new RemovedRows();
  readonly #iterators: OpenIterators;
  #failed = false;
  readonly #files: GroupFiles;
  /** Who waits for the flush under way to end. */
  readonly #afterFlush: (() => void)[] = [];

  constructor(options: RowStoreOptions) {
    this.#options = options;
    this.#iterators = new OpenIterators(options.store);
    this.#files = options.files ?? NO_FILES;
    this.#mark = { flush: 0, logSequence: 0 };
    const mark = this.#read(MARK_KEY);
    if (mark !== undefined) {
      const reader = new ByteReader(mark);
      this.#mark = { flush: reader.u64(), logSequence: reader.u64() };
    }
  }

  get mark(): StoreMark {
    return this.#mark;
  }

  /** Rows and bytes that are applied and not yet in the store. */
  get overlay(): { readonly rows: number; readonly bytes: number } {
    return {
      rows: this.#active.size + (this.#flushing?.size ?? 0),
      bytes: this.#activeBytes + this.#flushingBytes,
    };
  }

  /** Whether the overlay is full, so that applying must wait for a flush. */
  get isFull(): boolean {
    const { rows, bytes } = this.overlay;
    const isFull = rows >= OVERLAY_LIMIT_ROWS || bytes >= OVERLAY_LIMIT_BYTES;
    return isFull || this.#files.pendingBytes >= FILES_LIMIT_BYTES;
  }

  get #isFlushDue(): boolean {
    const isDue = this.#active.size >= FLUSH_ROWS || this.#activeBytes >= FLUSH_BYTES;
    return isDue || this.#files.pendingBytes >= FILES_FLUSH_BYTES;
  }

  /** The last entry of a group whose rows are durably in the store; index 0: none. */
  stored(group: number): AppliedEntry {
    const row = this.#read(storedKey(group));
    if (row === undefined) return NOTHING_APPLIED;
    return decodeApplied(row);
  }

  /** A row's content, or undefined. Invariants 1, 3. */
  get(key: RowKey): Uint8Array | undefined {
    const row = this.#overlaid(key);
    if (row === 'absent') return this.#read(key);
    return row && contentOf(row);
  }

  /** A live row's object; `decode` makes it from the stored content. */
  live<T extends LiveRow>(key: RowKey, decode: (content: Uint8Array) => T): T | undefined {
    const known = this.#live.get(key);
    if (known !== undefined) return known as T;
    const content = this.get(key);
    if (content === undefined) return undefined;
    const row = decode(content);
    this.#live.set(key, row);
    return row;
  }

  /** Sets a row to a copy of the content. */
  put(key: RowKey, content: Uint8Array): void {
    const row = this.newRow(content.byteLength);
    row.set(content, ROW_HEADER_BYTES);
    this.putRow(key, row);
  }

  /**
   * A row for this many bytes of content, which the caller writes from `ROW_HEADER_BYTES` on
   * and gives to `putRow` at once.
   */
  newRow(contentBytes: number): Buffer {
    return this.#arena.take(ROW_HEADER_BYTES + contentBytes);
  }

  /**
   * Sets a row that `newRow` made and the caller filled. It is kept, not copied. Not for the
   * key of a live row: that changes through `putLive` and `delete` alone.
   */
  putRow(key: RowKey, row: Buffer): void {
    this.#activeBytes += key.length + row.length;
    this.#active.set(key, row);
  }

  /** Sets a live row, or says that the object changed. */
  putLive(key: RowKey, row: LiveRow): void {
    if (this.#dirty.has(row)) return;
    this.#dirty.add(row);
    this.#live.set(key, row);
    this.#active.set(key, row);
  }

  /** Removes a row. */
  delete(key: RowKey): void {
    this.#activeBytes += key.length;
    this.#forgetLive(key);
    this.#active.set(key, undefined);
  }

  /** Says that all rows of `group` up to `entry` are in the overlay or the store. Starts a flush when due. */
  applied(group: number, entry: AppliedEntry): void {
    this.#applied.set(group, entry);
    if (this.#isFlushDue) this.startFlush();
  }

  /** Writes the overlay in the background, unless a flush is under way or there is nothing to write. */
  startFlush(): void {
    if (this.#flush !== undefined || this.#failed || this.#applied.size === 0) return;
    this.#flush = this.#runFlush().finally(() => {
      this.#flush = undefined;
      if (this.#afterFlush.length > 0) return this.#openSnapshots();
      if (this.#isFlushDue) this.startFlush();
    });
  }

  /** Writes nothing to the store any more: what was applied last may be incomplete. */
  freeze(): void {
    this.#failed = true;
  }

  /** Resolves when the flush under way, if any, is done. */
  async flushed(): Promise<void> {
    await this.#flush;
  }

  /**
   * Has the store write what it holds in memory. A row and its removal that leave memory
   * together end up in one table, and compaction never looks into a table that has nothing
   * above it: of rows that are in tables already, the space can be given back.
   */
  async emptyMemory(): Promise<void> {
    this.startFlush();
    await this.#flush;
    await this.#options.store.compact(binaryBytes(MARK_KEY), binaryBytes(`${MARK_KEY}\0`));
  }

  /**
   * Compacts what lies between the rows that were removed since this was last done, so that
   * their space becomes free. Needs space itself for a while, less than it gives back.
   *
   * Iterators that are open come first: what they may still read LevelDB moves to its last
   * level, and never looks there again unless somebody writes. Each range is compacted twice,
   * as LevelDB's own compaction may have moved rows out of the way of the first. Ends without
   * having done anything when `stopped` comes before the iterators are closed.
   */
  async reclaim(stopped: Promise<void>): Promise<void> {
    this.startFlush();
    await this.#flush;
    const range = this.#removed.range;
    if (range === undefined) return;
    if (await Promise.race([stopped.then(() => true), this.#iterators.closed()])) return;
    this.#removed.reclaiming();
    await this.#options.store.compact(binaryBytes(range.first), binaryBytes(`${range.last}\0`));
  }

  /**
   * Up to `count` rows of [start, end) in order, as of one moment, and whether there may be
   * more. Ends early, after at least one row, when they are more than `maxBytes`.
   */
  async range(
    start: RowKey,
    end: RowKey,
    count: number,
    maxBytes = Infinity,
  ): Promise<{ rows: [RowKey, Uint8Array][]; more: boolean }> {
    const overlaid = this.#overlayRange(start, end);
    const iterator = this.#iterators.open(start, end);
    this.#ranges++;
    try {
      return await this.#merge(overlaid, iterator, count, maxBytes);
    } catch (error) {
      throw damaged(error);
    } finally {
      this.#ranges--;
      await iterator.close();
    }
  }

  /** Removes all rows that begin with `prefix` from overlay and store, in slices. For groups that are gone. */
  async removeRange(prefix: RowKey, end: RowKey, isStopped: () => boolean): Promise<number> {
    for (const key of this.#active.keys()) if (key >= prefix && key < end) this.#active.delete(key);
    for (const key of this.#live.keys()) if (key >= prefix && key < end) this.#forgetLive(key);
    await this.#flush;
    const { store } = this.#options;
    let removed = 0;
    while (!isStopped()) {
      const iterator = this.#iterators.open(prefix, end);
      const rows = await iterator.next(1_000).finally(() => iterator.close());
      if (rows.length === 0) break;
      await this.#flush;
      await store.writeBatch(rows.map(([key]): RowChange => [key, undefined]));
      removed += rows.length;
    }
    if (removed > 0 && !isStopped()) await store.compact(binaryBytes(prefix), binaryBytes(end));
    return removed;
  }

  /**
   * All rows of one generation of a group, as of the entry that the store has: a flush is a
   * moment of the whole store, so waiting for the one under way is enough. The caller closes it.
   */
  async openSnapshot(group: number): Promise<GroupSnapshot> {
    // Before the next flush begins: under load one follows the other.
    if (this.#flush !== undefined) await new Promise<void>((resolve) => this.#afterFlush.push(resolve));
    const applied = this.stored(group);
    const prefix = groupPrefix(group, applied.generation);
    const iterator = this.#iterators.open(prefix, prefixEnd(prefix));
    const files = await this.#files.openSnapshot(group, applied.generation);
    let areRowsDone = false;
    const next = async (count: number) => {
      const rows = areRowsDone ? [] : await nextRows(iterator, prefix, count);
      areRowsDone ||= rows.length === 0;
      return areRowsDone && files !== undefined ? [...(await files.next())] : rows;
    };
    const close = async () => {
      await iterator.close();
      await files?.close();
    };
    return { applied, next, close };
  }

  /** Lets those who wait for the end of a flush look at the store before the next one begins. */
  #openSnapshots(): void {
    for (const goOn of this.#afterFlush.splice(0)) goOn();
    // They go on when this turn's promises do.
    void Promise.resolve().then(() => {
      if (this.#isFlushDue) this.startFlush();
    });
  }

  /** Adds rows to a generation that nobody reads yet, durably and past the overlay. */
  async addRows(group: number, generation: number, rows: readonly SnapshotRow[]): Promise<void> {
    const prefix = groupPrefix(group, generation);
    const changes: RowChange[] = [];
    const pieces: SnapshotRow[] = [];
    for (const row of rows) {
      if (row[0].startsWith(FILE_FAMILY)) pieces.push(row);
      else changes.push(sealed(prefix + row[0], rowOf(row[1])));
    }
    if (!this.#failed && pieces.length > 0) await this.#files.add(group, generation, pieces);
    if (!this.#failed && changes.length > 0) await this.#options.store.writeBatch(changes);
  }

  /** Removes what a generation of a group has in files; undefined: all generations. */
  removeFiles(group: number, generation: number | undefined): Promise<void> {
    return this.#files.remove(group, generation);
  }

  /** Checks up to `count` stored rows from `from` on; `next`: where to go on, undefined at the end. Error: StoreDamaged. */
  async verify(from: RowKey, count: number): Promise<{ checked: number; next: RowKey | undefined }> {
    const iterator = this.#iterators.open(from, END_OF_STORE);
    try {
      const rows = await iterator.next(count);
      for (const [key, stored] of rows) openRow(key, stored);
      const last = rows.at(-1);
      return { checked: rows.length, next: last && `${binaryString(last[0])}\0` };
    } catch (error) {
      throw damaged(error);
    } finally {
      await iterator.close();
    }
  }

  /** About how many bytes the store takes on disk. */
  storeBytes(): Promise<number> {
    return this.#options.store.approximateBytes();
  }

  /** Forgets that a group was applied, when it is gone. */
  forget(group: number): void {
    this.#applied.delete(group);
  }

  /** The first row at or after `start`, in the store alone. For finding rows of groups that are gone. */
  async firstStored(start: RowKey): Promise<RowKey | undefined> {
    const iterator = this.#iterators.open(start, STORE_GROUP_PREFIX);
    const rows = await iterator.next(1).finally(() => iterator.close());
    return rows[0] === undefined ? undefined : binaryString(rows[0][0]);
  }

  #forgetLive(key: RowKey): void {
    const row = this.#live.get(key);
    if (row === undefined) return;
    this.#live.delete(key);
    this.#dirty.delete(row);
  }

  #overlaid(key: RowKey): Row | 'absent' {
    const active = this.#active.get(key);
    if (active !== undefined || this.#active.has(key)) return active;
    if (this.#flushing === undefined) return 'absent';
    const flushing = this.#flushing.get(key);
    if (flushing !== undefined || this.#flushing.has(key)) return flushing;
    return 'absent';
  }

  #read(key: RowKey): Uint8Array | undefined {
    const keyBytes = binaryBytes(key);
    let stored: Uint8Array | undefined;
    try {
      stored = this.#options.store.get(keyBytes);
    } catch (error) {
      throw damaged(error);
    }
    return stored === undefined ? undefined : openRow(keyBytes, stored);
  }

  /** Invariants 2, 4, 5. The overlay is switched in one synchronous step; what was switched changes no more. */
  async #runFlush(): Promise<void> {
    const started = this.#options.clock.monotonicMs();
    const rows = this.#active;
    const stored = this.#applied;
    const mark = { flush: this.#mark.flush + 1, logSequence: this.#options.logSequence() };
    freezeLive(rows);
    this.#dirty.clear();
    const memory = this.#arena.detach();
    const files = this.#beginFilesFlush();
    this.#flushing = rows;
    this.#flushingBytes = this.#activeBytes;
    this.#active = new Map();
    this.#activeBytes = 0;
    this.#applied = new Map();
    try {
      const changes = await this.#seal(rows, stored, mark);
      await files.synced; // invariant 6
      await this.#options.store.writeBatch(changes);
    } catch (error) {
      this.#failed = true;
      this.#options.onFailure(error as Error);
      return;
    }
    const durationMs = this.#options.clock.monotonicMs() - started;
    this.#options.observe?.({ rows: rows.size, bytes: this.#flushingBytes, durationMs });
    this.#removed.note(rows);
    this.#flushing = undefined;
    this.#flushingBytes = 0;
    if (this.#ranges === 0) this.#arena.reuse(memory);
    this.#mark = mark;
    files.stored();
    this.#trimLive();
    this.#options.onFlushed(mark, stored);
  }

  /** Whoever awaits it comes later: until then nobody else is to see that it failed. */
  #beginFilesFlush(): FilesFlush {
    const files = this.#files.beginFlush();
    files.synced.catch(() => undefined);
    return files;
  }

  /** The rows as they are stored. Gives way between slices: a full overlay is many milliseconds of work. */
  async #seal(
    rows: ReadonlyMap<RowKey, Row>,
    stored: ReadonlyMap<number, AppliedEntry>,
    mark: StoreMark,
  ): Promise<RowChange[]> {
    const changes: RowChange[] = [];
    let slice = 0;
    for (const [key, frozen] of rows) {
      const row = frozen as Buffer | undefined;
      changes.push(row === undefined ? [binaryBytes(key), undefined] : sealed(key, row));
      slice += ROW_COST_BYTES + (row?.length ?? 0);
      if (slice < SLICE_BYTES) continue;
      slice = 0;
      await new Promise<void>((resolve) => this.#options.clock.afterTurn(resolve));
    }
    for (const [group, entry] of stored) {
      changes.push(sealed(storedKey(group), rowOf(encodeApplied(entry))));
    }
    const content = new ByteWriter(16).u64(mark.flush).u64(mark.logSequence).finish();
    changes.push(sealed(MARK_KEY, rowOf(content)));
    return changes;
  }

  /** Live objects that are neither dirty nor recent give their memory back. */
  #trimLive(): void {
    if (this.#live.size <= 4_096) return;
    for (const key of this.#live.keys()) {
      if (!this.#active.has(key)) this.#live.delete(key);
      if (this.#live.size <= 2_048) return;
    }
  }

  #overlayRange(start: RowKey, end: RowKey): [RowKey, Row][] {
    const found = new Map<RowKey, Row>();
    for (const rows of [this.#flushing, this.#active]) {
      if (rows !== undefined)
        for (const [key, row] of rows) if (key >= start && key < end) found.set(key, row);
    }
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  async #merge(
    overlaid: [RowKey, Row][],
    iterator: { next(count: number): Promise<[Uint8Array, Uint8Array][]> },
    count: number,
    maxBytes: number,
  ): Promise<{ rows: [RowKey, Uint8Array][]; more: boolean }> {
    const rows: [RowKey, Uint8Array][] = [];
    let bytes = 0;
    let at = 0;
    const take = (key: RowKey, content: Uint8Array) => {
      rows.push([key, content]);
      bytes += key.length + content.byteLength;
    };
    const takeOverlaid = () => {
      const [key, row] = overlaid[at++]!;
      if (row !== undefined) take(key, contentOf(row));
    };
    const isFull = () => rows.length >= count || bytes >= maxBytes;
    for (;;) {
      const chunk = await iterator.next(Math.min(1_000, count + 1));
      for (const [keyBytes, stored] of chunk) {
        const key = binaryString(keyBytes);
        while (at < overlaid.length && overlaid[at]![0] < key && !isFull()) takeOverlaid();
        if (isFull()) return { rows, more: true };
        if (overlaid[at]?.[0] === key) takeOverlaid();
        else take(key, openRow(keyBytes, stored));
      }
      if (chunk.length === 0) break;
    }
    while (at < overlaid.length && !isFull()) takeOverlaid();
    return { rows, more: at < overlaid.length };
  }
}

/** What the store calls corrupt is damage. Another failure to read says nothing of the data. */
function damaged(error: unknown): unknown {
  const { code, message } = error as { code?: string; message?: string };
  if (code !== 'LEVEL_CORRUPTION' && !message?.startsWith('Corruption')) return error;
  return new StoreDamaged(`the ordered store cannot be read: ${(error as Error).message}`, { cause: error });
}

/** Live rows go on changing: what is flushed is what they hold now. */
function freezeLive(rows: Map<RowKey, Row>): void {
  for (const [key, row] of rows)
    if (row !== undefined && !(row instanceof Uint8Array)) rows.set(key, rowOf(row.encode()));
}

function rowOf(content: Uint8Array): Buffer {
  const row = Buffer.allocUnsafe(ROW_HEADER_BYTES + content.byteLength);
  row.set(content, ROW_HEADER_BYTES);
  return row;
}

/** A copy. Invariant 5. */
function contentOf(row: Buffer | LiveRow): Uint8Array {
  if (!(row instanceof Uint8Array)) return row.encode();
  const content = Buffer.allocUnsafe(row.length - ROW_HEADER_BYTES);
  row.copy(content, 0, ROW_HEADER_BYTES);
  return content;
}

async function nextRows(iterator: RowIterator, prefix: RowKey, count: number): Promise<SnapshotRow[]> {
  try {
    for (;;) {
      const stored = await iterator.next(count);
      const rows = stored.flatMap(([keyBytes, row]): SnapshotRow[] => {
        const key = binaryString(keyBytes);
        const rest = key.slice(prefix.length);
        return rest === STORED_FAMILY ? [] : [[rest, openRow(keyBytes, row)]];
      });
      if (rows.length > 0 || stored.length === 0) return rows;
    }
  } catch (error) {
    throw damaged(error);
  }
}

function encodeApplied({ index, term, stampMs, generation, configuration }: AppliedEntry): Uint8Array {
  const writer = new ByteWriter(64).u64(index).u64(term).u64(stampMs).u32(generation);
  return (configuration === undefined ? writer : writer.bytes(configuration)).finish();
}

/** Rows of the first release end after the stamp. */
function decodeApplied(content: Uint8Array): AppliedEntry {
  const reader = new ByteReader(content);
  const [index, term, stampMs] = [reader.u64(), reader.u64(), reader.u64()];
  const generation = reader.done ? 0 : reader.u32();
  const configuration = reader.done ? undefined : Uint8Array.from(reader.bytes());
  return { index, term, stampMs, generation, configuration };
}

function storedKey(group: number): RowKey {
  return groupPrefix(group, 0) + STORED_FAMILY;
}

/** A row as stored: version, checksum over key and content, content. Written into the row itself. */
function sealed(key: RowKey, row: Buffer): RowChange {
  const keyBytes = binaryBytes(key);
  row[0] = ROW_VERSION;
  row.writeUInt32LE(crc32(row.subarray(ROW_HEADER_BYTES), crc32(keyBytes)), 1);
  return [keyBytes, row];
}

/** The content of a stored row. Invariant 3. */
function openRow(key: Uint8Array, stored: Uint8Array): Uint8Array {
  const row = asBuffer(stored);
  if (row.length < ROW_HEADER_BYTES || row[0] !== ROW_VERSION)
    throw new StoreDamaged('a row of the ordered store has an unknown version');
  const content = row.subarray(ROW_HEADER_BYTES);
  if (crc32(content, crc32(key)) !== row.readUInt32LE(1)) {
    throw new StoreDamaged('a row of the ordered store fails its checksum');
  }
  return content;
}
