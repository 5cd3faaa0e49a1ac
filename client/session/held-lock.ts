import { LockService } from '@holdfast/proto/lock/v1/lock';
import { callCoordinator } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import type { CallOptions, Fence } from '../keyspace-options.ts';
import type { Lease } from './lease.ts';
import { lostWith } from './sessions.ts';

/** What a lock was got with. */
export interface Holding {
  readonly core: ClientCore;
  readonly name: string;
  readonly token: bigint;
  readonly holds: number;
  readonly requestId: Uint8Array;
  readonly lease: Lease;
  /** The lock no longer needs its session; `isClear`: nothing of it can be left there. */
  readonly onOver: (isClear: boolean) => void;
}

/**
 * A lock that is held. It is a `Fence`: given to writes as `fence` it makes the resource itself
 * refuse them once a later holder has written.
 */
export class HeldLock implements AsyncDisposable, Fence {
  /** Of the lock. */
  readonly name: string;
  /** The fencing token: later holders of the lock have greater ones. */
  readonly token: bigint;
  /** How often the session holds the lock, this time included. */
  readonly holds: number;
  readonly #holding: Holding;
  readonly #losing = new AbortController();
  #releasing: Promise<void> | undefined;

  /** @internal */
  constructor(holding: Holding) {
    this.name = holding.name;
    this.token = holding.token;
    this.holds = holding.holds;
    this.#holding = holding;
    const { signal } = holding.lease;
    if (signal.aborted) this.#onLost();
    else signal.addEventListener('abort', this.#onLost, { once: true });
  }

  /**
   * Fires with LOCK_LOST when the lock can no longer be relied upon: before the cluster can give
   * it away, by this machine's monotonic clock, or when the session has ended. With CLIENT_CLOSED
   * when the client was closed. Not when the lock is released.
   */
  get signal(): AbortSignal {
    return this.#losing.signal;
  }

  /**
   * Whether it is held now. Looks at the clock itself, so it is right also when this process
   * stood still and the signal has had no time to fire.
   */
  get isHeld(): boolean {
    return this.#releasing === undefined && this.#holding.lease.isAlive;
  }

  /** Proof of holding, for writes to keyspaces. */
  get fence(): Fence {
    return { name: this.name, token: this.token };
  }

  /**
   * Gives the lock back; a lock that was lost is no error. If it fails the lock is free at the
   * latest when its session ends, which is not kept alive any longer once its other locks are released.
   */
  release(options: CallOptions = {}): Promise<void> {
    this.#releasing ??= this.#release(options);
    return this.#releasing;
  }

  /** `release()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  async #release(options: CallOptions): Promise<void> {
    const { lease, onOver, token } = this.#holding;
    lease.signal.removeEventListener('abort', this.#onLost);
    if (lease.signal.aborted) {
      onOver(true);
      return;
    }
    let isClear = false;
    try {
      await releaseLock(this.#holding, token, options);
      isClear = true;
    } catch (error) {
      if (!lease.signal.aborted) throw error;
    } finally {
      onOver(isClear);
    }
  }

  readonly #onLost = () => {
    const { name, lease } = this.#holding;
    this.#losing.abort(lostWith(`lock ${JSON.stringify(name)}`, lease));
  };
}

/** Gives back what a request got; token 0: its place in the queue, too. A repeat finds it done. */
export async function releaseLock(
  { core, name, lease, requestId }: Pick<Holding, 'core' | 'name' | 'lease' | 'requestId'>,
  token: bigint,
  options: CallOptions,
): Promise<void> {
  const request = { lock: name, session: lease.id, requestId, token };
  let refusals = 0;
  const more = { isWrite: true, isRepeatable: true, onRefused: () => void (refusals += 1) };
  try {
    await callCoordinator(core, LockService.method.release, request, options, more);
  } catch (error) {
    const isOver = token === 0n || refusals > 1;
    const isGone = error instanceof HoldfastError && error.reason === 'LOCK_NOT_HELD';
    if (!isGone || !isOver) throw error;
  }
}
