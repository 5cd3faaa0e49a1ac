import { create } from '@bufbuild/protobuf';
import { LeaseService, RevokeRequestSchema } from '@holdfast/proto/lease/v1/lease';
import { callCoordinator, writeToCoordinator } from '../coordination-call.ts';
import { clientClosed, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import type { CallOptions } from '../keyspace-options.ts';
import type { UnaryOptions } from '../unary.ts';
import { describeLease, type LeaseDescription } from './lease-description.ts';
import { endsAtMs, type KeptLease, type LeaseKeeper } from './lease-keeper.ts';

/**
 * A time to live that this client keeps alive, if it is asked to, until it is revoked or the client closes. What
 * hangs on it ends with it: keys of the configuration, locks, candidacies.
 */
export class Lease implements AsyncDisposable {
  /** Its number. */
  readonly id: bigint;
  /** Time to live in milliseconds. */
  readonly ttlMs: number;
  readonly #core: ClientCore;
  readonly #keeper: LeaseKeeper;
  readonly #ending = new AbortController();
  readonly #kept: KeptLease;
  #isRevoked = false;

  /** @internal `grantedAtMs`: when the request was sent; `isRenewed`: this client keeps it alive. */
  constructor(
    core: ClientCore,
    keeper: LeaseKeeper,
    granted: { id: bigint; ttlMs: number; grantedAtMs: number; isRenewed: boolean },
  ) {
    const { id, ttlMs, grantedAtMs, isRenewed } = granted;
    this.id = id;
    this.ttlMs = ttlMs;
    this.#core = core;
    this.#keeper = keeper;
    this.#kept = { id, ttlMs, isRenewed, renewedAtMs: grantedAtMs, lost: (error) => this.end(error) };
  }

  /**
   * Fires when the lease is no longer to be relied upon: before the cluster can have ended it,
   * by this machine's monotonic clock, if it could not be kept alive (LEASE_LOST); when the cluster
   * says that it has ended (LEASE_UNKNOWN); when it was revoked or the client closed (CANCELLED,
   * CLIENT_CLOSED).
   */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /**
   * Whether it can be relied upon now. Looks at the clock itself, so it is right also when this
   * process stood still and the signal has had no time to fire.
   */
  get isAlive(): boolean {
    return !this.#ending.signal.aborted && this.remainingMs > 0;
  }

  /** For how long it can be relied upon, in milliseconds, if nothing keeps it alive. */
  get remainingMs(): number {
    return Math.max(0, endsAtMs(this.#kept) - this.#core.clock.monotonicMs());
  }

  /** Gives it its full time anew, once. Error: LEASE_UNKNOWN. */
  async keepAliveOnce(options: CallOptions = {}): Promise<void> {
    if (this.signal.aborted) throw this.signal.reason;
    const sentAtMs = this.#core.clock.monotonicMs();
    const request = { leases: [this.id] };
    const method = LeaseService.method.keepAlive;
    const { leases } = await callCoordinator(this.#core, method, request, options);
    if (Number(leases[0]?.ttlMs ?? 0n) === 0) this.end(ended(this.id));
    if (this.signal.aborted) throw this.signal.reason;
    this.#kept.renewedAtMs = Math.max(this.#kept.renewedAtMs, sentAtMs);
  }

  /** What the cluster says of it. Error: LEASE_UNKNOWN. */
  describe(options: CallOptions & { withKeys?: boolean } = {}): Promise<LeaseDescription> {
    return describeLease(this.#core, this.id, options);
  }

  /** Ends it and everything that hangs on it, at one revision. One that has ended is no error. */
  revoke(options: CallOptions = {}): Promise<void> {
    return this.revokeBy(options, {});
  }

  /** `revoke()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.revoke();
  }

  /** @internal */
  async revokeBy(options: CallOptions, more: UnaryOptions): Promise<void> {
    const hasEnded = (this.signal.reason as HoldfastError | undefined)?.reason === 'LEASE_UNKNOWN';
    if (this.#isRevoked || hasEnded) return;
    this.#isRevoked = true;
    this.end(this.#core.closing.aborted ? clientClosed() : revoked(this.id));
    try {
      const request = create(RevokeRequestSchema, { lease: this.id });
      await writeToCoordinator(this.#core, LeaseService.method.revoke, request, options, more);
    } catch (error) {
      if (!(error instanceof HoldfastError && error.reason === 'LEASE_UNKNOWN')) throw error;
    }
  }

  /** @internal From now on its end is noticed, and put off if it is to be renewed. */
  watch(): void {
    this.#keeper.add(this.#kept);
  }

  /** @internal It is not kept alive any longer; once. */
  end(error: HoldfastError): void {
    this.#keeper.remove(this.#kept);
    this.#ending.abort(error);
  }
}

function revoked(id: bigint): HoldfastError {
  return new HoldfastError({ reason: 'CANCELLED', message: `lease ${id} was revoked` });
}

function ended(id: bigint): HoldfastError {
  const message = `lease ${id} has ended, and what hung on it is gone`;
  return new HoldfastError({ reason: 'LEASE_UNKNOWN', message });
}
