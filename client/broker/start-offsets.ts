import { create } from '@bufbuild/protobuf';
import { BrokerService, FindOffsetsRequestSchema } from '@holdfast/proto/broker/v1/broker';
import type { ClientCore } from '../core.ts';
import type { HoldfastError } from '../error.ts';
import { errorFromMessage } from '../error-mapping.ts';
import { callUnary } from '../unary.ts';
import type { StartPosition } from './consumer-options.ts';
import type { TopicPartition } from './groups.ts';

/** Partitions of one call. */
export const MAX_PARTITIONS = 1_024;

/** Where a partition begins, or why that is not known. */
export type Start = number | HoldfastError;

/** First offsets of partitions, in their order. Errors: those of a call. */
export async function findStarts(
  core: ClientCore,
  partitions: readonly TopicPartition[],
  from: StartPosition,
  otherwise: 'earliest' | 'latest',
): Promise<Start[]> {
  const starts: Start[] = [];
  for (let first = 0; first < partitions.length; first += MAX_PARTITIONS)
    starts.push(...(await findSome(core, partitions.slice(first, first + MAX_PARTITIONS), from, otherwise)));
  return starts;
}

async function findSome(
  core: ClientCore,
  partitions: readonly TopicPartition[],
  from: StartPosition,
  otherwise: 'earliest' | 'latest',
): Promise<Start[]> {
  const time = from instanceof Date ? { timeMs: BigInt(from.getTime()) } : {};
  const request = create(FindOffsetsRequestSchema, {
    partitions: partitions.map(({ topic, partition }) => ({ topic, partition, ...time })),
  });
  const { results } = await callUnary(core, BrokerService.method.findOffsets, request);
  return partitions.map((asked, index) => {
    const { error, logStart, logEnd, offset } = results[index]!;
    if (error !== undefined) return errorFromMessage(error);
    if (from instanceof Date) return Number(offset ?? logEnd);
    const place = typeof from === 'string' ? from : (namedOffset(from.offsets, asked) ?? otherwise);
    if (typeof place === 'number') return place;
    return Number(place === 'earliest' ? logStart : logEnd);
  });
}

function namedOffset(
  offsets: readonly (TopicPartition & { readonly offset: bigint | number })[],
  { topic, partition }: TopicPartition,
): number | undefined {
  const named = offsets.find((other) => other.topic === topic && other.partition === partition);
  return named && Number(named.offset);
}
