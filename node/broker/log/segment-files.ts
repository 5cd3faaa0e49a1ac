/**
 * Open files of all segments of a node: as many as are in use, and beyond that a bounded number
 * of those that were used last.
 */
import type { Disk, DiskFile } from '../../runtime/disk.ts';

/** Files that stay open though nobody uses them. */
const MAX_IDLE = 256;
/** Bytes of recent batches that all logs together keep in memory, besides what is not written yet. */
const TAIL_BYTES = 64 * 1024 * 1024;

interface OpenFile {
  readonly file: Promise<DiskFile>;
  users: number;
}

export class SegmentFiles {
  /** Bytes of recent batches that are kept in memory. */
  tailBytes = 0;
  readonly disk: Disk;
  readonly #open = new Map<string, OpenFile>();

  constructor(disk: Disk) {
    this.disk = disk;
  }

  get isTailFull(): boolean {
    return this.tailBytes > TAIL_BYTES;
  }

  /** Calls back with a file that is there, and keeps it open meanwhile. */
  async use<T>(path: string, work: (file: DiskFile) => Promise<T>): Promise<T> {
    const opened = this.#take(path, 'existing');
    try {
      return await work(await opened.file);
    } finally {
      this.#give(path, opened);
    }
  }

  /** Makes a file, in place of one that a crash has left. */
  async create<T>(path: string, work: (file: DiskFile) => Promise<T>): Promise<T> {
    await this.forget(path);
    await this.disk.remove(path);
    const opened = this.#take(path, 'create');
    try {
      return await work(await opened.file);
    } finally {
      this.#give(path, opened);
    }
  }

  /** Closes a file that is not used any more. */
  async forget(path: string): Promise<void> {
    const opened = this.#open.get(path);
    if (opened === undefined) return;
    this.#open.delete(path);
    if (opened.users === 0) await closed(opened);
  }

  async close(): Promise<void> {
    const all = [...this.#open.keys()];
    await Promise.all(all.map((path) => this.forget(path)));
  }

  #take(path: string, mode: 'existing' | 'create'): OpenFile {
    const known = this.#open.get(path) ?? this.#opened(path, mode);
    known.users++;
    this.#open.delete(path); // and to the end, where those are that were used last
    this.#open.set(path, known);
    return known;
  }

  #opened(path: string, mode: 'existing' | 'create'): OpenFile {
    const opened = { file: this.disk.open(path, mode), users: 0 };
    opened.file.catch(() => {
      if (this.#open.get(path) === opened) this.#open.delete(path);
    });
    return opened;
  }

  #give(path: string, opened: OpenFile): void {
    opened.users--;
    if (this.#open.get(path) !== opened) {
      if (opened.users === 0) void closed(opened);
      return;
    }
    if (this.#open.size <= MAX_IDLE) return;
    for (const [other, one] of this.#open) {
      if (one.users > 0) continue;
      this.#open.delete(other);
      void closed(one);
      return;
    }
  }
}

/** What could not be opened need not be closed. */
async function closed({ file }: OpenFile): Promise<void> {
  await file.then((one) => one.close()).catch(() => undefined);
}
