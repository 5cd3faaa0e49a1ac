/** `etcdserverpb.Lease`: leases in seconds, as etcd's clients know them. */
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import {
  Lease,
  LeaseGrantResponseSchema,
  LeaseLeasesResponseSchema,
  LeaseRevokeResponseSchema,
  LeaseTimeToLiveResponseSchema,
  type LeaseGrantRequest,
  type LeaseGrantResponse,
  type LeaseLeasesResponse,
  type LeaseRevokeRequest,
  type LeaseRevokeResponse,
  type LeaseTimeToLiveRequest,
  type LeaseTimeToLiveResponse,
} from '@holdfast/proto/etcd/rpc';
import { DescribeRequestSchema, LeaseService, type DescribeResponse } from '@holdfast/proto/lease/v1/lease';
import type { LeaderCalls } from '../../cluster/leader-calls.ts';
import { keySpan } from '../../coordination/config-command.ts';
import { MAX_LEASE_TTL_MS, SessionCommandKind } from '../../coordination/session-command.ts';
import type { Sessions } from '../../coordination/sessions.ts';
import { binaryString } from '../../storage/row-key.ts';
import { serve, type CallContext, type ServedService } from '../handler.ts';
import { describedLease, propose } from '../lease-service.ts';
import { unexpected } from '../session-messages.ts';
import { EtcdError, asEtcd, invalid, leaseUnknown } from './etcd-error.ts';
import type { HeaderOf } from './etcd-header.ts';
import { EtcdKeepAlive, secondsOf, type KeepAliveOptions } from './etcd-keep-alive.ts';

const SECOND_MS = 1_000;
/** What etcd gives whoever asks for less, with the election timeout that it has by default. */
const MIN_TTL_S = 2;
const MAX_TTL_S = MAX_LEASE_TTL_MS / SECOND_MS;
/** Leases that are read at once. */
const LISTED_AT_ONCE = 10_000;

export function etcdLeaseService(options: KeepAliveOptions): ServedService {
  const calls = new EtcdLeases(options);
  return serve(Lease, {
    leaseGrant: (context, request) => asEtcd(() => calls.grant(request, context)),
    leaseRevoke: (context, request) => asEtcd(() => calls.revoke(request, context)),
    leaseTimeToLive: (context, request) => asEtcd(() => calls.timeToLive(request, context)),
    leaseLeases: (context) => asEtcd(() => calls.list(context)),
    leaseKeepAlive: (context, stream) => void new EtcdKeepAlive(options, stream, context),
  });
}

class EtcdLeases {
  readonly #sessions: Sessions;
  readonly #leaderCalls: LeaderCalls;
  readonly #header: HeaderOf;

  constructor({ sessions, leaderCalls, header }: KeepAliveOptions) {
    this.#sessions = sessions;
    this.#leaderCalls = leaderCalls;
    this.#header = header;
  }

  async grant({ TTL, ID }: LeaseGrantRequest, context: CallContext): Promise<LeaseGrantResponse> {
    if (ID < 0n) throw invalid('lease ID must be positive', 'ID');
    const ttlMs = ttlSeconds(TTL) * SECOND_MS;
    const command = { kind: SessionCommandKind.grant, lease: ID, ttlMs, name: '' };
    const outcome = await propose(this.#sessions, command, context, true);
    if (outcome.case !== 'lease') throw unexpected(outcome);
    const header = this.#header(outcome.revision);
    return create(LeaseGrantResponseSchema, { header, ID: outcome.lease, TTL: secondsOf(outcome.ttlMs) });
  }

  async revoke({ ID }: LeaseRevokeRequest, context: CallContext): Promise<LeaseRevokeResponse> {
    if (ID < 1n) throw leaseUnknown(ID);
    const command = { kind: SessionCommandKind.revoke, lease: ID };
    const outcome = await propose(this.#sessions, command, context, false);
    if (outcome.case !== 'done') throw unexpected(outcome);
    return create(LeaseRevokeResponseSchema, { header: this.#header(outcome.revision) });
  }

  async timeToLive(
    { ID, keys }: LeaseTimeToLiveRequest,
    context: CallContext,
  ): Promise<LeaseTimeToLiveResponse> {
    const described = await this.#described(ID, keys, context);
    const header = this.#header();
    if (described === undefined) return create(LeaseTimeToLiveResponseSchema, { header, ID, TTL: -1n });
    // The node that leads may know of keys that were not on the lease when the caller was let in here.
    for (const key of described.keys) context.access.requireKeys('read', () => keySpan(binaryString(key)));
    return create(LeaseTimeToLiveResponseSchema, {
      header,
      ID,
      TTL: described.remainingMs / BigInt(SECOND_MS),
      grantedTTL: described.ttlMs / BigInt(SECOND_MS),
      keys: described.keys,
    });
  }

  async list({ deadlineMs }: CallContext): Promise<LeaseLeasesResponse> {
    const { group } = this.#sessions;
    await group.awaitRead(deadlineMs);
    const leases: { ID: bigint }[] = [];
    for (let more = true; more;) {
      const part = await group.state.leases.list(leases.at(-1)?.ID ?? 0n, LISTED_AT_ONCE);
      for (const [ID] of part.leases) leases.push({ ID });
      ({ more } = part);
    }
    return create(LeaseLeasesResponseSchema, { header: this.#header(), leases });
  }

  /** Undefined: there is no such lease. */
  async #described(
    lease: bigint,
    withKeys: boolean,
    context: CallContext,
  ): Promise<DescribeResponse | undefined> {
    if (lease < 1n) return undefined;
    const request = create(DescribeRequestSchema, { lease, withKeys });
    try {
      return await this.#leaderCalls.run(
        context,
        () => describedLease(this.#sessions, request, context.deadlineMs),
        (transport, address, options) =>
          transport.unary(address, LeaseService.method.describe, request, options),
      );
    } catch (error) {
      if (error instanceof HoldfastError && error.reason === 'LEASE_UNKNOWN') return undefined;
      throw error;
    }
  }
}

/** As many as were asked for, or as few as there may be. Error: too large lease TTL. */
function ttlSeconds(asked: bigint): number {
  if (asked <= BigInt(MAX_TTL_S)) return Math.max(MIN_TTL_S, Number(asked));
  const text = 'too large lease TTL';
  const [actual, limit] = [String(asked), `${MIN_TTL_S}..${MAX_TTL_S}`];
  throw new EtcdError(
    { reason: 'TTL_OUT_OF_RANGE', message: text, field: 'TTL', actual, limit },
    'OUT_OF_RANGE',
    text,
  );
}
