/**
 * The nodes that are known, and whose turn it is to be probed.
 *
 *  1. A record is replaced only by one that counts more (`compareRecords`).
 *  2. Among n nodes that are up each is probed at least once in 2n - 1 turns: all in a random
 *     order, then all again in another ("SWIM", section 4.3).
 */
import { compareRecords, isUp, type NodeRecord } from './node-record.ts';

export class KnownNodes {
  readonly #self: string;
  readonly #random: () => number;
  readonly #records = new Map<string, NodeRecord>();
  /** Names in the order of this pass. */
  #turns: string[] = [];
  #nextTurn = 0;
  #upCount = 0;

  /** `random`: numbers in [0, 1). */
  constructor(self: string, random: () => number) {
    this.#self = self;
    this.#random = random;
  }

  /** All, this node included. */
  get all(): IterableIterator<NodeRecord> {
    return this.#records.values();
  }

  get size(): number {
    return this.#records.size;
  }

  /** How many are up, this node included. */
  get upCount(): number {
    return this.#upCount;
  }

  get(name: string): NodeRecord | undefined {
    return this.#records.get(name);
  }

  /** Returns whether the record counts more than what was known. Invariant 1. */
  put(record: NodeRecord): boolean {
    const known = this.#records.get(record.name);
    if (known !== undefined && compareRecords(record, known) <= 0) return false;
    this.#records.set(record.name, record);
    this.#upCount += Number(isUp(record)) - Number(known !== undefined && isUp(known));
    if (isUp(record) && (known === undefined || !isUp(known))) this.#giveTurn(record.name);
    return true;
  }

  remove(name: string): void {
    const known = this.#records.get(name);
    if (known !== undefined && isUp(known)) this.#upCount--;
    this.#records.delete(name);
  }

  /** Whom to probe now; undefined: nobody else is up. Invariant 2. */
  nextToProbe(): string | undefined {
    for (let pass = 0; pass < 2; pass++) {
      while (this.#nextTurn < this.#turns.length) {
        const name = this.#turns[this.#nextTurn++]!;
        if (this.#mayBeProbed(name)) return name;
      }
      this.#turns = this.pick(Infinity, ({ name }) => this.#mayBeProbed(name)).map(({ name }) => name);
      this.#nextTurn = 0;
    }
    return undefined;
  }

  /** Some of those that fit, in random order. */
  pick(count: number, fits: (record: NodeRecord) => boolean): NodeRecord[] {
    const fitting = [...this.#records.values()].filter(fits);
    const wanted = Math.min(count, fitting.length);
    for (let at = 0; at < wanted; at++) {
      const other = at + Math.floor(this.#random() * (fitting.length - at));
      [fitting[at], fitting[other]] = [fitting[other]!, fitting[at]!];
    }
    return fitting.slice(0, wanted);
  }

  /** Who is new has a turn somewhere in what is left of this pass, or nobody would know when. */
  #giveTurn(name: string): void {
    if (name === this.#self || this.#turns.includes(name, this.#nextTurn)) return;
    const at = this.#nextTurn + Math.floor(this.#random() * (this.#turns.length - this.#nextTurn + 1));
    this.#turns.splice(at, 0, name);
  }

  #mayBeProbed(name: string): boolean {
    const record = this.#records.get(name);
    return name !== this.#self && record !== undefined && isUp(record);
  }
}
