/** `holdfast.lock.v1.LockService`. */
import { create } from '@bufbuild/protobuf';
import {
  AcquireResponseSchema,
  DescribeResponseSchema,
  ListResponseSchema,
  LockService,
  ReleaseResponseSchema,
} from '@holdfast/proto/lock/v1/lock';
import { SessionCommandKind } from '../coordination/session-command.ts';
import type { Sessions } from '../coordination/sessions.ts';
import { serve, type ServedService } from './handler.ts';
import { propose } from './lease-service.ts';
import {
  fencingToken,
  holderMessage,
  holdMode,
  leaseNumber,
  listLimit,
  namePart,
  queueName,
  requestId,
  shownName,
  unexpected,
  waitMs,
} from './session-messages.ts';

/** Locks of one answer, and those who wait for one. */
const LISTED = 1_000;

export interface LockServiceOptions {
  readonly sessions: Sessions;
  /** Aborted when the node is to stop: calls do not wait any more. */
  readonly stopping: AbortSignal;
}

/** The lock service over a node's sessions. */
export function lockService({ sessions, stopping }: LockServiceOptions): ServedService {
  const { group, queues } = sessions;
  sessions.endWaitsAt(stopping);
  return serve(LockService, {
    async acquire(context, request) {
      const ask = {
        name: queueName(request.lock, 'lock'),
        session: leaseNumber(request.session, 'session'),
        request: requestId(request.requestId),
        ...holdMode(request.mode, request.permits),
      };
      const { token, holds } = await queues.acquire(ask, { ...context, waitMs: waitMs(request.waitMs) });
      return create(AcquireResponseSchema, { token: BigInt(token), holds });
    },

    async release(context, request) {
      const command = {
        kind: SessionCommandKind.release,
        name: queueName(request.lock, 'lock'),
        session: leaseNumber(request.session, 'session'),
        request: requestId(request.requestId),
        token: fencingToken(request.token, true),
        attempt: undefined,
      };
      const outcome = await propose(sessions, command, context, false);
      if (outcome.case !== 'released') throw unexpected(outcome);
      return create(ReleaseResponseSchema, { holds: outcome.holds });
    },

    async describe({ deadlineMs }, request) {
      const name = queueName(request.lock, 'lock');
      await group.awaitRead(deadlineMs);
      const { state } = group;
      const queue = state.locks.get(name);
      return create(DescribeResponseSchema, {
        holders: queue?.holders.map((place) => holderMessage(state, place)) ?? [],
        waiters: queue?.waiters.slice(0, LISTED).map((place) => holderMessage(state, place)) ?? [],
        waiting: queue?.waiters.length ?? 0,
        permits: queue?.permits ?? 0,
      });
    },

    async list({ deadlineMs }, request) {
      const limit = listLimit(request.limit, LISTED);
      const prefix = namePart(request.prefix, 'prefix');
      const after = namePart(request.after, 'after');
      await group.awaitRead(deadlineMs);
      const { queues: locks, more } = await group.state.locks.list(prefix, after, limit);
      return create(ListResponseSchema, {
        locks: locks.map(([name, { holders, waiters }]) => ({
          lock: shownName(name),
          holders: holders.length,
          waiting: waiters.length,
          token: BigInt(holders.at(-1)?.token ?? 0),
        })),
        more,
      });
    },
  });
}
