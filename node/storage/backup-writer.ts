/** Makes the bytes of a backup file, in their order, and can go back to the beginning of a partition. */
import { createHash } from 'node:crypto';
import {
  BlockType,
  encodeBlock,
  encodeEntries,
  encodeFences,
  encodeHeader,
  encodePartition,
  encodePreamble,
  encodeTrailer,
  type BackupEntry,
  type BackupFence,
  type BackupHeader,
  type BackupPartition,
  type BackupPlace,
  type BackupTotals,
} from './backup-format.ts';

type Hash = ReturnType<typeof createHash>;

/** How far a file has come. */
interface Progress {
  readonly hash: Hash;
  readonly totals: BackupTotals;
  readonly bytes: number;
}

export class BackupWriter {
  #hash = createHash('sha256');
  #totals: BackupTotals = { blocks: 0, partitions: 0, entries: 0, fences: 0 };
  #bytes = 0;
  #mark: Progress | undefined;

  /** Bytes made, which is where in the file the next ones belong. */
  get bytes(): number {
    return this.#bytes;
  }

  get totals(): BackupTotals {
    return this.#totals;
  }

  header(header: BackupHeader): Buffer {
    const preamble = encodePreamble();
    this.#note(preamble);
    return Buffer.concat([preamble, this.#block(BlockType.header, encodeHeader(header))]);
  }

  /** A partition begins, perhaps once more: what was made of it before is to be cut off the file. */
  beginPartition(): void {
    const { hash, totals, bytes } = (this.#mark ??= {
      hash: this.#hash.copy(),
      totals: this.#totals,
      bytes: this.#bytes,
    });
    this.#hash = hash.copy();
    this.#totals = totals;
    this.#bytes = bytes;
  }

  entries(place: BackupPlace, entries: readonly BackupEntry[]): Buffer {
    this.#count({ entries: entries.length });
    return this.#block(BlockType.entries, encodeEntries(place, entries));
  }

  fences(place: BackupPlace, fences: readonly BackupFence[]): Buffer {
    this.#count({ fences: fences.length });
    return this.#block(BlockType.fences, encodeFences(place, fences));
  }

  endPartition(place: BackupPlace, partition: BackupPartition): Buffer {
    this.#mark = undefined;
    this.#count({ partitions: 1 });
    return this.#block(BlockType.partition, encodePartition(place, partition));
  }

  /** The end of the file. */
  trailer(): Buffer {
    const content = encodeTrailer(this.#totals, this.#hash.copy().digest());
    return this.#block(BlockType.trailer, content);
  }

  #block(type: number, content: Uint8Array): Buffer {
    const block = encodeBlock(type, content);
    this.#count({ blocks: 1 });
    this.#note(block);
    return block;
  }

  #note(bytes: Buffer): void {
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
  }

  #count(more: Partial<BackupTotals>): void {
    const { blocks, partitions, entries, fences } = this.#totals;
    this.#totals = {
      blocks: blocks + (more.blocks ?? 0),
      partitions: partitions + (more.partitions ?? 0),
      entries: entries + (more.entries ?? 0),
      fences: fences + (more.fences ?? 0),
    };
  }
}
