import { HoldfastError, type Outcome } from '../error.ts';
import { reasonInfo } from '../reasons.ts';
import type { ProducerBatch } from './producer-batch.ts';

/** Attempts after which a node that does not know the topic or partition is believed. */
const MOST_UNKNOWN = 6;

/** What became of a batch that is given up now. */
export function outcomeOf({ isOut, hasDoubt }: ProducerBatch): Outcome {
  return isOut || hasDoubt ? 'UNKNOWN' : 'NOT_APPLIED';
}

/** Whether a batch that is told apart by its sequence may be sent again after this error. */
export function mayGoAgain(error: HoldfastError, { attempts }: ProducerBatch): boolean {
  const { reason } = error;
  // A node may not have learned of the topic or partition yet.
  if (reason === 'TOPIC_UNKNOWN' || reason === 'PARTITION_UNKNOWN') return attempts < MOST_UNKNOWN;
  if (reason === 'DEADLINE_EXCEEDED' || reason === 'CANCELLED') return true;
  return (reasonInfo(reason)?.retry ?? 'never') !== 'never';
}

/** The error that ends a producer with a name whose sequences cannot go on. */
export function endOfName(name: string): HoldfastError {
  return new HoldfastError({
    reason: 'SEQUENCE_GAP',
    message:
      `producer ${name} cannot tell whether a batch was kept, and begins no epoch of its own, as that would ` +
      'fence whoever has the name by now: close it and make another. What was not sent was not kept.',
  });
}

/** The error of a batch that has taken too long. */
export function confirmedTooLate(batch: ProducerBatch, timeoutMs: number): HoldfastError {
  const { topic, partition, count, error } = batch;
  const fate = outcomeOf(batch) === 'UNKNOWN' ? 'They may have been kept.' : 'None of them was kept.';
  return new HoldfastError({
    reason: 'DEADLINE_EXCEEDED',
    message: `${count} records for ${topic}/${partition} were not confirmed within ${timeoutMs} ms. ${fate}`,
    cause: error,
  });
}
