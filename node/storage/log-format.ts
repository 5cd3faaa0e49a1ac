/**
 * The bytes of the write-ahead log: how a batch of records is laid out, and what a
 * reader may conclude from bytes that do not check out. Pure.
 *
 * A batch starts at a multiple of 4,096 bytes and is padded with zeros to the next:
 *
 *   head     48 bytes: magic, format, log id, first sequence, record count, length,
 *            number of all-zero sectors, checksum of the table, checksum of the head
 *   table    56 bytes a record: payload length and checksum, type, kind, version,
 *            codec, group, term, index, stamp
 *   payloads one after another
 *
 * Records are numbered without gap across the whole log; the head has the number of
 * the first. The head lies inside one 512-byte sector, so it is written whole or not
 * at all. The count of all-zero sectors lets a reader tell a value full of zeros from
 * a sector that never reached the disk. The random log id keeps a value that looks
 * like a batch, or a segment of another log, from being taken for one.
 */
import { crc32 } from 'node:zlib';
import { readU64, writeU64 } from './byte-codec.ts';

export const SECTOR_BYTES = 512;
export const BATCH_ALIGNMENT = 4096;
export const LOG_FORMAT = 1;
/** Largest batch; a reader never looks further for the remains of a torn one. */
export const MAX_BATCH_BYTES = 32 * 1024 * 1024;

const MAGIC = 0x4c574648;
const ZEROS = Buffer.alloc(64 * 1024);
export const HEAD_BYTES = 48;
export const TABLE_ENTRY_BYTES = 56;

/** What a record is; never reused for another meaning. */
export const RecordType = {
  /** First record of a segment: see `encodeOpening`. */
  opening: 1,
  /** An entry of a group's replicated log. */
  entry: 2,
  /** A group's term and vote; `index` holds the vote. */
  hardState: 3,
  /** The ordered store completed its flush number `index`. */
  storeMark: 4,
  /** A group's rows and log were replaced by a snapshot as of this entry; see `writeRecords`. */
  snapshot: 5,
  /** What this node has heard of the log of node `index`; see `PeerMemory`. */
  peer: 6,
} as const;

/** One record of the log. Integers are at most 53 bits. */
export interface LogRecord {
  readonly type: number;
  readonly group: number;
  readonly term: number;
  readonly index: number;
  /** Log time of an entry, in milliseconds since 1970. */
  readonly stampMs: number;
  readonly kind: number;
  readonly version: number;
  readonly payload: Uint8Array;
}

/** Bytes that a batch of these records takes, before padding. */
export function batchBytes(records: readonly LogRecord[]): number {
  let bytes = HEAD_BYTES + records.length * TABLE_ENTRY_BYTES;
  for (const record of records) bytes += record.payload.byteLength;
  return bytes;
}

/** `bytes` rounded up to a whole number of alignment units. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / BATCH_ALIGNMENT) * BATCH_ALIGNMENT;
}

/** Writes a padded batch into `target` (at least `aligned(batchBytes(records))` long); returns its length. */
export function encodeBatch(
  target: Buffer,
  records: readonly LogRecord[],
  firstSequence: number,
  logId: Uint8Array,
): number {
  const length = writeTableAndPayloads(target, records);
  const end = aligned(length);
  target.fill(0, length, end);
  const tableEnd = HEAD_BYTES + records.length * TABLE_ENTRY_BYTES;
  target.writeUInt32LE(MAGIC, 0);
  target.writeUInt32LE(LOG_FORMAT, 4);
  target.set(logId.subarray(0, 8), 8);
  writeU64(target, firstSequence, 16);
  target.writeUInt32LE(records.length, 24);
  target.writeUInt32LE(length, 28);
  target.writeUInt32LE(countZeroSectors(target, SECTOR_BYTES, end), 32);
  target.writeUInt32LE(crc32(target.subarray(HEAD_BYTES, tableEnd)), 36);
  target.writeUInt32LE(0, 40);
  target.writeUInt32LE(crc32(target.subarray(0, 44)), 44);
  return end;
}

function writeTableAndPayloads(target: Buffer, records: readonly LogRecord[]): number {
  let entryAt = HEAD_BYTES;
  let payloadAt = HEAD_BYTES + records.length * TABLE_ENTRY_BYTES;
  for (const record of records) {
    target.writeUInt32LE(record.payload.byteLength, entryAt);
    target.writeUInt32LE(crc32(record.payload), entryAt + 4);
    target[entryAt + 8] = record.type;
    target[entryAt + 9] = record.kind;
    target[entryAt + 10] = record.version;
    target[entryAt + 11] = 0; // codec: payload as it is
    target.writeUInt32LE(0, entryAt + 12);
    writeU64(target, record.group, entryAt + 16);
    writeU64(target, record.term, entryAt + 24);
    writeU64(target, record.index, entryAt + 32);
    writeU64(target, record.stampMs, entryAt + 40);
    writeU64(target, 0, entryAt + 48);
    target.set(record.payload, payloadAt);
    entryAt += TABLE_ENTRY_BYTES;
    payloadAt += record.payload.byteLength;
  }
  return payloadAt;
}

