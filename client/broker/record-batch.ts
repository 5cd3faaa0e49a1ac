/**
 * Batches of records as bytes: the format stands in broker.proto. A batch is made where records
 * are produced, and read where they are consumed; in between nobody changes it.
 */
import { crc32, gunzipSync, gzipSync } from 'node:zlib';
import * as zlib from 'node:zlib';
import { HoldfastError } from '../error.ts';
import { VarintReader, VarintWriter } from './varints.ts';

export const BATCH_HEADER_BYTES = 60;
const VERSION = 1;
const TWO_32 = 0x1_0000_0000;
/** What a batch may say that it becomes when it is unpacked. */
const MAX_UNPACKED_BYTES = 64 * 1024 * 1024;

/** How the records of a batch are packed: `gzip` and `zstd` take time of the processor and save bytes. */
export type Compression = 'none' | 'gzip' | 'zstd';

const COMPRESSIONS: readonly Compression[] = ['none', 'gzip', 'zstd'];

/** A header of a record: a name, and any bytes. */
export interface RecordHeader {
  readonly name: string;
  readonly value: Uint8Array;
}

/** A record to be written. */
export interface NewRecord {
  /** ms since 1970. */
  readonly timeMs: number;
  readonly key: Uint8Array | undefined;
  readonly value: Uint8Array | undefined;
  readonly headers: readonly RecordHeader[];
}

/** A record that was read; bytes are views of its batch. */
export interface StoredRecord extends NewRecord {
  readonly offset: number;
}

/** Whose batch it is, so that it is kept once. */
export interface ProducerStamp {
  /** Greater than 0. */
  readonly producerId: number;
  readonly epoch: number;
  /** Of the first record. */
  readonly sequence: number;
}

/** Gathers records into a batch. */
export class BatchWriter {
  #writer = new VarintWriter(1_024);
  #count = 0;
  #firstTimeMs = 0;
  #maxTimeMs = 0;

  get count(): number {
    return this.#count;
  }

  /** Bytes of the batch as it is now, before compression. */
  get bytes(): number {
    return BATCH_HEADER_BYTES + this.#writer.length;
  }

