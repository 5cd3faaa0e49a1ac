import { FILE_HEADER_BYTES, type FoundFrame, type Frame } from './segment-format.ts';
import type { SegmentFiles } from './segment-files.ts';
import { unread } from './segment-index.ts';
import type { Segment } from './segment.ts';

/** Everything that a log had before an offset, read at leisure; its files stay meanwhile. */
export class LogSnapshot {
  readonly #files: SegmentFiles;
  readonly #segments: Segment[];
  readonly #end: number;
  #position = FILE_HEADER_BYTES;

  constructor(files: SegmentFiles, segments: readonly Segment[], end: number) {
    this.#files = files;
    this.#segments = [...segments];
    this.#end = end;
    for (const segment of segments) segment.readers++;
  }

  /** Further batches, about so many bytes of them; none at the end. Error: StoreDamaged. */
  async next(maxBytes: number): Promise<Frame[]> {
    const frames: FoundFrame[] = [];
    let bytes = 0;
    while (this.#segments.length > 0 && bytes < maxBytes) {
      const segment = this.#segments[0]!;
      let isCut = false;
      await segment.read(this.#files, this.#position, (frame) => {
        if (frame.baseOffset >= this.#end) return false;
        isCut = bytes >= maxBytes;
        if (isCut) return false;
        frames.push(frame);
        bytes += frame.bytes;
        this.#position += frame.bytes;
        return true;
      });
      if (isCut) break;
      this.#segments.shift();
      this.#position = FILE_HEADER_BYTES;
      unread(segment);
    }
    return frames;
  }

  close(): Promise<void> {
    for (const segment of this.#segments.splice(0)) unread(segment);
    return Promise.resolve();
  }
}
