/** What one group's replicas are told about time and size; all replicas of a group should agree. */
export interface RaftSettings {
  /**
   * A follower waits between one and two times this many ticks for its leader. More:
   * fewer elections when the network or a disk is slow; fewer: a dead leader is replaced sooner.
   */
  readonly electionTicks: number;
  /** Ticks between two heartbeats. More: less traffic; fewer: a lost message is noticed sooner. */
  readonly heartbeatTicks: number;
  /** Entries in one message, in bytes; a larger single entry goes alone. */
  readonly maxMessageBytes: number;
  /** Messages sent to a follower and not acknowledged. More helps on long links and costs the follower memory. */
  readonly maxInflightMessages: number;
  /** Bytes of the same. */
  readonly maxInflightBytes: number;
  /** Entries of the leader that are not committed, in bytes; proposals beyond are refused. */
  readonly maxUncommittedBytes: number;
  /** Committed entries handed out and not reported applied, in bytes. */
  readonly maxApplyingBytes: number;
  /** Reads that wait for a leader's confirmation; more are refused. */
  readonly maxPendingReads: number;
}

export const DEFAULT_SETTINGS: RaftSettings = {
  electionTicks: 10,
  heartbeatTicks: 2,
  maxMessageBytes: 1024 * 1024,
  maxInflightMessages: 256,
  maxInflightBytes: 8 * 1024 * 1024,
  maxUncommittedBytes: 64 * 1024 * 1024,
  maxApplyingBytes: 8 * 1024 * 1024,
  maxPendingReads: 65_536,
};

/** Settings with the defaults filled in, checked and frozen; RangeError names what is wrong. */
export function resolveSettings(settings: Partial<RaftSettings> = {}): RaftSettings {
  const resolved = { ...DEFAULT_SETTINGS, ...settings };
  for (const [name, value] of Object.entries(resolved)) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new RangeError(`${name} is ${value}, not a positive integer`);
  }
  if (resolved.electionTicks <= resolved.heartbeatTicks) {
    throw new RangeError(
      `electionTicks is ${resolved.electionTicks}, not above heartbeatTicks ${resolved.heartbeatTicks}`,
    );
  }
  return Object.freeze(resolved);
}
