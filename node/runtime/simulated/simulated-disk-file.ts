import type { DiskFile } from '../disk.ts';
import type { DiskFault, DiskOperation } from './disk-faults.ts';
import type { SeededRandom } from './seeded-random.ts';
import { SECTOR_BYTES, type SimulatedFile } from './simulated-file.ts';
import { diskError } from './simulated-tree.ts';

/** What a file handle needs of its disk. */
export interface DiskOperations {
  /** Runs one numbered operation; see SimulatedDisk. */
  perform<T>(operation: DiskOperation, path: string, steps: OperationSteps<T>): Promise<T>;
  /** Bytes by which files may still grow. */
  growthLeft(): number;
  readonly random: SeededRandom;
}

/** The parts of an operation. */
export interface OperationSteps<T> {
  /** The whole effect, at the time of completion. */
  readonly complete: () => T;
  /** The effect of an operation cut short: some of it, by chance. Nothing or all of it if absent. */
  readonly tear?: () => void;
  /** Whether the machine goes on with it when the process dies, so that it is done wholly or not at all. */
  readonly isOfMachine?: boolean;
  /** The effect of an injected failure. */
  readonly fail?: (fault: DiskFault) => void;
}

/** An open file on a simulated disk. */
export class SimulatedDiskFile implements DiskFile {
  readonly #disk: DiskOperations;
  readonly #path: string;
  readonly #file: SimulatedFile;
  #isClosed = false;

  constructor(disk: DiskOperations, path: string, file: SimulatedFile) {
    this.#disk = disk;
    this.#path = path;
    this.#file = file;
  }

  size(): Promise<number> {
    return this.#perform('size', { complete: () => this.#file.size });
  }

  read(position: number, length: number): Promise<Uint8Array> {
    return this.#perform('read', { complete: () => this.#file.read(position, length) });
  }

  write(position: number, data: Uint8Array): Promise<void> {
    return this.#perform('write', {
      complete: () => this.#writeWhatFits(position, data),
      tear: () => this.#writeSome(position, data, () => this.#disk.random.chance(0.5)),
      fail: (fault) => this.#failWrite(position, data, fault),
    });
  }

  async writeDurably(position: number, data: Uint8Array): Promise<void> {
    await this.write(position, data);
    await this.#syncRange(position, position + data.length);
  }

  sync(): Promise<void> {
    return this.#syncRange(0, Infinity);
  }

  #syncRange(start: number, end: number): Promise<void> {
    const pending = this.#file.beginSync(start, end);
    return this.#perform('sync', {
      isOfMachine: true,
      complete: () => this.#file.completeSync(pending),
      tear: () => this.#file.failSync(pending, () => this.#disk.random.chance(0.5)),
      fail: (fault) => this.#file.failSync(pending, () => this.#reaches(fault)),
    });
  }

  truncate(size: number): Promise<void> {
    const complete = () => {
      this.#checkGrowth(size);
      this.#file.truncate(size);
    };
    return this.#perform('truncate', { complete });
  }

  close(): Promise<void> {
    const closing = this.#perform('close', { complete: () => undefined });
    this.#isClosed = true;
    return closing;
  }

  #perform<T>(operation: DiskOperation, steps: OperationSteps<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(diskError('EBADF', `${this.#path} is closed`));
    return this.#disk.perform(operation, this.#path, steps);
  }

  /** A full disk takes the first part of a write. */
  #writeWhatFits(position: number, data: Uint8Array): void {
    const end = this.#file.size + this.#disk.growthLeft();
    this.#file.write(position, data.subarray(0, Math.max(0, end - position)));
    this.#checkGrowth(position + data.length);
  }

  #checkGrowth(size: number): void {
    if (size - this.#file.size > this.#disk.growthLeft()) {
      throw diskError('ENOSPC', `no space left for ${this.#path}`);
    }
  }

  /** A failed write is in the page cache in part; whether that reaches the medium, the fault says. */
  #failWrite(position: number, data: Uint8Array, fault: DiskFault): void {
    this.#writeSome(position, data, () => this.#reaches(fault));
  }

  #reaches(fault: DiskFault): boolean {
    return fault.data === 'kept' || (fault.data !== 'lost' && this.#disk.random.chance(0.5));
  }

  /** Writes the sectors that `isWritten` picks. */
  #writeSome(position: number, data: Uint8Array, isWritten: () => boolean): void {
    let start = 0;
    while (start < data.length) {
      const room = SECTOR_BYTES - ((position + start) % SECTOR_BYTES);
      const end = Math.min(start + room, data.length);
      if (isWritten() && this.#disk.growthLeft() >= data.length) {
        this.#file.write(position + start, data.subarray(start, end));
      }
      start = end;
    }
  }
}
