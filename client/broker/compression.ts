import zlib from 'node:zlib';
import { HoldfastError } from '../error.ts';

/** How the records of a batch are compressed. `zstd` needs a runtime that has it (Node.js 22.15 or later). */
export type Compression = 'none' | 'gzip' | 'zstd';

/** Compressions by their number in a batch. */
export const COMPRESSIONS: readonly Compression[] = ['none', 'gzip', 'zstd'];

/** What zlib takes at a time for its output; more only costs memory. */
const MAX_CHUNK_BYTES = 262_144;

type Codec = (bytes: Uint8Array, options?: object) => Buffer;

/** Of a runtime that may lack it. */
const { zstdCompressSync, zstdDecompressSync } = zlib as unknown as Partial<Record<string, Codec>>;

/** Error: COMPRESSION_UNKNOWN, where this runtime cannot compress so. */
export function checkCompression(compression: Compression): void {
  if (!COMPRESSIONS.includes(compression)) {
    const message = `compression is ${JSON.stringify(compression)}, allowed are ${COMPRESSIONS.join(', ')}. Nothing was sent.`;
    throw unknown(message, compression);
  }
  if (compression === 'zstd' && zstdCompressSync === undefined)
    throw unknown('this runtime has no zstd: use gzip, or Node.js 22.15 or later. Nothing was sent.', 'zstd');
}

/** Compressed bytes. Error: COMPRESSION_UNKNOWN. */
export function compress(bytes: Uint8Array, compression: Exclude<Compression, 'none'>): Uint8Array {
  checkCompression(compression);
  return compression === 'gzip' ? zlib.gzipSync(bytes) : zstdCompressSync!(bytes);
}

/**
 * What was compressed, never more than `size` bytes whatever the input claims. Throws when it is
 * not sound or comes to another size, or when this runtime lacks the compression.
 */
export function decompress(bytes: Uint8Array, compression: Compression, size: number): Uint8Array {
  if (compression === 'none') return bytes;
  const codec: Codec | undefined = compression === 'gzip' ? zlib.gunzipSync : zstdDecompressSync;
  if (codec === undefined) throw new RangeError('this runtime has no zstd; Node.js 22.15 or later has');
  const chunkSize = Math.min(Math.max(size, 64), MAX_CHUNK_BYTES);
  const content = codec(bytes, { maxOutputLength: size, chunkSize });
  if (content.length === size) return content;
  throw new RangeError(`the records are ${content.length} bytes, and ${size} are stated`);
}

function unknown(message: string, actual: string): HoldfastError {
  return new HoldfastError({
    reason: 'COMPRESSION_UNKNOWN',
    message,
    outcome: 'NOT_APPLIED',
    field: 'compression',
    actual: String(actual),
    limit: COMPRESSIONS.join(', '),
  });
}
