/**
 * A map from binary strings to values, in order, as a B+tree over rows: what changes or reads
 * a key touches as many pages as the tree is high. Everything is synchronous, for the apply of
 * a state machine: pages that are not in memory are read from the store, and are small.
 *
 *  1. What pages there are, and which keys each has, follows from the calls alone: the rows are
 *     the same on every replica, whatever of them was in memory.
 *  2. All leaves are equally deep. Only the root may have few entries for long: another page
 *     with few is joined with a neighbour that it fits together with, an empty one is removed.
 *  3. Page numbers are not used again.
 *  4. No page is held from one call to the next, except by a cursor, which is of no use any
 *     more after a change.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { RowKey } from '../storage/row-key.ts';
import type { LiveRow, PartRows } from './machine-part.ts';
import { TreePage, type EntryCodec } from './tree-page.ts';

/** A page on the way from the root to a leaf. */
interface Step<V> {
  readonly number: number;
  readonly page: TreePage<V>;
  /** Position of the child that the way goes on with. */
  readonly at: number;
}

/** Number of the row that says where the tree begins. */
const HEAD = 0;

export class TreePages<V> {
  readonly #rows: PartRows;
  readonly #prefix: RowKey;
  readonly #codec: EntryCodec<V>;

  /** Over the rows that begin with `prefix`: group, generation and family. */
  constructor(rows: PartRows, prefix: RowKey, codec: EntryCodec<V>) {
    this.#rows = rows;
    this.#prefix = prefix;
    this.#codec = codec;
  }

  get(key: string): V | undefined {
    const leaf = this.#leaf(key).page;
    const at = leaf.lowerBound(key);
    return leaf.keys[at] === key ? leaf.values[at] : undefined;
  }

  set(key: string, value: V): void {
    const path: Step<V>[] = [];
    const leaf = this.#leaf(key, path);
    const { page } = leaf;
    const number = leaf.number || this.#become(this.#newPage());
    const at = page.lowerBound(key);
    if (page.keys[at] === key) page.setValue(at, value);
    else page.insertValue(at, key, value);
    this.#put(number, page);
    this.#divide(number, page, path);
  }

  /** Whether it was there. */
  delete(key: string): boolean {
    const path: Step<V>[] = [];
    const { number, page } = this.#leaf(key, path);
    const at = page.lowerBound(key);
    if (page.keys[at] !== key) return false;
    page.remove(at);
    this.#put(number, page);
    this.#join(number, page, path);
    return true;
  }

  /** Stands at the first key at or above `from`. Invariant 4. */
  seek(from: string): TreeCursor<V> {
    return new TreeCursor((key) => this.#leafFrom(key), from);
  }

  /** The greatest key below `end`; undefined for `end`: the greatest of all. */
  before(end: string | undefined): { readonly key: string; readonly value: V } | undefined {
    let below = end;
    for (;;) {
      const { page, low } = this.#leafBefore(below);
      const at = (below === undefined ? page.size : page.lowerBound(below)) - 1;
      if (at >= 0) return { key: page.keys[at]!, value: page.values[at]! };
      if (low === undefined) return undefined;
      below = low;
    }
  }

  #head(): TreeHead {
    return this.#rows.live(this.#row(HEAD), TreeHead.decode) ?? new TreeHead(0, HEAD);
  }

