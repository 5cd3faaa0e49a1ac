import { HoldfastError } from '../error.ts';
import { crc32 } from './checksum.ts';
import { type Compression, COMPRESSIONS } from './compression.ts';

// The head of a batch of records, as broker.proto describes it. Client and node share it.

/** Bytes before the records. */
export const BATCH_HEADER_BYTES = 60;
/** Bytes that a record has at least: a number each for offset, time, key, value and headers. */
export const LEAST_RECORD_BYTES = 5;
/** Greatest batch of any topic, in bytes as it is stored. */
export const MAX_BATCH_BYTES = 4_194_304;
/** What the records of a batch may come to without compression, so that reading one is bounded. */
export const MAX_UNCOMPRESSED_BYTES = 67_108_864;

const VERSION = 1;
const AT = {
  version: 4,
  compression: 5,
  reserved: 6,
  crc: 8,
  checked: 12,
  count: 12,
  lastDelta: 16,
  producerId: 20,
  producerEpoch: 28,
  sequence: 32,
  firstTime: 40,
  maxTime: 48,
  uncompressed: 56,
} as const;

/** What the head of a batch says. */
export interface BatchHeader {
  /** Bytes of the whole batch. */
  readonly length: number;
  readonly compression: Compression;
  /** Number of records, at least 1. */
  readonly count: number;
  /** Distance of the last record's offset from the first's. */
  readonly lastDelta: number;
  /** 0: none. */
  readonly producerId: bigint;
  readonly producerEpoch: number;
  /** Of the first record. */
  readonly sequence: bigint;
  /** ms since 1970. */
  readonly firstTimeMs: number;
  /** ms since 1970. */
  readonly maxTimeMs: number;
  /** Bytes of the records before compression. */
  readonly uncompressedBytes: number;
}

/** Who has made a batch, and its place among those of that producer. */
export interface BatchSeal {
  /** 0: none. */
  readonly producerId: bigint;
  readonly producerEpoch: number;
  /** Of the first record. */
  readonly sequence: bigint;
}

/**
 * Reads the head of a batch, which must be all that there is. The checksum is not looked at: see
 * `checkBatch`. Errors: BATCH_CORRUPT; COMPRESSION_UNKNOWN. Costs nothing that grows with the batch.
 */
export function readBatchHeader(batch: Uint8Array): BatchHeader {
  if (batch.length < BATCH_HEADER_BYTES + LEAST_RECORD_BYTES)
    throw corrupt(`a batch has ${batch.length} bytes, which is too few`, 'batch', batch.length);
  const head = asBuffer(batch);
  const length = head.readUInt32BE(0);
  if (length !== batch.length)
    throw corrupt(`a batch has ${batch.length} bytes and says ${length}`, 'length', length);
  if (head[AT.version] !== VERSION)
    throw corrupt(`version is ${head[AT.version]}, known is 1`, 'version', head[AT.version]!);
  const reserved = head.readUInt16BE(AT.reserved);
  if (reserved !== 0) throw corrupt(`bytes 6 and 7 are ${reserved}, and have to be 0`, 'reserved', reserved);
  const header = {
    length,
    compression: compressionOf(head[AT.compression]!),
    count: head.readUInt32BE(AT.count),
    lastDelta: head.readUInt32BE(AT.lastDelta),
    producerId: head.readBigUInt64BE(AT.producerId),
    producerEpoch: head.readUInt32BE(AT.producerEpoch),
    sequence: head.readBigUInt64BE(AT.sequence),
    firstTimeMs: timeAt(head, AT.firstTime),
    maxTimeMs: timeAt(head, AT.maxTime),
    uncompressedBytes: head.readUInt32BE(AT.uncompressed),
  };
  checkNumbers(header);
  return header;
}

/** The head of a batch whose checksum holds. Errors: BATCH_CORRUPT, COMPRESSION_UNKNOWN. */
export function checkBatch(batch: Uint8Array): BatchHeader {
  const header = readBatchHeader(batch);
  const stated = asBuffer(batch).readUInt32BE(AT.crc);
  const actual = crc32(batch.subarray(AT.checked));
  if (actual === stated) return header;
  throw corrupt(`the checksum of a batch is ${actual}, and ${stated} is stated`, 'crc', actual);
}

