/**
 * What is still to be told: of each node its newest record, each so often that with high
 * probability everybody has heard of it ("SWIM", Das, Gupta and Motivala, 2002, section 4.1).
 *
 *  1. There is at most one record of a name: the newest that was added.
 *  2. What is taken at once never exceeds the bytes asked for.
 *  3. What was told least goes first, and of that the newest: nothing waits behind what most know.
 */
import { recordBytes, type NodeRecord } from './node-record.ts';

interface Item {
  readonly record: NodeRecord;
  readonly bytes: number;
  /** Grows with each record that is added. */
  readonly order: number;
  told: number;
}

export class News {
  readonly #items = new Map<string, Item>();
  #order = 0;

  /** How many records wait to be told. */
  get size(): number {
    return this.#items.size;
  }

  /** Invariant 1. */
  add(record: NodeRecord): void {
    this.#items.set(record.name, { record, bytes: recordBytes(record), order: ++this.#order, told: 0 });
  }

  drop(name: string): void {
    this.#items.delete(name);
  }

  /**
   * Records for one message. `first` goes before all others, whatever was told of it; a record is
   * dropped when it has been told `times` times.
   */
  take(maxBytes: number, times: number, first?: NodeRecord): NodeRecord[] {
    const taken: NodeRecord[] = [];
    let left = maxBytes;
    if (first !== undefined && recordBytes(first) <= left) {
      taken.push(first);
      left -= recordBytes(first);
    }
    for (const item of this.#byUrgency()) {
      if (item.record.name === first?.name || item.bytes > left) continue;
      left -= item.bytes;
      taken.push(item.record);
      item.told++;
      if (item.told >= times) this.#items.delete(item.record.name);
    }
    return taken;
  }

  /** Invariant 3. */
  #byUrgency(): Item[] {
    return [...this.#items.values()].sort((a, b) => a.told - b.told || b.order - a.order);
  }
}

/** How often a news is told among so many nodes. */
export function timesToTell(retransmits: number, nodes: number): number {
  return retransmits * Math.max(1, Math.ceil(Math.log10(nodes + 1)));
}
