import zlib from 'node:zlib';

const native = (zlib as { crc32?: (bytes: Uint8Array) => number }).crc32;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb8_8320 : value >>> 1;
  return value;
});

/** The CRC-32 of gzip, also where the runtime has none (Node.js before 20.15). */
export function crc32(bytes: Uint8Array): number {
  return native === undefined ? plainCrc32(bytes) : native(bytes);
}

/** @internal */
export function plainCrc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (let at = 0; at < bytes.length; at += 1) crc = TABLE[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffff_ffff) >>> 0;
}
