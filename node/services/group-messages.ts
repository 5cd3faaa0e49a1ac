/** Messages of `holdfast.broker.v1.GroupService` and what a node makes of them. */
import { create } from '@bufbuild/protobuf';
import {
  AssignmentSchema,
  AssignmentStrategy,
  type AssignedPartition as AssignedMessage,
  type Assignment,
  type JoinGroupRequest,
} from '@holdfast/proto/broker/v1/group';
import { MAX_REQUEST_PARTITIONS, checkGroupName, checkTopicName, refuse } from '../broker/topic-limits.ts';
import type { Strategy } from '../coordination/groups/assignment.ts';
import {
  MAX_MEMBER_TOPICS,
  type AssignedPartition,
  type JoinCommand,
  type MemberAssignment,
} from '../coordination/groups/group-command.ts';
import type { Released } from '../coordination/groups/consumer-group.ts';
import { leaseNumber } from './session-messages.ts';

export const MAX_SYNC_WAIT_MS = 60_000;
const MAX_TEXT_BYTES = 128;
const DEFAULT_REBALANCE_MS = 60_000;
const MIN_REBALANCE_MS = 1_000;
const MAX_REBALANCE_MS = 3_600_000;

/** What a member asks for. Errors: INVALID_FIELD, TOPIC_NAME_INVALID. */
export function joinCommand(request: JoinGroupRequest): Omit<JoinCommand, 'kind'> {
  checkGroupName(request.group);
  const topics = [...new Set(request.topics)];
  if (topics.length === 0 || topics.length > MAX_MEMBER_TOPICS) {
    const message = `there are ${topics.length} topics, allowed are 1 to ${MAX_MEMBER_TOPICS}. Nothing was done.`;
    throw refuse('INVALID_FIELD', 'topics', message, String(topics.length), `1..${MAX_MEMBER_TOPICS}`);
  }
  for (const topic of topics) checkTopicName(topic, 'topics');
  return {
    group: request.group,
    lease: leaseNumber(request.lease, 'lease'),
    topics,
    strategy: strategyOf(request.strategy),
    instanceId: shortText(request.instanceId, 'instance_id'),
    clientName: shortText(request.clientName, 'client_name'),
    rebalanceTimeoutMs: rebalanceTimeout(request.rebalanceTimeoutMs),
  };
}

export function assignmentMessage({ generation, version, owned, revoked }: MemberAssignment): Assignment {
  return create(AssignmentSchema, {
    generation: BigInt(generation),
    version: BigInt(version),
    partitions: owned.map(assignedMessage),
    revoked: revoked.map(assignedMessage),
  });
}

export function assignedMessage({ topic, number, generation }: AssignedPartition) {
  return { topic, partition: number, generation: BigInt(generation) };
}

export function releasedPartitions(partitions: readonly AssignedMessage[]): Released[] {
  checkCount(partitions.length, 'released', 0);
  return partitions.map(({ topic, partition, generation }) => {
    checkTopicName(topic, 'released');
    checkGeneration(generation);
    return { topic, number: partition, generation: Number(generation) };
  });
}

/** Error: INVALID_FIELD. */
export function checkCount(count: number, field: string, least = 1): void {
  if (count >= least && count <= MAX_REQUEST_PARTITIONS) return;
  const message = `${field} has ${count} entries, allowed are ${least} to ${MAX_REQUEST_PARTITIONS}. Nothing was done.`;
  throw refuse('INVALID_FIELD', field, message, String(count), `${least}..${MAX_REQUEST_PARTITIONS}`);
}

/** Error: INVALID_FIELD. */
export function checkGeneration(generation: bigint): void {
  if (generation <= BigInt(Number.MAX_SAFE_INTEGER)) return;
  const message = `generation is ${generation}, allowed are 0 to 2^53-1. Nothing was done.`;
  throw refuse('INVALID_FIELD', 'generation', message, String(generation), '0..2^53-1');
}

export function syncWait(waitMs: number): number {
  if (waitMs <= MAX_SYNC_WAIT_MS) return waitMs;
  const message = `wait_ms is ${waitMs}, limit ${MAX_SYNC_WAIT_MS}. Nothing was done.`;
  throw refuse('INVALID_FIELD', 'wait_ms', message, String(waitMs), `0..${MAX_SYNC_WAIT_MS}`);
}

export function strategyMessage(strategy: Strategy): AssignmentStrategy {
  if (strategy === 'range') return AssignmentStrategy.RANGE;
  return strategy === 'round-robin' ? AssignmentStrategy.ROUND_ROBIN : AssignmentStrategy.COOPERATIVE_STICKY;
}

function strategyOf(strategy: AssignmentStrategy): Strategy {
  switch (strategy) {
    case AssignmentStrategy.UNSPECIFIED:
    case AssignmentStrategy.COOPERATIVE_STICKY:
      return 'cooperative-sticky';
    case AssignmentStrategy.RANGE:
      return 'range';
    case AssignmentStrategy.ROUND_ROBIN:
      return 'round-robin';
  }
  const given = String(strategy);
  throw refuse('INVALID_FIELD', 'strategy', `strategy ${given} is not known. Nothing was done.`, given);
}

function shortText(text: string, field: string): string {
  const bytes = Buffer.byteLength(text);
  if (bytes <= MAX_TEXT_BYTES) return text;
  const message = `${field} has ${bytes} bytes, limit ${MAX_TEXT_BYTES}. Nothing was done.`;
  throw refuse('INVALID_FIELD', field, message, String(bytes), `0..${MAX_TEXT_BYTES}`);
}

function rebalanceTimeout(given: bigint): number {
  if (given === 0n) return DEFAULT_REBALANCE_MS;
  if (given >= MIN_REBALANCE_MS && given <= MAX_REBALANCE_MS) return Number(given);
  const allowed = `${MIN_REBALANCE_MS}..${MAX_REBALANCE_MS}`;
  const message = `rebalance_timeout_ms is ${given}, allowed are ${allowed}. Nothing was done.`;
  throw refuse('INVALID_FIELD', 'rebalance_timeout_ms', message, String(given), allowed);
}
