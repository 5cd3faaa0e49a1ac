/** Integers of variable length as in protobuf, and byte strings with such a length. */

export class VarintWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity: number) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** A view. */
  get content(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Up to 53 bits, not negative. */
  varint(value: number): this {
    this.#reserve(8);
    let left = value;
    while (left >= 0x80) {
      this.#buffer[this.#length++] = (left % 128) | 0x80;
      left = Math.floor(left / 128);
    }
    this.#buffer[this.#length++] = left;
    return this;
  }

  /** Zig-zag. */
  signed(value: number): this {
    return this.varint(value < 0 ? -value * 2 - 1 : value * 2);
  }

  bytes(value: Uint8Array): this {
    this.varint(value.byteLength).#reserve(value.byteLength);
    this.#buffer.set(value, this.#length);
    this.#length += value.byteLength;
    return this;
  }

  /** With a length of one more; 0: there are none. */
  optional(value: Uint8Array | undefined): this {
    if (value === undefined) return this.varint(0);
    this.varint(value.byteLength + 1).#reserve(value.byteLength);
    this.#buffer.set(value, this.#length);
    this.#length += value.byteLength;
    return this;
  }

  text(value: string): this {
    return this.bytes(Buffer.from(value));
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

/** Byte strings are views. Error of all: RangeError, there is not as much. */
export class VarintReader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  get isDone(): boolean {
    return this.#at === this.#buffer.length;
  }

  varint(): number {
    const first = this.#buffer[this.#at++];
    if (first !== undefined && first < 0x80) return first;
    let value = (first ?? 0) & 0x7f;
    for (let scale = 128; scale < 2 ** 50; scale *= 128) {
      const byte = this.#buffer[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RangeError('a number is not whole or too large');
  }

  signed(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  bytes(): Buffer {
    return this.#take(this.varint());
  }

  optional(): Buffer | undefined {
    const length = this.varint();
    return length === 0 ? undefined : this.#take(length - 1);
  }

  text(): string {
    return this.bytes().toString();
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#buffer.length) throw new RangeError('a record is not whole');
    const taken = this.#buffer.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}
