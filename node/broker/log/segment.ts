/**
 * One file of a partition's log: where it is, what it holds, and reading it. Its content ends
 * at `writtenBytes`; what was appended and is not written yet only the log knows.
 */
import { asBuffer } from '../../storage/byte-codec.ts';
import { StoreDamaged } from '../../storage/row-store.ts';
import type { DiskFile } from '../../runtime/disk.ts';
import {
  FILE_HEADER_BYTES,
  FRAME_HEADER_BYTES,
  frameAt,
  frameBytesAt,
  isFileHeader,
  maxTimeOf,
  type FoundFrame,
} from './segment-format.ts';
import type { SegmentFiles } from './segment-files.ts';
import { SparseIndex, type SegmentSummary } from './sparse-index.ts';

/** Bytes read at once. */
const CHUNK_BYTES = 256 * 1024;

/** `<base offset>-<epoch of the compaction that wrote it>` */
const NAME = /^(\d{20})-(\d{10})\.log$/;

export class Segment {
  readonly directory: string;
  readonly baseOffset: number;
  /** Of the compaction that wrote it; 0: none did. */
  readonly epoch: number;
  index = new SparseIndex();
  /** Bytes of the file with what is still to be written. */
  bytes = FILE_HEADER_BYTES;
  /** Bytes that are in the file. */
  writtenBytes = 0;
  nextOffset: number;
  maxTimeMs = 0;
  firstAppendedAtMs = 0;
  lastAppendedAtMs = 0;
  /** The index file is on disk. */
  isIndexed = false;
  /** Those who read it at their own pace. */
  readers = 0;
  /** Calls back when nobody reads it any more. */
  onUnread: (() => void) | undefined;

  constructor(directory: string, baseOffset: number, epoch = 0) {
    this.directory = directory;
    this.baseOffset = baseOffset;
    this.epoch = epoch;
    this.nextOffset = baseOffset;
  }

  static fromName(directory: string, name: string): Segment | undefined {
    const found = NAME.exec(name);
    return found === null ? undefined : new Segment(directory, Number(found[1]), Number(found[2]));
  }

  get path(): string {
    return `${this.directory}/${this.#name}.log`;
  }

  get indexPath(): string {
    return `${this.directory}/${this.#name}.index`;
  }

  get isEmpty(): boolean {
    return this.bytes === FILE_HEADER_BYTES;
  }

  get summary(): SegmentSummary {
    const { bytes, nextOffset, maxTimeMs, firstAppendedAtMs, lastAppendedAtMs } = this;
    return { bytes, nextOffset, maxTimeMs, firstAppendedAtMs, lastAppendedAtMs };
  }

  /** Notes a batch behind the others; returns where it stands in the file. */
  note(frame: FoundFrame): number {
    const position = this.bytes;
    const maxTimeMs = maxTimeOf(frame.batch);
    this.index.note(frame.baseOffset, position, maxTimeMs);
    if (this.isEmpty) this.firstAppendedAtMs = frame.appendedAtMs;
    this.lastAppendedAtMs = frame.appendedAtMs;
    this.maxTimeMs = Math.max(this.maxTimeMs, maxTimeMs);
    this.nextOffset = frame.nextOffset;
    this.bytes += frame.bytes;
    return position;
  }

  take(index: SparseIndex, summary: SegmentSummary): void {
    this.index = index;
    this.bytes = summary.bytes;
    this.writtenBytes = summary.bytes;
    this.nextOffset = summary.nextOffset;
    this.maxTimeMs = summary.maxTimeMs;
    this.firstAppendedAtMs = summary.firstAppendedAtMs;
    this.lastAppendedAtMs = summary.lastAppendedAtMs;
    this.isIndexed = true;
  }

  /** Batches in the file from a place on, as long as `take` wants them. Error: StoreDamaged. */
  read(files: SegmentFiles, position: number, take: (frame: FoundFrame) => boolean): Promise<void> {
    if (position >= this.writtenBytes) return Promise.resolve();
    return files.use(this.path, (file) => this.#readFrames(file, position, take));
  }

  /**
   * Looks through the whole file, whatever it holds: up to the first batch that is not whole or
   * not sound, or that `isWanted` does not want. Returns where that is and what was wrong.
   */
  async recover(
    files: SegmentFiles,
    isWanted: (frame: FoundFrame) => boolean,
  ): Promise<StoreDamaged | undefined> {
    return files.use(this.path, async (file) => {
      const size = await file.size();
      const header = await file.read(0, FILE_HEADER_BYTES);
      if (!isFileHeader(header, this.baseOffset))
        return new StoreDamaged(`${this.path} is no segment of a topic`);
      this.writtenBytes = size;
      let problem: StoreDamaged | undefined;
      let end = FILE_HEADER_BYTES;
      const take = (frame: FoundFrame) => {
        if (!isWanted(frame)) return false;
        this.note(frame);
        end += frame.bytes;
        return true;
      };
      await this.#readFrames(file, FILE_HEADER_BYTES, take).catch((error: unknown) => {
        if (!(error instanceof StoreDamaged)) throw error;
        problem = error;
      });
      this.writtenBytes = end;
      return problem;
    });
  }

  async #readFrames(file: DiskFile, from: number, take: (frame: FoundFrame) => boolean): Promise<void> {
    let position = from;
    let wanted = CHUNK_BYTES;
    while (position + FRAME_HEADER_BYTES <= this.writtenBytes) {
      const length = Math.min(wanted, this.writtenBytes - position);
      const bytes = asBuffer(await file.read(position, length));
      let at = 0;
      for (let frame = frameAt(bytes, at); frame !== undefined; frame = frameAt(bytes, at)) {
        if (!take(frame)) return;
        at += frame.bytes;
      }
      const more = frameBytesAt(bytes, at);
      if (at === 0 && position + Math.max(more ?? 0, wanted) >= this.writtenBytes && bytes.length >= length) {
        if (more === undefined || position + more > this.writtenBytes)
          throw new StoreDamaged(`${this.path} ends within a batch`);
      }
      wanted = Math.max(CHUNK_BYTES, more ?? 0);
      position += at;
      if (bytes.length < length) throw new StoreDamaged(`${this.path} is shorter than it was`);
    }
  }

  get #name(): string {
    return `${String(this.baseOffset).padStart(20, '0')}-${String(this.epoch).padStart(10, '0')}`;
  }
}
