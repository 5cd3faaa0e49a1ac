/** What refusals about users, roles and permissions mean to a caller. */
import type { Reason } from '@holdfast/client/reasons';
import type { Meaning } from './refusal.ts';

const NOTHING = 'Nothing was changed.';

const ROOT_LACKS: Readonly<Record<string, string>> = {
  user: 'there is no user root. Add it, with a password, and grant it the role root',
  role: 'the user root does not have the role root. Grant it',
  password: 'the user root has no password, so nobody could log in as root. Set one',
};

export const AUTH_MEANINGS: Partial<Record<Reason, Meaning>> = {
  AUTH_ROOT_MISSING: {
    message: ({ actual = 'user' }) => `${ROOT_LACKS[actual] ?? actual}. ${NOTHING}`,
  },
  AUTH_PROTECTED: {
    message: () =>
      `while permissions are asked for, the user root, its password and its role stay. ${NOTHING} Disable them first.`,
  },
  AUTH_FULL: {
    message: ({ actual, limit }) =>
      `users and roles would be ${actual} bytes together, limit ${limit}. ${NOTHING} Delete some.`,
  },
  AUTH_REVISION_OLD: {
    message: () => `permissions changed while the call was on its way. ${NOTHING} Repeat it.`,
  },
  USER_UNKNOWN: { field: 'name', message: () => `there is no user of this name. ${NOTHING}` },
  USER_EXISTS: { field: 'name', message: () => `there is a user of this name. ${NOTHING}` },
  ROLE_UNKNOWN: { field: 'role', message: () => `there is no role of this name. ${NOTHING}` },
  ROLE_EXISTS: { field: 'name', message: () => `there is a role of this name. ${NOTHING}` },
  ROLE_NOT_GRANTED: { field: 'role', message: () => `the user does not have this role. ${NOTHING}` },
  PERMISSION_NOT_GRANTED: {
    field: 'key',
    message: () => `the role has no permission on exactly this key or range. ${NOTHING}`,
  },
};
