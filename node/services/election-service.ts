/** `holdfast.election.v1.ElectionService`. */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import {
  CampaignResponseSchema,
  DescribeResponseSchema,
  ElectionService,
  ObserveResponseSchema,
  ProclaimResponseSchema,
  ResignResponseSchema,
  type ObserveRequest,
  type ObserveResponse,
} from '@holdfast/proto/election/v1/election';
import { SessionCommandKind } from '../coordination/session-command.ts';
import type { Sessions } from '../coordination/sessions.ts';
import { serve, type CallContext, type ServedService } from './handler.ts';
import { propose } from './lease-service.ts';
import {
  fencingToken,
  leaderMessage,
  leaseNumber,
  queueName,
  saidValue,
  unexpected,
  waitMs,
} from './session-messages.ts';

/** Candidates of one answer. */
const LISTED = 1_000;
/** A follower that was told nothing for so long is told that nothing has changed. */
const HEARTBEAT_MS = 3_000;

export interface ElectionServiceOptions {
  readonly sessions: Sessions;
  readonly clock: Clock;
  /** Aborted when the node is to stop: nobody is told anything any more. */
  readonly stopping: AbortSignal;
}

/** The election service over a node's sessions. */
export function electionService(options: ElectionServiceOptions): ServedService {
  const { sessions, stopping } = options;
  const { group, queues } = sessions;
  sessions.endWaitsAt(stopping);
  return serve(ElectionService, {
    async campaign(context, request) {
      const name = queueName(request.election, 'election');
      const session = leaseNumber(request.session, 'session');
      const patience = { ...context, waitMs: waitMs(request.waitMs) };
      const { token } = await queues.campaign(name, session, saidValue(request.value), patience);
      return create(CampaignResponseSchema, { token: BigInt(token) });
    },

    async proclaim(context, request) {
      const command = {
        kind: SessionCommandKind.proclaim,
        name: queueName(request.election, 'election'),
        session: leaseNumber(request.session, 'session'),
        token: fencingToken(request.token, false),
        value: saidValue(request.value),
      };
      const outcome = await propose(sessions, command, context, true);
      if (outcome.case !== 'done') throw unexpected(outcome);
      return create(ProclaimResponseSchema, { revision: BigInt(outcome.revision) });
    },

    async resign(context, request) {
      const command = {
        kind: SessionCommandKind.resign,
        name: queueName(request.election, 'election'),
        session: leaseNumber(request.session, 'session'),
        token: fencingToken(request.token, true),
        attempt: undefined,
      };
      const outcome = await propose(sessions, command, context, false);
      if (outcome.case !== 'released') throw unexpected(outcome);
      return create(ResignResponseSchema);
    },

    async describe({ deadlineMs }, request) {
      const name = queueName(request.election, 'election');
      await group.awaitRead(deadlineMs);
      const { state, revision } = group;
      const queue = state.elections.get(name);
      const leader = leaderMessage(state, queue?.holders[0]);
      return create(DescribeResponseSchema, {
        ...(leader && { leader }),
        candidates: queue?.waiters.slice(0, LISTED).map(({ session }) => session) ?? [],
        revision: BigInt(revision),
      });
    },

    observe: (context, request) => observe(options, context, request),
  });
}

async function* observe(
  { sessions, clock, stopping }: ElectionServiceOptions,
  { deadlineMs, signal }: CallContext,
  request: ObserveRequest,
): AsyncIterable<ObserveResponse> {
  const { group, elections } = sessions;
  const name = queueName(request.election, 'election');
  const follower = elections.follow(name);
  try {
    await group.awaitRead(deadlineMs);
    while (!signal.aborted) {
      const leader = leaderMessage(group.state, elections.leader(name));
      yield create(ObserveResponseSchema, { ...(leader && { leader }), revision: BigInt(group.revision) });
      await follower.changed(clock, HEARTBEAT_MS, signal);
      stopping.throwIfAborted();
      const unled = group.unledError();
      if (unled !== undefined) throw unled; // another node may know more
    }
  } finally {
    follower.close();
  }
}
