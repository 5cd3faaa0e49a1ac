/**
 * The files of all partitions on this node, and what the row store asks of them.
 *
 *  1. What a machine appends while its files are still being opened waits in memory: a machine
 *     is there at once, as all of them are.
 *  2. A flush of the row store waits until everything appended before it began is in the files.
 *  3. Files are removed only when the rows that do not speak of them any more are durable.
 */
import type { Clock } from '@holdfast/client/clock';
import { PartitionLog, type FoundFrames, type Frame } from './log/partition-log.ts';
import { SegmentFiles } from './log/segment-files.ts';
import { decodePiece, encodePiece } from './log-pieces.ts';
import type { Compact } from './partition-command.ts';
import type { PartitionBounds } from './partition-bounds.ts';
import type { Disk } from '../runtime/disk.ts';
import type { FilesFlush, FilesSnapshot, GroupFiles } from '../storage/group-files.ts';
import type { SnapshotRow } from '../storage/row-store.ts';

/** Directory of all of them. */
const TOPICS = 'topics';
/** Bytes of one piece of a snapshot. */
const PIECE_BYTES = 256 * 1024;

/** How files are laid out; changes at any time, and need not be the same on all nodes. */
export interface LogLayout {
  readonly segmentBytes: number;
  readonly segmentMs: number;
}

export const DEFAULT_LAYOUT: LogLayout = { segmentBytes: 64 * 1024 * 1024, segmentMs: 7 * 86_400_000 };

export interface PartitionLogsOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Files cannot be written, or are damaged: the node must not go on. */
  readonly onFailure: (error: Error) => void;
}

export class PartitionLogs implements GroupFiles {
  readonly #options: PartitionLogsOptions;
  readonly #files: SegmentFiles;
  readonly #logs = new Map<string, MachineLog>();
  /** Of generations that are being received. */
  readonly #filling = new Map<string, PartitionLog>();
  /** Those that were changed since the last flush. */
  #dirty = new Set<MachineLog>();
  #isStopped = false;

  constructor(options: PartitionLogsOptions) {
    this.#options = options;
    this.#files = new SegmentFiles(options.disk);
  }

