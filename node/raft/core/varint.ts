/**
 * Variable-length integers, 7 bits a byte, low bits first, up to 53 bits: most terms,
 * indexes and replica numbers take one to four bytes, and a heartbeat a dozen.
 */

const MAX_VARINT_BYTES = 8;

/** Appends fields to a buffer that grows. */
export class VarintWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  u8(value: number): this {
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
    return this;
  }

  varint(value: number): this {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no integer of 53 bits`);
    this.#reserve(MAX_VARINT_BYTES);
    let left = value;
    while (left >= 0x80) {
      this.#buffer[this.#length++] = (left & 0x7f) | 0x80;
      left = left < 0x8000_0000 ? left >>> 7 : Math.floor(left / 0x80);
    }
    this.#buffer[this.#length++] = left;
    return this;
  }

  /** A byte string with its length. */
  bytes(value: Uint8Array): this {
    this.varint(value.byteLength);
    this.#reserve(value.byteLength);
    this.#buffer.set(value, this.#length);
    this.#length += value.byteLength;
    return this;
  }

  /** What was written; valid until the writer is used again. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + size));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** Reads fields in the order written. Nothing is allocated by what the input claims; RangeError if it is malformed. */
export class VarintReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    if (this.done) throw new RangeError(`input ends at ${this.#bytes.length}`);
    return this.#bytes[this.#at++]!;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let length = 1; length <= MAX_VARINT_BYTES; length++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte >= 0x80) {
        scale *= 0x80;
        continue;
      }
      if (value > Number.MAX_SAFE_INTEGER) break;
      return value;
    }
    throw new RangeError(`integer before ${this.#at} exceeds 53 bits`);
  }

  /** A number of things that take at least `bytesEach` bytes each: no more than the input has room for. */
  count(bytesEach: number): number {
    const count = this.varint();
    if (count * bytesEach > this.#bytes.length - this.#at) {
      throw new RangeError(`${count} items announced at ${this.#at}, input ends at ${this.#bytes.length}`);
    }
    return count;
  }

  /** A view of the input, not a copy. */
  bytes(): Uint8Array {
    const length = this.count(1);
    const at = this.#at;
    this.#at += length;
    return this.#bytes.subarray(at, at + length);
  }
}
