/**
 * How rows are named in the ordered store. A row key is a *binary string*: one
 * character (0..255) a byte, so that it can be a Map key and `<` is byte order.
 *
 *   group (8 bytes, big-endian) · replica generation (4) · family (1) · rest
 */
import { asBuffer } from './byte-codec.ts';

export type RowKey = string;

/** Longest rest that `RowKeyMaker` makes in one step; longer ones cost more. */
const SHORT_REST_BYTES = 256;

/** Makes the row keys of one family in one step: a string put together of two is taken apart again to be hashed. */
export class RowKeyMaker {
  readonly #prefix: string;
  readonly #scratch: Buffer;

  constructor(prefix: string) {
    this.#prefix = prefix;
    this.#scratch = Buffer.alloc(prefix.length + SHORT_REST_BYTES);
    this.#scratch.write(prefix, 'latin1');
  }

  of(rest: Uint8Array): RowKey {
    if (rest.byteLength > SHORT_REST_BYTES) return this.#prefix + binaryString(rest);
    this.#scratch.set(rest, this.#prefix.length);
    return this.#scratch.toString('latin1', 0, this.#prefix.length + rest.byteLength);
  }
}

/** Group number under which the store keeps its own rows. */
export const STORE_GROUP_PREFIX = '\xff'.repeat(12);

/** First characters of all rows of one generation of a group's replica. */
export function groupPrefix(group: number, generation: number): RowKey {
  const prefix = Buffer.alloc(12);
  prefix.writeBigUInt64BE(BigInt(group));
  prefix.writeUInt32BE(generation, 8);
  return prefix.toString('latin1');
}

/** Reads the group back from a row key. */
export function groupOf(key: RowKey): number {
  return Number(Buffer.from(key.slice(0, 8), 'latin1').readBigUInt64BE());
}

/** The name that the row would have in the first generation. */
export function withoutGeneration(key: RowKey): RowKey {
  return `${key.slice(0, 8)}\0\0\0\0${key.slice(12)}`;
}

/** Reads the generation back from a row key. */
export function generationOf(key: RowKey): number {
  return Buffer.from(key.slice(8, 12), 'latin1').readUInt32BE();
}

/** Bytes as a binary string. */
export function binaryString(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('latin1');
}

/** A binary string as bytes. */
export function binaryBytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** The least string greater than every string that begins with `prefix`. */
export function prefixEnd(prefix: string): string {
  let length = prefix.length;
  while (length > 0 && prefix.charCodeAt(length - 1) === 0xff) length--;
  if (length === 0) return '\xff'.repeat(prefix.length + 1);
  return prefix.slice(0, length - 1) + String.fromCharCode(prefix.charCodeAt(length - 1) + 1);
}
