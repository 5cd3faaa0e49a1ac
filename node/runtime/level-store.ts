import { setImmediate as immediate } from 'node:timers/promises';
import { ClassicLevel } from 'classic-level';
import type { OrderedStore, RowChange, RowIterator } from './ordered-store.ts';

/** Settings of a LevelStore. */
export interface LevelStoreOptions {
  /**
   * Bytes of uncompressed table blocks kept in memory; default 32 MiB. More makes
   * repeated reads faster and takes as much memory; less reads and uncompresses again.
   */
  readonly cacheBytes?: number;
  /**
   * Bytes of new rows gathered in memory before they become a table; default 64 MiB. More
   * means fewer, larger tables and so less compaction, but up to twice this memory and a
   * longer opening (the log file is read through). LevelDB's own default is 4 MiB: at
   * tens of megabytes a second it compacts all the time.
   */
  readonly writeBufferBytes?: number;
}

const MIB = 2 ** 20;

/** Of a batch so much is gathered before other work gets its turn; a row costs as much as so many bytes. */
const BATCH_SLICE_BYTES = MIB;
const ROW_COST_BYTES = 1_024;

/** Bytes that one step of an iterator may gather; measured best for long walks. */
const ITERATOR_STEP_BYTES = MIB;

/**
 * An ordered store in LevelDB. Every batch is synced to disk before its promise resolves.
 * One process at a time may have the directory open. LevelDB verifies no checksum when it
 * reads: damage of its files is for the caller to find.
 */
export class LevelStore implements OrderedStore {
  readonly #level: ClassicLevel<Uint8Array, Uint8Array>;

  private constructor(level: ClassicLevel<Uint8Array, Uint8Array>) {
    this.#level = level;
  }

  /**
   * Opens the store in `directory`, and makes an empty one if there is none. An error
   * carries LevelDB's `code`: LEVEL_LOCKED when a process has it open, LEVEL_CORRUPTION, …
   */
  static async open(directory: string, options: LevelStoreOptions = {}): Promise<LevelStore> {
    const level = new ClassicLevel<Uint8Array, Uint8Array>(directory, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      createIfMissing: true,
      cacheSize: options.cacheBytes ?? 32 * MIB,
      writeBufferSize: options.writeBufferBytes ?? 64 * MIB,
    });
    await level.open().catch((error: unknown) => {
      throw openError(directory, error);
    });
    return new LevelStore(level);
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#level.getSync(key);
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#level.getMany([...keys]);
  }

  async writeBatch(changes: readonly RowChange[]): Promise<void> {
    // Gathered step by step: handing LevelDB an array of objects costs several times as much.
    const batch = this.#level.batch();
    try {
      let slice = 0;
      for (const [key, value] of changes) {
        if (value === undefined) batch.del(key);
        else batch.put(key, value);
        slice += ROW_COST_BYTES + (value?.byteLength ?? 0);
        if (slice < BATCH_SLICE_BYTES) continue;
        slice = 0;
        await immediate();
      }
      await batch.write({ sync: true });
    } catch (error) {
      await batch.close();
      throw error;
    }
  }

  iterate(start: Uint8Array, end: Uint8Array): RowIterator {
    const iterator = this.#level.iterator({ gte: start, lt: end, highWaterMarkBytes: ITERATOR_STEP_BYTES });
    return { next: (count) => iterator.nextv(count), close: () => iterator.close() };
  }

  async compact(start: Uint8Array, end: Uint8Array): Promise<void> {
    await this.#level.compactRange(start, end);
  }

  async approximateBytes(): Promise<number> {
    return this.#level.approximateSize(new Uint8Array(0), new Uint8Array(16).fill(255));
  }

  async close(): Promise<void> {
    await this.#level.close();
  }
}

/** Brings the code that classic-level hides in the cause to the top. */
function openError(directory: string, error: unknown): Error {
  const cause = (error as Error).cause as { code?: string; message?: string } | undefined;
  const code = cause?.code ?? (error as { code?: string }).code ?? 'LEVEL_DATABASE_NOT_OPEN';
  const why = code === 'LEVEL_LOCKED' ? 'another process has it open' : (cause?.message ?? String(error));
  return Object.assign(new Error(`cannot open the store in ${directory}: ${why}`, { cause: error }), {
    code,
  });
}
