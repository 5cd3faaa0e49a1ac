import { HoldfastError } from '../error.ts';
import { type Compression, decompress } from './compression.ts';
import { asBuffer, BATCH_HEADER_BYTES, type BatchHeader, readBatchHeader } from './record-batch.ts';
import type { RecordHeader } from './record-writer.ts';

/** A record of a batch. Key, value and headers are views of the batch, not copies. */
export interface BatchRecord {
  /** Distance of its offset from the batch's first. */
  readonly delta: number;
  /** ms since 1970. */
  readonly timeMs: number;
  /** Undefined: none. */
  readonly key: Uint8Array | undefined;
  /** Undefined: none; in a compacted topic that deletes the key. */
  readonly value: Uint8Array | undefined;
  /** In order. */
  readonly headers: readonly RecordHeader[];
}

/** Gives back what was compressed, exactly `size` bytes, or throws. */
export type Decompress = (bytes: Uint8Array, compression: Compression, size: number) => Uint8Array;

const NO_HEADERS: readonly RecordHeader[] = Object.freeze([]);

/**
 * Reads the records of a batch one after the other. Whatever the bytes are, it ends: after the
 * records that the head states, or with RECORDS_UNREADABLE, and takes no more memory than the head
 * states (64 MiB at most).
 *
 * The checksum is not looked at: see `checkBatch`.
 */
export class RecordReader {
  /** What the head says. */
  readonly header: BatchHeader;
  readonly #bytes: Buffer;
  #at = 0;
  #read = 0;
  #lastDelta = -1;

  /** Errors: BATCH_CORRUPT, COMPRESSION_UNKNOWN, RECORDS_UNREADABLE. */
  constructor(
    batch: Uint8Array,
    header: BatchHeader = readBatchHeader(batch),
    unpack: Decompress = decompress,
  ) {
    this.header = header;
    const stored = batch.subarray(BATCH_HEADER_BYTES);
    try {
      this.#bytes = asBuffer(unpack(stored, header.compression, header.uncompressedBytes));
    } catch (cause) {
      throw unreadable(`cannot be decompressed (${header.compression}): ${String(cause)}`, cause);
    }
  }

  /** The next record; undefined behind the last. Error: RECORDS_UNREADABLE, which ends it. */
  next(): BatchRecord | undefined {
    if (this.#read === this.header.count) return undefined;
    try {
      const record = this.#record();
      this.#read += 1;
      if (this.#read === this.header.count && this.#at < this.#bytes.length)
        throw new RangeError('something stands behind the last record');
      return record;
    } catch (cause) {
      this.#read = this.header.count;
      if (cause instanceof RangeError) throw unreadable(`are not sound: ${cause.message}`, cause);
      throw cause;
    }
  }

  #record(): BatchRecord {
    const delta = this.#varint();
    if (delta <= this.#lastDelta || delta > this.header.lastDelta)
      throw new RangeError(`the distance of an offset is ${delta}`);
    this.#lastDelta = delta;
    const timeMs = this.header.firstTimeMs + unZigZag(this.#varint());
    const key = this.#optional();
    const value = this.#optional();
    const count = this.#varint();
    return { delta, timeMs, key, value, headers: count === 0 ? NO_HEADERS : this.#headers(count) };
  }

  #headers(count: number): RecordHeader[] {
    // Two numbers each at least: what is claimed beyond that ends before it takes memory.
    if (count * 2 > this.#bytes.length - this.#at) throw new RangeError(`a record has ${count} headers`);
    const headers: RecordHeader[] = [];
    for (let left = count; left > 0; left -= 1) {
      const name = this.#slice(this.#varint()).toString('utf8');
      headers.push([name, this.#slice(this.#varint())]);
    }
    return headers;
  }

  #optional(): Buffer | undefined {
    const length = this.#varint();
    return length === 0 ? undefined : this.#slice(length - 1);
  }

  #slice(length: number): Buffer {
    const from = this.#at;
    if (length > this.#bytes.length - from) throw new RangeError('a record ends behind its batch');
    this.#at = from + length;
    return this.#bytes.subarray(from, this.#at);
  }

  #varint(): number {
    let value = 0;
    let factor = 1;
    for (let length = 0; length < 8; length += 1) {
      if (this.#at >= this.#bytes.length) throw new RangeError('a record ends in the middle of a number');
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      factor *= 128;
    }
    throw new RangeError('a number is beyond 2^53');
  }
}

/** All records of a batch. Errors: as of RecordReader. */
export function readRecords(batch: Uint8Array): BatchRecord[] {
  const reader = new RecordReader(batch);
  const records: BatchRecord[] = [];
  for (let record = reader.next(); record !== undefined; record = reader.next()) records.push(record);
  return records;
}

function unZigZag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

function unreadable(what: string, cause: unknown): HoldfastError {
  return new HoldfastError({
    reason: 'RECORDS_UNREADABLE',
    message: `the records of a batch ${what}. Nothing of the batch is given; what is stored stays as it is.`,
    field: 'batch',
    cause,
  });
}
