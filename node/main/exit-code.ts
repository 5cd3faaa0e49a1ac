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
  /** Somebody else holds the lock or leads, and it was not waited for any longer. */
  HELD: 75,
  /** A lock or leadership was lost meanwhile. */
  LOST: 76,
} as const;

/** One of the exit codes. */
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];
