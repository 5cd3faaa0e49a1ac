import type { Duration } from '../duration.ts';
import type { CallOptions } from '../keyspace-options.ts';
import type { Lease } from './lease.ts';

/** How a lock is held. */
export type LockMode = 'exclusive' | 'shared' | 'semaphore';

/** Options of `tryAcquire`. */
export interface LockOptions extends CallOptions {
  /** Default: `exclusive`, or `semaphore` with `permits`. */
  mode?: LockMode | undefined;
  /** Of a semaphore: how many permits there are, 1 to 10,000; all who take part say the same. */
  permits?: number | undefined;
  /**
   * For how long the lock stays taken when this process dies, 1 s to 24 h. Different locks of one
   * client with one `ttl` share a session. Default: 10 s.
   */
  ttl?: Duration | undefined;
  /**
   * The lease that holds it. A session may take again what it holds: it is free when each was
   * released. Default: one of the client's own, and callers of one lock exclude each other.
   */
  session?: Lease | undefined;
}

/** Options of `acquire` and `run`. */
export interface AcquireOptions extends Omit<LockOptions, 'timeout'> {
  /** How long to wait for the lock; else LOCK_TIMED_OUT. 0: not at all; else LOCK_HELD. Default: as long as it takes. */
  wait?: Duration | undefined;
}

/** Somebody who holds a lock, or waits for it. */
export interface LockHolder {
  /** The lease. */
  readonly session: bigint;
  /** Name of the lease. */
  readonly name: string;
  /** Of a holder: its fencing token. */
  readonly token: bigint;
  readonly mode: LockMode;
  /** How often it holds the lock. */
  readonly holds: number;
}

/** Who holds a lock and who waits. */
export interface LockDescription {
  /** By token; none: the lock is free. */
  readonly holders: LockHolder[];
  /** In order, the first 1,000. */
  readonly waiters: LockHolder[];
  /** How many wait. */
  readonly waiting: number;
  /** Of a semaphore that is in use. */
  readonly permits: number | undefined;
}

/** A lock of a list. */
export interface LockSummary {
  readonly name: string;
  readonly holders: number;
  readonly waiting: number;
  /** Of the newest holder. */
  readonly token: bigint;
}
