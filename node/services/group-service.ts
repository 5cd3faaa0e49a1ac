/** `holdfast.broker.v1.GroupService`. */
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { errorFromMessage, errorToMessage } from '@holdfast/client/error-mapping';
import {
  CommitOffsetsResponseSchema,
  CommitResultSchema,
  DeleteGroupResponseSchema,
  DescribeGroupResponseSchema,
  FetchOffsetsResponseSchema,
  GroupPartitionSchema,
  GroupService,
  JoinGroupResponseSchema,
  LeaveGroupResponseSchema,
  ListGroupsResponseSchema,
  ResetOffsetsResponseSchema,
  StoredOffsetSchema,
  SyncGroupResponseSchema,
  type CommitResult,
  type GroupPartition,
  type OffsetCommit,
  type OffsetQuery,
  type ResetOffsetsRequest,
  type StoredOffset,
} from '@holdfast/proto/broker/v1/group';
import { FindOffsetSchema, type FoundOffset } from '@holdfast/proto/broker/v1/broker';
import {
  encodeClaim,
  encodeCommit,
  encodeDeleteOffset,
  encodeSetOffset,
} from '../broker/partition-command.ts';
import { MAX_METADATA_BYTES, checkGroupName, checkTopicName, refuse } from '../broker/topic-limits.ts';
import { refusalError } from '../broker/partition-refusal.ts';
import type { TopicPartition } from '../broker/topic-partition.ts';
import type { LeaderCalls } from '../cluster/leader-calls.ts';
import type { ConsumerGroup } from '../coordination/groups/consumer-group.ts';
import type { ConsumerGroups } from '../coordination/groups/consumer-groups.ts';
import { findOffset, type BrokerServiceOptions } from './broker-service.ts';
import {
  assignedMessage,
  assignmentMessage,
  checkCount,
  checkGeneration,
  joinCommand,
  releasedPartitions,
  strategyMessage,
  syncWait,
} from './group-messages.ts';
import { serve, type CallContext, type ServedService } from './handler.ts';
import { asHoldfastError } from './kv-messages.ts';
import { listLimit } from './session-messages.ts';

/** Groups of one answer. */
const LISTED = 1_000;

export interface GroupServiceOptions extends Pick<
  BrokerServiceOptions,
  'broker' | 'topics' | 'reads' | 'transport'
> {
  readonly groups: ConsumerGroups;
  readonly leaderCalls: LeaderCalls;
}

/** The group service over a node's groups and partitions. */
export function groupService(options: GroupServiceOptions): ServedService {
  const { groups, leaderCalls } = options;
  return serve(GroupService, {
    async joinGroup(context, request) {
      const assignment = await groups.join(joinCommand(request), context);
      return create(JoinGroupResponseSchema, {
        memberId: assignment.member,
        assignment: assignmentMessage(assignment),
      });
    },

    async syncGroup(context, request) {
      checkGroupName(request.group);
      const waitMs = syncWait(request.waitMs);
      const released = releasedPartitions(request.released);
      const { group, memberId, knownVersion } = request;
      if (released.length > 0) await groups.release(group, memberId, released, context);
      // Once more elsewhere: what was released is released.
      const rest = { ...request, released: [] };
      return leaderCalls.run(
        context,
        async () => {
          const terms = { ...context, waitMs, isRouted: true };
          const assignment = await groups.sync(group, memberId, Number(knownVersion), terms);
          return create(SyncGroupResponseSchema, { assignment: assignmentMessage(assignment) });
        },
        (transport, address, call) => {
          const elsewhere = { ...rest, waitMs: Math.min(waitMs, Math.max(0, call.timeoutMs - 100)) };
          return transport.unary(address, GroupService.method.syncGroup, elsewhere, call);
        },
      );
    },

    async leaveGroup(context, { group, memberId }) {
      checkGroupName(group);
      await groups.leave(group, memberId, context);
      return create(LeaveGroupResponseSchema);
    },

    async fetchOffsets(context, { group, partitions }) {
      checkGroupName(group);
      checkCount(partitions.length, 'partitions');
      const remember = remembering(options, context, group);
      const results = await Promise.all(
        partitions.map((one) => fetchOne(options, context, group, one, remember)),
      );
      return create(FetchOffsetsResponseSchema, { results });
    },

    async commitOffsets(context, { group, offsets }) {
      checkGroupName(group);
      checkCount(offsets.length, 'offsets');
      for (const { topic } of offsets) checkTopicName(topic, 'offsets');
      const remember = remembering(options, context, group);
      const results = await Promise.all(
        offsets.map((one) => commitOne(options, context, group, one, remember)),
      );
      return create(CommitOffsetsResponseSchema, { results });
    },

    async listGroups(context, request) {
      const limit = listLimit(request.limit, LISTED);
      const { groups: listed, more } = await groups.list(request.after, limit, context);
      return create(ListGroupsResponseSchema, {
        more,
        groups: listed.map(([group, { members, generation }]) => ({
          group,
          members: members.size,
          generation: BigInt(generation),
        })),
      });
    },

    async describeGroup(context, { group: name }) {
      checkGroupName(name);
      const group = await groups.describe(name, context);
      const members = [...group.members.values()].map((member) => {
        const { owned, revoked } = group.assignmentOf(member.id);
        const partitions = [...owned, ...revoked].map(assignedMessage);
        const { id: memberId, instanceId, clientName, lease, topics } = member;
        return { memberId, instanceId, clientName, lease, topics: [...topics], partitions };
      });
      return create(DescribeGroupResponseSchema, {
        generation: BigInt(group.generation),
        strategy: strategyMessage(group.strategy),
        members: members.sort((a, b) => (a.memberId < b.memberId ? -1 : 1)),
        partitions: await describePartitions(options, context, name, group),
      });
    },

    async resetOffsets(context, request) {
      checkGroupName(request.group);
      return create(ResetOffsetsResponseSchema, { results: await reset(options, context, request) });
    },

    async deleteGroup(context, { group: name }) {
      checkGroupName(name);
      const group = await groups.describe(name, context);
      const topics = [...group.committed];
      await groups.delete(name, context);
      for (const topic of topics) {
        const partitions = await options.topics.find(topic).then(
          (found) => found.partitions,
          () => [],
        );
        const command = encodeDeleteOffset({ group: name });
        await Promise.all(partitions.map((one) => options.broker.propose(one, command, forwarded(context))));
      }
      return create(DeleteGroupResponseSchema);
    },
  });
}

