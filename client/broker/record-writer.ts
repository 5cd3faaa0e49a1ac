import { varintSize } from '../wire-writer.ts';
import { type Compression, compress } from './compression.ts';
import { BATCH_HEADER_BYTES, type BatchSeal, writeBatchHeader } from './record-batch.ts';

/** A header of a record. */
export type RecordHeader = readonly [name: string, value: Uint8Array];

const FIRST_BYTES = 1_024;
const NO_SEAL: BatchSeal = { producerId: 0n, producerEpoch: 0, sequence: 0n };
const NO_HEADERS: readonly RecordHeader[] = [];

/** Puts records one behind the other into a batch, in a buffer that grows as they come. */
export class RecordBatchWriter {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #at = BATCH_HEADER_BYTES;
  #count = 0;
  #nextDelta = 0;
  #firstTimeMs = 0;
  #maxTimeMs = 0;

  /** Number of records. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of the batch, head included, if it were finished now and not compressed. */
  get size(): number {
    return this.#at;
  }

  /**
   * Adds a record; `timeMs` is a whole number of ms since 1970. Text is written as UTF-8.
   * `delta`: distance of its offset from the first's, greater than that of the record before;
   * default: the next.
   */
  append(
    timeMs: number,
    key: Uint8Array | undefined,
    value: Uint8Array | string | undefined,
    headers: readonly RecordHeader[] = NO_HEADERS,
    delta: number = this.#nextDelta,
  ): void {
    if (this.#count === 0) this.#firstTimeMs = this.#maxTimeMs = timeMs;
    else if (timeMs > this.#maxTimeMs) this.#maxTimeMs = timeMs;
    const valueBytes = lengthOf(value);
    // Five numbers of at most ten bytes, and the contents.
    this.#reserve(50 + (key?.length ?? 0) + valueBytes);
    this.#varint(delta);
    this.#varint(zigZag(timeMs - this.#firstTimeMs));
    if (key === undefined) this.#varint(0);
    else {
      this.#varint(key.length + 1);
      this.#raw(key);
    }
    if (value === undefined) this.#varint(0);
    else {
      this.#varint(valueBytes + 1);
      if (typeof value === 'string') this.#at += this.#bytes.write(value, this.#at, valueBytes, 'utf8');
      else this.#raw(value);
    }
    this.#varint(headers.length);
    if (headers.length > 0) this.#headers(headers);
    this.#count += 1;
    this.#nextDelta = delta + 1;
  }

  /**
   * The batch of at least one record. It is compressed only if that makes it smaller. The writer
   * takes no records afterwards. Error: COMPRESSION_UNKNOWN, where this runtime cannot compress so.
   */
  finish(options: { compression?: Compression; seal?: BatchSeal; lastDelta?: number } = {}): Uint8Array {
    const { compression = 'none', seal = NO_SEAL, lastDelta = this.#nextDelta - 1 } = options;
    const plain = this.#bytes.subarray(0, this.#at);
    const packed = compression === 'none' ? undefined : packedBatch(plain, compression);
    const batch = packed ?? plain;
    writeBatchHeader(batch, {
      ...seal,
      compression: packed === undefined ? 'none' : compression,
      count: this.#count,
      lastDelta,
      firstTimeMs: this.#firstTimeMs,
      maxTimeMs: this.#maxTimeMs,
      uncompressedBytes: plain.length - BATCH_HEADER_BYTES,
    });
    return batch;
  }

  #headers(headers: readonly RecordHeader[]): void {
    for (const [name, value] of headers) {
      const nameBytes = Buffer.byteLength(name);
      this.#reserve(20 + nameBytes + value.length);
      this.#varint(nameBytes);
      this.#at += this.#bytes.write(name, this.#at, nameBytes, 'utf8');
      this.#varint(value.length);
      this.#raw(value);
    }
  }

  #raw(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest > 0x7fff_ffff) {
      this.#bytes[this.#at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  #reserve(more: number): void {
    const needed = this.#at + more;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}

/** Bytes that a record takes in a batch at most, whatever its place. */
export function recordSize(
  key: Uint8Array | undefined,
  value: Uint8Array | string | undefined,
  headers: readonly RecordHeader[] = NO_HEADERS,
): number {
  const valueBytes = lengthOf(value);
  // Of distances up to 2^31 in offset and 2^48 in time.
  let size = 5 + 8 + varintSize((key?.length ?? 0) + 1) + (key?.length ?? 0);
  size += varintSize(valueBytes + 1) + valueBytes + varintSize(headers.length);
  for (const [name, content] of headers) {
    const nameBytes = Buffer.byteLength(name);
    size += varintSize(nameBytes) + nameBytes + varintSize(content.length) + content.length;
  }
  return size;
}

function packedBatch(plain: Buffer, compression: Exclude<Compression, 'none'>): Buffer | undefined {
  const records = compress(plain.subarray(BATCH_HEADER_BYTES), compression);
  if (BATCH_HEADER_BYTES + records.length >= plain.length) return undefined;
  const batch = Buffer.allocUnsafe(BATCH_HEADER_BYTES + records.length);
  batch.set(records, BATCH_HEADER_BYTES);
  return batch;
}

function lengthOf(content: Uint8Array | string | undefined): number {
  if (content === undefined) return 0;
  return typeof content === 'string' ? Buffer.byteLength(content) : content.length;
}

function zigZag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}
