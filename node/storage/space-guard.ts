/**
 * Admission by free disk space. Space is refused here, before a write is proposed,
 * and never while one is applied. Reads and deletes go on, and writes that grow data
 * come back by themselves when there is space again.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { Disk } from '../runtime/disk.ts';

const CHECK_EVERY_MS = 500;

export interface SpaceGuardOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Below this many free bytes, growth is refused. Lower: more of the disk is used; too low: the process dies on a full disk. */
  readonly floorBytes: number;
  /** The data directory is not there any more. */
  readonly onGone: (error: Error) => void;
  /** Called when growth is refused, or allowed again. */
  readonly onChange?: (low: boolean, freeBytes: number) => void;
}

export class SpaceGuard {
  readonly #options: SpaceGuardOptions;
  #freeBytes = 0;
  #low = false;
  #timer: Timer | undefined;
  #stopped = false;

  private constructor(options: SpaceGuardOptions) {
    this.#options = options;
  }

  /** Takes a first measure and goes on watching. */
  static async start(options: SpaceGuardOptions): Promise<SpaceGuard> {
    const guard = new SpaceGuard(options);
    await guard.#check();
    return guard;
  }

  /** Whether writes that grow data are refused now. */
  get isLow(): boolean {
    return this.#low;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  get floorBytes(): number {
    return this.#options.floorBytes;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #check(): Promise<void> {
    try {
      this.#freeBytes = await this.#options.disk.freeBytes();
    } catch (error) {
      this.#freeBytes = 0; // a disk that cannot even be asked takes no growth
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') this.#options.onGone(error as Error);
    }
    const low = this.#freeBytes < this.#options.floorBytes;
    if (low !== this.#low) {
      this.#low = low;
      this.#options.onChange?.(low, this.#freeBytes);
    }
    if (!this.#stopped) this.#timer = this.#options.clock.setTimer(CHECK_EVERY_MS, () => void this.#check());
  }
}
