/**
 * Protobuf's wire format, as far as the pipeline's hot path needs it: encoding a batch
 * through generic message objects costs several allocations a call, this costs none
 * beyond the output. Everything that is not hot uses the generated code.
 */
export class WireWriter {
  readonly #bytes: Buffer;
  #at = 0;

  /** `capacity` must be at least what is written; the excess is cut off by `finish`. */
  constructor(capacity: number) {
    this.#bytes = Buffer.allocUnsafe(capacity);
  }

  /** A byte as it is: a field's tag, or a bool. */
  byte(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  /** An unsigned number up to 2^53-1. */
  varint(value: number): void {
    let rest = value;
    while (rest > 0x7fff_ffff) {
      this.#bytes[this.#at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  /** Bytes without their length. */
  raw(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** A field of bytes: tag, length, content. */
  field(tag: number, bytes: Uint8Array): void {
    this.byte(tag);
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** What was written. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }
}

/** Bytes that `WireWriter.varint` writes for a number. */
export function varintSize(value: number): number {
  let size = 1;
  for (let limit = 128; value >= limit; limit *= 128) size += 1;
  return size;
}

/** Bytes that `WireWriter.field` writes for a field of so many bytes. */
export function fieldSize(length: number): number {
  return 1 + varintSize(length) + length;
}
