/** LevelDB's checksums: CRC-32C (Castagnoli), stored masked. */

const MASK_DELTA = 0xa282ead8;
/** Eight tables: eight bytes a step. */
const TABLES = makeTables();

function makeTables(): Uint32Array[] {
  const first = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
    first[byte] = value;
  }
  const tables = [first];
  for (let i = 1; i < 8; i++)
    tables.push(first.map((_, byte) => first[tables[i - 1]![byte]! & 0xff]! ^ (tables[i - 1]![byte]! >>> 8)));
  return tables;
}

/** CRC-32C of bytes in [from, to). */
export function crc32c(bytes: Uint8Array, from: number, to: number): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  let value = 0xffffffff;
  let at = from;
  for (; at + 8 <= to; at += 8) {
    value =
      t7[(value ^ bytes[at]!) & 0xff]! ^
      t6[((value >>> 8) ^ bytes[at + 1]!) & 0xff]! ^
      t5[((value >>> 16) ^ bytes[at + 2]!) & 0xff]! ^
      t4[(value >>> 24) ^ bytes[at + 3]!]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < to; at++) value = t0[(value ^ bytes[at]!) & 0xff]! ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** A checksum as LevelDB stores it, turned back. */
export function unmask(stored: number): number {
  const rotated = (stored - MASK_DELTA) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}
