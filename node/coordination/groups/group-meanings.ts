/** What refusals of consumer groups mean to a caller. */
import type { Reason } from '@holdfast/client/reasons';
import type { Meaning } from '../refusal.ts';

const NOTHING = 'Nothing was changed.';

export const GROUP_MEANINGS: Partial<Record<Reason, Meaning>> = {
  GROUP_UNKNOWN: {
    field: 'group',
    message: ({ actual }) => `there is no group "${actual}". ${NOTHING}`,
  },
  GROUP_MEMBER_UNKNOWN: {
    field: 'member_id',
    message: ({ actual }) =>
      `the group has no member ${actual} (any more): its lease has ended, it kept what it was to release, or another one came under its instance id. ${NOTHING} Join again.`,
  },
  GROUP_MEMBER_FENCED: {
    field: 'member_id',
    message: ({ actual }) =>
      `another one has come under the instance id of member ${actual}, and has what it had. ${NOTHING} Stop one of them.`,
  },
  GROUP_STRATEGY_MISMATCH: {
    field: 'strategy',
    message: ({ actual, limit }) =>
      `the members of the group share partitions by ${limit}, not by ${actual}. ${NOTHING} Use the same, or wait until it has no members.`,
  },
  GROUP_FULL: {
    field: 'group',
    message: ({ limit }) => `the group has ${limit} members, as many as it can have. ${NOTHING}`,
  },
  GROUP_NOT_EMPTY: {
    field: 'group',
    message: ({ actual }) => `the group has ${actual} members. ${NOTHING} Stop them first.`,
  },
};
