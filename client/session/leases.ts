import { create } from '@bufbuild/protobuf';
import { GrantRequestSchema, LeaseService, RevokeRequestSchema } from '@holdfast/proto/lease/v1/lease';
import type { LeaseReference } from '../config/config-options.ts';
import { leaseNumber } from '../config/config-requests.ts';
import { callCoordinator, writeToCoordinator } from '../coordination-call.ts';
import { clientClosed, type ClientCore } from '../core.ts';
import { type Duration, durationMs } from '../duration.ts';
import { HoldfastError } from '../error.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { integer64 } from '../values.ts';
import { Lease } from './lease.ts';
import { describeLease, type LeaseDescription } from './lease-description.ts';
import { LeaseKeeper } from './lease-keeper.ts';

/** Time to live of a lease that does not say one, in milliseconds. */
export const DEFAULT_TTL_MS = 10_000;

/** Options of `grant`. */
export interface LeaseOptions extends CallOptions {
  /** Time to live, 1 s to 24 h. Longer: what hangs on it stays longer when this process dies. Default: 10 s. */
  ttl?: Duration | undefined;
  /** Shown to people: who holds it. Up to 256 bytes. */
  name?: string | undefined;
  /** Number that it is to have; else LEASE_EXISTS. Default: the cluster chooses one. */
  lease?: bigint | number | undefined;
  /** Whether this client keeps it alive. Default: true. */
  keepAlive?: boolean | undefined;
}

/** A lease of the cluster. */
export interface LeaseSummary {
  readonly id: bigint;
  readonly ttlMs: number;
  readonly name: string;
}

/**
 * Leases: times to live, kept alive by this client with one call for all that are due, and
 * what ends with them.
 */
export class Leases {
  readonly #core: ClientCore;
  readonly #keeper: LeaseKeeper;
  readonly #granted = new Set<Lease>();

  /** @internal */
  constructor(core: ClientCore) {
    this.#core = core;
    this.#keeper = new LeaseKeeper(core);
  }

  /** Grants a lease. Errors: TTL_OUT_OF_RANGE, LEASE_EXISTS. */
  async grant(options: LeaseOptions = {}): Promise<Lease> {
    const ttlMs = leaseTtlMs(options.ttl);
    const request = create(GrantRequestSchema, {
      ttlMs: BigInt(ttlMs),
      name: options.name ?? '',
      lease: integer64(options.lease ?? 0n, 'lease', false),
    });
    // A repeat is answered with the first result: only the time from the first attempt is known to be given.
    const sentAtMs = this.#core.clock.monotonicMs();
    const answer = await writeToCoordinator(this.#core, LeaseService.method.grant, request, options);
    const lease = new Lease(this.#core, this.#keeper, {
      id: answer.lease,
      ttlMs: Number(answer.ttlMs),
      grantedAtMs: sentAtMs,
      isRenewed: options.keepAlive !== false,
    });
    this.#granted.add(lease);
    lease.signal.addEventListener('abort', () => this.#granted.delete(lease), { once: true });
    if (this.#core.closing.aborted) lease.end(clientClosed());
    else lease.watch();
    return lease;
  }

  /** All leases of the cluster, by number. */
  async list(options: CallOptions = {}): Promise<LeaseSummary[]> {
    const leases: LeaseSummary[] = [];
    for (;;) {
      const request = { after: leases.at(-1)?.id ?? 0n };
      const answer = await callCoordinator(this.#core, LeaseService.method.list, request, options);
      for (const { lease, ttlMs, name } of answer.leases)
        leases.push({ id: lease, ttlMs: Number(ttlMs), name });
      if (!answer.more || answer.leases.length === 0) return leases;
    }
  }

  /** What a lease is at. Error: LEASE_UNKNOWN. */
  describe(
    lease: LeaseReference,
    options: CallOptions & { withKeys?: boolean } = {},
  ): Promise<LeaseDescription> {
    return describeLease(this.#core, leaseNumber(lease), options);
  }

  /** Gives a lease its whole time anew, once; gives that time in milliseconds. Error: LEASE_UNKNOWN. */
  async keepAlive(lease: LeaseReference, options: CallOptions = {}): Promise<number> {
    const id = leaseNumber(lease);
    const method = LeaseService.method.keepAlive;
    const { leases } = await callCoordinator(this.#core, method, { leases: [id] }, options);
    const ttlMs = Number(leases[0]?.ttlMs ?? 0n);
    if (ttlMs > 0) return ttlMs;
    const message = `there is no lease ${id} (any more)`;
    throw new HoldfastError({ reason: 'LEASE_UNKNOWN', message, field: 'lease', actual: String(id) });
  }

  /** Ends a lease and everything that hangs on it, at one revision. Error: LEASE_UNKNOWN. */
  async revoke(lease: LeaseReference, options: CallOptions = {}): Promise<void> {
    const request = create(RevokeRequestSchema, { lease: leaseNumber(lease) });
    await writeToCoordinator(this.#core, LeaseService.method.revoke, request, options);
  }

  /** @internal Stops keeping leases alive; their signals fire with CLIENT_CLOSED. */
  close(): void {
    for (const lease of this.#granted) lease.end(clientClosed());
    this.#keeper.close();
  }
}

const MIN_TTL_MS = 1_000;
const MAX_TTL_MS = 86_400_000;

/** Milliseconds of a lease's time to live; TTL_OUT_OF_RANGE outside 1 s to 24 h. */
export function leaseTtlMs(ttl: Duration | undefined): number {
  if (ttl === undefined) return DEFAULT_TTL_MS;
  const ms = durationMs(ttl, 'ttl');
  if (ms >= MIN_TTL_MS && ms <= MAX_TTL_MS) return ms;
  throw new HoldfastError({
    reason: 'TTL_OUT_OF_RANGE',
    message: `ttl is ${ms} ms, allowed ${MIN_TTL_MS} to ${MAX_TTL_MS} (24 hours). Nothing was granted.`,
    outcome: 'NOT_APPLIED',
    field: 'ttl_ms',
    actual: String(ms),
    limit: `${MIN_TTL_MS}..${MAX_TTL_MS}`,
  });
}
