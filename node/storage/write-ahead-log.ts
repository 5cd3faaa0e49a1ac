/**
 * The write-ahead log: one per node, shared by all groups. `append` makes records
 * durable with one write that returns when it is on disk; one batch is in flight at a time, and
 * the caller gathers what becomes ready meanwhile.
 *
 *  1. `append` resolves only when the records are durable.
 *  2. After a failed write or sync nothing more is written: the state of the file is
 *     unknown, and the process must end.
 *  3. Segments ahead of the active one are filled with zeros before they are used, so
 *     that an append changes no metadata and a torn write shows as missing sectors.
 *  4. A segment is removed only when every entry in it is durably in the ordered store,
 *     oldest first, so what remains is contiguous; and only when a later one is durably
 *     opened, so that no vote and no bound is lost with it.
 */
import type { Clock } from '@holdfast/client/clock';
import type { Disk, DiskFile } from '../runtime/disk.ts';
import {
  BATCH_ALIGNMENT,
  RecordType,
  aligned,
  batchBytes,
  encodeBatch,
  type LogRecord,
} from './log-format.ts';
import { EMPTY_GROUP, decodeOpening, encodeOpening, type GroupLogState } from './log-opening.ts';
import { scanLog, segmentName, type ActiveSegment, type LogDamage } from './log-scan.ts';

const ZERO_CHUNK_BYTES = 1024 * 1024;
const PREFERRED_BATCH_BYTES = 8 * 1024 * 1024;
/** Blank segments kept ahead of the active one: the space that deletes need on a full disk. */
const SEGMENTS_AHEAD = 2;

export interface LogOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Directory of the segments. */
  readonly directory: string;
  /** 8 bytes that tell this log from every other. */
  readonly logId: Uint8Array;
  /** Size of a segment. Smaller: space comes back sooner; larger: fewer files. */
  readonly segmentBytes: number;
  readonly observe?: (batch: BatchTimes) => void;
}

/** What one batch cost. */
export interface BatchTimes {
  readonly records: number;
  readonly bytes: number;
  /** From the beginning of the write until it is on disk. */
  readonly syncMs: number;
}

interface Segment {
  readonly number: number;
  readonly bytes: number;
  /** Greatest index of an entry or snapshot in this segment, by group. */
  readonly lastIndexes: Map<number, number>;
}

/** What opening found besides the records. */
export interface LogRecovery {
  readonly log: WriteAheadLog;
  readonly damage: readonly LogDamage[];
  /** Bytes of an incomplete last batch that were removed. */
  readonly tornBytes: number;
}

export class WriteAheadLog {
  readonly #options: LogOptions;
  readonly #groups = new Map<number, GroupLogState>();
  readonly #peers = new Map<number, Uint8Array>();
  readonly #segments: Segment[] = [];
  #blank: Segment[] = [];
  #file: DiskFile | undefined;
  #position = 0;
  /** The newest segment whose first batch, and so its opening, is durable. */
  #openedSegment = 0;
  #nextSequence = 1;
  #nextSegment = 1;
  #storeMark = 0;
  #buffer = Buffer.allocUnsafe(256 * 1024);
  /** One at a time: two would fill the same unfinished file. */
  #preparing: Promise<void> | undefined;
  /** Why the last attempt at a blank segment failed. */
  #unprepared: Error | undefined;
  #releasing: Promise<void> = Promise.resolve();
  #failure: Error | undefined;
  #closed = false;

  private constructor(options: LogOptions) {
    this.#options = options;
  }

