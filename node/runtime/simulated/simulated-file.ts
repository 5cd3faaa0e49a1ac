import { versionsKept, type CrashPolicy } from './crash-policy.ts';
import type { SeededRandom } from './seeded-random.ts';

/** Bytes that a disk writes as a whole or not at all. */
export const SECTOR_BYTES = 512;

/** Unsynced states kept of one sector or size; older ones can no longer come out of a crash. */
const MAX_VERSIONS = 4;

/**
 * The content of one file, twice: what readers see (the page cache) and what the medium
 * holds. The difference is a set of unsynced sectors and sizes.
 */
export class SimulatedFile {
  #cache = new Image();
  #medium = new Image();
  /** In the order in which sectors first became unsynced. */
  readonly #unsynced = new Map<number, UnsyncedSector>();
  #unsyncedSizes: number[] = [];
  #stamp = 0;

  /** A file whose content is on the medium. */
  static durable(content: Uint8Array): SimulatedFile {
    const file = new SimulatedFile();
    file.#cache.write(0, content);
    file.#medium.write(0, content);
    return file;
  }

  get size(): number {
    return this.#cache.size;
  }

  read(position: number, length: number): Uint8Array {
    return this.#cache.read(position, length);
  }

  /** What is on the medium for certain. */
  durableContent(): Uint8Array {
    return this.#medium.read(0, this.#medium.size);
  }

  /** Writes to the page cache. */
  write(position: number, data: Uint8Array): void {
    if (data.length === 0) return;
    this.#markUnsynced(position, position + data.length);
    const sizeBefore = this.#cache.size;
    this.#cache.write(position, data);
    if (this.#cache.size !== sizeBefore) this.#noteSize();
  }

  truncate(size: number): void {
    if (size === this.#cache.size) return;
    if (size < this.#cache.size) this.#markUnsynced(size, this.#cache.size);
    this.#cache.resize(size);
    this.#noteSize();
  }

  /** What a sync of these bytes that starts now will make durable. */
  beginSync(start: number, end: number): PendingSync {
    const sectors = [];
    for (const [sector, { stamp }] of this.#unsynced) {
      const isInside = (sector + 1) * SECTOR_BYTES > start && sector * SECTOR_BYTES < end;
      if (isInside) sectors.push({ sector, stamp, content: this.#cache.sector(sector) });
    }
    return { sectors, size: this.#cache.size };
  }

  completeSync(pending: PendingSync): void {
    this.#medium.resize(Math.max(this.#medium.size, pending.size));
    for (const { sector, content } of pending.sectors) this.#medium.setSector(sector, content);
    this.#medium.resize(pending.size);
    this.#forget(pending);
  }

  /**
   * A failed sync. The kernel calls the pages clean either way, so that no later sync
   * covers them; `reaches` says for each sector whether it is on the medium all the same.
   */
  failSync(pending: PendingSync, reaches: () => boolean): void {
    if (reaches()) this.#medium.resize(pending.size);
    for (const { sector, content } of pending.sectors) {
      if (reaches()) this.#medium.setSector(sector, content);
    }
    this.#forget(pending);
  }

  /** The kernel writes everything by itself, as it does some time after a change. */
  writeBack(): void {
    this.#medium = this.#cache.copy();
    this.#unsynced.clear();
    this.#unsyncedSizes = [];
  }

  /** Loses or keeps each unsynced change, as the policy says. What is left is durable. */
  crash(policy: CrashPolicy, random: SeededRandom): void {
    const sizes = this.#unsyncedSizes;
    // A size that is lost would hide the sectors that `keep-first` is to show.
    const sizePolicy = policy === 'keep-first' ? 'keep-all' : policy;
    const sizesKept = versionsKept(sizePolicy, random, sizes.length, 1, 2);
    const size = sizesKept === 0 ? this.#medium.size : sizes[sizesKept - 1]!;
    this.#medium.resize(Math.max(size, this.#medium.size));
    let position = 0;
    for (const [sector, { older }] of this.#unsynced) {
      const versions = [...older, this.#cache.sector(sector)];
      const kept = versionsKept(policy, random, versions.length, position++, this.#unsynced.size);
      if (kept > 0) this.#medium.setSector(sector, versions[kept - 1]!);
    }
    this.#medium.resize(size);
    this.#cache = this.#medium.copy();
    this.#unsynced.clear();
    this.#unsyncedSizes = [];
  }

  /** Puts bytes on the medium and before the readers alike. */
  overwrite(position: number, data: Uint8Array): void {
    this.#cache.write(position, data);
    this.#medium.write(position, data);
  }

  #markUnsynced(start: number, end: number): void {
    const last = Math.ceil(end / SECTOR_BYTES);
    for (let sector = Math.floor(start / SECTOR_BYTES); sector < last; sector++) {
      const known = this.#unsynced.get(sector);
      const stamp = this.#stamp++;
      if (known === undefined) {
        this.#unsynced.set(sector, { stamp, older: [] });
      } else {
        known.stamp = stamp;
        known.older.push(this.#cache.sector(sector));
        if (known.older.length > MAX_VERSIONS) known.older.shift();
      }
    }
  }

  #noteSize(): void {
    this.#unsyncedSizes.push(this.#cache.size);
    if (this.#unsyncedSizes.length > MAX_VERSIONS) this.#unsyncedSizes.shift();
  }

  /** Drops the sync's sectors from the unsynced ones, except those written again since. */
  #forget(pending: PendingSync): void {
    for (const { sector, stamp } of pending.sectors) {
      if (this.#unsynced.get(sector)?.stamp === stamp) this.#unsynced.delete(sector);
    }
    this.#unsyncedSizes = this.#cache.size === pending.size ? [] : [this.#cache.size];
  }
}

/** Sectors and size as they were when a sync began. */
export interface PendingSync {
  readonly sectors: readonly {
    readonly sector: number;
    readonly stamp: number;
    readonly content: Uint8Array;
  }[];
  readonly size: number;
}

interface UnsyncedSector {
  /** Grows with each write, so that a sync knows what it covered. */
  stamp: number;
  /** Unsynced contents that were overwritten before a sync; the kernel may have written any of them. */
  older: Uint8Array[];
}

/** Bytes of a file, growing by doubling; beyond `size` the buffer is all zero. */
class Image {
  #bytes = new Uint8Array(0);
  size = 0;

  copy(): Image {
    const image = new Image();
    image.write(0, this.#bytes.subarray(0, this.size));
    return image;
  }

  read(position: number, length: number): Uint8Array {
    return this.#bytes.slice(position, Math.min(position + length, this.size));
  }

  write(position: number, data: Uint8Array): void {
    if (position + data.length > this.size) this.resize(position + data.length);
    this.#bytes.set(data, position);
  }

  /** One sector, filled up with zeros beyond the end. */
  sector(index: number): Uint8Array {
    const content = new Uint8Array(SECTOR_BYTES);
    content.set(this.#bytes.subarray(index * SECTOR_BYTES, (index + 1) * SECTOR_BYTES));
    return content;
  }

  /** Sets the part of a sector that lies within the file. */
  setSector(index: number, content: Uint8Array): void {
    const position = index * SECTOR_BYTES;
    if (position < this.size) this.#bytes.set(content.subarray(0, this.size - position), position);
  }

  resize(size: number): void {
    if (size > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(size, 2 * this.#bytes.length, SECTOR_BYTES));
      grown.set(this.#bytes.subarray(0, this.size));
      this.#bytes = grown;
    } else if (size < this.size) {
      this.#bytes.fill(0, size, this.size);
    }
    this.size = size;
  }
}