type Caller = Pick<CallContext, 'deadlineMs' | 'isRouted'>;

/** Offsets are little: whoever asks, this node finds who leads. */
function forwarded({ deadlineMs }: Caller) {
  return { deadlineMs, isRouted: false };
}

/** Has a group remember that it has rows of a topic, so that they go with it: each topic once. */
type Remember = (topic: string) => Promise<void>;

function remembering({ groups }: GroupServiceOptions, context: Caller, group: string): Remember {
  const asked = new Map<string, Promise<void>>();
  return (topic) => {
    const before = asked.get(topic) ?? groups.touch(group, topic, forwarded(context));
    asked.set(topic, before);
    return before;
  };
}

/** `remember`: for queries that store a generation. */
async function fetchOne(
  { broker, topics }: GroupServiceOptions,
  context: Caller,
  group: string,
  { topic, partition, generation }: OffsetQuery,
  remember?: Remember,
): Promise<StoredOffset> {
  try {
    checkGeneration(generation);
    const found = await topics.partition(topic, partition);
    if (generation > 0n) await remember?.(topic);
    const command = encodeClaim({ group, generation: Number(generation) });
    const state = await broker.propose(found, command, forwarded(context));
    if (state.case !== 'offset') throw unexpected(state.case);
    const { offset, metadata } = state;
    return create(StoredOffsetSchema, {
      metadata,
      generation: BigInt(state.generation),
      ...(offset !== undefined && { offset: BigInt(offset) }),
    });
  } catch (error) {
    return create(StoredOffsetSchema, { error: errorToMessage(asHoldfastError(error)) });
  }
}

async function commitOne(
  options: GroupServiceOptions,
  context: Caller,
  group: string,
  { topic, partition, offset, generation, metadata }: OffsetCommit,
  remember: Remember,
): Promise<CommitResult> {
  const { broker, topics, groups } = options;
  try {
    checkOffset(offset);
    checkGeneration(generation);
    const bytes = Buffer.byteLength(metadata);
    if (bytes > MAX_METADATA_BYTES) {
      const message = `metadata has ${bytes} bytes, limit ${MAX_METADATA_BYTES}. Nothing was stored.`;
      throw refuse('INVALID_FIELD', 'metadata', message, String(bytes), `0..${MAX_METADATA_BYTES}`);
    }
    const found = await topics.partition(topic, partition);
    // A commit that is refused leaves no group behind.
    if (!groups.hasOffsets(group, topic)) await checkEnd(options, context, found, offset);
    await remember(topic);
    const commit = { group, offset: Number(offset), generation: Number(generation), metadata };
    await broker.propose(found, encodeCommit(commit), forwarded(context));
    return create(CommitResultSchema);
  } catch (error) {
    return create(CommitResultSchema, { error: errorToMessage(asHoldfastError(error)) });
  }
}

/** Error: OFFSET_OUT_OF_RANGE. */
async function checkEnd(
  options: GroupServiceOptions,
  context: Caller,
  partition: TopicPartition,
  offset: bigint,
): Promise<void> {
  const { topic, number } = partition;
  const query = create(FindOffsetSchema, { topic, partition: number });
  const { logEnd, error } = await findOffset(options, forwarded(context), query);
  if (error !== undefined) throw errorFromMessage(error).withOutcome('NOT_APPLIED');
  if (offset <= logEnd) return;
  const [actual, limit] = [Number(offset), Number(logEnd)];
  throw refusalError({ case: 'refused', refused: 'OFFSET_OUT_OF_RANGE', actual, limit }, partition);
}

