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
  /** Somebody else holds the lock, and it was not to be waited for. */
  HELD: 75,
  /** A lock or leadership was lost meanwhile. */
  LOST: 76,
  /** It was not got within the time to wait. */
  TIMED_OUT: 77,
  /** Nodes answer, but no majority does. */
  NO_QUORUM: 78,
  /** As shells have it: a program to run cannot be run, or is not there. */
  NOT_EXECUTABLE: 126,
  NOT_FOUND: 127,
} as const;

/** One of the exit codes. */
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** How shells say that a signal ended a process: 128 and its number. */
export const SIGNALLED = 128;
