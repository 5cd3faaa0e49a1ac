import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type AssignedPartition,
  type Assignment,
  CommitOffsetsRequestSchema,
  FetchOffsetsRequestSchema,
  GroupService,
  type JoinGroupRequestSchema,
} from '@holdfast/proto/broker/v1/group';
import { callCoordinator } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { errorFromMessage } from '../error-mapping.ts';
import { callUnary } from '../unary.ts';
import type { ConsumedPartition } from './consumed-partition.ts';
import { MAX_PARTITIONS } from './start-offsets.ts';

// The calls of a member of a group. All may be repeated: they say what is, not what is to change by how much.

const LEAVING_MS = 2_000;
/** Beside the time that a node waits for another assignment. */
const SPARE_MS = 5_000;

/** A member's id and what it has. */
export async function joinGroup(
  core: ClientCore,
  request: MessageInitShape<typeof JoinGroupRequestSchema>,
): Promise<{ memberId: string; assignment: Assignment }> {
  const more = { isWrite: true, isRepeatable: true };
  const { joinGroup: method } = GroupService.method;
  const { memberId, assignment } = await callCoordinator(core, method, request, {}, more);
  return { memberId, assignment: present(assignment) };
}

/** Says what was released, and waits for another assignment than `knownVersion`. */
export async function syncGroup(
  core: ClientCore,
  request: {
    group: string;
    memberId: string;
    knownVersion: bigint;
    released: AssignedPartition[];
    waitMs: number;
  },
  signal: AbortSignal,
): Promise<Assignment> {
  const { syncGroup: method } = GroupService.method;
  const more = { timeoutMs: request.waitMs + SPARE_MS, signal, isWaiting: true };
  return present((await callCoordinator(core, method, request, {}, more)).assignment);
}

/** Ends a membership, also while the client closes. */
export async function leaveGroup(core: ClientCore, group: string, memberId: string): Promise<void> {
  const more = { isWrite: true, isRepeatable: true, isClosing: true, timeoutMs: LEAVING_MS };
  await callCoordinator(core, GroupService.method.leaveGroup, { group, memberId }, {}, more);
}

/** The stored offsets, which are final: nobody who had the partitions before can change them any more. */
export async function claimOffsets(
  core: ClientCore,
  group: string,
  partitions: readonly ConsumedPartition[],
): Promise<(number | undefined | HoldfastError)[]> {
  const claimed: (number | undefined | HoldfastError)[] = [];
  for (const some of parts(partitions)) {
    const request = create(FetchOffsetsRequestSchema, {
      group,
      partitions: some.map(({ topic, partition, generation }) => ({ topic, partition, generation })),
    });
    const { results } = await callUnary(core, GroupService.method.fetchOffsets, request);
    for (const index of some.keys()) {
      const { error, offset } = results[index]!;
      if (error !== undefined) claimed.push(errorFromMessage(error));
      else claimed.push(offset === undefined ? undefined : Number(offset));
    }
  }
  return claimed;
}

/** Stores offsets, also while the client closes. Undefined: it is stored. */
export async function commitOffsets(
  core: ClientCore,
  group: string,
  commits: readonly { readonly partition: ConsumedPartition; readonly offset: number }[],
): Promise<(HoldfastError | undefined)[]> {
  const results: (HoldfastError | undefined)[] = [];
  for (const some of parts(commits)) {
    const request = create(CommitOffsetsRequestSchema, {
      group,
      offsets: some.map(({ partition: { topic, partition, generation }, offset }) => ({
        topic,
        partition,
        generation,
        offset: BigInt(offset),
      })),
    });
    const more = { isWrite: true, isRepeatable: true, isClosing: true };
    const answer = await callUnary(core, GroupService.method.commitOffsets, request, more);
    for (const index of some.keys()) {
      const { error } = answer.results[index]!;
      results.push(error && errorFromMessage(error));
    }
  }
  return results;
}

function* parts<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let first = 0; first < items.length; first += MAX_PARTITIONS)
    yield items.slice(first, first + MAX_PARTITIONS);
}

function present(assignment: Assignment | undefined): Assignment {
  if (assignment !== undefined) return assignment;
  throw new HoldfastError({ reason: 'INTERNAL', message: 'the node answered without an assignment' });
}
