/** Reads protobuf's wire format for the hot path, as views of the input. RangeError when it is not sound. */
export class WireReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, from = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.#end - this.#at;
  }

  /** An unsigned number. Beyond 2^53 it is not exact, and greater than MAX_SAFE_INTEGER. */
  varint(): number {
    let byte = this.#next();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let factor = 128, length = 1; ; factor *= 128) {
      byte = this.#next();
      if (++length > 10) throw new RangeError('a varint is longer than 10 bytes');
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  /** A signed number of 64 bits, exact. */
  int64(): bigint {
    const from = this.#at;
    const value = this.varint();
    if (value <= Number.MAX_SAFE_INTEGER) return BigInt(value);
    let exact = 0n;
    for (let at = from; at < this.#at; at++)
      exact |= BigInt(this.#bytes[at]! & 0x7f) << BigInt(7 * (at - from));
    return BigInt.asIntN(64, exact);
  }

  /** A field's content: bytes, a string or a message. */
  bytes(): Buffer {
    const length = this.varint();
    const from = this.#at;
    if (length > this.#end - from) throw new RangeError('a field is longer than its message');
    this.#at = from + length;
    return this.#bytes.subarray(from, this.#at);
  }

  /** A nested message, read in place. */
  message(): WireReader {
    const length = this.varint();
    const from = this.#at;
    if (length > this.#end - from) throw new RangeError('a field is longer than its message');
    this.#at = from + length;
    return new WireReader(this.#bytes, from, this.#at);
  }

  /** Passes over a field that is not known, by its tag. */
  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        this.varint();
        return;
      case 1:
        this.#advance(8);
        return;
      case 2:
        this.#advance(this.varint());
        return;
      case 5:
        this.#advance(4);
        return;
    }
    throw new RangeError(`a field has wire type ${tag & 7}`);
  }

  #advance(length: number): void {
    if (length > this.#end - this.#at) throw new RangeError('a field is longer than its message');
    this.#at += length;
  }

  #next(): number {
    if (this.#at >= this.#end) throw new RangeError('the message ends in the middle of a field');
    return this.#bytes[this.#at++]!;
  }
}
