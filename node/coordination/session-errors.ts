/** Refusals of leases, locks and elections as errors for the caller. */
import { HoldfastError } from '@holdfast/client/error';
import { MAX_HANGING, MAX_LEASES } from './lease-table.ts';
import type { SessionRefusal } from './session-outcome.ts';
import { MAX_SAID_BYTES, MAX_WAITERS } from './wait-queue.ts';

const NOTHING = 'Nothing was changed.';

/** The error that a refused command ends in. */
export function sessionError({ refused, actual }: SessionRefusal): HoldfastError {
  const { message, field, limit } = text(refused, actual);
  const isUnknown =
    refused === 'CLIENT_EXPIRED' || refused === 'SEQUENCE_STALE' || refused === 'RESULT_NOT_KEPT';
  return new HoldfastError({
    reason: refused,
    message,
    outcome: isUnknown ? 'UNKNOWN' : 'NOT_APPLIED',
    field,
    actual,
    limit,
    retryAfterMs: refused === 'OVERLOADED' ? 100 : undefined,
  });
}

/** The session of a lock or a candidate is over. */
export function sessionExpired(session: bigint): HoldfastError {
  return sessionError({ case: 'refused', refused: 'SESSION_EXPIRED', actual: String(session) });
}

/** There is no such lease. */
export function leaseUnknown(lease: bigint): HoldfastError {
  return sessionError({ case: 'refused', refused: 'LEASE_UNKNOWN', actual: String(lease) });
}

function text(reason: string, actual: string): { message: string; field?: string; limit?: string } {
  switch (reason) {
    case 'LEASE_UNKNOWN':
      return { message: `there is no lease ${actual} (any more). ${NOTHING}`, field: 'lease' };
    case 'LEASE_EXISTS':
      return {
        message: `there is a lease ${actual} already. ${NOTHING} Choose another number, or 0 to have one chosen.`,
        field: 'lease',
      };
    case 'LEASE_FULL':
      return {
        message: `${MAX_HANGING} keys, locks and elections hang on lease ${actual}, as many as may. ${NOTHING} Take another lease for more.`,
        limit: String(MAX_HANGING),
      };
    case 'QUOTA_REACHED':
      return {
        message: `there are ${MAX_LEASES} leases, as many as may be. ${NOTHING} Revoke some, or wait until they end.`,
        limit: String(MAX_LEASES),
      };
    case 'SESSION_EXPIRED':
      return {
        message: `there is no lease ${actual} (any more), so its locks and candidacies have ended. ${NOTHING} Grant a lease and begin anew.`,
        field: 'session',
      };
    case 'LOCK_HELD':
      return { message: `others have the lock: ${actual}. ${NOTHING} With wait_ms the call waits.` };
    case 'LOCK_MODE_MISMATCH':
      return {
        message: `the lock is in use in another way: ${actual}. ${NOTHING} All who take part name the same permits, and a session one mode.`,
        field: 'mode',
      };
    case 'LOCK_QUEUE_FULL':
      return {
        message: `as many wait, or say as much, as may: ${actual}. ${NOTHING}`,
        limit: `${MAX_WAITERS} sessions, ${MAX_SAID_BYTES} bytes`,
      };
    case 'LOCK_NOT_HELD':
      return {
        message: `the session does not hold the lock by token ${actual} for this request. ${NOTHING} Whoever holds it keeps it.`,
        field: 'token',
      };
    case 'NOT_ELECTED':
      return {
        message: `the session does not lead the election by token ${actual}. ${NOTHING} Whoever leads goes on.`,
        field: 'token',
      };
    case 'CLIENT_EXPIRED':
      return {
        message:
          'this client is not known here (any more), so it cannot be said whether this was done before. Look before doing it again.',
        field: 'sequence.client_id',
      };
    case 'SEQUENCE_STALE':
      return {
        message: 'this sequence was answered before and its result is no longer kept.',
        field: 'sequence.sequence',
      };
    default:
      return { message: `refused: ${actual}. ${NOTHING}` };
  }
}
