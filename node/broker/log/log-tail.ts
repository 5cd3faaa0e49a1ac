/**
 * The last batches of a log in memory: those that are not in files yet, and before them what
 * readers that keep up are about to read.
 */
import { maxTimeOf, type FoundFrame, type Frame } from './segment-format.ts';
import type { FoundFrames } from './partition-log.ts';
import type { SegmentFiles } from './segment-files.ts';

/** Of one log, besides what is not written yet. */
const KEPT_BYTES = 4 * 1024 * 1024;

/** In place of what is not here any more, so that nothing holds its memory. */
const GONE: FoundFrame = {
  baseOffset: 0,
  appendedAtMs: 0,
  batch: new Uint8Array(0),
  nextOffset: 0,
  bytes: 0,
};

export class LogTail {
  readonly #files: SegmentFiles;
  #frames: FoundFrame[] = [];
  /** Those before are gone. */
  #first = 0;
  #bytes = 0;
  /** Offset behind the last batch that is in its file. */
  #written: number;
  #end: number;

  constructor(files: SegmentFiles, end: number) {
    this.#files = files;
    this.#written = end;
    this.#end = end;
  }

  /** First offset that is here. */
  get start(): number {
    return this.#frames[this.#first]?.baseOffset ?? this.#end;
  }

  add(frame: FoundFrame): void {
    this.#frames.push(frame);
    this.#bytes += frame.bytes;
    this.#files.tailBytes += frame.bytes;
    this.#end = frame.nextOffset;
    this.#shrink();
  }

  /** Everything before an offset is in its file. */
  written(offset: number): void {
    this.#written = offset;
    this.#shrink();
  }

  /** Undefined: it begins before what is here. */
  read(offset: number, maxBytes: number): FoundFrames | undefined {
    if (offset < this.start) return undefined;
    const frames: Frame[] = [];
    let left = maxBytes;
    let nextOffset = Math.max(offset, this.#end);
    for (let at = this.#find(offset); at < this.#frames.length; at++) {
      const frame = this.#frames[at]!;
      if (frames.length > 0 && frame.batch.byteLength > left) break;
      frames.push(frame);
      left -= frame.batch.byteLength;
      nextOffset = frame.nextOffset;
    }
    return { frames, nextOffset };
  }

  /** What lies before an offset is read from its file from now on. */
  dropBefore(offset: number): void {
    while ((this.#frames[this.#first]?.nextOffset ?? Infinity) <= Math.min(offset, this.#written))
      this.#shift();
  }

  findByTime(timeMs: number): number | undefined {
    for (let at = this.#first; at < this.#frames.length; at++)
      if (maxTimeOf(this.#frames[at]!.batch) >= timeMs) return this.#frames[at]!.baseOffset;
    return undefined;
  }

  clear(): void {
    this.#files.tailBytes -= this.#bytes;
    this.#bytes = 0;
    this.#frames = [];
    this.#first = 0;
  }

  /** First batch that ends behind an offset. */
  #find(offset: number): number {
    let [low, high] = [this.#first, this.#frames.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#frames[middle]!.nextOffset > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #shift(): void {
    const { bytes } = this.#frames[this.#first]!;
    this.#frames[this.#first++] = GONE;
    this.#bytes -= bytes;
    this.#files.tailBytes -= bytes;
  }

  #shrink(): void {
    for (;;) {
      const frame = this.#frames[this.#first];
      if (frame === undefined || frame.nextOffset > this.#written) break;
      if (this.#bytes <= KEPT_BYTES && !this.#files.isTailFull) break;
      this.#shift();
    }
    if (this.#first < 1_024 || this.#first < this.#frames.length / 2) return;
    this.#frames = this.#frames.slice(this.#first);
    this.#first = 0;
  }
}
