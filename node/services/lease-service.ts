/** `holdfast.lease.v1.LeaseService`. */
import { create } from '@bufbuild/protobuf';
import {
  DescribeResponseSchema,
  GrantResponseSchema,
  KeepAliveResponseSchema,
  LeaseService,
  ListResponseSchema,
  RevokeResponseSchema,
  type DescribeRequest,
  type DescribeResponse,
} from '@holdfast/proto/lease/v1/lease';
import type { LeaderCalls } from '../cluster/leader-calls.ts';
import { keySpan, type KeySpan } from '../coordination/config-command.ts';
import { MAX_HANGING } from '../coordination/lease-table.ts';
import { SessionCommandKind, type SessionCommand } from '../coordination/session-command.ts';
import { refusalError } from '../coordination/refusal-error.ts';
import type { SessionOutcome } from '../coordination/session-outcome.ts';
import type { Sessions } from '../coordination/sessions.ts';
import type { WriteIdentity } from '../coordination/coordination-command.ts';
import { binaryString } from '../storage/row-key.ts';
import { namedSpan } from './access-names.ts';
import { serve, type CallContext, type ServedService } from './handler.ts';
import {
  keptLeases,
  leaseName,
  leaseNumber,
  leaseTtlMs,
  listLimit,
  sequenceIdentity,
  shownName,
  unexpected,
} from './session-messages.ts';

/** Leases of one answer. */
const LISTED = 10_000;

export interface LeaseServiceOptions {
  readonly sessions: Sessions;
  readonly leaderCalls: LeaderCalls;
}

/** The lease service over a node's sessions. */
export function leaseService({ sessions, leaderCalls }: LeaseServiceOptions): ServedService {
  const { group, leases } = sessions;
  return serve(LeaseService, {
    async grant(context, request) {
      const lease = request.lease === 0n ? 0n : leaseNumber(request.lease, 'lease');
      const ttlMs = leaseTtlMs(request.ttlMs);
      const name = leaseName(request.name);
      const command = { kind: SessionCommandKind.grant, lease, ttlMs, name };
      const outcome = await propose(sessions, command, context, true, sequenceIdentity(request.sequence));
      if (outcome.case !== 'lease') throw unexpected(outcome);
      return create(GrantResponseSchema, {
        lease: outcome.lease,
        ttlMs: BigInt(outcome.ttlMs),
        revision: BigInt(outcome.revision),
      });
    },

    async keepAlive(context, request) {
      const numbers = keptLeases(request.leases);
      return leaderCalls.run(
        context,
        async () => {
          const kept = await leases.keepAlive(numbers, context.deadlineMs);
          return create(KeepAliveResponseSchema, {
            leases: kept.map(({ lease, ttlMs }) => ({ lease, ttlMs: BigInt(ttlMs) })),
          });
        },
        (transport, address, options) =>
          transport.unary(address, LeaseService.method.keepAlive, request, options),
      );
    },

    async revoke(context, request) {
      const command = { kind: SessionCommandKind.revoke, lease: leaseNumber(request.lease, 'lease') };
      const outcome = await propose(sessions, command, context, false, sequenceIdentity(request.sequence));
      if (outcome.case !== 'done') throw unexpected(outcome);
      return create(RevokeResponseSchema, { revision: BigInt(outcome.revision) });
    },

    async describe(context, request) {
      leaseNumber(request.lease, 'lease');
      const described = await leaderCalls.run(
        context,
        () => describedLease(sessions, request, context.deadlineMs),
        (transport, address, options) =>
          transport.unary(address, LeaseService.method.describe, request, options),
      );
      // The node that leads may know of more than was on the lease when the caller was let in here.
      for (const span of hangingOn(described)) context.access.requireKeys('read', () => span);
      return described;
    },

    async list(context, request) {
      const limit = listLimit(request.limit, LISTED);
      const after = request.after === 0n ? 0n : leaseNumber(request.after, 'after');
      await group.awaitRead(context.deadlineMs);
      const { leases: listed, more } = await group.state.leases.list(after, limit);
      return create(ListResponseSchema, {
        leases: listed.map(([lease, { ttlMs, name }]) => ({ lease, ttlMs: BigInt(ttlMs), name })),
        more,
      });
    },
  });
}

/** On the node that leads. Error: LEASE_UNKNOWN. */
export async function describedLease(
  { group, leases }: Sessions,
  { lease, withKeys }: DescribeRequest,
  deadlineMs: number,
): Promise<DescribeResponse> {
  const remainingMs = await leases.remainingMs(lease, deadlineMs);
  const row = group.state.leases.get(lease);
  if (row === undefined || remainingMs === undefined)
    throw refusalError({ refused: 'LEASE_UNKNOWN', actual: String(lease) }).withOutcome(undefined);
  return create(DescribeResponseSchema, {
    lease,
    ttlMs: BigInt(row.ttlMs),
    remainingMs: BigInt(Math.ceil(remainingMs)),
    name: row.name,
    keys: withKeys ? (group.keysOf(lease, MAX_HANGING) as Uint8Array<ArrayBuffer>[]) : [],
    locks: [...row.locks].map(shownName),
    elections: [...row.elections].map(shownName),
  });
}

/** What a description tells of, as permissions name it. */
function hangingOn({ keys, locks, elections }: DescribeResponse): KeySpan[] {
  const binary = (name: string) => binaryString(Buffer.from(name));
  return [
    ...keys.map((key) => keySpan(binaryString(key))),
    ...locks.map((name) => namedSpan('lock', binary(name))),
    ...elections.map((name) => namedSpan('election', binary(name))),
  ];
}

/** Has a command applied for a caller. Error: HoldfastError, what it was refused for among others. */
export function propose(
  { group }: Sessions,
  command: SessionCommand,
  { deadlineMs, isRouted, grant }: CallContext,
  grows: boolean,
  identity?: WriteIdentity,
): Promise<SessionOutcome> {
  return group.propose(command, { deadlineMs, isRouted, grows, grant, identity });
}