  get pendingBytes(): number {
    let bytes = 0;
    for (const log of this.#dirty) bytes += log.pendingBytes;
    return bytes;
  }

  /** The files of a generation of a partition, with exactly what its rows say. */
  open(group: number, generation: number, bounds: Readonly<PartitionBounds>, layout: LogLayout): MachineLog {
    const name = nameOf(group, generation);
    const opening = this.#openLog(name, bounds.start, bounds.end, layout);
    const log = new MachineLog(opening, {
      bounds,
      layout,
      onDirty: (one) => this.#dirty.add(one),
      onFailure: (error) => this.#fail(error),
    });
    this.#logs.set(name, log);
    return log;
  }

  /** Invariants 2, 3. */
  beginFlush(): FilesFlush {
    const dirty = this.#dirty;
    this.#dirty = new Set();
    const flushes = [...dirty].map((log) => ({ log, ...log.bounds }));
    const synced = Promise.all([...dirty].map((log) => log.sync()));
    return {
      synced: synced.then(() => undefined),
      stored: () => {
        for (const { log, start, end } of flushes) log.noteStored(start, end);
      },
    };
  }

  async openSnapshot(group: number, generation: number): Promise<FilesSnapshot | undefined> {
    const log = this.#logs.get(nameOf(group, generation));
    if (log === undefined) return undefined;
    const frames = await log.snapshot();
    return {
      next: async () => (await frames.next(PIECE_BYTES)).map(encodePiece),
      close: () => frames.close(),
    };
  }

  async add(group: number, generation: number, pieces: readonly SnapshotRow[]): Promise<void> {
    const name = nameOf(group, generation);
    let filling = this.#filling.get(name);
    const frames = pieces.map(decodePiece);
    if (filling === undefined) {
      const first = frames[0]!.baseOffset;
      filling = await this.#openLog(name, first, first, DEFAULT_LAYOUT);
      this.#filling.set(name, filling);
    }
    for (const frame of frames) filling.append(frame);
    await filling.sync();
  }

  async remove(group: number, generation: number | undefined): Promise<void> {
    const { disk } = this.#options;
    const directories = await disk.list(TOPICS);
    const wanted = (name: string) =>
      generation === undefined ? name.startsWith(`${group}-`) : name === nameOf(group, generation);
    for (const name of new Set(
      [...directories, ...this.#logs.keys(), ...this.#filling.keys()].filter(wanted),
    ))
      await this.#remove(name);
  }

  /** Removes the files of groups that are not among some. */
  async removeOrphans(isKnown: (group: number) => boolean): Promise<void> {
    for (const name of await this.#options.disk.list(TOPICS)) {
      const group = Number(name.split('-')[0]);
      if (!isKnown(group) && !this.#logs.has(name)) await this.#remove(name);
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const log of this.#logs.values()) await log.close();
    for (const log of this.#filling.values()) await log.close();
    await this.#files.close();
  }

  async #openLog(name: string, logStart: number, logEnd: number, layout: LogLayout): Promise<PartitionLog> {
    // One that was being received becomes the machine's.
    const filled = this.#filling.get(name);
    if (filled !== undefined) {
      this.#filling.delete(name);
      await filled.close();
    }
    const { clock } = this.#options;
    const directory = `${TOPICS}/${name}`;
    return PartitionLog.open({ clock, files: this.#files, directory, logStart, logEnd, ...layout });
  }

  async #remove(name: string): Promise<void> {
    const known = this.#logs.get(name);
    this.#logs.delete(name);
    if (known !== undefined) this.#dirty.delete(known);
    const filling = this.#filling.get(name);
    this.#filling.delete(name);
    await filling?.close();
    await known?.close();
    await PartitionLog.removeAll(this.#files, `${TOPICS}/${name}`);
  }

  #fail(error: Error): void {
    if (!this.#isStopped) this.#options.onFailure(error);
  }
}

interface MachineLogOptions {
  /** As applied. */
  readonly bounds: Readonly<PartitionBounds>;
  readonly layout: LogLayout;
  readonly onDirty: (log: MachineLog) => void;
  readonly onFailure: (error: Error) => void;
}

/** The files of one generation of a partition, as its machine uses them. Invariant 1. */
export class MachineLog {
  readonly #options: MachineLogOptions;
  readonly #opening: Promise<PartitionLog>;
  #log: PartitionLog | undefined;
  /** What came before the files were open. */
  #early: Frame[] = [];
  #earlyBytes = 0;
  /** What is to be compacted. */
  #order: Compact | undefined;
  #layout: LogLayout;
  #isClosed = false;
  #stored: { start: number; end: number };
  #compacting: Promise<void> = Promise.resolve();

  constructor(opening: Promise<PartitionLog>, options: MachineLogOptions) {
    this.#options = options;
    this.#layout = options.layout;
    this.#stored = { start: options.bounds.start, end: options.bounds.end };
    this.#opening = opening.then((log) => {
      this.#log = log;
      this.#apply(log);
      return log;
    });
    this.#opening.catch((error: unknown) => options.onFailure(error as Error));
  }

  get bounds(): { readonly start: number; readonly end: number } {
    const { start, end } = this.#options.bounds;
    return { start, end };
  }

  get pendingBytes(): number {
    return this.#earlyBytes + (this.#log?.pendingBytes ?? 0);
  }

  /** Undefined: the files are being opened. */
  get opened(): PartitionLog | undefined {
    return this.#log;
  }

  append(frame: Frame): void {
    this.#options.onDirty(this);
    if (this.#log !== undefined) return this.#log.append(frame);
    this.#early.push({ ...frame, batch: Uint8Array.from(frame.batch) });
    this.#earlyBytes += frame.batch.byteLength;
  }

  /** Batches from the one with an offset on. Error: StoreDamaged. */
  async read(offset: number, maxBytes: number): Promise<FoundFrames> {
    const log = this.#log ?? (await this.#opening);
    return log.readTail(offset, maxBytes) ?? (await this.#checked(log.read(offset, maxBytes)));
  }

  /** First offset of a batch with a record at or after a time. Error: StoreDamaged. */
  async findByTime(timeMs: number): Promise<number | undefined> {
    const log = this.#log ?? (await this.#opening);
    return this.#checked(log.findByTime(timeMs));
  }

  /** Everything that was appended before is durable. */
  async sync(): Promise<void> {
    const log = this.#log ?? (await this.#opening);
    if (!this.#isClosed) await log.sync();
  }

  /** The log has another start; its files go when the rows that say so are durable. */
  noteTrim(): void {
    this.#options.onDirty(this);
  }

  /**
   * In the background, when the rows that say so are durable: a crash that brings back older rows
   * must find the records that those speak of. Of several orders the last is carried out.
   */
  compact(compaction: Compact): void {
    this.#order = compaction;
    this.#options.onDirty(this);
  }

  /** From now on. */
  setLayout(layout: LogLayout): void {
    this.#layout = layout;
    this.#log?.setLayout(layout);
  }

  /** The rows that say so are durable. */
  noteStored(start: number, end: number): void {
    this.#stored = { start, end };
    this.#log?.noteStored(start);
    this.#startCompaction();
  }

  /** What the rows of the store speak of. */
  async snapshot(): Promise<ReturnType<PartitionLog['snapshot']>> {
    const { end } = this.#stored;
    return (this.#log ?? (await this.#opening)).snapshot(end);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const log = await this.#opening.catch(() => undefined);
    await this.#compacting;
    await log?.close();
  }

  #startCompaction(): void {
    const order = this.#order;
    if (order === undefined || this.#stored.end < order.upTo) return;
    this.#order = undefined;
    this.#compacting = this.#compacting
      .then(() => this.#opening)
      .then((log) => (this.#isClosed ? undefined : log.compact(order)))
      .catch((error: unknown) => {
        if (!this.#isClosed) this.#options.onFailure(error as Error);
      });
  }

  #apply(log: PartitionLog): void {
    log.setLayout(this.#layout);
    for (const frame of this.#early.splice(0)) log.append(frame);
    this.#earlyBytes = 0;
  }

  /** One bad batch condemns the store: it is never skipped. */
  async #checked<T>(reading: Promise<T>): Promise<T> {
    try {
      return await reading;
    } catch (error) {
      if (!this.#isClosed && (error as Error).name === 'StoreDamaged')
        this.#options.onFailure(error as Error);
      throw error;
    }
  }
}

function nameOf(group: number, generation: number): string {
  return `${group}-${generation}`;
}
