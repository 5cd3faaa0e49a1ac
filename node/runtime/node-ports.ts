/** The real ports of a node, over a directory of this machine. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { Disk } from './disk.ts';
import { FileDisk } from './file-disk.ts';
import { LevelStore } from './level-store.ts';
import type { OrderedStore } from './ordered-store.ts';
import { SystemClock } from './system-clock.ts';
import { SystemRandom } from '@holdfast/client/system-random';

export interface NodePorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  openStore(): Promise<OrderedStore>;
  /** Lets another process have the directory. */
  release(): Promise<void>;
}

/**
 * Takes a directory for this process. Of all locks, LevelDB's is the one the kernel
 * gives back when a process is killed, so a small LevelDB of its own stands for the
 * directory. Error: code LEVEL_LOCKED when another process has it.
 */
export async function takeDirectory(directory: string): Promise<NodePorts> {
  await makeDirectory(directory);
  const lock = await LevelStore.open(join(directory, 'lock'));
  return {
    clock: new SystemClock(),
    random: new SystemRandom(),
    disk: new FileDisk(directory),
    openStore: () => LevelStore.open(join(directory, 'store')),
    release: () => lock.close(),
  };
}

/** Of a read-only disk `recursive` says ENOENT; the plain form says what it is. */
async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await mkdir(directory, { mode: 0o700 });
  }
}
