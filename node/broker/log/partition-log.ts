/**
 * A partition's log on disk: segments of batches with their offsets. It is told batches by the
 * partition's state machine, synchronously, and writes them when it is asked to.
 *
 *  1. What `sync` has resolved for is found again after any crash.
 *  2. After a crash the log is what its rows say: what lies at or behind their end is dropped, as
 *     replay brings it again; that something before it is missing or not sound is StoreDamaged.
 *  3. A batch is in memory until it is in its file, so that it can always be read.
 *  4. The active segment, the last one, is never removed and never rewritten.
 *  5. Files go only when the rows that speak of a later start are durable (`noteStored`).
 */
import type { Clock } from '@holdfast/client/clock';
import type { SegmentFigures } from '../retention.ts';
import { Compaction, type CompactionOrder } from './compaction.ts';
import { recoverSegments } from './recovery.ts';
import { Segment } from './segment.ts';
import {
  FRAME_HEADER_BYTES,
  fileHeader,
  frameHeader,
  maxTimeOf,
  nextOffsetOf,
  type FoundFrame,
  type Frame,
} from './segment-format.ts';
import type { SegmentFiles } from './segment-files.ts';
import { LogTail } from './log-tail.ts';
import { LogSnapshot } from './log-snapshot.ts';
import { unread, writeIndex } from './segment-index.ts';

export type { Frame } from './segment-format.ts';

/** Bytes of one write. */
const WRITE_BYTES = 4 * 1024 * 1024;

export interface PartitionLogOptions {
  readonly clock: Clock;
  readonly files: SegmentFiles;
  readonly directory: string;
  /** First offset that is wanted. */
  readonly logStart: number;
  /** Offset behind the last one that is wanted. */
  readonly logEnd: number;
  readonly segmentBytes: number;
  readonly segmentMs: number;
}

/** Batches, and where to go on. */
export interface FoundFrames {
  readonly frames: readonly Frame[];
  readonly nextOffset: number;
}

/** A batch that is to be written into a segment. */
interface PendingFrame {
  readonly segment: Segment;
  readonly frame: Frame;
}