  /**
   * Opens the log and gives each sound record after the last trim to `visit`, in order.
   * When damage is reported the log refuses to be written.
   */
  static async open(options: LogOptions, visit: (record: LogRecord) => void): Promise<LogRecovery> {
    const log = new WriteAheadLog(options);
    await options.disk.makeDirectory(options.directory);
    await options.disk.syncDirectory('');
    await log.#removeUnfinished();
    const sizes = new Map<number, Segment>();
    const scan = await scanLog(options.disk, options.directory, options.logId, (record, segment) => {
      log.#note(record, segmentOf(sizes, segment));
      if (record.type !== RecordType.opening) visit(record);
    });
    if (scan.damage.length > 0) {
      log.#failure = new Error('the log is damaged');
      return { log, damage: scan.damage, tornBytes: 0 };
    }
    if (scan.torn !== undefined) await log.#removeTorn(scan.active!.segment, scan.torn.from, scan.torn.to);
    await log.#resume(scan.segments, sizes, scan.active);
    log.#nextSequence = scan.nextSequence;
    log.#prepareSegments();
    return { log, damage: [], tornBytes: scan.torn === undefined ? 0 : scan.torn.to - scan.torn.from };
  }

  /** Whether the log has never held a record. */
  get isEmpty(): boolean {
    return this.#nextSequence === 1;
  }

  /** Sequence number of the last durable record; 0: none. */
  get lastSequence(): number {
    return this.#nextSequence - 1;
  }

  /** Number of the last completed flush of the ordered store that the log knows of. */
  get storeMark(): number {
    return this.#storeMark;
  }

