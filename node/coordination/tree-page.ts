/** Pages of a B+tree as rows: leaves with entries, and inner pages with the pages below them. */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { LiveRow } from './machine-part.ts';

/** How what is kept with a key stands in a page. */
export interface EntryCodec<V> {
  write(writer: ByteWriter, value: V): void;
  read(reader: ByteReader): V;
  /** About how many bytes it takes; the same for equal values on all nodes. */
  bytes(value: V): number;
}

const FORMAT = 1;
/** Entries of a page at most; it is divided above. */
const MAX_ENTRIES = 64;
/** Bytes of a page from which on it is divided, if that leaves two entries in each half. */
const MAX_BYTES = 16 * 1024;
/** A page with fewer entries looks for a neighbour that it fits together with. */
const MIN_ENTRIES = 16;
/** What each entry takes besides key and value. */
const ENTRY_BYTES = 8;

/**
 * Keys in order, each with what belongs to it: of a leaf (`children` undefined) a value, of an
 * inner page the number of the page that holds the keys from this one on. The first key of an
 * inner page is empty: its first child holds whatever is below the second.
 */
export class TreePage<V> implements LiveRow {
  readonly keys: string[];
  readonly values: V[];
  readonly children: number[] | undefined;
  readonly #codec: EntryCodec<V>;
  #bytes = 0;

  constructor(codec: EntryCodec<V>, keys: string[], values: V[], children: number[] | undefined) {
    this.#codec = codec;
    this.keys = keys;
    this.values = values;
    this.children = children;
    for (const at of keys.keys()) this.#bytes += this.#sizeOf(at);
  }

  get size(): number {
    return this.keys.length;
  }

  get isTooLarge(): boolean {
    return this.size > MAX_ENTRIES || (this.#bytes > MAX_BYTES && this.size >= 4);
  }

  get isSmall(): boolean {
    return this.size < MIN_ENTRIES;
  }

  /** Whether the two are one page that needs not be divided soon. */
  fitsWith(other: TreePage<V>): boolean {
    const isFew = this.size + other.size <= MAX_ENTRIES - MIN_ENTRIES;
    return isFew && this.#bytes + other.#bytes <= (MAX_BYTES / 4) * 3;
  }

  /** Position of the first key at or above `key`, from `from` on; `size`: there is none. */
  lowerBound(key: string, from = 0): number {
    let [low, high] = [from, this.keys.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Of an inner page: position of the child with `key`. With `before`: with what is next below it. */
  childAt(key: string, before = false): number {
    const at = this.lowerBound(key);
    const isExact = !before && this.keys[at] === key;
    return Math.max(0, isExact ? at : at - 1);
  }

  setValue(at: number, value: V): void {
    this.#bytes -= this.#sizeOf(at);
    this.values[at] = value;
    this.#bytes += this.#sizeOf(at);
  }

  insertValue(at: number, key: string, value: V): void {
    this.keys.splice(at, 0, key);
    this.values.splice(at, 0, value);
    this.#bytes += this.#sizeOf(at);
  }

  insertChild(at: number, key: string, child: number): void {
    this.keys.splice(at, 0, key);
    this.children!.splice(at, 0, child);
    this.#bytes += this.#sizeOf(at);
  }

  remove(at: number): void {
    this.#bytes -= this.#sizeOf(at);
    this.keys.splice(at, 1);
    if (this.children === undefined) {
      this.values.splice(at, 1);
      return;
    }
    this.children.splice(at, 1);
    if (at === 0 && this.size > 0) this.#emptyFirst();
  }

  /** Gives the upper half to a new page; returns it and the key that it begins with. */
  divide(): { separator: string; upper: TreePage<V> } {
    const middle = this.#middle();
    const keys = this.keys.splice(middle);
    const values = this.values.splice(middle);
    const upper = new TreePage(this.#codec, keys, values, this.children?.splice(middle));
    this.#bytes -= upper.#bytes;
    const first = keys[0]!;
    if (this.children === undefined) return { separator: between(this.keys.at(-1)!, first), upper };
    upper.#emptyFirst();
    return { separator: first, upper };
  }

  /** Takes in the page that follows, which begins with `separator`. */
  join(separator: string, next: TreePage<V>): void {
    const from = this.size;
    this.keys.push(...next.keys);
    this.values.push(...next.values);
    if (next.children !== undefined) {
      this.children!.push(...next.children);
      this.keys[from] = separator;
    }
    for (let at = from; at < this.size; at++) this.#bytes += this.#sizeOf(at);
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(16 + this.#bytes);
    writer.u8(FORMAT).u8(this.children === undefined ? 0 : 1);
    writer.u32(this.size);
    for (const [at, key] of this.keys.entries()) {
      writer.latin1(key);
      if (this.children === undefined) this.#codec.write(writer, this.values[at]!);
      else writer.u64(this.children[at]!);
    }
    return writer.finish();
  }

  static decode<V>(codec: EntryCodec<V>, content: Uint8Array): TreePage<V> {
    const reader = new ByteReader(content);
    const format = reader.u8();
    if (format !== FORMAT) throw new RangeError(`tree page of unknown format ${format}`);
    const isInner = reader.u8() === 1;
    const keys: string[] = [];
    const values: V[] = [];
    const children: number[] = [];
    for (let left = reader.u32(); left > 0; left--) {
      keys.push(reader.latin1());
      if (isInner) children.push(reader.u64());
      else values.push(codec.read(reader));
    }
    return new TreePage(codec, keys, values, isInner ? children : undefined);
  }

  #emptyFirst(): void {
    this.#bytes -= this.keys[0]!.length;
    this.keys[0] = '';
  }

  #sizeOf(at: number): number {
    const value = this.children === undefined ? this.#codec.bytes(this.values[at]!) : 8;
    return ENTRY_BYTES + this.keys[at]!.length + value;
  }

  /** Where half of the bytes are on each side, with two entries on each at least. */
  #middle(): number {
    let bytes = 0;
    let at = 0;
    while (at < this.size && bytes < this.#bytes / 2) bytes += this.#sizeOf(at++);
    return Math.min(Math.max(at, 2), this.size - 2);
  }
}

/** The shortest key above `low` and at or below `high`: what is in inner pages is kept short. */
function between(low: string, high: string): string {
  let same = 0;
  while (same < low.length && low.charCodeAt(same) === high.charCodeAt(same)) same++;
  return high.slice(0, same + 1);
}