export class PartitionLog {
  readonly #options: PartitionLogOptions;
  #layout: Pick<PartitionLogOptions, 'segmentBytes' | 'segmentMs'>;
  /** In order; the last one is active. Empty: nothing was ever appended. */
  #segments: Segment[];
  readonly #tail: LogTail;
  #pending: PendingFrame[] = [];
  #pendingBytes = 0;
  #end: number;
  #working: Promise<void> = Promise.resolve();
  #compacting: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(options: PartitionLogOptions, segments: Segment[]) {
    this.#options = options;
    this.#layout = options;
    this.#segments = segments;
    this.#end = options.logEnd;
    this.#tail = new LogTail(options.files, options.logEnd);
  }

  /** Opens what a directory holds, or begins it. Error: StoreDamaged. Invariant 2. */
  static async open(options: PartitionLogOptions): Promise<PartitionLog> {
    const log = new PartitionLog(options, await recoverSegments(options));
    log.noteStored(options.logStart);
    return log;
  }

  /** Removes a directory's files. */
  static async removeAll(files: SegmentFiles, directory: string): Promise<void> {
    for (const name of await files.disk.list(directory)) {
      await files.forget(`${directory}/${name}`);
      await files.disk.remove(`${directory}/${name}`);
    }
    await files.disk.removeDirectory(directory);
  }

  /** Appended, and not yet written and synced. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Of all files. */
  get bytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** In order of offset. */
  segments(): (SegmentFigures & { readonly maxTimeMs: number })[] {
    const active = this.#segments.at(-1);
    return this.#segments.map((segment) => ({
      baseOffset: segment.baseOffset,
      bytes: segment.bytes,
      maxTimeMs: segment.maxTimeMs,
      lastAppendedAtMs: segment.lastAppendedAtMs,
      isActive: segment === active,
    }));
  }

  setLayout({ segmentBytes, segmentMs }: Pick<PartitionLogOptions, 'segmentBytes' | 'segmentMs'>): void {
    this.#layout = { segmentBytes, segmentMs };
  }

  /** Takes a batch behind all others. Its bytes are kept as they are until they are written. */
  append(frame: Frame): void {
    if (frame.baseOffset < this.#end)
      throw new Error(`offset ${frame.baseOffset} appended to a log that ends at ${this.#end}`);
    const bytes = FRAME_HEADER_BYTES + frame.batch.byteLength;
    const nextOffset = nextOffsetOf(frame);
    const found: FoundFrame = { ...frame, nextOffset, bytes };
    const segment = this.#segmentFor(found);
    segment.note(found);
    this.#pending.push({ segment, frame });
    this.#pendingBytes += bytes;
    this.#tail.add(found);
    this.#end = nextOffset;
  }

  /** Closes the active segment, so that it may go: the next batch begins another. */
  roll(): void {
    const active = this.#segments.at(-1);
    if (active !== undefined && !active.isEmpty) this.#begin(this.#end);
  }

  /** Invariant 1. Rejects when the disk failed: the log is of no use any more. */
  sync(): Promise<void> {
    this.#working = this.#working.then(() => this.#write());
    return this.#working;
  }

  /** Batches from the one that holds an offset on, if all of them are in memory. */
  readTail(offset: number, maxBytes: number): FoundFrames | undefined {
    return this.#tail.read(offset, maxBytes);
  }

  /** As `readTail`, from the files if need be. Error: StoreDamaged. */
  async read(offset: number, maxBytes: number): Promise<FoundFrames> {
    for (;;) {
      const inMemory = this.#tail.read(offset, maxBytes);
      if (inMemory !== undefined) return inMemory;
      const segment = this.#segmentOf(offset);
      if (segment === undefined) return { frames: [], nextOffset: this.#end };
      const frames: Frame[] = [];
      let left = maxBytes;
      let nextOffset = Math.max(offset, segment.baseOffset);
      const position = segment.index.positionOf(offset);
      await this.#reading(segment, () =>
        segment.read(this.#options.files, position ?? Infinity, (frame) => {
          if (frame.nextOffset <= offset) return true;
          if (frames.length > 0 && frame.batch.byteLength > left) return false;
          frames.push(frame);
          left -= frame.batch.byteLength;
          nextOffset = frame.nextOffset;
          return left > 0;
        }),
      );
      if (frames.length > 0) return { frames, nextOffset };
      // Compaction has left nothing of it, or it was replaced meanwhile.
      const next = this.#segments.find(({ baseOffset }) => baseOffset > segment.baseOffset);
      offset = next === undefined ? this.#tail.start : Math.max(offset, next.baseOffset);
    }
  }

  /** First offset of a batch with a record at or after a time. Error: StoreDamaged. */
  async findByTime(timeMs: number): Promise<number | undefined> {
    for (const segment of this.#segments.slice()) {
      const position = segment.maxTimeMs < timeMs ? undefined : segment.index.positionOfTime(timeMs);
      if (position === undefined) continue;
      let found: number | undefined;
      await this.#reading(segment, () =>
        segment.read(this.#options.files, position, ({ baseOffset, batch }) => {
          if (maxTimeOf(batch) >= timeMs) found = baseOffset;
          return found === undefined;
        }),
      );
      if (found !== undefined) return found;
    }
    return this.#tail.findByTime(timeMs);
  }

  /** The rows that speak of this start are durable. Invariants 4, 5. */
  noteStored(logStart: number): void {
    while (this.#segments.length > 1 && this.#segments[1]!.baseOffset <= logStart)
      this.#drop(this.#segments.shift()!);
  }

  /** Rewrites closed segments; resolves when that is done, or the log is closed. */
  compact(order: CompactionOrder): Promise<void> {
    const run = async () => {
      const closed = this.#segments.slice(0, -1).filter(({ nextOffset }) => nextOffset <= order.upTo);
      const { clock, files } = this.#options;
      const compaction = new Compaction({ clock, files, order, isStopped: () => this.#isClosed });
      await this.sync(); // closed ones are in their files from here on
      await compaction.run(closed, (before, after) => this.#replace(before, after));
      this.#tail.dropBefore(order.upTo);
    };
    this.#compacting = this.#compacting.then(run);
    return this.#compacting;
  }

  /** Everything before an offset, as it is now, to be read at leisure. What it is made of must be synced. */
  snapshot(end: number): LogSnapshot {
    const segments = this.#segments.filter(({ baseOffset }) => baseOffset < end);
    return new LogSnapshot(this.#options.files, segments, end);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#tail.clear();
    await this.#working.catch(() => undefined);
    await this.#compacting.catch(() => undefined);
    for (const { path } of this.#segments) await this.#options.files.forget(path);
  }

  #segmentFor({ baseOffset, appendedAtMs, bytes }: FoundFrame): Segment {
    const active = this.#segments.at(-1);
    if (active === undefined) return this.#begin(baseOffset);
    if (active.epoch > 0) return this.#begin(baseOffset); // nothing is appended to what compaction wrote
    if (active.isEmpty) return active;
    const isFull = active.bytes + bytes > this.#layout.segmentBytes;
    const isOld = appendedAtMs - active.firstAppendedAtMs >= this.#layout.segmentMs;
    return isFull || isOld ? this.#begin(baseOffset) : active;
  }

  #begin(baseOffset: number): Segment {
    const segment = new Segment(this.#options.directory, baseOffset);
    this.#segments.push(segment);
    return segment;
  }

  /** The segment that holds an offset, or the first one behind it; undefined: there are only later ones in memory. */
  #segmentOf(offset: number): Segment | undefined {
    let [low, high] = [0, this.#segments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#segments[middle]!.baseOffset > offset) high = middle;
      else low = middle + 1;
    }
    return this.#segments[Math.max(0, low - 1)];
  }

  async #write(): Promise<void> {
    const pending = this.#pending;
    if (pending.length === 0 || this.#isClosed) return;
    this.#pending = [];
    const { files, directory } = this.#options;
    let isAnyNew = false;
    for (let from = 0; from < pending.length;) {
      const { segment } = pending[from]!;
      let to = from;
      while (to < pending.length && pending[to]!.segment === segment) to++;
      const frames = pending.slice(from, to);
      isAnyNew ||= segment.writtenBytes === 0;
      await this.#writeSegment(segment, frames);
      from = to;
    }
    for (const segment of new Set(pending.map((one) => one.segment)))
      await files.use(segment.path, (file) => file.sync());
    if (isAnyNew) await files.disk.syncDirectory(directory);
    for (const { frame } of pending) this.#pendingBytes -= FRAME_HEADER_BYTES + frame.batch.byteLength;
    this.#tail.written(nextOffsetOf(pending.at(-1)!.frame));
    await this.#indexClosed();
  }

  async #writeSegment(segment: Segment, frames: readonly PendingFrame[]): Promise<void> {
    const { files } = this.#options;
    if (segment.writtenBytes === 0) {
      const header = fileHeader(segment.baseOffset);
      await files.create(segment.path, (file) => file.write(0, header));
      segment.writtenBytes = header.length;
    }
    let parts: Uint8Array[] = [];
    let bytes = 0;
    const flush = async () => {
      const content = Buffer.concat(parts, bytes);
      parts = [];
      bytes = 0;
      await files.use(segment.path, (file) => file.write(segment.writtenBytes, content));
      segment.writtenBytes += content.length;
    };
    for (const { frame } of frames) {
      parts.push(frameHeader(frame), frame.batch);
      bytes += FRAME_HEADER_BYTES + frame.batch.byteLength;
      if (bytes >= WRITE_BYTES) await flush();
    }
    if (bytes > 0) await flush();
  }

  /** The index of a segment that is closed and written: only to begin faster. */
  async #indexClosed(): Promise<void> {
    for (const segment of this.#segments.slice(0, -1)) {
      if (segment.isIndexed || segment.writtenBytes !== segment.bytes) continue;
      await writeIndex(this.#options.files, segment);
    }
  }

  #replace(before: Segment, after: Segment): void {
    const at = this.#segments.indexOf(before);
    if (at < 0) return this.#drop(after); // retention was faster
    this.#segments[at] = after;
    this.#drop(before);
  }

  /** Removes the files when nobody reads them. */
  #drop(segment: Segment): void {
    const { files } = this.#options;
    const remove = async () => {
      await files.forget(segment.path);
      await files.disk.remove(segment.path);
      await files.disk.remove(segment.indexPath);
    };
    const queue = () => {
      this.#working = this.#working.then(remove);
      this.#working.catch(() => undefined); // the next sync says so
    };
    if (segment.readers === 0) queue();
    else segment.onUnread = queue;
  }

  async #reading(segment: Segment, work: () => Promise<void>): Promise<void> {
    segment.readers++;
    try {
      await work();
    } finally {
      unread(segment);
    }
  }
}
