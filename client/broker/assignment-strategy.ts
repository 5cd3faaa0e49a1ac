import { AssignmentStrategy as Code } from '@holdfast/proto/broker/v1/group';

/**
 * How the members of a group share partitions. `range`: of each topic a range of neighbours for
 * each member; `round-robin`: all partitions in turn; `cooperative-sticky`: as even as can be,
 * and of that, as few moves as can be.
 */
export type AssignmentStrategy = 'range' | 'round-robin' | 'cooperative-sticky';

/** Strategies and their codes. */
export const STRATEGIES: readonly (readonly [AssignmentStrategy, Code])[] = [
  ['range', Code.RANGE],
  ['round-robin', Code.ROUND_ROBIN],
  ['cooperative-sticky', Code.COOPERATIVE_STICKY],
];
