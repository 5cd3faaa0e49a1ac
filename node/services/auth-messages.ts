/** Names, passwords and permissions as they come, checked; and back. */
import { create } from '@bufbuild/protobuf';
import {
  Access,
  PermissionSchema,
  UserSchema,
  type Permission as PermissionMessage,
  type PermittedRange,
  type User,
} from '@holdfast/proto/auth/v1/auth';
import { MAX_AUTH_NAME_BYTES } from '../coordination/auth-command.ts';
import {
  FROM_KEY,
  PermissionKind,
  isInverted,
  type Permission,
  type PermissionRange,
} from '../coordination/auth-permission.ts';
import type { AuthUser } from '../coordination/auth-state.ts';
import { MAX_CONFIG_KEY_BYTES } from '../coordination/config-limits.ts';
import { refuse } from '../kv/limits.ts';
import { binaryBytes, binaryString } from '../storage/row-key.ts';
import { prefixSpan } from './key-selection.ts';

/** More would only cost time to hash. */
export const MAX_PASSWORD_BYTES = 1_024;
const NOTHING = 'Nothing was done.';

/** The name of a user or a role, binary. Error: AUTH_NAME_INVALID. */
export function authName(name: string, field: string): string {
  const bytes = Buffer.from(name);
  if (bytes.length >= 1 && bytes.length <= MAX_AUTH_NAME_BYTES) return binaryString(bytes);
  const message = `${field} is ${bytes.length} bytes, allowed are 1 to ${MAX_AUTH_NAME_BYTES}. ${NOTHING}`;
  throw refuse('AUTH_NAME_INVALID', field, message, String(bytes.length), `1..${MAX_AUTH_NAME_BYTES}`);
}

/** A password that somebody shows. Error: INVALID_FIELD, which does not say what was given. */
export function passwordBytes(password: string, field: string): Uint8Array {
  const bytes = Buffer.from(password);
  if (bytes.length <= MAX_PASSWORD_BYTES) return bytes;
  const message = `${field} is longer than ${MAX_PASSWORD_BYTES} bytes. ${NOTHING}`;
  throw refuse('INVALID_FIELD', field, message, String(bytes.length), `0..${MAX_PASSWORD_BYTES}`);
}

/** A password to be set; undefined: none. Error: INVALID_FIELD. */
export function newPassword(password: string | undefined, field: string): Uint8Array | undefined {
  if (password === undefined) return undefined;
  if (password !== '') return passwordBytes(password, field);
  const message = `${field} is empty. ${NOTHING} Leave it out for a user that logs in by no password.`;
  throw refuse('INVALID_FIELD', field, message, '0', `1..${MAX_PASSWORD_BYTES}`);
}

/** Names as people read them. */
export function shownAuthName(name: string): string {
  return binaryBytes(name).toString('utf8');
}

export function userMessage(name: string, { roles, password }: Readonly<AuthUser>): User {
  return create(UserSchema, {
    name: shownAuthName(name),
    roles: roles.map(shownAuthName),
    hasPassword: password.byteLength > 0,
  });
}

/** Errors: INVALID_FIELD, and those of `permittedRange`. */
export function permission(message: PermissionMessage | undefined): Permission {
  const kind = KINDS[message?.access ?? Access.UNSPECIFIED];
  if (kind !== undefined) return { kind, ...permittedRange(message?.range, 'permission.range') };
  const told = `permission.access says not what is allowed. ${NOTHING}`;
  throw refuse('INVALID_FIELD', 'permission.access', told, String(message?.access ?? 0), '1..3');
}

/** Errors: INVALID_FIELD, KEY_EMPTY, KEY_TOO_LARGE, RANGE_INVERTED. */
export function permittedRange(message: PermittedRange | undefined, field: string): PermissionRange {
  if (message === undefined) throw refuse('INVALID_FIELD', field, `${field} names no keys. ${NOTHING}`);
  const { others } = message;
  const key = checkedKey(message.key, MAX_CONFIG_KEY_BYTES, `${field}.key`);
  // All keys, as etcd writes it: a key has a byte or more.
  if (others.case === 'fromKey' && others.value)
    return { key: key === '' ? FROM_KEY : key, rangeEnd: FROM_KEY };
  if (key === '') {
    const told = `${field}.key is empty, which is no key. ${NOTHING} For all keys say from_key.`;
    throw refuse('KEY_EMPTY', `${field}.key`, told, '0', `1..${MAX_CONFIG_KEY_BYTES}`);
  }
  if (others.case === 'prefix' && others.value) return { key, rangeEnd: prefixSpan(key).end ?? FROM_KEY };
  if (others.case !== 'end') return { key, rangeEnd: '' };
  const range = { key, rangeEnd: checkedKey(others.value, MAX_CONFIG_KEY_BYTES + 1, `${field}.end`) };
  if (range.rangeEnd !== '' && range.rangeEnd !== FROM_KEY && !isInverted(range)) return range;
  throw refuse('RANGE_INVERTED', `${field}.end`, `${field} ends where it begins or before. ${NOTHING}`);
}

export function permissionMessage({ kind, key, rangeEnd }: Permission): PermissionMessage {
  const isAll = rangeEnd === FROM_KEY;
  return create(PermissionSchema, {
    access: ACCESSES[kind],
    range: {
      key: bytesOf(isAll && key === FROM_KEY ? '' : key),
      others: isAll
        ? { case: 'fromKey', value: true }
        : rangeEnd === ''
          ? { case: undefined }
          : { case: 'end', value: bytesOf(rangeEnd) },
    },
  });
}

const KINDS: Readonly<Partial<Record<Access, PermissionKind>>> = {
  [Access.READ]: PermissionKind.read,
  [Access.WRITE]: PermissionKind.write,
  [Access.READ_WRITE]: PermissionKind.readwrite,
};

const ACCESSES: Readonly<Record<PermissionKind, Access>> = {
  [PermissionKind.read]: Access.READ,
  [PermissionKind.write]: Access.WRITE,
  [PermissionKind.readwrite]: Access.READ_WRITE,
};

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return binaryBytes(text) as Uint8Array<ArrayBuffer>;
}

function checkedKey(key: Uint8Array, limit: number, field: string): string {
  if (key.byteLength <= limit) return binaryString(key);
  const message = `${field} is ${key.byteLength} bytes, limit ${limit}. ${NOTHING}`;
  throw refuse('KEY_TOO_LARGE', field, message, String(key.byteLength), String(limit));
}
