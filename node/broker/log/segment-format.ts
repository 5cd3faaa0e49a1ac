/**
 * Files of a partition's log. A segment begins with a header and is then frames, one behind the
 * other; numbers are big-endian.
 *
 *   file:   magic "HFSEG" and three bytes of version · base offset (8) · CRC-32 of both (4)
 *   frame:  base offset (8) · time of append (8) · bytes of the batch (4) · CRC-32 of these (4) · batch
 *
 * The batch has a checksum of its own, and is as its producer sent it.
 */
import { crc32 } from 'node:zlib';
import { StoreDamaged } from '../../storage/row-store.ts';
import { asBuffer } from '../../storage/byte-codec.ts';
import { BATCH_HEADER_BYTES, MAX_BATCH_BYTES } from '../batch-check.ts';

/** A batch with its place. */
export interface Frame {
  readonly baseOffset: number;
  /** Log time of the append. */
  readonly appendedAtMs: number;
  readonly batch: Uint8Array;
}

export const FILE_HEADER_BYTES = 20;
export const FRAME_HEADER_BYTES = 24;
/** Compaction writes batches that are no larger than they were. */
export const MAX_FRAME_BYTES = FRAME_HEADER_BYTES + MAX_BATCH_BYTES;
const MAGIC = Buffer.from('HFSEG\0\0\x01', 'latin1');
const TWO_32 = 0x1_0000_0000;

export function fileHeader(baseOffset: number): Buffer {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  MAGIC.copy(header);
  writeU64(header, baseOffset, 8);
  header.writeUInt32BE(crc32(header.subarray(0, 16)), 16);
  return header;
}

/** Whether a file begins as a segment of this base offset does. */
export function isFileHeader(bytes: Uint8Array, baseOffset: number): boolean {
  return Buffer.compare(bytes, fileHeader(baseOffset)) === 0;
}

export function frameHeader({ baseOffset, appendedAtMs, batch }: Frame): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  writeU64(header, baseOffset, 0);
  writeU64(header, appendedAtMs, 8);
  header.writeUInt32BE(batch.byteLength, 16);
  header.writeUInt32BE(crc32(header.subarray(0, 20)), 20);
  return header;
}

/** The offset behind a batch. */
export function nextOffsetOf({ baseOffset, batch }: Frame): number {
  return baseOffset + asBuffer(batch).readUInt32BE(16) + 1;
}

/** Greatest time of its records. */
export function maxTimeOf(batch: Uint8Array): number {
  return readU64(asBuffer(batch), 48);
}

/** A frame that was found in bytes of a file. */
export interface FoundFrame extends Frame {
  readonly nextOffset: number;
  /** Bytes that it takes in the file. */
  readonly bytes: number;
}

/** How many bytes the frame at a place takes; undefined: its header is not whole. Error: StoreDamaged. */
export function frameBytesAt(bytes: Buffer, at: number): number | undefined {
  if (at + FRAME_HEADER_BYTES > bytes.length) return undefined;
  if (crc32(bytes.subarray(at, at + 20)) !== bytes.readUInt32BE(at + 20))
    throw new StoreDamaged('the header of a batch of a topic fails its checksum');
  return FRAME_HEADER_BYTES + bytes.readUInt32BE(at + 16);
}

/** The frame at a place; undefined: it is not whole. Error: StoreDamaged, a checksum does not hold. */
export function frameAt(bytes: Buffer, at: number): FoundFrame | undefined {
  const size = frameBytesAt(bytes, at);
  if (size === undefined || at + size > bytes.length) return undefined;
  const batch = bytes.subarray(at + FRAME_HEADER_BYTES, at + size);
  if (batch.length < BATCH_HEADER_BYTES || crc32(batch.subarray(12)) !== batch.readUInt32BE(8))
    throw new StoreDamaged('a batch of a topic fails its checksum');
  const baseOffset = readU64(bytes, at);
  const nextOffset = baseOffset + batch.readUInt32BE(16) + 1;
  return { baseOffset, appendedAtMs: readU64(bytes, at + 8), batch, nextOffset, bytes: size };
}

function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32BE(Math.floor(value / TWO_32), at);
  target.writeUInt32BE(value % TWO_32, at + 4);
}

function readU64(source: Buffer, at: number): number {
  return source.readUInt32BE(at) * TWO_32 + source.readUInt32BE(at + 4);
}
