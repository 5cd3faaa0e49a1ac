/** Records inside a batch, as far as compaction needs them: keys, deletions, and their bytes. */
import { crc32, gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { asBuffer } from '../../storage/byte-codec.ts';
import { BATCH_HEADER_BYTES } from '../batch-check.ts';

/** Batches that would become larger are left as they are: to unpack one is a single slice. */
const MAX_UNPACKED_BYTES = 16 * 1024 * 1024;

export interface BatchRecord {
  readonly offset: number;
  /** Undefined: none. */
  readonly key: Buffer | undefined;
  /** It has no value: of a key that deletes it. */
  readonly isDeletion: boolean;
  /** As it stands in the batch. */
  readonly bytes: Buffer;
}

/** All records; undefined: they cannot be read. */
export function recordsOf(baseOffset: number, batch: Uint8Array): BatchRecord[] | undefined {
  const bytes = asBuffer(batch);
  try {
    const content = unpacked(bytes);
    if (content === undefined) return undefined;
    const records: BatchRecord[] = [];
    const walk = new Walk(content);
    for (let left = bytes.readUInt32BE(12); left > 0; left--) records.push(walk.record(baseOffset));
    return walk.isDone ? records : undefined;
  } catch {
    return undefined; // its producer has made it so; it is kept as it is
  }
}

/** A batch with some of its records; offsets, times and producer are as they were. */
export function batchOf(batch: Uint8Array, kept: readonly BatchRecord[]): Buffer {
  const before = asBuffer(batch);
  const content = Buffer.concat(kept.map(({ bytes }) => bytes));
  const packed = packedAs(before[5]!, content);
  const after = Buffer.concat([before.subarray(0, BATCH_HEADER_BYTES), packed]);
  after.writeUInt32BE(after.length, 0);
  after.writeUInt32BE(kept.length, 12);
  after.writeUInt32BE(content.length, 56);
  after.writeUInt32BE(crc32(after.subarray(12)), 8);
  return after;
}

function unpacked(batch: Buffer): Buffer | undefined {
  const content = batch.subarray(BATCH_HEADER_BYTES);
  const size = batch.readUInt32BE(56);
  if (size > MAX_UNPACKED_BYTES) return undefined;
  if (batch[5] === 0) return content;
  const options = { maxOutputLength: size };
  return batch[5] === 1 ? gunzipSync(content, options) : zstdDecompressSync(content, options);
}

function packedAs(compression: number, content: Buffer): Buffer {
  if (compression === 0) return content;
  return compression === 1 ? gzipSync(content) : zstdCompressSync(content);
}

/** Reads records one behind the other. Error: RangeError. */
class Walk {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isDone(): boolean {
    return this.#at === this.#bytes.length;
  }

  record(baseOffset: number): BatchRecord {
    const start = this.#at;
    const offset = baseOffset + this.#varint();
    this.#varint(); // time
    const key = this.#field();
    const value = this.#field();
    for (let headers = this.#varint(); headers > 0; headers--) {
      this.#skip(this.#varint());
      this.#skip(this.#varint());
    }
    const bytes = this.#bytes.subarray(start, this.#at);
    return { offset, key, isDeletion: value === undefined, bytes };
  }

  #field(): Buffer | undefined {
    const length = this.#varint();
    if (length === 0) return undefined;
    const start = this.#at;
    this.#skip(length - 1);
    return this.#bytes.subarray(start, this.#at);
  }

  #skip(bytes: number): void {
    this.#at += bytes;
    if (this.#at > this.#bytes.length) throw new RangeError('a record goes on behind its batch');
  }

  #varint(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new RangeError('a record goes on behind its batch');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RangeError('a number of a record is too long');
  }
}
