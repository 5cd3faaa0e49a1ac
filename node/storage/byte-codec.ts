/**
 * Fixed-layout binary encoding for what stands on disk: integers are unsigned and
 * little-endian, byte strings carry a 32-bit length. Integers of 64 bits are kept to
 * 53, which is what log indexes, terms and milliseconds need.
 */

const TWO_32 = 0x1_0000_0000;

/** Writes a 53-bit integer as 64 bits, little-endian. */
export function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value >>> 0, at);
  target.writeUInt32LE((value / TWO_32) >>> 0, at + 4);
}

/** Reads a 64-bit integer that fits 53 bits; RangeError if it does not. */
export function readU64(source: Buffer, at: number): number {
  const high = source.readUInt32LE(at + 4);
  if (high >= 0x20_0000) throw new RangeError(`integer at ${at} exceeds 53 bits`);
  return high * TWO_32 + source.readUInt32LE(at);
}

/** A view of the same memory as a Buffer; no copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Appends fields to a buffer that grows. */
export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    const at = this.#reserve(1); // may replace the buffer
    this.#buffer.writeUInt8(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#reserve(4); // may replace the buffer
    this.#buffer.writeUInt32LE(value, at);
    return this;
  }

  u64(value: number): this {
    const at = this.#reserve(8);
    writeU64(this.#buffer, value, at);
    return this;
  }

  /** A signed integer of 64 bits. */
  i64(value: bigint): this {
    const at = this.#reserve(8); // may replace the buffer
    this.#buffer.writeBigInt64LE(value, at);
    return this;
  }

  /** A byte string with its length. */
  bytes(value: Uint8Array): this {
    this.u32(value.byteLength);
    return this.raw(value);
  }

  /** Bytes without a length. */
  raw(value: Uint8Array): this {
    const at = this.#reserve(value.byteLength);
    this.#buffer.set(value, at);
    return this;
  }

  /** A string of characters 0..255, one byte each, with its length. */
  latin1(value: string): this {
    this.u32(value.length);
    const at = this.#reserve(value.length);
    this.#buffer.write(value, at, 'latin1');
    return this;
  }

  /** Overwrites a 32-bit integer written before. */
  patchU32(value: number, at: number): void {
    this.#buffer.writeUInt32LE(value, at);
  }

  /** What was written; valid until the writer is used again. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(size: number): number {
    const at = this.#length;
    if (at + size > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, at + size));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
    }
    this.#length = at + size;
    return at;
  }
}

/** Reads fields in the order written; RangeError at the end of the input. */
export class ByteReader {
  readonly #buffer: Buffer;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#buffer = asBuffer(bytes);
    this.#at = at;
  }

  get done(): boolean {
    return this.#at >= this.#buffer.length;
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#advance(1));
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#advance(4));
  }

  u64(): number {
    return readU64(this.#buffer, this.#advance(8));
  }

  i64(): bigint {
    return this.#buffer.readBigInt64LE(this.#advance(8));
  }

  /** A view of the input, not a copy. */
  bytes(): Buffer {
    return this.raw(this.u32());
  }

  raw(length: number): Buffer {
    const at = this.#advance(length);
    return this.#buffer.subarray(at, at + length);
  }

  latin1(): string {
    const length = this.u32();
    const at = this.#advance(length);
    return this.#buffer.toString('latin1', at, at + length);
  }

  /** The rest of the input. */
  rest(): Buffer {
    return this.raw(this.#buffer.length - this.#at);
  }

  #advance(size: number): number {
    const at = this.#at;
    if (at + size > this.#buffer.length)
      throw new RangeError(`input ends at ${this.#buffer.length}, wanted ${at + size}`);
    this.#at = at + size;
    return at;
  }
}
