/**
 * Which tables a LevelDB lives of, by its MANIFEST. Others in the directory are left over
 * from a compaction that a crash cut off, or being written: whatever they hold, nobody
 * reads it.
 *
 * Format: records of the log format, each a list of tagged fields, as in LevelDB's
 * `version_edit.cc`.
 */
import { ByteReader } from './byte-codec.ts';
import { crc32c, unmask } from './level-checksum.ts';

const BLOCK_BYTES = 32_768;
const HEADER_BYTES = 7;
const FIRST = 2;
const LAST = 4;
const FULL = 1;

/** Numbers of the live tables. RangeError when the bytes are no MANIFEST. */
export function liveTables(manifest: Buffer): Set<number> {
  const live = new Set<number>();
  for (const edit of records(manifest)) applyEdit(live, edit);
  return live;
}

/** The whole records of a log file; an incomplete one at its end is left out, as LevelDB does. */
export function* records(bytes: Buffer): Generator<Buffer> {
  let parts: Buffer[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const left = BLOCK_BYTES - (at % BLOCK_BYTES);
    const length = left < HEADER_BYTES ? 0 : bytes.readUInt16LE(at + 4);
    const type = left < HEADER_BYTES ? 0 : bytes[at + 6]!;
    if (type === 0) {
      at += left; // a trailer, or never written
      continue;
    }
    const from = at + HEADER_BYTES;
    if (
      from + length > bytes.length ||
      unmask(bytes.readUInt32LE(at)) !== crc32c(bytes, at + 6, from + length)
    )
      return;
    if (type === FULL || type === FIRST) parts = [];
    parts.push(bytes.subarray(from, from + length));
    if (type === FULL || type === LAST) yield Buffer.concat(parts);
    at = from + length;
  }
}

function applyEdit(live: Set<number>, edit: Buffer): void {
  const fields = new FieldReader(edit);
  while (!fields.done) {
    const tag = fields.varint();
    switch (tag) {
      case 1: // comparator
        fields.bytes();
        break;
      case 2: // log, next file, last sequence, previous log
      case 3:
      case 4:
      case 9:
        fields.varint();
        break;
      case 5: // where compaction of a level goes on
        fields.varint();
        fields.bytes();
        break;
      case 6: // a table is gone
        fields.varint();
        live.delete(fields.varint());
        break;
      case 7: // a table is new
        fields.varint();
        live.add(fields.varint());
        fields.varint();
        fields.bytes();
        fields.bytes();
        break;
      default:
        throw new RangeError(`unknown field ${tag} in a MANIFEST`);
    }
  }
}

class FieldReader {
  readonly #reader: ByteReader;

  constructor(bytes: Buffer) {
    this.#reader = new ByteReader(bytes);
  }

  get done(): boolean {
    return this.#reader.done;
  }

  varint(): number {
    for (let value = 0, factor = 1; ; factor *= 128) {
      const byte = this.#reader.u8();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  bytes(): Buffer {
    return this.#reader.raw(this.varint());
  }
}