  #page(number: number): TreePage<V> {
    const page = this.#rows.live(this.#row(number), (content) => TreePage.decode(this.#codec, content));
    if (page === undefined) throw new RangeError(`page ${number} of a tree is not there`);
    return page;
  }

  #put(number: number, page: TreePage<V>): void {
    this.#rows.putLive(this.#row(number), page);
  }

  #row(number: number): RowKey {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeUInt32BE(Math.floor(number / 0x1_0000_0000), 0);
    bytes.writeUInt32BE(number >>> 0, 4);
    return this.#prefix + bytes.toString('latin1', 0, 8);
  }

  #root(): { number: number; page: TreePage<V> } {
    const { root } = this.#head();
    if (root !== 0) return { number: root, page: this.#page(root) };
    return { number: 0, page: new TreePage(this.#codec, [], [], undefined) };
  }

  /** The leaf of a key, and the way there. That of an empty tree has no number yet. */
  #leaf(key: string, path?: Step<V>[]): { number: number; page: TreePage<V> } {
    let { number, page } = this.#root();
    while (page.children !== undefined) {
      const at = page.childAt(key);
      path?.push({ number, page, at });
      number = page.children[at]!;
      page = this.#page(number);
    }
    return { number, page };
  }

  /** The leaf of a key, and where the one behind it begins. */
  #leafFrom(key: string): { page: TreePage<V>; high: string | undefined } {
    let { page } = this.#root();
    let high: string | undefined;
    while (page.children !== undefined) {
      const at = page.childAt(key);
      high = page.keys[at + 1] ?? high;
      page = this.#page(page.children[at]!);
    }
    return { page, high };
  }

  /** The leaf of what is next below a key, and where it begins. */
  #leafBefore(key: string | undefined): { page: TreePage<V>; low: string | undefined } {
    let { page } = this.#root();
    let low: string | undefined;
    while (page.children !== undefined) {
      const at = key === undefined ? page.size - 1 : page.childAt(key, true);
      if (at > 0) low = page.keys[at];
      page = this.#page(page.children[at]!);
    }
    return { page, low };
  }

  /** Gives out a page number. Invariant 3. */
  #newPage(): number {
    const head = this.#head();
    head.last++;
    this.#rows.putLive(this.#row(HEAD), head);
    return head.last;
  }

  /** Has the tree begin with a page. */
  #become(root: number): number {
    const head = this.#head();
    head.root = root;
    this.#rows.putLive(this.#row(HEAD), head);
    return root;
  }

  #divide(number: number, page: TreePage<V>, path: Step<V>[]): void {
    if (!page.isTooLarge) return;
    const { separator, upper } = page.divide();
    const added = this.#newPage();
    this.#put(added, upper);
    const parent = path.pop();
    if (parent === undefined) {
      const root = new TreePage<V>(this.#codec, ['', separator], [], [number, added]);
      this.#put(this.#become(this.#newPage()), root);
      return;
    }
    parent.page.insertChild(parent.at + 1, separator, added);
    this.#put(parent.number, parent.page);
    this.#divide(parent.number, parent.page, path);
  }

  /** Invariant 2. */
  #join(number: number, page: TreePage<V>, path: Step<V>[]): void {
    const parent = path.pop();
    if (parent === undefined) return this.#shrinkRoot(number, page);
    if (page.size === 0) this.#removeChild(parent, parent.at);
    else if (!page.isSmall || !this.#joinNeighbour(parent, page)) return;
    this.#join(parent.number, parent.page, path);
  }

  /** True: the parent has one child less. */
  #joinNeighbour({ number, page: parent, at }: Step<V>, page: TreePage<V>): boolean {
    for (const left of [at, at - 1]) {
      if (left < 0 || left + 1 >= parent.size) continue;
      const lower = left === at ? page : this.#page(parent.children![left]!);
      const upper = left === at ? this.#page(parent.children![left + 1]!) : page;
      if (!lower.fitsWith(upper)) continue;
      lower.join(parent.keys[left + 1]!, upper);
      this.#put(parent.children![left]!, lower);
      this.#removeChild({ number, page: parent }, left + 1);
      return true;
    }
    return false;
  }

  #removeChild({ number, page }: Pick<Step<V>, 'number' | 'page'>, at: number): void {
    this.#rows.delete(this.#row(page.children![at]!));
    page.remove(at);
    this.#put(number, page);
  }

  #shrinkRoot(number: number, page: TreePage<V>): void {
    if (page.children === undefined || page.size > 1) return;
    this.#rows.delete(this.#row(number));
    this.#become(page.children[0] ?? 0);
    if (page.size === 1) this.#shrinkRoot(page.children[0]!, this.#page(page.children[0]!));
  }
}

/** Stands at an entry, and goes up from there. Of no use after a change of the tree. */
export class TreeCursor<V> {
  readonly #leafFrom: (key: string) => { page: TreePage<V>; high: string | undefined };
  #page: TreePage<V>;
  #high: string | undefined;
  #at: number;

  constructor(leafFrom: (key: string) => { page: TreePage<V>; high: string | undefined }, from: string) {
    this.#leafFrom = leafFrom;
    const { page, high } = leafFrom(from);
    this.#page = page;
    this.#high = high;
    this.#at = page.lowerBound(from);
    this.#skipEnd();
  }

  /** Undefined: at the end. */
  get key(): string | undefined {
    return this.#page.keys[this.#at];
  }

  /** Of the entry that it stands at. */
  get value(): V {
    return this.#page.values[this.#at]!;
  }

  next(): void {
    this.#at++;
    this.#skipEnd();
  }

  /** Goes on to the first key at or above `from`, which is not below where it stands. */
  seek(from: string): void {
    if (this.#high !== undefined && from >= this.#high) this.#enter(from);
    this.#at = this.#page.lowerBound(from, this.#at);
    this.#skipEnd();
  }

  #enter(from: string): void {
    const { page, high } = this.#leafFrom(from);
    this.#page = page;
    this.#high = high;
    this.#at = 0;
  }

  #skipEnd(): void {
    while (this.#at >= this.#page.size && this.#high !== undefined) this.#enter(this.#high);
  }
}

/** Where the tree begins. */
class TreeHead implements LiveRow {
  /** 0: it is empty. */
  root: number;
  /** Last page number that was given out. */
  last: number;

  constructor(root: number, last: number) {
    this.root = root;
    this.last = last;
  }

  static decode(content: Uint8Array): TreeHead {
    const reader = new ByteReader(content);
    return new TreeHead(reader.u64(), reader.u64());
  }

  encode(): Uint8Array {
    return new ByteWriter(16).u64(this.root).u64(this.last).finish();
  }
}
