/** What the process says to who started it. */
export const ExitCode = {
  /** Done. */
  DONE: 0,
  /** The cluster, or this machine, refused. */
  REFUSED: 1,
  /** The command line or cluster.yaml is wrong. */
  USAGE: 2,
  /** No node answered. */
  UNREACHABLE: 3,
  // From here on of `lock run` and `elect`: above what a command that `lock run` runs is likely to end with.
  /** Others hold the lock, and it was not to be waited for. */
  HELD: 75,
  /** A lock, a leadership or a lease was lost meanwhile. */
  LOST: 76,
  /** Not got, or not elected, within the time to wait. */
  TIMED_OUT: 77,
  /** No majority of the nodes could be reached. */
  NO_MAJORITY: 78,
} as const;

/** One of the exit codes. */
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];
