/**
 * Checks a table file of LevelDB block by block. LevelDB keeps a checksum with every
 * block and does not look at it; a flipped bit in a key or in an index then makes a row
 * vanish without an error, which no checksum inside the rows can tell.
 *
 * File format: LevelDB's `doc/table_format.md`. Data blocks, then a metaindex and an index
 * block, then a footer of 48 bytes with the places of those two and a magic number. Each
 * block is followed by its compression (1 byte) and a masked CRC-32C over both.
 */
import { inflateIndex } from './snappy.ts';
import { crc32c, unmask } from './level-checksum.ts';

const FOOTER_BYTES = 48;
const TRAILER_BYTES = 5;
const MAGIC = Buffer.from('57fb808b247547db', 'hex');

interface BlockPlace {
  readonly offset: number;
  readonly size: number;
}

/** What is wrong with the bytes of a table file; undefined: nothing. */
export function verifyTable(bytes: Buffer): string | undefined {
  if (bytes.length < FOOTER_BYTES || !bytes.subarray(-8).equals(MAGIC)) return 'has no footer';
  const footer = bytes.subarray(-FOOTER_BYTES);
  try {
    const [metaindex, afterMetaindex] = readPlace(footer, 0);
    const [index] = readPlace(footer, afterMetaindex);
    for (const place of [metaindex, index])
      if (!blockHolds(bytes, place)) return `block at ${place.offset} is damaged`;
    const bad = [...indexed(block(bytes, index)), ...indexed(block(bytes, metaindex))].find(
      (place) => !blockHolds(bytes, place),
    );
    return bad && `block at ${bad.offset} is damaged`;
  } catch (error) {
    if (error instanceof RangeError) return `cannot be read: ${error.message}`;
    throw error;
  }
}

function blockHolds(bytes: Buffer, { offset, size }: BlockPlace): boolean {
  const end = offset + size;
  if (end + TRAILER_BYTES > bytes.length - FOOTER_BYTES) return false;
  return unmask(bytes.readUInt32LE(end + 1)) === crc32c(bytes, offset, end + 1);
}

/** The content of a block. */
function block(bytes: Buffer, { offset, size }: BlockPlace): Buffer {
  const content = bytes.subarray(offset, offset + size);
  return bytes[offset + size] === 1 ? inflateIndex(content) : content;
}

/** The places that an index block points to: the values of its entries. */
function* indexed(content: Buffer): Generator<BlockPlace> {
  const restarts = content.readUInt32LE(content.length - 4);
  const end = content.length - 4 - 4 * restarts;
  for (let at = 0; at < end;) {
    let shared: number, unshared: number, length: number;
    [shared, at] = readVarint(content, at);
    [unshared, at] = readVarint(content, at);
    [length, at] = readVarint(content, at);
    void shared; // keys do not matter here
    at += unshared;
    yield readPlace(content, at)[0];
    at += length;
  }
}

function readPlace(bytes: Buffer, at: number): [BlockPlace, number] {
  const [offset, afterOffset] = readVarint(bytes, at);
  const [size, end] = readVarint(bytes, afterOffset);
  return [{ offset, size }, end];
}

function readVarint(bytes: Buffer, at: number): [value: number, end: number] {
  let value = 0;
  for (let factor = 1, i = at; ; factor *= 128, i++) {
    if (i >= bytes.length || i - at > 9) throw new RangeError(`no number at ${at}`);
    const byte = bytes[i]!;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return [value, i + 1];
  }
}