  /** Bytes of all segments on disk. */
  get sizeBytes(): number {
    return [...this.#segments, ...this.#blank].reduce((sum, segment) => sum + segment.bytes, 0);
  }

  /** Segments that hold records. */
  get segmentCount(): number {
    return this.#segments.length;
  }

  /** What the log knows of a group. */
  group(group: number): GroupLogState {
    return this.#groups.get(group) ?? EMPTY_GROUP;
  }

  /** The newest record of each peer, by its number. */
  get peers(): ReadonlyMap<number, Uint8Array> {
    return this.#peers;
  }

  /** Makes records durable, in order. Not to be called again before it resolves. Invariants 1, 2. */
  async append(records: readonly LogRecord[]): Promise<void> {
    if (this.#failure) throw this.#failure;
    try {
      for (const part of split(records, Math.min(PREFERRED_BATCH_BYTES, this.#options.segmentBytes / 2))) {
        await this.#appendBatch(part);
        if (this.#failure) throw this.#failure; // closed meanwhile
      }
    } catch (error) {
      this.#failure ??= error as Error;
      throw error;
    }
  }

  /**
   * Removes segments whose entries are all in the ordered store. Invariant 4. `stored` says
   * how far the store is, `present` which groups there are: others pin nothing.
   */
  async release(
    stored: ReadonlyMap<number, { readonly index: number }>,
    present: ReadonlySet<number>,
  ): Promise<void> {
    for (const group of this.#groups.keys()) if (!present.has(group)) this.#groups.delete(group);
    for (const [group, { index }] of stored) {
      if (present.has(group)) this.#groups.set(group, { ...this.group(group), storedIndex: index });
    }
    this.#releasing = this.#releasing.then(() => this.#removeStored());
    await this.#releasing;
  }

  async #removeStored(): Promise<void> {
    let removed = 0;
    while (removed < this.#segments.length && this.#isRemovable(this.#segments[removed]!)) removed++;
    for (const segment of this.#segments.splice(0, removed)) {
      await this.#options.disk.remove(this.#path(segment.number));
      // One at a time: unsynced removals may reach the disk in any order, and leave a gap.
      await this.#options.disk.syncDirectory(this.#options.directory);
    }
    if (removed > 0) this.#prepareSegments();
  }

  /** Closes the log; what was appended is durable. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#failure ??= new Error('the log is closed');
    await this.#preparing;
    await this.#releasing.catch(() => undefined);
    await this.#file?.close();
  }

  async #appendBatch(records: readonly LogRecord[]): Promise<void> {
    let batch = records;
    let end = this.#position + aligned(batchBytes(batch));
    if (this.#file === undefined || end > this.#active.bytes) {
      batch = [await this.#roll(aligned(batchBytes(records))), ...records];
      end = this.#position + aligned(batchBytes(batch));
    }
    const length = end - this.#position;
    if (this.#buffer.length < length) this.#buffer = Buffer.allocUnsafe(length);
    encodeBatch(this.#buffer, batch, this.#nextSequence, this.#options.logId);
    await this.#writeAndSync(this.#buffer.subarray(0, length), batch.length);
    this.#position = end;
    this.#openedSegment = this.#active.number;
    this.#nextSequence += batch.length;
    for (const record of batch) this.#note(record, this.#active);
  }

  async #writeAndSync(bytes: Buffer, records: number): Promise<void> {
    const { clock, observe } = this.#options;
    const started = clock.monotonicMs();
    await this.#file!.writeDurably(this.#position, bytes);
    observe?.({ records, bytes: bytes.length, syncMs: clock.monotonicMs() - started });
  }

  /** Makes the next segment active; returns its first record. */
  async #roll(needed: number): Promise<LogRecord> {
    const opening = encodeOpening({
      segment: this.#nextActive(),
      storeMark: this.#storeMark,
      groups: this.#groups,
      peers: this.#peers,
    });
    const wanted = needed + aligned(opening.payload.byteLength) + 2 * aligned(1);
    while (this.#blank.length === 0) {
      this.#prepareSegments();
      await this.#preparing;
      if (this.#blank.length === 0) throw this.#unprepared ?? new Error('the log is closed');
    }
    const next = this.#blank.shift()!;
    const file = await this.#options.disk.open(this.#path(next.number), 'existing');
    const grown = next.bytes >= wanted ? next : { ...next, bytes: aligned(wanted) };
    if (grown !== next) await this.#zero(file, next.bytes, grown.bytes);
    await this.#file?.close();
    this.#file = file;
    this.#segments.push(grown);
    this.#position = 0;
    this.#prepareSegments();
    return opening;
  }

  #nextActive(): number {
    return this.#blank[0]?.number ?? this.#nextSegment;
  }

  get #active(): Segment {
    return this.#segments.at(-1)!;
  }

  /** Keeps blank segments ahead, in the background. Lack of space is not an error here: see `SpaceGuard`. */
  #prepareSegments(): void {
    if (this.#preparing !== undefined || this.#closed || this.#blank.length >= SEGMENTS_AHEAD) return;
    this.#preparing = this.#prepareAhead()
      .then(
        () => (this.#unprepared = undefined),
        (error: unknown) => (this.#unprepared = error as Error),
      )
      .then(() => {
        this.#preparing = undefined;
      });
  }

  async #prepareAhead(): Promise<void> {
    while (this.#blank.length < SEGMENTS_AHEAD && !this.#closed) await this.#prepareOne();
  }

  /** Invariant 3. A segment gets its name when it is whole. */
  async #prepareOne(): Promise<void> {
    const { disk, directory, segmentBytes } = this.#options;
    const unfinished = `${directory}/unfinished.tmp`;
    await disk.remove(unfinished);
    const file = await disk.open(unfinished, 'create');
    try {
      await this.#zero(file, 0, segmentBytes);
    } catch (error) {
      await file.close();
      await disk.remove(unfinished);
      throw error;
    }
    await file.close();
    const number = this.#nextSegment;
    await disk.rename(unfinished, this.#path(number));
    this.#nextSegment++;
    try {
      await disk.syncDirectory(directory);
    } catch (error) {
      this.#failure ??= error as Error;
      throw error;
    }
    this.#blank.push({ number, bytes: segmentBytes, lastIndexes: new Map() });
  }

  /** Synced in small steps: a large one would make the batches of the log wait behind it. */
  async #zero(file: DiskFile, from: number, to: number): Promise<void> {
    const zeros = Buffer.alloc(Math.min(ZERO_CHUNK_BYTES, to - from));
    for (let at = from; at < to; at += zeros.length) {
      await file.writeDurably(at, zeros.subarray(0, Math.min(zeros.length, to - at)));
    }
  }

  async #removeUnfinished(): Promise<void> {
    await this.#options.disk.remove(`${this.#options.directory}/unfinished.tmp`);
  }

  async #removeTorn(segment: number, from: number, to: number): Promise<void> {
    const file = await this.#options.disk.open(this.#path(segment), 'existing');
    await this.#zero(file, from, to);
    await file.close();
  }

  /** Goes on where the scan ended. A segment whose first batch was torn is blank again: it has no opening. */
  async #resume(
    numbers: readonly number[],
    found: ReadonlyMap<number, Segment>,
    active: ActiveSegment | undefined,
  ): Promise<void> {
    const { disk, directory } = this.#options;
    for (const number of numbers) {
      const file = await disk.open(`${directory}/${segmentName(number)}`, 'existing');
      const size = await file.size();
      const bytes = size - (size % BATCH_ALIGNMENT);
      const segment: Segment = { number, bytes, lastIndexes: found.get(number)?.lastIndexes ?? new Map() };
      const isOpened =
        active !== undefined &&
        (number < active.segment || (number === active.segment && active.position > 0));
      if (isOpened) {
        this.#segments.push(segment);
        this.#openedSegment = number;
      } else this.#blank.push(segment);
      if (isOpened && number === active.segment) {
        await secureEnd(file, active);
        this.#file = file;
        this.#position = active.position;
      } else await file.close();
      this.#nextSegment = number + 1;
    }
  }

  #note(record: LogRecord, segment: Segment): void {
    const state = this.group(record.group);
    if (record.type === RecordType.entry || record.type === RecordType.snapshot) {
      this.#groups.set(record.group, { ...state, lastIndex: record.index });
      segment.lastIndexes.set(
        record.group,
        Math.max(record.index, segment.lastIndexes.get(record.group) ?? 0),
      );
    } else if (record.type === RecordType.hardState) {
      this.#groups.set(record.group, { ...state, term: record.term, vote: record.index });
    } else if (record.type === RecordType.storeMark) {
      this.#storeMark = record.index;
    } else if (record.type === RecordType.peer) {
      this.#peers.set(record.index, Uint8Array.from(record.payload));
    } else if (record.type === RecordType.opening) this.#noteOpening(record);
  }

  #noteOpening(record: LogRecord): void {
    const opening = decodeOpening(record);
    this.#storeMark = opening.storeMark;
    for (const [group, state] of opening.groups) this.#groups.set(group, state);
    for (const [peer, payload] of opening.peers) this.#peers.set(peer, payload);
  }

