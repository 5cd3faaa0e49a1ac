import { Level } from 'level';
import { freshDirectory } from '../server-process.ts';
import type { Driver, System, SystemOptions } from '../system.ts';

/**
 * The `level` package in the benchmark's own process, batches of one turn synced: what
 * is left when there is neither network nor consensus.
 */
export class LevelSystem implements System {
  readonly name = 'level';
  readonly description = 'npm level, embedded; puts of one turn in one batch with sync';
  readonly pids: readonly number[] = [];
  readonly #directory = freshDirectory('level');
  #level: Level<string, Uint8Array> | undefined;

  constructor({ nodes }: SystemOptions) {
    if (nodes !== 1) throw new Error('level is embedded: --nodes 1');
  }

  async connect(): Promise<Driver> {
    const level = (this.#level ??= new Level<string, Uint8Array>(this.#directory.path, {
      valueEncoding: 'view',
    }));
    await level.open();
    const batcher = new Batcher(level);
    return {
      put: (key, value) => batcher.put(key, value),
      get: (key) => level.get(key),
      increment: (key) => batcher.increment(`count/${key}`),
      scan: (start, limit) => level.iterator({ gte: start, limit }).all(),
      close: async () => undefined,
    };
  }

  async stop(): Promise<void> {
    await this.#level?.close();
    this.#directory.remove();
  }
}

/** Gathers the puts of a turn, one synced batch in flight at a time. */
class Batcher {
  readonly #level: Level<string, Uint8Array>;
  readonly #counters = new Map<string, number>();
  #waiting: { key: string; value: Uint8Array; resolve: () => void; reject: (error: unknown) => void }[] = [];
  #running = false;

  constructor(level: Level<string, Uint8Array>) {
    this.#level = level;
  }

  put(key: string, value: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, value, resolve, reject });
      if (!this.#running) {
        this.#running = true;
        setImmediate(() => void this.#run());
      }
    });
  }

  increment(key: string): Promise<void> {
    const next = (this.#counters.get(key) ?? 0) + 1;
    this.#counters.set(key, next);
    return this.put(key, Buffer.from(String(next)));
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#level.batch(
          batch.map(({ key, value }) => ({ type: 'put', key, value })),
          { sync: true },
        );
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#running = false;
  }
}
