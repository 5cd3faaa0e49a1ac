/** Commands on users and roles as they stand in the log. Passwords are in them only as what they are checked against. */
import type { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { Permission, PermissionRange } from './auth-permission.ts';
import { permissionKind } from './auth-state.ts';
import { MAX_CONFIG_KEY_BYTES } from './config-limits.ts';
import { CoordinationKind } from './coordination-command.ts';

/** Bytes of the name of a user or a role. */
export const MAX_AUTH_NAME_BYTES = 256;
/** Bytes of what a password is checked against. */
export const MAX_PASSWORD_RECORD_BYTES = 256;
/** Bytes that the cluster signs tokens with. */
export const TOKEN_SECRET_BYTES = 32;

/** Kinds of the commands on users and roles. */
export const AuthKind = {
  enable: CoordinationKind.authEnable,
  disable: CoordinationKind.authDisable,
  addUser: CoordinationKind.authAddUser,
  deleteUser: CoordinationKind.authDeleteUser,
  changePassword: CoordinationKind.authChangePassword,
  grantRole: CoordinationKind.authGrantRole,
  revokeRole: CoordinationKind.authRevokeRole,
  addRole: CoordinationKind.authAddRole,
  deleteRole: CoordinationKind.authDeleteRole,
  grantPermission: CoordinationKind.authGrantPermission,
  revokePermission: CoordinationKind.authRevokePermission,
} as const;

type Kinds = typeof AuthKind;

/** Names are binary strings. */
export type AuthCommand =
  /** `secret`: what tokens are signed with from now on. */
  | { readonly kind: Kinds['enable']; readonly secret: Uint8Array }
  | { readonly kind: Kinds['disable'] }
  | {
      readonly kind: Kinds['addUser'] | Kinds['changePassword'];
      readonly user: string;
      readonly password: Uint8Array;
    }
  | { readonly kind: Kinds['deleteUser']; readonly user: string }
  | {
      readonly kind: Kinds['grantRole'] | Kinds['revokeRole'];
      readonly user: string;
      readonly role: string;
    }
  | { readonly kind: Kinds['addRole'] | Kinds['deleteRole']; readonly role: string }
  | { readonly kind: Kinds['grantPermission']; readonly role: string; readonly permission: Permission }
  | { readonly kind: Kinds['revokePermission']; readonly role: string; readonly range: PermissionRange };

export function writeAuthCommand(writer: ByteWriter, command: AuthCommand): void {
  switch (command.kind) {
    case AuthKind.enable:
      return void writer.bytes(command.secret);
    case AuthKind.disable:
      return;
    case AuthKind.addUser:
    case AuthKind.changePassword:
      return void writer.latin1(command.user).bytes(command.password);
    case AuthKind.deleteUser:
      return void writer.latin1(command.user);
    case AuthKind.grantRole:
    case AuthKind.revokeRole:
      return void writer.latin1(command.user).latin1(command.role);
    case AuthKind.addRole:
    case AuthKind.deleteRole:
      return void writer.latin1(command.role);
    case AuthKind.grantPermission: {
      const { role, permission } = command;
      return void writer.latin1(role).u8(permission.kind).latin1(permission.key).latin1(permission.rangeEnd);
    }
    case AuthKind.revokePermission:
      return void writer.latin1(command.role).latin1(command.range.key).latin1(command.range.rangeEnd);
  }
}

/** Error: RangeError. */
export function readAuthCommand(given: number, reader: ByteReader): AuthCommand {
  const kind = given as AuthCommand['kind'];
  switch (kind) {
    case AuthKind.enable:
      return { kind, secret: sized(reader.bytes(), TOKEN_SECRET_BYTES, TOKEN_SECRET_BYTES) };
    case AuthKind.disable:
      return { kind };
    case AuthKind.addUser:
    case AuthKind.changePassword:
      return { kind, user: name(reader), password: sized(reader.bytes(), 0, MAX_PASSWORD_RECORD_BYTES) };
    case AuthKind.deleteUser:
      return { kind, user: name(reader) };
    case AuthKind.grantRole:
    case AuthKind.revokeRole:
      return { kind, user: name(reader), role: name(reader) };
    case AuthKind.addRole:
    case AuthKind.deleteRole:
      return { kind, role: name(reader) };
    case AuthKind.grantPermission: {
      const [role, permission] = [name(reader), permissionKind(reader.u8())];
      return { kind, role, permission: { kind: permission, ...range(reader) } };
    }
    case AuthKind.revokePermission:
      return { kind, role: name(reader), range: range(reader) };
    default:
      throw new RangeError(`a command of kind ${String(kind)} is none on users and roles`);
  }
}

function name(reader: ByteReader): string {
  const text = reader.latin1();
  if (text.length >= 1 && text.length <= MAX_AUTH_NAME_BYTES) return text;
  throw new RangeError(`a name of ${text.length} bytes`);
}

function range(reader: ByteReader): PermissionRange {
  const [key, rangeEnd] = [reader.latin1(), reader.latin1()];
  if (key.length > MAX_CONFIG_KEY_BYTES || rangeEnd.length > MAX_CONFIG_KEY_BYTES + 1)
    throw new RangeError('a permission on a key that is too long');
  return { key, rangeEnd };
}

function sized(bytes: Uint8Array, least: number, most: number): Uint8Array {
  if (bytes.byteLength >= least && bytes.byteLength <= most) return Uint8Array.from(bytes);
  throw new RangeError(`${bytes.byteLength} bytes instead of ${least} to ${most}`);
}
