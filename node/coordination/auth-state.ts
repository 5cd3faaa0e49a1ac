/** Users, roles and whether they are asked for, as one row: there are few, and all of them are looked at together. */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { PermissionKind, type Permission } from './auth-permission.ts';
import { NO_PERMISSIONS } from './grant.ts';
import type { LiveRow } from './machine-part.ts';

const ROW_VERSION = 1;

/** The user who must exist for permissions to be asked for, and the role that may do everything. */
export const ROOT = 'root';

/** A user. */
export interface AuthUser {
  /** What the password is checked against, as password-record.ts encodes it; empty: nobody logs in by password. */
  password: Uint8Array;
  /** Names of roles, in order. */
  roles: string[];
  /** Revision of the permissions when the password was last set: tokens from before are not taken. */
  since: number;
}

/** Permissions of a role, by key and end. */
export type AuthRole = Permission[];

/** Names are binary strings: UTF-8, a character a byte. */
export class AuthState implements LiveRow {
  isEnabled = false;
  /** Counts up with every change of users, roles and permissions. */
  revision = NO_PERMISSIONS;
  /** Tokens from before this revision are not taken. */
  tokensSince = 0;
  /** What the cluster signs tokens with; empty: permissions were never asked for. */
  secret: Uint8Array = new Uint8Array(0);
  readonly users = new Map<string, AuthUser>();
  readonly roles = new Map<string, AuthRole>();

  /** Error: RangeError. */
  static decode(this: void, content: Uint8Array): AuthState {
    const reader = new ByteReader(content);
    const version = reader.u8();
    if (version !== ROW_VERSION) throw new RangeError(`unknown version ${version} of the users and roles`);
    const state = new AuthState();
    state.isEnabled = reader.u8() === 1;
    state.revision = reader.u64();
    state.tokensSince = reader.u64();
    state.secret = Uint8Array.from(reader.bytes());
    for (let left = reader.u32(); left > 0; left--) state.users.set(reader.latin1(), readUser(reader));
    for (let left = reader.u32(); left > 0; left--) state.roles.set(reader.latin1(), readRole(reader));
    return state;
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(1_024).u8(ROW_VERSION).u8(this.isEnabled ? 1 : 0);
    writer.u64(this.revision).u64(this.tokensSince).bytes(this.secret);
    writer.u32(this.users.size);
    for (const [name, user] of this.users) writeUser(writer.latin1(name), user);
    writer.u32(this.roles.size);
    for (const [name, role] of this.roles) writeRole(writer.latin1(name), role);
    return Uint8Array.from(writer.finish());
  }

  /** Bytes that it takes, about. */
  get bytes(): number {
    let bytes = 64;
    for (const [name, { password, roles }] of this.users)
      bytes += 24 + name.length + password.byteLength + roles.reduce((sum, role) => sum + 4 + role.length, 0);
    for (const [name, role] of this.roles)
      bytes += 8 + name.length + role.reduce((sum, one) => sum + 9 + one.key.length + one.rangeEnd.length, 0);
    return bytes;
  }
}

function writeUser(writer: ByteWriter, { password, roles, since }: AuthUser): void {
  writer.bytes(password).u64(since).u32(roles.length);
  for (const role of roles) writer.latin1(role);
}

function readUser(reader: ByteReader): AuthUser {
  const password = Uint8Array.from(reader.bytes());
  const since = reader.u64();
  const roles: string[] = [];
  for (let left = reader.u32(); left > 0; left--) roles.push(reader.latin1());
  return { password, roles, since };
}

function writeRole(writer: ByteWriter, role: AuthRole): void {
  writer.u32(role.length);
  for (const { kind, key, rangeEnd } of role) writer.u8(kind).latin1(key).latin1(rangeEnd);
}

function readRole(reader: ByteReader): AuthRole {
  const role: AuthRole = [];
  for (let left = reader.u32(); left > 0; left--)
    role.push({ kind: permissionKind(reader.u8()), key: reader.latin1(), rangeEnd: reader.latin1() });
  return role;
}

/** Error: RangeError. */
export function permissionKind(number: number): PermissionKind {
  const kind = Object.values(PermissionKind).find((known) => known === number);
  if (kind === undefined) throw new RangeError(`a permission of kind ${number}`);
  return kind;
}
