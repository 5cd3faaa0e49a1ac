/**
 * Rewrites closed segments so that of each key the newest record stays. In rounds of as many
 * keys as fit into memory: the segments in which they are found, and all before them, are
 * rewritten, one file at a time, from the oldest on.
 *
 *  1. A record goes only if its key has a newer one in a segment that is compacted too.
 *  2. A deletion goes only if it is old, and after everything before it that has its key.
 *  3. What stays has the offset and the time that it had.
 *  4. A file is replaced when the new one is durable; a crash leaves one of them or both.
 */
import type { Clock } from '@holdfast/client/clock';
import { batchOf, recordsOf } from './batch-records.ts';
import { FILE_HEADER_BYTES, fileHeader, frameHeader, type FoundFrame, type Frame } from './segment-format.ts';
import type { SegmentFiles } from './segment-files.ts';
import { Segment } from './segment.ts';
import { nextOffsetOf } from './segment-format.ts';
import { writeIndex } from './segment-index.ts';

/** Keys of one round. */
const MAX_KEYS = 500_000;
/** A slice gives way to input after this long. */
const SLICE_MS = 4;
/** Bytes of one write. */
const WRITE_BYTES = 1024 * 1024;

export interface CompactionOrder {
  readonly upTo: number;
  /** Greater than that of any segment. */
  readonly epoch: number;
  readonly dropDeletesBeforeMs: number;
}

export interface CompactionOptions {
  readonly clock: Clock;
  readonly files: SegmentFiles;
  readonly order: CompactionOrder;
  readonly isStopped: () => boolean;
}

/** Puts a rewritten segment in the place of one. */
export type ReplaceSegment = (before: Segment, after: Segment) => void;

export class Compaction {
  readonly #options: CompactionOptions;
  #sliceSinceMs: number;

  constructor(options: CompactionOptions) {
    this.#options = options;
    this.#sliceSinceMs = options.clock.monotonicMs();
  }

  /** `segments`: closed, in order. */
  async run(segments: readonly Segment[], replace: ReplaceSegment): Promise<void> {
    const present = [...segments];
    for (let from = 0; from < segments.length;) {
      const { newest, to } = await this.#newest(present, from);
      for (let at = 0; at < to; at++) {
        const before = present[at]!;
        if (this.#options.isStopped()) return;
        const after = await this.#rewrite(before, newest);
        if (after === undefined) continue;
        replace(before, after);
        present[at] = after;
      }
      from = to;
    }
  }

  /** Offsets of the newest record of each key in the segments from one on, as many as fit. */
  async #newest(
    segments: readonly Segment[],
    from: number,
  ): Promise<{ newest: Map<string, number>; to: number }> {
    const newest = new Map<string, number>();
    let to = from;
    while (to < segments.length && (newest.size < MAX_KEYS || to === from)) {
      for await (const frame of this.#frames(segments[to++]!)) {
        for (const { key, offset } of recordsOf(frame.baseOffset, frame.batch) ?? [])
          if (key !== undefined) newest.set(key.toString('latin1'), offset);
        await this.#giveWay();
      }
      if (this.#options.isStopped()) break;
    }
    return { newest, to };
  }

  /** Undefined: everything stays. One of which nothing is left is kept, empty: the log has no holes. Invariants 1 to 4. */
  async #rewrite(before: Segment, newest: ReadonlyMap<string, number>): Promise<Segment | undefined> {
    const { files, order } = this.#options;
    const after = new Segment(before.directory, before.baseOffset, order.epoch);
    const writing = `${after.path}.tmp`;
    let hasDropped = false;
    await files.create(writing, async (file) => {
      await file.write(0, fileHeader(after.baseOffset));
      let parts: Uint8Array[] = [];
      let position = FILE_HEADER_BYTES;
      const flush = async () => {
        const content = Buffer.concat(parts);
        parts = [];
        await file.write(position, content);
        position += content.length;
      };
      for await (const frame of this.#frames(before)) {
        const kept = this.#kept(frame, newest);
        hasDropped ||= kept !== frame;
        if (kept !== undefined) {
          const header = frameHeader(kept);
          const bytes = header.length + kept.batch.byteLength;
          after.note({ ...kept, nextOffset: nextOffsetOf(kept), bytes });
          parts.push(header, kept.batch);
        }
        if (after.bytes - position >= WRITE_BYTES) await flush();
        await this.#giveWay();
      }
      await flush();
      await file.sync();
    });
    await files.forget(writing);
    if (!hasDropped || this.#options.isStopped()) {
      await files.disk.remove(writing);
      return undefined;
    }
    after.writtenBytes = after.bytes;
    after.nextOffset = before.nextOffset;
    after.firstAppendedAtMs = before.firstAppendedAtMs;
    after.lastAppendedAtMs = before.lastAppendedAtMs;
    await writeIndex(files, after); // before the name counts: it alone says where the segment ended
    await files.disk.syncDirectory(after.directory);
    await files.disk.rename(writing, after.path);
    await files.disk.syncDirectory(after.directory);
    return after;
  }

  /** What is left of a batch; the same one: all. */
  #kept(frame: FoundFrame, newest: ReadonlyMap<string, number>): Frame | undefined {
    const { baseOffset, appendedAtMs, batch } = frame;
    const records = recordsOf(baseOffset, batch);
    if (records === undefined) return frame;
    const isOld = appendedAtMs < this.#options.order.dropDeletesBeforeMs;
    const kept = records.filter(({ key, offset, isDeletion }) => {
      if (key === undefined) return true;
      if ((newest.get(key.toString('latin1')) ?? offset) > offset) return false;
      return !(isDeletion && isOld);
    });
    if (kept.length === records.length) return frame;
    return kept.length === 0 ? undefined : { baseOffset, appendedAtMs, batch: batchOf(batch, kept) };
  }

  /** Batches of a segment, a part at a time. */
  async *#frames(segment: Segment): AsyncGenerator<FoundFrame> {
    for (let position = FILE_HEADER_BYTES; position < segment.writtenBytes;) {
      const part: FoundFrame[] = [];
      let bytes = 0;
      await segment.read(this.#options.files, position, (frame) => {
        part.push(frame);
        bytes += frame.bytes;
        return bytes < WRITE_BYTES;
      });
      position += bytes;
      yield* part;
      if (part.length === 0) return;
    }
  }

  async #giveWay(): Promise<void> {
    const { clock } = this.#options;
    if (clock.monotonicMs() - this.#sliceSinceMs < SLICE_MS) return;
    await new Promise<void>((resolve) => clock.afterTurn(resolve));
    this.#sliceSinceMs = clock.monotonicMs();
  }
}
