/**
 * The nodes that are known, and whose turn it is to be probed and to be told news.
 *
 * A record is replaced only by one that counts more (`compareRecords`).
 */
import { compareRecords, isUp, type NodeRecord } from './node-record.ts';
import { shuffled, Turns } from './turns.ts';

export class KnownNodes {
  readonly #self: string;
  readonly #random: () => number;
  readonly #records = new Map<string, NodeRecord>();
  readonly #probes: Turns;
  readonly #tellings: Turns;
  #upCount = 0;

  /** `random`: numbers in [0, 1). */
  constructor(self: string, random: () => number) {
    this.#self = self;
    this.#random = random;
    this.#probes = new Turns(random);
    this.#tellings = new Turns(random);
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

  /** Returns whether the record counts more than what was known. */
  put(record: NodeRecord): boolean {
    const known = this.#records.get(record.name);
    if (known !== undefined && compareRecords(record, known) <= 0) return false;
    this.#records.set(record.name, record);
    const wasUp = known !== undefined && isUp(known);
    this.#upCount += Number(isUp(record)) - Number(wasUp);
    if (isUp(record) && !wasUp && record.name !== this.#self) {
      this.#probes.add(record.name);
      this.#tellings.add(record.name);
    }
    return true;
  }

  remove(name: string): void {
    const known = this.#records.get(name);
    if (known !== undefined && isUp(known)) this.#upCount--;
    this.#records.delete(name);
  }

  /** Whom to probe now; undefined: nobody else is up. */
  nextToProbe(): string | undefined {
    return this.#probes.next(this.#isOther, this.#others);
  }

  /** Whom to tell news now: up to so many, each once. */
  nextToTell(count: number): string[] {
    const names = new Set<string>();
    for (let turn = 0; turn < count; turn++) {
      const name = this.#tellings.next(this.#isOther, this.#others);
      if (name !== undefined) names.add(name);
    }
    return [...names];
  }

  /** Some of those that fit, in random order. */
  pick(count: number, fits: (record: NodeRecord) => boolean): string[] {
    const names = [...this.#records.values()].filter(fits).map(({ name }) => name);
    return shuffled(names, this.#random, count);
  }

  readonly #isOther = (name: string): boolean => {
    const record = this.#records.get(name);
    return name !== this.#self && record !== undefined && isUp(record);
  };

  readonly #others = (): string[] => [...this.#records.keys()].filter(this.#isOther);
}
