import type { GroupReplica } from './group-replica.ts';

/** Up to so many times the bound more is kept for followers that are on their way. */
const SLOW_FOLLOWER_FACTOR = 3;

/**
 * Keeps the newest entries of all groups together within about `bound` bytes, taking from
 * those that have most. Where there is nobody else, none are kept.
 */
export function shrinkCaches(replicas: Iterable<GroupReplica>, bound: number): void {
  const all = [...replicas].sort((a, b) => b.cache.bytes - a.cache.bytes);
  let excess = all.reduce((sum, { cache }) => sum + cache.bytes, 0) - bound;
  for (const replica of all) {
    if (replica.isOnly) {
      excess -= replica.shrinkCache(0, Infinity);
    } else if (excess > 0) {
      const needed = excess > SLOW_FOLLOWER_FACTOR * bound ? Infinity : replica.neededIndex();
      excess -= replica.shrinkCache(Math.max(0, replica.cache.bytes - excess), needed);
    }
  }
}
