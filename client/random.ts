/** Randomness as the program sees it; seeded in simulation. */
export interface Random {
  /** A uniform integer in 0..2^32-1. */
  u32(): number;
  /** A uniform number in [0, 1). */
  float(): number;
  /** `length` uniform bytes. Unpredictable in the real adapter. */
  bytes(length: number): Uint8Array;
}

/** A uniform integer in [low, high]. */
export function between(random: Random, low: number, high: number): number {
  return low + Math.floor(random.float() * (high - low + 1));
}
