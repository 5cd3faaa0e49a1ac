/** What refusals of leases, locks and elections mean to a caller. */
import type { Reason } from '@holdfast/client/reasons';
import { MAX_HANGING, MAX_LEASES } from './lease-table.ts';
import type { Meaning } from './refusal.ts';

const NOTHING = 'Nothing was changed.';

export const SESSION_MEANINGS: Partial<Record<Reason, Meaning>> = {
  LEASE_EXISTS: {
    field: 'lease',
    message: ({ actual }) =>
      `there is a lease ${actual} already. ${NOTHING} Choose another number, or 0 to have one chosen.`,
  },
  LEASE_FULL: {
    field: 'lease',
    message: ({ actual }) =>
      `${MAX_HANGING} keys, locks and elections hang on lease ${actual}, as many as may. ${NOTHING} Take another lease for more.`,
  },
  LEASES_TOO_MANY: {
    message: () =>
      `there are ${MAX_LEASES} leases, as many as may be. ${NOTHING} Revoke some, or wait until they end.`,
  },
  SESSION_EXPIRED: {
    field: 'session',
    message: ({ actual }) =>
      `there is no lease ${actual} (any more), so its locks and candidacies have ended. ${NOTHING} Grant a lease and begin anew.`,
  },
  LOCK_HELD: {
    message: ({ actual }) => `others have the lock: ${actual}. ${NOTHING} With wait_ms the call waits.`,
  },
  LOCK_MODE_MISMATCH: {
    field: 'mode',
    message: ({ actual }) =>
      `the lock is in use in another way: ${actual}. ${NOTHING} All who take part name the same permits, and a session one mode.`,
  },
  LOCK_QUEUE_FULL: {
    message: ({ actual }) => `as many wait, or say as much, as may: ${actual}. ${NOTHING} Try again later.`,
  },
  LOCK_NOT_HELD: {
    field: 'token',
    message: ({ actual }) =>
      `the session does not hold the lock by token ${actual} for this request. ${NOTHING} Whoever holds it keeps it.`,
  },
  NOT_ELECTED: {
    field: 'token',
    message: ({ actual }) =>
      `the session does not lead the election by token ${actual}. ${NOTHING} Whoever leads goes on.`,
  },
};
