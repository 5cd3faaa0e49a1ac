/**
 * Who is interested in a key: single keys by name, prefixes by their lengths, any other ranges
 * in a balanced tree by where they begin, each node knowing how far those under it reach
 * (Cormen et al., Introduction to Algorithms, "Interval trees"). The tree is laid out anew when
 * enough has been added to or removed from it; what has not found its place yet is looked
 * through one by one.
 */
import { prefixEnd } from '../storage/row-key.ts';
import type { KeySpan } from './config-command.ts';

/** Ranges that wait for the tree to be laid out anew, at least; else a share of the tree. */
const MIN_WAITING = 32;
const WAITING_SHARE = 8;
const LAST_BYTE = 0xff;

/** What is indexed. */
export interface Interested {
  readonly span: KeySpan;
}

export class WatchIndex<T extends Interested> {
  readonly #keys = new Map<string, Set<T>>();
  /** By length, then by prefix. */
  readonly #prefixes = new Map<number, Map<string, Set<T>>>();
  readonly #ranges = new RangeTree<T>();

  add(watcher: T): void {
    const { start, end } = watcher.span;
    if (end === `${start}\0`) put(this.#keys, start, watcher);
    else if (isPrefix(watcher.span)) put(this.#ofLength(start.length), start, watcher);
    else this.#ranges.add(watcher);
  }

  remove(watcher: T): void {
    const { start, end } = watcher.span;
    if (end === `${start}\0`) take(this.#keys, start, watcher);
    else if (isPrefix(watcher.span)) {
      const prefixes = this.#ofLength(start.length);
      take(prefixes, start, watcher);
      if (prefixes.size === 0) this.#prefixes.delete(start.length);
    } else this.#ranges.remove(watcher);
  }

  /** Visits everyone who is interested in a key, in no order. Nothing may be added or removed meanwhile. */
  visit(key: string, visitor: (watcher: T) => void): void {
    this.#keys.get(key)?.forEach(visitor);
    for (const [length, prefixes] of this.#prefixes)
      if (length <= key.length) prefixes.get(key.slice(0, length))?.forEach(visitor);
    this.#ranges.visit(key, visitor);
  }

  #ofLength(length: number): Map<string, Set<T>> {
    let prefixes = this.#prefixes.get(length);
    if (prefixes === undefined) this.#prefixes.set(length, (prefixes = new Map()));
    return prefixes;
  }
}

/** Whether a span is all keys that begin with its start. Those of nothing but the last byte have no end. */
function isPrefix({ start, end }: KeySpan): boolean {
  if (start === '') return end === undefined;
  return start.charCodeAt(start.length - 1) !== LAST_BYTE && prefixEnd(start) === end;
}

function put<T>(sets: Map<string, Set<T>>, name: string, watcher: T): void {
  const set = sets.get(name);
  if (set === undefined) sets.set(name, new Set([watcher]));
  else set.add(watcher);
}

function take<T>(sets: Map<string, Set<T>>, name: string, watcher: T): void {
  const set = sets.get(name);
  if (set?.delete(watcher) === true && set.size === 0) sets.delete(name);
}

/** A range of the tree. `reach`: the furthest end under it; undefined: to the last key. */
interface Branch<T> {
  readonly watcher: T;
  reach: string | undefined;
  isGone: boolean;
}

class RangeTree<T extends Interested> {
  /** In the order of starts: a balanced tree whose root is in the middle. */
  #branches: Branch<T>[] = [];
  readonly #places = new Map<T, Branch<T>>();
  readonly #waiting = new Set<T>();
  #gone = 0;

  add(watcher: T): void {
    this.#waiting.add(watcher);
    if (this.#waiting.size > this.#allowed) this.#layOut();
  }

  remove(watcher: T): void {
    if (this.#waiting.delete(watcher)) return;
    const branch = this.#places.get(watcher);
    if (branch === undefined) return;
    this.#places.delete(watcher);
    branch.isGone = true;
    this.#gone++;
    if (this.#gone > this.#allowed) this.#layOut();
  }

  visit(key: string, visitor: (watcher: T) => void): void {
    for (const watcher of this.#waiting) if (holds(watcher.span, key)) visitor(watcher);
    this.#visit(0, this.#branches.length, key, visitor);
  }

  get #allowed(): number {
    return Math.max(MIN_WAITING, this.#branches.length / WAITING_SHARE);
  }

  #visit(from: number, to: number, key: string, visitor: (watcher: T) => void): void {
    if (from >= to) return;
    const middle = (from + to) >>> 1;
    const { watcher, reach, isGone } = this.#branches[middle]!;
    if (reach !== undefined && reach <= key) return;
    this.#visit(from, middle, key, visitor);
    if (watcher.span.start > key) return;
    if (!isGone && holds(watcher.span, key)) visitor(watcher);
    this.#visit(middle + 1, to, key, visitor);
  }

  #layOut(): void {
    const watchers = [...this.#places.keys(), ...this.#waiting];
    watchers.sort((a, b) => (a.span.start < b.span.start ? -1 : 1));
    this.#branches = watchers.map((watcher) => ({ watcher, reach: watcher.span.end, isGone: false }));
    this.#places.clear();
    for (const branch of this.#branches) this.#places.set(branch.watcher, branch);
    this.#waiting.clear();
    this.#gone = 0;
    this.#reach(0, this.#branches.length);
  }

  /** Works out how far each branch reaches; returns it for the whole part. */
  #reach(from: number, to: number): string | undefined {
    if (from >= to) return '';
    const middle = (from + to) >>> 1;
    const branch = this.#branches[middle]!;
    branch.reach = further(branch.reach, further(this.#reach(from, middle), this.#reach(middle + 1, to)));
    return branch.reach;
  }
}

function further(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return undefined;
  return a > b ? a : b;
}

function holds({ start, end }: KeySpan, key: string): boolean {
  return start <= key && (end === undefined || key < end);
}
