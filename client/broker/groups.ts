import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  AssignmentStrategy as StrategyCode,
  type DescribeGroupResponse,
  GroupService,
  type ResetTargetSchema,
} from '@holdfast/proto/broker/v1/group';
import { callCoordinator } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import type { HoldfastError } from '../error.ts';
import { errorFromMessage } from '../error-mapping.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { integer64 } from '../values.ts';
import { type AssignmentStrategy, STRATEGIES } from './assignment-strategy.ts';

/** A group of a list. */
export interface GroupSummary {
  readonly group: string;
  readonly members: number;
  /** Grows with each change of members, subscriptions or partitions. */
  readonly generation: bigint;
}

/** A partition and its topic. */
export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** A member of a group. */
export interface GroupMemberDescription {
  readonly memberId: string;
  /** Of a static member. */
  readonly instanceId: string | undefined;
  readonly clientName: string;
  readonly lease: bigint;
  readonly topics: readonly string[];
  /** What it has, with the generation in which it got it. */
  readonly partitions: readonly (TopicPartition & { readonly generation: bigint })[];
}

/** Where a group is in a partition. */
export interface GroupPartitionDescription extends TopicPartition {
  /** Undefined: nobody has it. */
  readonly memberId: string | undefined;
  /** The next record to read; undefined: none was stored. */
  readonly offset: bigint | undefined;
  /** Offset that the next record will get. */
  readonly logEnd: bigint;
  /** Records still to be read; never more than the partition holds. */
  readonly lag: bigint;
  /** Set: the partition could not be asked. */
  readonly error: HoldfastError | undefined;
}

/** A group. */
export interface GroupDescription {
  readonly group: string;
  readonly generation: bigint;
  readonly strategy: AssignmentStrategy;
  /** By id. */
  readonly members: readonly GroupMemberDescription[];
  /** By topic and number. */
  readonly partitions: readonly GroupPartitionDescription[];
}

/** Where to set offsets to: an offset is moved to the nearest that there is. */
export type ResetTarget = 'earliest' | 'latest' | Date | bigint | number;

/** Options of a reset. */
export interface ResetOptions extends CallOptions {
  /** Default: all of the topic. */
  partitions?: readonly number[] | undefined;
  /** Only say what would be done. Default: false. */
  dryRun?: boolean | undefined;
}

/** What a reset does to a partition. */
export interface ResetResult {
  readonly partition: number;
  /** Undefined: none was stored. */
  readonly before: bigint | undefined;
  readonly after: bigint;
}

/** Looks at consumer groups and sets their offsets. */
export class Groups {
  readonly #core: ClientCore;

  /** @internal */
  constructor(core: ClientCore) {
    this.#core = core;
  }

  /** Groups with members or offsets, by name. */
  async list(options: CallOptions = {}): Promise<GroupSummary[]> {
    const groups: GroupSummary[] = [];
    for (;;) {
      const request = { after: groups.at(-1)?.group ?? '' };
      const answer = await callCoordinator(this.#core, GroupService.method.listGroups, request, options);
      for (const { group, members, generation } of answer.groups) groups.push({ group, members, generation });
      if (!answer.more || answer.groups.length === 0) return groups;
    }
  }

  /** Members, assignment, offsets and lag. Error: GROUP_UNKNOWN. */
  async describe(group: string, options: CallOptions = {}): Promise<GroupDescription> {
    const answer = await callCoordinator(this.#core, GroupService.method.describeGroup, { group }, options);
    return described(group, answer);
  }

  /**
   * Sets the offsets of a group without members in a topic; a Date: to the first record at or
   * after it. Errors: GROUP_NOT_EMPTY, TOPIC_UNKNOWN.
   */
  async reset(
    group: string,
    topic: string,
    target: ResetTarget,
    options: ResetOptions = {},
  ): Promise<ResetResult[]> {
    const request = {
      group,
      topic,
      partitions: [...(options.partitions ?? [])],
      target: targetOf(target),
      dryRun: options.dryRun ?? false,
    };
    const method = GroupService.method.resetOffsets;
    // Done twice it is as done once.
    const more = { isWrite: true, isRepeatable: true };
    const { results } = await callCoordinator(this.#core, method, request, options, more);
    return results.map(({ partition, before, after }) => ({ partition, before, after }));
  }

  /** Deletes a group without members, and its offsets. Errors: GROUP_NOT_EMPTY, GROUP_UNKNOWN. */
  async delete(group: string, options: CallOptions = {}): Promise<void> {
    await callCoordinator(this.#core, GroupService.method.deleteGroup, { group }, options, { isWrite: true });
  }
}

function targetOf(target: ResetTarget): MessageInitShape<typeof ResetTargetSchema> {
  if (target === 'earliest') return { target: { case: 'earliest', value: true } };
  if (target === 'latest') return { target: { case: 'latest', value: true } };
  if (target instanceof Date)
    return { target: { case: 'timeMs', value: integer64(target.getTime(), 'target', true) } };
  return { target: { case: 'offset', value: integer64(target, 'target', false) } };
}

function described(group: string, answer: DescribeGroupResponse): GroupDescription {
  const code = answer.strategy || StrategyCode.COOPERATIVE_STICKY;
  return {
    group,
    generation: answer.generation,
    strategy: STRATEGIES.find(([, number]) => number === code)?.[0] ?? 'cooperative-sticky',
    members: answer.members.map((member) => ({
      memberId: member.memberId,
      instanceId: member.instanceId || undefined,
      clientName: member.clientName,
      lease: member.lease,
      topics: member.topics,
      partitions: member.partitions.map(({ topic, partition, generation }) => ({
        topic,
        partition,
        generation,
      })),
    })),
    partitions: answer.partitions.map(({ topic, partition, memberId, offset, logEnd, lag, error }) => ({
      topic,
      partition,
      memberId: memberId || undefined,
      offset,
      logEnd,
      lag,
      error: error === undefined ? undefined : errorFromMessage(error),
    })),
  };
}