async function describePartitions(
  options: GroupServiceOptions,
  context: CallContext,
  name: string,
  group: ConsumerGroup,
): Promise<GroupPartition[]> {
  const owners = new Map(group.partitions.map((one) => [`${one.topic}/${one.number}`, one.owner ?? '']));
  const names = [...new Set([...group.topics, ...group.committed])].sort();
  const found = await Promise.all(
    names.map((topic) =>
      options.topics.find(topic).then(
        ({ partitions }) => partitions,
        () => [], // deleted, or not there yet
      ),
    ),
  );
  return Promise.all(
    found.flat().map(async (partition) => {
      const { topic, number } = partition;
      const memberId = owners.get(`${topic}/${number}`) ?? '';
      return describePartition(options, context, name, partition, memberId);
    }),
  );
}

async function describePartition(
  options: GroupServiceOptions,
  context: CallContext,
  group: string,
  { topic, number }: TopicPartition,
  memberId: string,
): Promise<GroupPartition> {
  const query = { topic, partition: number, generation: 0n } as OffsetQuery;
  const stored = await fetchOne(options, context, group, query);
  const bounds = await findOffset(
    options,
    forwarded(context),
    create(FindOffsetSchema, { topic, partition: number }),
  );
  const error = stored.error ?? bounds.error;
  const common = { topic, partition: number, memberId };
  if (error !== undefined) return create(GroupPartitionSchema, { ...common, error });
  const { logStart, logEnd } = bounds;
  const { offset } = stored;
  const from = offset === undefined || offset < logStart ? logStart : offset;
  const lag = logEnd > from ? logEnd - from : 0n;
  return create(GroupPartitionSchema, { ...common, logEnd, lag, ...(offset !== undefined && { offset }) });
}

async function reset(options: GroupServiceOptions, context: CallContext, request: ResetOffsetsRequest) {
  const { groups, topics, broker } = options;
  const { group: name, target, dryRun } = request;
  const wanted = target?.target;
  if (wanted === undefined || wanted.case === undefined)
    throw refuse('INVALID_FIELD', 'target', 'there is no target. Nothing was changed.');
  if (wanted.case === 'offset') checkOffset(wanted.value);
  const { partitions } = await topics.find(request.topic, 'topic');
  const asked = [...new Set(request.partitions)].sort((a, b) => a - b);
  const numbers = asked.length === 0 ? partitions.map(({ number }) => number) : asked;
  const chosen = await Promise.all(numbers.map(async (number) => topics.partition(request.topic, number)));
  const members = await memberCount(groups, name, context);
  if (members > 0) {
    const message = `group "${name}" has ${members} members, which would go on from where they are. Nothing was changed. Stop them first.`;
    throw refuse('GROUP_NOT_EMPTY', 'group', message, String(members));
  }
  if (!dryRun) await groups.touch(name, request.topic, forwarded(context));
  return Promise.all(
    chosen.map(async (partition) => {
      const { topic, number } = partition;
      const timeMs = wanted.case === 'timeMs' ? { timeMs: wanted.value } : {};
      const query = create(FindOffsetSchema, { topic, partition: number, ...timeMs });
      const bounds = await findOffset(options, forwarded(context), query);
      if (bounds.error !== undefined) throw errorFromMessage(bounds.error);
      const { offset: before } = await fetchOne(options, context, name, {
        topic,
        partition: number,
        generation: 0n,
      } as OffsetQuery);
      const after = targetOffset(wanted, bounds);
      if (!dryRun) {
        const command = encodeSetOffset({ group: name, offset: Number(after) });
        await broker.propose(partition, command, forwarded(context));
      }
      return { partition: number, after, ...(before !== undefined && { before }) };
    }),
  );
}

/** 0 of a group that there is not. */
async function memberCount(groups: ConsumerGroups, name: string, context: CallContext): Promise<number> {
  try {
    return (await groups.describe(name, context)).members.size;
  } catch (error) {
    if (error instanceof HoldfastError && error.reason === 'GROUP_UNKNOWN') return 0;
    throw error;
  }
}

function targetOffset(
  target: Exclude<NonNullable<ResetOffsetsRequest['target']>['target'], { case: undefined }>,
  { logStart, logEnd, offset }: FoundOffset,
): bigint {
  switch (target.case) {
    case 'earliest':
      return logStart;
    case 'latest':
      return logEnd;
    case 'timeMs':
      return offset ?? logEnd;
    case 'offset':
      return target.value < logStart ? logStart : target.value > logEnd ? logEnd : target.value;
  }
}

function checkOffset(offset: bigint): void {
  if (offset <= BigInt(Number.MAX_SAFE_INTEGER)) return;
  throw refuse(
    'OFFSET_OUT_OF_RANGE',
    'offset',
    `offset ${offset} is too large. Nothing was changed.`,
    String(offset),
  );
}

function unexpected(what: string): HoldfastError {
  return new HoldfastError({
    reason: 'INTERNAL',
    message: `a partition answered "${what}".`,
    outcome: 'UNKNOWN',
  });
}
