/** Refusals of the coordination as errors for the caller. */
import { HoldfastError } from '@holdfast/client/error';
import type { Reason } from '@holdfast/client/reasons';
import { AUTH_MEANINGS } from './auth-meanings.ts';
import { GROUP_MEANINGS } from './groups/group-meanings.ts';
import type { Meaning, Refusal } from './refusal.ts';
import { SESSION_MEANINGS } from './session-meanings.ts';

const NOTHING = 'Nothing was changed.';

/** What became of the write is not known: it may have been applied before. */
const UNKNOWN_OUTCOME: ReadonlySet<Reason> = new Set(['CLIENT_EXPIRED', 'SEQUENCE_STALE', 'RESULT_NOT_KEPT']);

const MEANINGS: Partial<Record<Reason, Meaning>> = {
  ...SESSION_MEANINGS,
  ...AUTH_MEANINGS,
  ...GROUP_MEANINGS,
  CLIENT_EXPIRED: {
    field: 'sequence.client_id',
    message: () =>
      'this client is not known here (any more), so it cannot be said whether the write was applied before. Start a new client and read before writing again.',
  },
  SEQUENCE_STALE: {
    field: 'sequence.sequence',
    message: () => 'this sequence was answered before and its result is no longer kept.',
  },
  RESULT_NOT_KEPT: {
    message: () => 'the write was applied before; its result was too large to be kept. Read what is there.',
  },
  OVERLOADED: {
    message: ({ actual }) => `too many ${actual ?? 'writes'}. ${NOTHING} Try again later.`,
  },
  REVISION_MISMATCH: {
    field: 'if_mod_revision',
    message: ({ current }) =>
      `${current === undefined ? 'the key does not exist' : `the key was last changed at revision ${current}`}, not at the expected one. ${NOTHING} Read it again and decide anew.`,
  },
  KEY_UNKNOWN: {
    field: 'key',
    message: () => `the key does not exist, so there is no value or lease to keep. ${NOTHING}`,
  },
  LEASE_UNKNOWN: {
    field: 'lease',
    message: ({ actual }) => `there is no lease ${actual} (any more). ${NOTHING} Grant a new one.`,
  },
  QUOTA_REACHED: {
    message: ({ actual, limit }) =>
      `the configuration would be ${actual} bytes with its history, its quota is ${limit} (coordination.quota_bytes). ${NOTHING} Reads, deletes and compaction go on: delete what is not needed, compact, or raise the quota.`,
  },
  RANGE_TOO_LARGE: {
    field: 'selection',
    message: ({ limit }) =>
      `more than ${limit} keys would have to be looked at in one change. ${NOTHING} Do it in parts.`,
  },
  ANSWER_TOO_LARGE: {
    message: ({ limit }) => `the answer would be more than ${limit} bytes. ${NOTHING} Read in parts.`,
  },
  SEQUENCE_EXHAUSTED: {
    field: 'name',
    message: ({ actual, limit }) =>
      `the sequence is at ${actual} and ends at ${limit}, so it has not as many numbers left. ${NOTHING} Use another one.`,
  },
  REVISION_COMPACTED: {
    field: 'revision',
    message: ({ actual, limit }) =>
      `history before revision ${limit} is gone, and revision ${actual} is before it. ${NOTHING}`,
  },
  REVISION_FUTURE: {
    field: 'revision',
    message: ({ actual, limit }) =>
      `revision ${actual} is greater than that of the tree, which is ${limit}. ${NOTHING}`,
  },
};

/** The error that a refused command ends in. */
export function refusalError(refusal: Refusal): HoldfastError {
  const { refused, actual, limit, current } = refusal;
  const meaning = MEANINGS[refused];
  return new HoldfastError({
    reason: refused,
    message: meaning?.message(refusal) ?? `refused. ${NOTHING}`,
    outcome: UNKNOWN_OUTCOME.has(refused) ? 'UNKNOWN' : 'NOT_APPLIED',
    actual,
    limit,
    field: meaning?.field,
    currentVersion: current === undefined ? undefined : BigInt(current),
    retryAfterMs: refused === 'OVERLOADED' ? 100 : undefined,
  });
}
