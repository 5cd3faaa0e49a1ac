/**
 * The header of a batch of records, as broker.proto describes it, and whether a batch is sound.
 * What is in the records is not looked at: they may be compressed, and belong to the readers.
 */
import { crc32 } from 'node:zlib';
import { asBuffer } from '../storage/byte-codec.ts';

export const BATCH_HEADER_BYTES = 60;
/** Greatest batch of any topic. */
export const MAX_BATCH_BYTES = 4 * 1024 * 1024;
/** What a batch may become when it is decompressed. */
export const MAX_UNCOMPRESSED_BYTES = 64 * 1024 * 1024;
const VERSION = 1;
const LAST_COMPRESSION = 2;
const TWO_32 = 0x1_0000_0000;

/** What a batch says of itself. */
export interface BatchHeader {
  /** Of records. */
  readonly count: number;
  /** 0: none. */
  readonly producerId: number;
  readonly epoch: number;
  /** Of the first record. */
  readonly sequence: number;
  /** Greatest time of a record. */
  readonly maxTimeMs: number;
}

/** Why something is no batch. */
export interface BatchProblem {
  readonly reason: 'BATCH_CORRUPT' | 'COMPRESSION_UNKNOWN' | 'BATCH_TOO_LARGE';
  readonly message: string;
  readonly actual: string;
  readonly limit: string;
}

/** The header of a batch that is known to be sound; `checked`: of one that came from elsewhere. Error: RangeError. */
export function batchHeader(bytes: Uint8Array, trust: 'sound' | 'checked' = 'sound'): BatchHeader {
  const batch = asBuffer(bytes);
  if (trust === 'checked') {
    const problem = batchProblem(batch);
    if (problem !== undefined) throw new RangeError(problem.message);
  }
  return {
    count: batch.readUInt32BE(12),
    producerId: readU64(batch, 20),
    epoch: batch.readUInt32BE(28),
    sequence: readU64(batch, 32),
    maxTimeMs: readU64(batch, 48),
  };
}

/** What is wrong with a batch; undefined: nothing. `maxBytes`: of its topic. */
export function batchProblem(bytes: Uint8Array, maxBytes = MAX_BATCH_BYTES): BatchProblem | undefined {
  const batch = asBuffer(bytes);
  const { length } = batch;
  if (length > maxBytes) return tooLarge(length, maxBytes);
  if (length < BATCH_HEADER_BYTES)
    return corrupt(`it has ${length} bytes, a header alone has ${BATCH_HEADER_BYTES}`, length);
  if (batch.readUInt32BE(0) !== length)
    return corrupt(`it says that it has ${batch.readUInt32BE(0)} bytes, and has ${length}`, length);
  if (batch[4] !== VERSION) return corrupt(`its version is ${batch[4]}, known is ${VERSION}`, batch[4]!);
  if (batch[5]! > LAST_COMPRESSION) return unknownCompression(batch[5]!);
  if (batch.readUInt32BE(8) !== crc32(batch.subarray(12)))
    return corrupt('its checksum does not hold', batch.readUInt32BE(8));
  return contentProblem(batch);
}

function contentProblem(batch: Buffer): BatchProblem | undefined {
  const [count, lastDistance, unpacked] = [12, 16, 56].map((at) => batch.readUInt32BE(at)) as [
    number,
    number,
    number,
  ];
  if (batch.readUInt16BE(6) !== 0) return corrupt('reserved bits are set', batch.readUInt16BE(6));
  if (count === 0 || lastDistance !== count - 1)
    return corrupt(`it has ${count} records, and the last is ${lastDistance} behind the first`, count);
  for (const at of [20, 32, 40, 48])
    if (batch.readUInt32BE(at) >= 0x20_0000) return corrupt(`a number at byte ${at} is too large`, at);
  const isPlain = batch[5] === 0;
  if (isPlain && unpacked !== batch.length - BATCH_HEADER_BYTES)
    return corrupt(
      `its records have ${batch.length - BATCH_HEADER_BYTES} bytes, and say ${unpacked}`,
      unpacked,
    );
  if (unpacked > MAX_UNCOMPRESSED_BYTES)
    return corrupt(`its records would have ${unpacked} bytes, limit ${MAX_UNCOMPRESSED_BYTES}`, unpacked);
  // A record has five bytes at least: distance of offset and time, key, value, headers.
  if (count * 5 > unpacked) return corrupt(`${count} records do not fit into ${unpacked} bytes`, count);
  return undefined;
}

function corrupt(why: string, actual: number): BatchProblem {
  const message = `the batch is not sound: ${why}.`;
  return { reason: 'BATCH_CORRUPT', message, actual: String(actual), limit: '' };
}

function tooLarge(actual: number, limit: number): BatchProblem {
  const message = `the batch has ${actual} bytes, limit ${limit} (max_batch_bytes of the topic).`;
  return { reason: 'BATCH_TOO_LARGE', message, actual: String(actual), limit: String(limit) };
}

function unknownCompression(actual: number): BatchProblem {
  const message = `compression ${actual} is not known; there are 0 (none), 1 (gzip) and 2 (zstd).`;
  return { reason: 'COMPRESSION_UNKNOWN', message, actual: String(actual), limit: `0..${LAST_COMPRESSION}` };
}

/** RangeError beyond 53 bits, which no sound batch has. */
function readU64(batch: Buffer, at: number): number {
  return batch.readUInt32BE(at) * TWO_32 + batch.readUInt32BE(at + 4);
}