/** Writes the head of a batch before its records, which stand at BATCH_HEADER_BYTES. */
export function writeBatchHeader(batch: Buffer, header: Omit<BatchHeader, 'length'>): void {
  batch.writeUInt32BE(batch.length, 0);
  batch[AT.version] = VERSION;
  batch[AT.compression] = COMPRESSIONS.indexOf(header.compression);
  batch.writeUInt16BE(0, AT.reserved);
  batch.writeUInt32BE(header.count, AT.count);
  batch.writeUInt32BE(header.lastDelta, AT.lastDelta);
  batch.writeBigInt64BE(BigInt(header.firstTimeMs), AT.firstTime);
  batch.writeBigInt64BE(BigInt(header.maxTimeMs), AT.maxTime);
  batch.writeUInt32BE(header.uncompressedBytes, AT.uncompressed);
  sealBatch(batch, header);
}

/** Gives a batch another producer, epoch and sequence, in place, and the checksum that belongs to them. */
export function sealBatch(batch: Uint8Array, seal: BatchSeal): void {
  const head = asBuffer(batch);
  head.writeBigUInt64BE(seal.producerId, AT.producerId);
  head.writeUInt32BE(seal.producerEpoch, AT.producerEpoch);
  head.writeBigUInt64BE(seal.sequence, AT.sequence);
  head.writeUInt32BE(crc32(head.subarray(AT.checked)), AT.crc);
}

/** The same bytes as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function compressionOf(code: number): Compression {
  const compression = COMPRESSIONS[code];
  if (compression !== undefined) return compression;
  throw new HoldfastError({
    reason: 'COMPRESSION_UNKNOWN',
    message: `the compression of a batch is ${code}, known are 0 none, 1 gzip, 2 zstd. Nothing was kept.`,
    outcome: 'NOT_APPLIED',
    field: 'batch.compression',
    actual: String(code),
    limit: '0..2',
  });
}

function timeAt(head: Buffer, at: number): number {
  const time = Number(head.readBigInt64BE(at));
  if (Number.isSafeInteger(time)) return time;
  throw corrupt(`a time is ${time}, which is beyond 2^53`, 'time', time);
}

function checkNumbers({
  length,
  compression,
  count,
  lastDelta,
  uncompressedBytes,
  ...rest
}: BatchHeader): void {
  if (count < 1) throw corrupt('a batch has no record', 'count', 0);
  if (lastDelta < count - 1)
    throw corrupt(`${count} records do not fit into ${lastDelta} + 1 offsets`, 'last_offset', lastDelta);
  const stored = length - BATCH_HEADER_BYTES;
  if (compression === 'none' && uncompressedBytes !== stored)
    throw corrupt(
      `records have ${stored} bytes and say ${uncompressedBytes}`,
      'uncompressed',
      uncompressedBytes,
    );
  if (count * LEAST_RECORD_BYTES > uncompressedBytes)
    throw corrupt(`${count} records do not fit into ${uncompressedBytes} bytes`, 'count', count);
  if (uncompressedBytes > MAX_UNCOMPRESSED_BYTES)
    throw corrupt(
      `records come to ${uncompressedBytes} bytes, limit ${MAX_UNCOMPRESSED_BYTES}`,
      'uncompressed',
      uncompressedBytes,
    );
  if (rest.maxTimeMs < rest.firstTimeMs)
    throw corrupt('the greatest time is before the first', 'max_time', rest.maxTimeMs);
}

function corrupt(what: string, field: string, actual: number): HoldfastError {
  return new HoldfastError({
    reason: 'BATCH_CORRUPT',
    message: `${what}. Nothing was kept.`,
    outcome: 'NOT_APPLIED',
    field: `batch.${field}`,
    actual: String(actual),
  });
}
