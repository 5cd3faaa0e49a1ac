/**
 * Reads the whole ordered store again and again, slowly, so that damage of the medium is
 * found while there are other copies, and not when the row is needed. LevelDB itself
 * never checks what lies in its tables.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { RowKey } from './row-key.ts';
import { StoreDamaged, type RowStore } from './row-store.ts';

/** Rows read at a time, and the pause after them: some thousand rows a second at most. */
const STEP_ROWS = 500;
const STEP_EVERY_MS = 200;
/** Pause between two passes. */
const REST_MS = 3_600_000;

export interface ScrubberOptions {
  readonly rows: RowStore;
  readonly clock: Clock;
  /** Checks the file of the store that follows `after`; undefined: there is none. */
  readonly verifyNextFile: (
    after: string,
  ) => Promise<{ name: string; problem: string | undefined } | undefined>;
  /** A row fails its checksum, or cannot be read. */
  readonly onDamage: (error: Error) => void;
}

export class Scrubber {
  readonly #options: ScrubberOptions;
  #timer: Timer | undefined;
  #from: RowKey = '';
  #file = '';
  #running: Promise<void> = Promise.resolve();
  #stopped = false;
  #checkedRows = 0;
  #passes = 0;

  constructor(options: ScrubberOptions) {
    this.#options = options;
    this.#schedule(STEP_EVERY_MS);
  }

  /** Rows checked since the start. */
  get checkedRows(): number {
    return this.#checkedRows;
  }

  /** Passes over the whole store completed since the start. */
  get passes(): number {
    return this.#passes;
  }

  /** Stops; resolves when the step under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #schedule(delayMs: number): void {
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#running = this.#step();
    });
  }

  async #step(): Promise<void> {
    try {
      if (await this.#checkFile()) return this.#stopped ? undefined : this.#schedule(STEP_EVERY_MS);
      const { checked, next } = await this.#options.rows.verify(this.#from, STEP_ROWS);
      this.#checkedRows += checked;
      this.#from = next ?? '';
      if (next === undefined) {
        this.#passes++;
        this.#file = '';
      }
      if (!this.#stopped) this.#schedule(next === undefined ? REST_MS : STEP_EVERY_MS);
    } catch (error) {
      if (this.#stopped) return;
      // A file or row that cannot be read now may be readable later; damage stays.
      if (error instanceof StoreDamaged) this.#options.onDamage(error);
      else this.#schedule(REST_MS);
    }
  }

  /** First the files, block by block, then the rows. False: all files have been checked. */
  async #checkFile(): Promise<boolean> {
    const file = await this.#options.verifyNextFile(this.#file);
    if (file === undefined) return false;
    this.#file = file.name;
    if (file.problem !== undefined) throw new StoreDamaged(`${file.name}: ${file.problem}`);
    return true;
  }
}
