/** Refusals of the state machine as errors for the caller. */
import { HoldfastError } from '@holdfast/client/error';
import type { Refusal } from './kv-outcome.ts';
import { MAX_TRANSACTION_ANSWER_BYTES } from './limits.ts';

const NOTHING = 'Nothing was written.';

/** The error that a refused command ends in. */
export function refusalError({ refused, currentVersion, actual }: Refusal): HoldfastError {
  const now =
    currentVersion === undefined ? 'the key does not exist' : `the key has version ${currentVersion}`;
  const outcome =
    refused === 'CLIENT_EXPIRED' || refused === 'SEQUENCE_STALE' || refused === 'RESULT_NOT_KEPT'
      ? 'UNKNOWN'
      : 'NOT_APPLIED';
  return new HoldfastError({
    reason: refused,
    message: message(refused, now, actual),
    outcome,
    actual,
    limit: refused === 'BATCH_TOO_LARGE' ? String(MAX_TRANSACTION_ANSWER_BYTES) : undefined,
    field: FIELDS[refused],
    currentVersion: currentVersion === undefined ? undefined : BigInt(currentVersion),
    retryAfterMs: refused === 'OVERLOADED' ? 100 : undefined,
  });
}

const FIELDS: Partial<Record<string, string>> = {
  VERSION_MISMATCH: 'expected_version',
  VALUE_MISMATCH: 'expected_value',
  KEY_EXISTS: 'key',
  BATCH_TOO_LARGE: 'then',
  FENCED: 'fence.token',
  CLIENT_EXPIRED: 'sequence.client_id',
  SEQUENCE_STALE: 'sequence.sequence',
};

function message(refused: string, now: string, actual: string | undefined): string {
  switch (refused) {
    case 'VERSION_MISMATCH':
      return `${now}, not the expected one. ${NOTHING} Read it again and decide anew.`;
    case 'VALUE_MISMATCH':
      return `the value is not the expected one; ${now}. ${NOTHING} Read it again and decide anew.`;
    case 'KEY_EXISTS':
      return `${now}. ${NOTHING}`;
    case 'NOT_A_COUNTER':
      return `the value is not a 64-bit integer in decimal. ${NOTHING}`;
    case 'COUNTER_OVERFLOW':
      return `the sum would be ${actual}, outside of 64 bits. ${NOTHING}`;
    case 'FENCED':
      return `token ${actual} was accepted for this lock; a lower one is refused. ${NOTHING} The lock was lost: acquire it again.`;
    case 'CLIENT_EXPIRED':
      return 'this client is not known here (any more), so it cannot be said whether the write was applied before. Start a new client and read before writing again.';
    case 'SEQUENCE_STALE':
      return 'this sequence was answered before and its result is no longer kept.';
    case 'RESULT_NOT_KEPT':
      return 'the transaction was applied before; its result was too large to be kept. Read the keys.';
    case 'BATCH_TOO_LARGE':
      return `the reads of the transaction give ${actual} bytes of values or more, limit ${MAX_TRANSACTION_ANSWER_BYTES}. ${NOTHING} Read in parts.`;
    case 'RESTORE_ENDED':
      return `the keyspace takes no rows of a backup (any more). ${NOTHING}`;
    case 'OVERLOADED':
      return `too many ${actual ?? 'writes'}. ${NOTHING} Try again later.`;
    default:
      return `refused. ${NOTHING}`;
  }
}
