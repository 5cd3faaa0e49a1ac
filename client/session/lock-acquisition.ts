import { create } from '@bufbuild/protobuf';
import {
  type AcquireRequest,
  AcquireRequestSchema,
  type AcquireResponse,
  LockService,
  LockMode as ModeCode,
} from '@holdfast/proto/lock/v1/lock';
import { cancelled, clientClosed, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { leavesDoubt } from '../retry.ts';
import { asHoldfastError, callUnary } from '../unary.ts';
import { HeldLock, releaseLock } from './held-lock.ts';
import type { Lease } from './lease.ts';
import type { LockMode } from './lock-options.ts';
import { lostWith, type Sessions } from './sessions.ts';

/** Longest wait of one request; who waits longer asks again. */
const LONGEST_WAIT_MS = 290_000;
/** Longest time of a call. */
const LONGEST_CALL_MS = 300_000;
/** Sessions that are tried when one after the other has ended. */
const MOST_SESSIONS = 5;

/** What is asked for, checked. */
export interface LockWish {
  readonly name: string;
  readonly mode: LockMode;
  readonly permits: number;
  readonly ttlMs: number;
  readonly session: Lease | undefined;
  /** Infinity: as long as it takes. */
  readonly waitMs: number;
  /** Time of a call, beyond what it waits for the lock. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** The session of one acquisition. */
interface Place {
  readonly lease: Lease;
  /** Nothing of the acquisition matters to it any more; `isClear`: nothing can be left there. */
  over(isClear: boolean): void;
}

/** Numbers of requests, different for each Acquire of a session. */
export class RequestIds {
  readonly #core: ClientCore;
  #last = 0;

  constructor(core: ClientCore) {
    this.#core = core;
  }

  next(): Uint8Array {
    this.#last += 1;
    const id = new Uint8Array(24);
    id.set(this.#core.sequences.clientId);
    new DataView(id.buffer).setFloat64(16, this.#last);
    return id;
  }
}

/**
 * Takes a lock.
 *
 * Invariants:
 *  L1. However it ends, a lock that the caller does not get is given back: by a release of the
 *      request; and when an attempt may still be on its way, by ending its session as well
 *      once nothing else hangs on it, because it may arrive after the release.
 *  L2. The caller gets a lock only while its session can be relied upon.
 */
export async function acquireLock(
  core: ClientCore,
  sessions: Sessions,
  requestIds: RequestIds,
  wish: LockWish,
): Promise<HeldLock> {
  const endMs = core.clock.monotonicMs() + wish.waitMs;
  for (let tried = 1; ; tried += 1) {
    const place = await placeOf(core, sessions, wish);
    const attempt = new Attempt(core, wish, place.lease, requestIds.next(), endMs);
    try {
      const { token, holds } = await attempt.run();
      // L1: of several requests one may arrive when the lock was released again.
      const onOver = (isClear: boolean) => place.over(isClear && !attempt.isDoubtful);
      const { name } = wish;
      return new HeldLock({
        core,
        name,
        token,
        holds,
        requestId: attempt.requestId,
        lease: place.lease,
        onOver,
      });
    } catch (cause) {
      const error = asHoldfastError(cause);
      attempt.giveBack(place);
      if (!mayGoOn(core, wish, place.lease, error, tried)) throw told(wish, place.lease, error);
    }
  }
}

/** One request for the lock, with its repeats. */
class Attempt {
  readonly requestId: Uint8Array;
  /** A request may still be on its way. */
  isDoubtful = false;
  /** The cluster may have a place or a lock for the request. */
  #isSent = false;
  readonly #core: ClientCore;
  readonly #wish: LockWish;
  readonly #lease: Lease;
  readonly #endMs: number;

  constructor(core: ClientCore, wish: LockWish, lease: Lease, requestId: Uint8Array, endMs: number) {
    this.#core = core;
    this.#wish = wish;
    this.#lease = lease;
    this.requestId = requestId;
    this.#endMs = endMs;
  }

  async run(): Promise<AcquireResponse> {
    for (;;) {
      try {
        const answer = await this.#ask();
        if (this.#lease.isAlive) return answer;
        throw lostWith(`lock ${JSON.stringify(this.#wish.name)}`, this.#lease);
      } catch (cause) {
        const error = asHoldfastError(cause);
        this.#note(error);
        if (error.reason !== 'LOCK_TIMED_OUT' || this.#leftMs <= 0) throw error;
      }
    }
  }

  /** Invariant L1. */
  giveBack(place: Place): void {
    if (!this.#isSent || this.#lease.signal.aborted) {
      place.over(!this.isDoubtful);
      return;
    }
    const { name } = this.#wish;
    releaseLock({ core: this.#core, name, lease: this.#lease, requestId: this.requestId }, 0n, {}).then(
      () => place.over(!this.isDoubtful),
      () => place.over(false),
    );
  }

  #ask(): Promise<AcquireResponse> {
    const { signal } = this.#wish;
    const waitMs = Math.min(LONGEST_WAIT_MS, this.#leftMs);
    const request = this.#request(waitMs);
    return callUnary(this.#core, LockService.method.acquire, request, {
      timeoutMs: Math.min(LONGEST_CALL_MS, waitMs + this.#wish.timeoutMs),
      signal: signal === undefined ? this.#lease.signal : AbortSignal.any([signal, this.#lease.signal]),
      isCoordination: true,
      isWrite: true,
      isRepeatable: true,
      isWaiting: waitMs > 0,
      onRefused: (_reason, error) => {
        this.#note(error);
        request.waitMs = BigInt(Math.ceil(Math.min(LONGEST_WAIT_MS, this.#leftMs)));
      },
    });
  }

  #request(waitMs: number): AcquireRequest {
    const { name, mode, permits } = this.#wish;
    return create(AcquireRequestSchema, {
      lock: name,
      session: this.#lease.id,
      requestId: this.requestId,
      mode: MODES[mode],
      permits,
      waitMs: BigInt(Math.ceil(waitMs)),
    });
  }

  #note(error: HoldfastError): void {
    // There never was a place, or the node itself has given it up.
    if (error.outcome === 'NOT_APPLIED') return;
    this.#isSent = true;
    if (leavesDoubt(error)) this.isDoubtful = true;
  }

  get #leftMs(): number {
    return Math.max(0, this.#endMs - this.#core.clock.monotonicMs());
  }
}

/** The session that is to hold the lock: the caller's, or the shared one. */
async function placeOf(core: ClientCore, sessions: Sessions, wish: LockWish): Promise<Place> {
  if (core.closing.aborted) throw clientClosed();
  if (wish.signal?.aborted) throw cancelled(wish.signal);
  if (wish.session !== undefined) return { lease: wish.session, over: () => undefined };
  for (;;) {
    const session = sessions.use(wish.ttlMs, wish.name);
    if (session === undefined) {
      await orCancelled(sessions.grant(wish.ttlMs, wish.name), wish.signal);
      continue;
    }
    const over = (isClear: boolean) => {
      if (!isClear) session.retire();
      session.free(wish.name);
    };
    return { lease: session.lease, over };
  }
}

/** Whether to try again with another session: it was the session that ended, not the wait. */
function mayGoOn(
  core: ClientCore,
  wish: LockWish,
  lease: Lease,
  error: HoldfastError,
  tried: number,
): boolean {
  if (wish.session !== undefined || tried >= MOST_SESSIONS) return false;
  if (core.closing.aborted || wish.signal?.aborted === true) return false;
  if (error.reason === 'SESSION_EXPIRED') lease.end(error);
  return lease.signal.aborted;
}

/** The error as the caller should read it: that the session has ended says more than that the call was cancelled. */
function told({ name, signal, waitMs }: LockWish, lease: Lease, error: HoldfastError): HoldfastError {
  // Its last request was sent again when there was no time left to wait.
  if (error.reason === 'LOCK_HELD' && waitMs > 0) return timedOut(name, error);
  const isBySession = error.reason === 'CANCELLED' && lease.signal.aborted && signal?.aborted !== true;
  return isBySession ? lostWith(`lock ${JSON.stringify(name)}`, lease) : error;
}

function timedOut(name: string, cause: HoldfastError): HoldfastError {
  const message = `lock ${JSON.stringify(name)} was not got within the time to wait. Nothing is held.`;
  return new HoldfastError({ reason: 'LOCK_TIMED_OUT', message, outcome: 'NOT_APPLIED', cause });
}

/** Waits for a promise that others wait for, too, unless the signal fires. */
function orCancelled<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(cancelled(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

const MODES: Readonly<Record<LockMode, ModeCode>> = {
  exclusive: ModeCode.EXCLUSIVE,
  shared: ModeCode.SHARED,
  semaphore: ModeCode.SEMAPHORE,
};
