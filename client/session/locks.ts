import { type Holder, LockMode as ModeCode, LockService } from '@holdfast/proto/lock/v1/lock';
import { callCoordinator, callTimeoutMs } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { durationMs } from '../duration.ts';
import { HoldfastError } from '../error.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { invalid } from '../values.ts';
import type { HeldLock } from './held-lock.ts';
import { leaseTtlMs } from './leases.ts';
import { acquireLock, type LockWish, RequestIds } from './lock-acquisition.ts';
import type {
  AcquireOptions,
  LockDescription,
  LockHolder,
  LockMode,
  LockOptions,
  LockSummary,
} from './lock-options.ts';
import type { Sessions } from './sessions.ts';

/**
 * Locks: exclusive, shared, and semaphores; first come, first served. A lock is held by a
 * session that this client keeps alive, and `signal` tells in time when it cannot. Whoever
 * must be safe from holders that only believe to be ones gives the lock to its writes as `fence`.
 */
export class Locks {
  readonly #core: ClientCore;
  readonly #sessions: Sessions;
  readonly #requestIds: RequestIds;

  /** @internal */
  constructor(core: ClientCore, sessions: Sessions) {
    this.#core = core;
    this.#sessions = sessions;
    this.#requestIds = new RequestIds(core);
  }

  /**
   * Takes a lock, waiting for it. However it ends, nothing stays behind: who gives up by `signal`
   * or in time gives its place back. Errors: LOCK_TIMED_OUT; with `wait: 0` LOCK_HELD;
   * LOCK_MODE_MISMATCH; LOCK_QUEUE_FULL; NO_LEADER without a majority; SESSION_EXPIRED and
   * LOCK_LOST with a `session` of the caller's; CANCELLED.
   */
  async acquire(name: string, options: AcquireOptions = {}): Promise<HeldLock> {
    return acquireLock(this.#core, this.#sessions, this.#requestIds, wishOf(this.#core, name, options));
  }

  /** Takes a lock if it is free; else undefined. Errors: as `acquire`. */
  async tryAcquire(name: string, options: LockOptions = {}): Promise<HeldLock | undefined> {
    const timeoutMs = callTimeoutMs(this.#core, options);
    const wish = { ...wishOf(this.#core, name, options), waitMs: 0, timeoutMs };
    try {
      return await acquireLock(this.#core, this.#sessions, this.#requestIds, wish);
    } catch (error) {
      if (error instanceof HoldfastError && error.reason === 'LOCK_HELD') return undefined;
      throw error;
    }
  }

  /**
   * Takes a lock, does the work, and releases it. When the lock is lost meanwhile it fails with
   * LOCK_LOST at once, without waiting for the work, which should heed `held.signal`. Errors: as
   * `acquire`, and those of the work.
   */
  async run<T>(
    name: string,
    work: (held: HeldLock) => Promise<T> | T,
    options: AcquireOptions = {},
  ): Promise<T> {
    const held = await this.acquire(name, options);
    let onLost: () => void = () => undefined;
    try {
      const lost = new Promise<never>((_, reject) => {
        onLost = () => reject(held.signal.reason as Error);
        held.signal.addEventListener('abort', onLost, { once: true });
      });
      const result = await Promise.race([work(held), lost]);
      // This process may have stood still, and the signal not have fired yet.
      if (!held.isHeld) throw held.signal.reason ?? standstill(name);
      return result;
    } finally {
      held.signal.removeEventListener('abort', onLost);
      await held.release();
    }
  }

  /** Who holds a lock and who waits. */
  async describe(name: string, options: CallOptions = {}): Promise<LockDescription> {
    const answer = await callCoordinator(this.#core, LockService.method.describe, { lock: name }, options);
    return {
      holders: answer.holders.map(holderOf),
      waiters: answer.waiters.map(holderOf),
      waiting: answer.waiting,
      permits: answer.permits || undefined,
    };
  }

  /** Locks that are held and whose names begin with a prefix, by name. */
  async list(prefix = '', options: CallOptions = {}): Promise<LockSummary[]> {
    const locks: LockSummary[] = [];
    for (;;) {
      const request = { prefix, after: locks.at(-1)?.name ?? '' };
      const answer = await callCoordinator(this.#core, LockService.method.list, request, options);
      for (const { lock, holders, waiting, token } of answer.locks)
        locks.push({ name: lock, holders, waiting, token });
      if (!answer.more || answer.locks.length === 0) return locks;
    }
  }
}

function wishOf(core: ClientCore, name: string, options: AcquireOptions): LockWish {
  const { permits, session, signal } = options;
  const mode = options.mode ?? (permits === undefined ? 'exclusive' : 'semaphore');
  if (!['exclusive', 'shared', 'semaphore'].includes(mode))
    throw invalid('mode', `mode is ${JSON.stringify(mode)}, allowed are exclusive, shared, semaphore`);
  if ((mode === 'semaphore') !== (permits !== undefined))
    throw invalid('permits', 'permits belong to a semaphore, and a semaphore needs them');
  if (permits !== undefined && !(Number.isInteger(permits) && permits >= 1 && permits <= 10_000))
    throw invalid('permits', `permits is ${permits}, allowed 1 to 10000`, String(permits), '1..10000');
  const waitMs = options.wait === undefined ? Infinity : durationMs(options.wait, 'wait');
  if (waitMs < 0) throw invalid('wait', `wait is ${waitMs} ms, allowed from 0`, String(waitMs), '0..');
  const ttlMs = leaseTtlMs(options.ttl);
  return { name, mode, permits: permits ?? 0, ttlMs, session, waitMs, timeoutMs: core.timeoutMs, signal };
}

function standstill(name: string): HoldfastError {
  const message = `lock ${JSON.stringify(name)} may be lost: this process stood still for longer than its time to live`;
  return new HoldfastError({ reason: 'LOCK_LOST', message });
}

function holderOf({ session, name, token, mode, holds }: Holder): LockHolder {
  return { session, name, token, mode: modeOf(mode), holds };
}

function modeOf(mode: ModeCode): LockMode {
  if (mode === ModeCode.SHARED) return 'shared';
  return mode === ModeCode.SEMAPHORE ? 'semaphore' : 'exclusive';
}
