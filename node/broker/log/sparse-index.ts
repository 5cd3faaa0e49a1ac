/**
 * Where in a segment offsets and times are, about every 16 KiB. In memory a few bytes for each;
 * on disk a file beside a segment that is closed, which is made anew from the segment when it
 * is missing or not sound.
 */
import { crc32 } from 'node:zlib';
import { ByteReader, ByteWriter } from '../../storage/byte-codec.ts';

const EVERY_BYTES = 16 * 1024;
const VERSION = 1;

/** What is known of a segment besides its index. */
export interface SegmentSummary {
  /** Of the file. */
  readonly bytes: number;
  /** Behind its last record. */
  readonly nextOffset: number;
  /** Greatest time of a record. */
  readonly maxTimeMs: number;
  readonly firstAppendedAtMs: number;
  readonly lastAppendedAtMs: number;
}

export class SparseIndex {
  #count = 0;
  #offsets = new Float64Array(16);
  #positions = new Uint32Array(16);
  /** Greatest time of all records up to the next entry. */
  #times = new Float64Array(16);

  /** Notes a batch; they come in order. */
  note(baseOffset: number, position: number, maxTimeMs: number): void {
    const last = this.#count - 1;
    if (last < 0 || position - this.#positions[last]! >= EVERY_BYTES) {
      this.#add(baseOffset, position, Math.max(maxTimeMs, last < 0 ? 0 : this.#times[last]!));
    } else if (maxTimeMs > this.#times[last]!) this.#times[last] = maxTimeMs;
  }

  /** A place in the file at or before the batch that holds an offset; undefined: there are no batches. */
  positionOf(offset: number): number | undefined {
    const at = this.#search((entry) => this.#offsets[entry]! > offset);
    return this.#count === 0 ? undefined : this.#positions[Math.max(0, at - 1)]!;
  }

  /** A place at or before the first batch with a record at or after a time; undefined: there is none. */
  positionOfTime(timeMs: number): number | undefined {
    const at = this.#search((entry) => this.#times[entry]! >= timeMs);
    return at === this.#count ? undefined : this.#positions[at]!;
  }

  encode(summary: SegmentSummary): Buffer {
    const writer = new ByteWriter(64 + this.#count * 24).u32(VERSION);
    writer.u64(summary.bytes).u64(summary.nextOffset).u64(summary.maxTimeMs);
    writer.u64(summary.firstAppendedAtMs).u64(summary.lastAppendedAtMs).u32(this.#count);
    for (let at = 0; at < this.#count; at++)
      writer.u64(this.#offsets[at]!).u32(this.#positions[at]!).u64(this.#times[at]!);
    const content = writer.finish();
    return Buffer.concat([content, new ByteWriter(4).u32(crc32(content)).finish()]);
  }

  /** Undefined: it is not sound. */
  static decode(bytes: Uint8Array): { index: SparseIndex; summary: SegmentSummary } | undefined {
    if (bytes.byteLength < 4) return undefined;
    const content = bytes.subarray(0, bytes.byteLength - 4);
    if (new ByteReader(bytes.subarray(content.byteLength)).u32() !== crc32(content)) return undefined;
    const reader = new ByteReader(content);
    if (reader.u32() !== VERSION) return undefined;
    const [size, nextOffset, maxTimeMs] = [reader.u64(), reader.u64(), reader.u64()];
    const [firstAppendedAtMs, lastAppendedAtMs] = [reader.u64(), reader.u64()];
    const index = new SparseIndex();
    for (let left = reader.u32(); left > 0; left--) index.#add(reader.u64(), reader.u32(), reader.u64());
    return { index, summary: { bytes: size, nextOffset, maxTimeMs, firstAppendedAtMs, lastAppendedAtMs } };
  }

  #add(offset: number, position: number, timeMs: number): void {
    if (this.#count === this.#offsets.length) this.#grow();
    this.#offsets[this.#count] = offset;
    this.#positions[this.#count] = position;
    this.#times[this.#count] = timeMs;
    this.#count++;
  }

  #grow(): void {
    const size = this.#count * 2;
    const [offsets, positions, times] = [
      new Float64Array(size),
      new Uint32Array(size),
      new Float64Array(size),
    ];
    offsets.set(this.#offsets);
    positions.set(this.#positions);
    times.set(this.#times);
    this.#offsets = offsets;
    this.#positions = positions;
    this.#times = times;
  }

  /** The first entry that is `beyond`; all behind it are as well. */
  #search(beyond: (entry: number) => boolean): number {
    let [low, high] = [0, this.#count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (beyond(middle)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
