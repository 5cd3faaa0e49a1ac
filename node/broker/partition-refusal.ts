/** What a refusal of a partition means to the caller. */
import { HoldfastError } from '@holdfast/client/error';
import type { PartitionRefusal } from './partition-outcome.ts';
import type { TopicPartition } from './topic-partition.ts';

export function refusalError(refusal: PartitionRefusal, { topic, number }: TopicPartition): HoldfastError {
  const { refused, actual, limit } = refusal;
  const where = `partition ${number} of topic "${topic}"`;
  const error = (field: string, message: string, allowed: string) =>
    new HoldfastError({
      reason: refused,
      field,
      message: `${message} Nothing was kept.`,
      actual: String(actual),
      limit: allowed,
      outcome: 'NOT_APPLIED',
    });
  switch (refused) {
    case 'PRODUCER_FENCED':
      return error(
        'producer_epoch',
        `${where} has seen a greater epoch of this producer than ${actual}: another one works under its name.`,
        '',
      );
    case 'SEQUENCE_GAP':
      return error(
        'sequence',
        `${where} expects sequence ${limit} of this producer, the batch has ${actual}: what is between was not kept.`,
        String(limit),
      );
    case 'GENERATION_FENCED':
      return error(
        'generation',
        `${where} was given to a member of the group in generation ${limit}; a commit of generation ${actual} comes too late.`,
        `${limit}..`,
      );
    case 'OFFSET_OUT_OF_RANGE':
      return error('offset', `offset ${actual} is beyond the end of ${where}, ${limit}.`, `0..${limit}`);
  }
}
