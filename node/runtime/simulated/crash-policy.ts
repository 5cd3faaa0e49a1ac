import type { SeededRandom } from './seeded-random.ts';

/**
 * What becomes of unsynced changes when the power fails:
 *  - `seeded`: each sector, size and directory operation by itself, by chance;
 *  - `lose-all`: the machine kept to the letter of its promise, no more;
 *  - `keep-all`: the kernel happened to write everything;
 *  - `keep-last`: of the changes to a file, in the order they were made, the first half
 *    is lost and the rest kept: the writes were reordered;
 *  - `keep-first`: the other way round, a clean cut in the middle.
 */
export type CrashPolicy = 'seeded' | 'lose-all' | 'keep-all' | 'keep-last' | 'keep-first';

/**
 * How many of `versions` successive unsynced states of one thing are reached: 0 keeps the
 * durable one, `versions` the newest. `position` and `total` place it among its like.
 */
export function versionsKept(
  policy: CrashPolicy,
  random: SeededRandom,
  versions: number,
  position: number,
  total: number,
): number {
  const isLate = position >= Math.floor(total / 2);
  switch (policy) {
    case 'seeded':
      return Math.floor(random.float() * (versions + 1));
    case 'lose-all':
      return 0;
    case 'keep-all':
      return versions;
    case 'keep-last':
      return isLate ? versions : 0;
    case 'keep-first':
      return isLate ? 0 : versions;
  }
}
