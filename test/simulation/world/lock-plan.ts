/** The locks of a run: few, so that callers meet. */
import type { AcquireOptions } from '../../../client/session/lock-options.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { pick } from './world-settings.ts';

export interface LockPlan {
  readonly name: string;
  /** Of a semaphore. */
  readonly permits: number | undefined;
  /** Share of callers that take it shared. */
  readonly shared: number;
}

export const LOCKS: readonly LockPlan[] = [
  { name: 'one', permits: undefined, shared: 0 },
  { name: 'many', permits: undefined, shared: 0.6 },
  { name: 'few', permits: 2, shared: 0 },
];

/** How somebody asks for a lock. */
export function modeOf(
  { permits, shared }: LockPlan,
  random: SeededRandom,
): Pick<AcquireOptions, 'mode' | 'permits'> {
  if (permits !== undefined) return { permits };
  return { mode: random.chance(shared) ? 'shared' : 'exclusive' };
}

/** Times to live, short so that sessions end within a run. */
export function someTtlMs(random: SeededRandom): number {
  return pick(random, 1_000, 1_500, 3_000);
}
