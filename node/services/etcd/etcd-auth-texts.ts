/** What etcd says of users, roles and permissions, by the reasons of ours. */
import type { Text } from './etcd-error.ts';

export const AUTH_TEXTS: Readonly<Record<string, Text>> = {
  UNAUTHENTICATED: ['INVALID_ARGUMENT', 'user name is empty'],
  TOKEN_INVALID: ['UNAUTHENTICATED', 'invalid auth token'],
  PERMISSION_DENIED: ['PERMISSION_DENIED', 'permission denied'],
  LOGIN_FAILED: ['INVALID_ARGUMENT', 'authentication failed, invalid user ID or password'],
  LOGIN_DELAYED: ['RESOURCE_EXHAUSTED', 'too many requests'],
  AUTH_NOT_ENABLED: ['FAILED_PRECONDITION', 'authentication is not enabled'],
  AUTH_PROTECTED: ['INVALID_ARGUMENT', 'invalid auth management'],
  AUTH_REVISION_OLD: ['INVALID_ARGUMENT', 'revision of auth store is old'],
  AUTH_FULL: ['RESOURCE_EXHAUSTED', 'mvcc: database space exceeded'],
  USER_UNKNOWN: ['FAILED_PRECONDITION', 'user name not found'],
  USER_EXISTS: ['FAILED_PRECONDITION', 'user name already exists'],
  ROLE_UNKNOWN: ['FAILED_PRECONDITION', 'role name not found'],
  ROLE_EXISTS: ['FAILED_PRECONDITION', 'role name already exists'],
  ROLE_NOT_GRANTED: ['FAILED_PRECONDITION', 'role is not granted to the user'],
  PERMISSION_NOT_GRANTED: ['FAILED_PRECONDITION', 'permission is not granted to the role'],
};

/** What root lacks when permissions cannot be enabled, by what the refusal says. etcdctl helps itself when it is the role. */
export const ROOT_TEXTS: Readonly<Record<string, Text>> = {
  user: ['FAILED_PRECONDITION', 'root user does not exist'],
  role: ['FAILED_PRECONDITION', 'root user does not have root role'],
  password: ['FAILED_PRECONDITION', 'root user does not have a password'],
};