  /** Invariant 4. What the segment says of votes and bounds must stand durably in a later one. */
  #isRemovable(segment: Segment): boolean {
    if (segment.number >= this.#openedSegment) return false;
    for (const [group, lastIndex] of segment.lastIndexes) {
      const state = this.#groups.get(group);
      // Entries beyond the group's last were replaced: nobody will ever store them.
      if (state !== undefined && Math.min(lastIndex, state.lastIndex) > state.storedIndex) return false;
    }
    return true;
  }

  #path(segment: number): string {
    return `${this.#options.directory}/${segmentName(segment)}`;
  }
}

/**
 * A process that was killed, or whose sync failed, leaves a last batch that can be read and
 * need not be on the disk: what is built on it from now on would go with the power. So it is
 * written again; to sync alone would not do, for a kernel forgets pages that it failed to write.
 */
async function secureEnd(file: DiskFile, { lastBatch, position }: ActiveSegment): Promise<void> {
  if (lastBatch < position)
    await file.writeDurably(lastBatch, await file.read(lastBatch, position - lastBatch));
}

function segmentOf(segments: Map<number, Segment>, number: number): Segment {
  let segment = segments.get(number);
  if (segment === undefined) segments.set(number, (segment = { number, bytes: 0, lastIndexes: new Map() }));
  return segment;
}

/** Cuts records into batches of about `bytes`. */
function* split(records: readonly LogRecord[], bytes: number): Generator<readonly LogRecord[]> {
  if (batchBytes(records) <= bytes) {
    yield records;
    return;
  }
  let part: LogRecord[] = [];
  let size = 0;
  for (const record of records) {
    const cost = batchBytes([record]);
    if (part.length > 0 && size + cost > bytes) {
      yield part;
      part = [];
      size = 0;
    }
    part.push(record);
    size += cost;
  }
  yield part;
}