  add({ timeMs, key, value, headers }: NewRecord): void {
    const writer = this.#writer;
    if (this.#count === 0) this.#firstTimeMs = timeMs;
    writer.varint(this.#count).signed(timeMs - this.#firstTimeMs);
    writer.optional(key).optional(value).varint(headers.length);
    for (const header of headers) writer.text(header.name).bytes(header.value);
    this.#maxTimeMs = Math.max(this.#maxTimeMs, timeMs);
    this.#count++;
  }

  /** The batch; what gathers next is another one. Error: COMPRESSION_UNKNOWN, this runtime has no zstd. */
  finish(compression: Compression = 'none', stamp?: ProducerStamp): Buffer {
    const content = this.#writer.content;
    const packed = pack(content, compression);
    const batch = Buffer.allocUnsafe(BATCH_HEADER_BYTES + packed.length);
    packed.copy(batch, BATCH_HEADER_BYTES);
    batch.writeUInt32BE(batch.length, 0);
    batch[4] = VERSION;
    batch[5] = COMPRESSIONS.indexOf(compression);
    batch.writeUInt16BE(0, 6);
    batch.writeUInt32BE(this.#count, 12);
    batch.writeUInt32BE(this.#count - 1, 16);
    writeU64(batch, this.#firstTimeMs, 40);
    writeU64(batch, this.#maxTimeMs, 48);
    batch.writeUInt32BE(content.length, 56);
    sealBatch(batch, stamp);
    this.#writer = new VarintWriter(Math.max(1_024, content.length));
    this.#count = 0;
    this.#maxTimeMs = 0;
    return batch;
  }
}

/** Writes whose a batch is, and its checksum. */
export function sealBatch(batch: Buffer, stamp: ProducerStamp | undefined): void {
  writeU64(batch, stamp?.producerId ?? 0, 20);
  batch.writeUInt32BE(stamp?.epoch ?? 0, 28);
  writeU64(batch, stamp?.sequence ?? 0, 32);
  batch.writeUInt32BE(crc32(batch.subarray(12)), 8);
}

/** How many records a batch has. */
export function batchCount(batch: Uint8Array): number {
  return asBuffer(batch).readUInt32BE(12);
}

/** Bytes that a record takes in a batch, at most. */
export function recordBytes({ key, value, headers }: Pick<NewRecord, 'key' | 'value' | 'headers'>): number {
  let bytes = 30 + (key?.byteLength ?? 0) + (value?.byteLength ?? 0);
  for (const header of headers) bytes += 10 + header.name.length * 3 + header.value.byteLength;
  return bytes;
}

/**
 * The records of a batch that begins at `baseOffset`, from `from` on, put behind `into`.
 * Error: RECORDS_UNREADABLE.
 */
export function readRecords(
  batch: Uint8Array,
  baseOffset: number,
  from = 0,
  into: StoredRecord[] = [],
): StoredRecord[] {
  const bytes = asBuffer(batch);
  try {
    const firstTimeMs = checkedHeader(bytes);
    const reader = new VarintReader(unpack(bytes));
    for (let left = bytes.readUInt32BE(12); left > 0; left--) {
      const offset = baseOffset + reader.varint();
      const timeMs = firstTimeMs + reader.signed();
      const [key, value] = [reader.optional(), reader.optional()];
      const headers = readHeaders(reader);
      if (offset >= from) into.push({ offset, timeMs, key, value, headers });
    }
    if (!reader.isDone) throw new RangeError('it goes on behind its last record');
    return into;
  } catch (error) {
    throw unreadable(baseOffset, error);
  }
}

function readHeaders(reader: VarintReader): readonly RecordHeader[] {
  const count = reader.varint();
  if (count === 0) return NO_HEADERS;
  const headers: RecordHeader[] = [];
  for (let left = count; left > 0; left--) headers.push({ name: reader.text(), value: reader.bytes() });
  return headers;
}

const NO_HEADERS: readonly RecordHeader[] = [];

/** Time of the first record. */
function checkedHeader(batch: Buffer): number {
  if (batch.length < BATCH_HEADER_BYTES || batch.readUInt32BE(0) !== batch.length)
    throw new RangeError('its length is not what it says');
  if (batch[4] !== VERSION) throw new RangeError(`its version is ${batch[4]}`);
  if (crc32(batch.subarray(12)) !== batch.readUInt32BE(8)) throw new RangeError('its checksum does not hold');
  return batch.readUInt32BE(40) * TWO_32 + batch.readUInt32BE(44);
}

function pack(content: Buffer, compression: Compression): Buffer {
  if (compression === 'none') return content;
  if (compression === 'gzip') return gzipSync(content);
  return zstd('zstdCompressSync')(content);
}

function unpack(batch: Buffer): Buffer {
  const content = batch.subarray(BATCH_HEADER_BYTES);
  const maxOutputLength = batch.readUInt32BE(56);
  if (maxOutputLength > MAX_UNPACKED_BYTES)
    throw new RangeError(`its records would have ${maxOutputLength} bytes`);
  const compression = COMPRESSIONS[batch[5]!];
  if (compression === 'none') return content;
  if (compression === undefined) throw new RangeError(`compression ${batch[5]} is not known`);
  if (maxOutputLength === 0) throw new RangeError('it says that its records have no bytes');
  if (compression === 'gzip') return gunzipSync(content, { maxOutputLength });
  return zstd('zstdDecompressSync')(content, { maxOutputLength });
}

type Zstd = (content: Buffer, options?: { maxOutputLength: number }) => Buffer;

/** Node.js has it from 22.15 on. */
function zstd(name: 'zstdCompressSync' | 'zstdDecompressSync'): Zstd {
  const found = (zlib as unknown as Partial<Record<typeof name, Zstd>>)[name];
  if (found !== undefined) return found;
  const message = 'this version of Node.js has no zstd, it takes 22.15 or later; use gzip. Nothing was sent.';
  throw new HoldfastError({
    reason: 'COMPRESSION_UNKNOWN',
    message,
    field: 'compression',
    outcome: 'NOT_APPLIED',
  });
}

function unreadable(offset: number, cause: unknown): HoldfastError {
  if (cause instanceof HoldfastError) return cause;
  const message = `the batch at offset ${offset} cannot be read: ${(cause as Error).message}. Go on behind it with seek().`;
  return new HoldfastError({ reason: 'RECORDS_UNREADABLE', message, actual: String(offset), cause });
}

function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32BE(Math.floor(value / TWO_32), at);
  target.writeUInt32BE(value % TWO_32, at + 4);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
