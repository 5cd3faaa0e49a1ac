/** The last changes of the configuration, in memory: what somebody who is just behind needs. */
import { binaryString } from '../storage/row-key.ts';
import type { ConfigEvent } from './coordination-events.ts';

const MAX_REVISIONS = 1_000;
const MAX_BYTES = 8 * 1024 * 1024;
/** What a change costs besides its key and value. */
const EVENT_BYTES = 200;

/** All changes of one revision, with their keys as binary strings. */
export interface RevisionChanges {
  readonly revision: number;
  readonly events: readonly ConfigEvent[];
  readonly keys: readonly string[];
}

export class RecentChanges {
  /** Of the last change that was told of; 0: none was. */
  last = 0;
  /** All changes after this revision are here. */
  #floor = Infinity;
  #kept: RevisionChanges[] = [];
  /** Those before it are dropped. */
  #first = 0;
  #bytes = 0;

  /** Whether all changes from a revision on are here. */
  reaches(from: number): boolean {
    return from > this.#floor;
  }

  add(revision: number, events: readonly ConfigEvent[]): RevisionChanges {
    const changes = { revision, events, keys: events.map(({ entry }) => binaryString(entry.key)) };
    if (this.#floor === Infinity) this.#floor = revision - 1;
    this.last = revision;
    this.#kept.push(changes);
    this.#bytes += bytesOf(changes);
    while (this.#kept.length - this.#first > MAX_REVISIONS || this.#bytes > MAX_BYTES) this.#drop();
    return changes;
  }

  /** Changes from a revision on that `reaches` has affirmed. */
  from(revision: number, limit: number): RevisionChanges[] {
    let low = this.#first;
    let high = this.#kept.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#kept[middle]!.revision < revision) low = middle + 1;
      else high = middle;
    }
    return this.#kept.slice(low, low + limit);
  }

  /** Keeps nothing: changes up to here are looked for elsewhere. */
  forget(revision: number): void {
    this.last = revision;
    this.#floor = revision;
    this.#kept = [];
    this.#first = 0;
    this.#bytes = 0;
  }

  #drop(): void {
    const dropped = this.#kept[this.#first++]!;
    this.#floor = dropped.revision;
    this.#bytes -= bytesOf(dropped);
    if (this.#first < MAX_REVISIONS && this.#first < this.#kept.length) return;
    this.#kept = this.#kept.slice(this.#first);
    this.#first = 0;
  }
}

function bytesOf({ events }: RevisionChanges): number {
  let bytes = 0;
  for (const { entry } of events) bytes += EVENT_BYTES + entry.key.byteLength + entry.value.byteLength;
  return bytes;
}
