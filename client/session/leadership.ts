import { ElectionService } from '@holdfast/proto/election/v1/election';
import { callCoordinator } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import type { CallOptions, Fence } from '../keyspace-options.ts';
import { type Value, valueBytes } from '../values.ts';
import type { Lease } from './lease.ts';
import { lostWith } from './sessions.ts';

/** An election that was won. It is a `Fence` under the name of the election. */
export class Leadership implements AsyncDisposable, Fence {
  /** Of the election. */
  readonly name: string;
  /** Revision at which this candidate became the leader: later leaders have greater ones. */
  readonly token: bigint;
  readonly #core: ClientCore;
  readonly #lease: Lease;
  readonly #ownsLease: boolean;
  readonly #losing = new AbortController();
  #resigning: Promise<void> | undefined;

  /** @internal `ownsLease`: it ends with the leadership. */
  constructor(core: ClientCore, name: string, token: bigint, lease: Lease, ownsLease: boolean) {
    this.#core = core;
    this.name = name;
    this.token = token;
    this.#lease = lease;
    this.#ownsLease = ownsLease;
    if (lease.signal.aborted) this.#onLost();
    else lease.signal.addEventListener('abort', this.#onLost, { once: true });
  }

  /**
   * Fires with LOCK_LOST when the leadership can no longer be relied upon: before the cluster can
   * have another leader, by this machine's monotonic clock, or when the session has ended. With
   * CLIENT_CLOSED when the client was closed. Not when it resigns.
   */
  get signal(): AbortSignal {
    return this.#losing.signal;
  }

  /** Whether it leads now. Looks at the clock itself, also when this process stood still. */
  get isLeader(): boolean {
    return this.#resigning === undefined && this.#lease.isAlive;
  }

  /** Says something else as the leader. Gives the revision of the change. Error: NOT_ELECTED. */
  async proclaim(value: Value, options: CallOptions = {}): Promise<bigint> {
    const { name, token } = this;
    const request = { election: name, session: this.#lease.id, token, value: valueBytes(value) };
    // To say the same again changes nothing that anybody could mistake.
    const more = { isWrite: true, isRepeatable: true };
    return (await callCoordinator(this.#core, ElectionService.method.proclaim, request, options, more))
      .revision;
  }

  /** Ends leading; one that has ended is no error. */
  resign(options: CallOptions = {}): Promise<void> {
    this.#resigning ??= this.#resign(options);
    return this.#resigning;
  }

  /** `resign()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.resign();
  }

  async #resign(options: CallOptions): Promise<void> {
    const lease = this.#lease;
    lease.signal.removeEventListener('abort', this.#onLost);
    if (this.#ownsLease) return lease.revoke(options);
    if (lease.signal.aborted) return;
    await resign(this.#core, this.name, lease, this.token, options);
  }

  readonly #onLost = () => {
    this.#losing.abort(lostWith(`the leadership of ${JSON.stringify(this.name)}`, this.#lease));
  };
}

/** Ends a leadership, or with token 0 a candidacy. One that has ended is no error. */
export async function resign(
  core: ClientCore,
  election: string,
  lease: Lease,
  token: bigint,
  options: CallOptions,
): Promise<void> {
  const request = { election, session: lease.id, token };
  const more = { isWrite: true, isRepeatable: true };
  try {
    await callCoordinator(core, ElectionService.method.resign, request, options, more);
  } catch (error) {
    if (!(error instanceof HoldfastError && error.reason === 'NOT_ELECTED')) throw error;
  }
}