/** Number of all-zero sectors of `bytes` in [from, to). */
export function countZeroSectors(bytes: Buffer, from: number, to: number): number {
  let zero = 0;
  for (let at = from; at < to; at += SECTOR_BYTES)
    if (isZero(bytes, at, Math.min(at + SECTOR_BYTES, to))) zero++;
  return zero;
}

/** Whether all bytes in [from, to) are zero. */
export function isZero(bytes: Buffer, from: number, to: number): boolean {
  if (from >= to) return true;
  if (bytes[from] !== 0) return false; // nearly always decides
  for (let at = from; at < to; at += ZEROS.length) {
    const length = Math.min(ZEROS.length, to - at);
    if (bytes.compare(ZEROS, 0, length, at, at + length) !== 0) return false;
  }
  return true;
}

/** A batch's head. */
export interface BatchHead {
  readonly firstSequence: number;
  readonly recordCount: number;
  readonly length: number;
  readonly zeroSectors: number;
  readonly tableChecksum: number;
}

/** What stands where a batch's head should be. */
export function readHead(
  bytes: Buffer,
  at: number,
  logId: Uint8Array,
): BatchHead | 'zero' | 'invalid' | 'unknown format' | 'other log' {
  if (isZero(bytes, at, Math.min(at + SECTOR_BYTES, bytes.length))) return 'zero';
  if (
    bytes.readUInt32LE(at) !== MAGIC ||
    crc32(bytes.subarray(at, at + 44)) !== bytes.readUInt32LE(at + 44)
  ) {
    return 'invalid';
  }
  if (bytes.readUInt32LE(at + 4) !== LOG_FORMAT) return 'unknown format';
  if (bytes.compare(logId, 0, 8, at + 8, at + 16) !== 0) return 'other log';
  return {
    firstSequence: readU64(bytes, at + 16),
    recordCount: bytes.readUInt32LE(at + 24),
    length: bytes.readUInt32LE(at + 28),
    zeroSectors: bytes.readUInt32LE(at + 32),
    tableChecksum: bytes.readUInt32LE(at + 36),
  };
}

/** A batch whose head is sound. `records` is undefined when its table is not. */
export interface BatchBody {
  readonly records: readonly LogRecord[] | undefined;
  /** Positions in `records` whose payload fails its checksum. */
  readonly badPayloads: readonly number[];
  /** More sectors are all zero than were written so: the batch did not reach the disk whole. */
  readonly torn: boolean;
}

/** Checks and decodes the batch at `at`; payloads are views of `bytes`. */
export function readBody(bytes: Buffer, at: number, head: BatchHead): BatchBody {
  const end = Math.min(at + aligned(head.length), bytes.length);
  const torn = countZeroSectors(bytes, at + SECTOR_BYTES, end) > head.zeroSectors;
  const tableEnd = at + HEAD_BYTES + head.recordCount * TABLE_ENTRY_BYTES;
  const table = bytes.subarray(at + HEAD_BYTES, tableEnd);
  if (at + head.length > bytes.length || crc32(table) !== head.tableChecksum) {
    return { records: undefined, badPayloads: [], torn };
  }
  const records: LogRecord[] = [];
  const badPayloads: number[] = [];
  let payloadAt = tableEnd;
  for (let i = 0; i < head.recordCount; i++) {
    const entryAt = i * TABLE_ENTRY_BYTES;
    const length = table.readUInt32LE(entryAt);
    const payload = bytes.subarray(payloadAt, payloadAt + length);
    if (table[entryAt + 11] !== 0 || crc32(payload) !== table.readUInt32LE(entryAt + 4)) badPayloads.push(i);
    records.push(readTableEntry(table, entryAt, payload));
    payloadAt += length;
  }
  return { records, badPayloads, torn };
}

function readTableEntry(table: Buffer, at: number, payload: Buffer): LogRecord {
  return {
    type: table[at + 8]!,
    kind: table[at + 9]!,
    version: table[at + 10]!,
    group: readU64(table, at + 16),
    term: readU64(table, at + 24),
    index: readU64(table, at + 32),
    stampMs: readU64(table, at + 40),
    payload,
  };
}
