/**
 * Users, roles and permissions as a part of the coordination's state machine, and who may do
 * what by them.
 *
 *  1. Every change of users, roles and permissions counts their revision up; what changes
 *     nothing, or is refused, does not. It takes no revision of the tree.
 *  2. While permissions are asked for, the user root exists and has the role root.
 *  3. A user's token that was made before its password was last set, before it was created anew,
 *     or before permissions were last switched off, is not taken.
 *  4. While permissions are asked for, what users change is applied only if whoever checked it
 *     knew the permissions as they are now (`refusalOf`).
 */
import type { ByteReader } from '../storage/byte-codec.ts';
import { ByteWriter } from '../storage/byte-codec.ts';
import type { RowKey } from '../storage/row-key.ts';
import { AuthKind, readAuthCommand, type AuthCommand } from './auth-command.ts';
import {
  CoveredKeys,
  allowsUse,
  rangeSpan,
  type KeyUse,
  type Permission,
  type PermissionRange,
} from './auth-permission.ts';
import { AuthState, ROOT, type AuthUser } from './auth-state.ts';
import type { KeySpan } from './config-command.ts';
import { CoordinationKind } from './coordination-command.ts';
import type { MachinePart, PartRows } from './machine-part.ts';
import type { Outcome, Refusal } from './refusal.ts';

/** Bytes of all users and roles: they are one row, and written together. */
export const MAX_AUTH_BYTES = 1_048_576;

/** What users change: as long as permissions are asked for, nobody else does. Other kinds the nodes propose by themselves as well. */
const OF_USERS: ReadonlySet<number> = new Set([
  CoordinationKind.configTransact,
  CoordinationKind.leaseGrant,
  CoordinationKind.leaseRevoke,
  CoordinationKind.lockAcquire,
  CoordinationKind.electionCampaign,
  CoordinationKind.electionProclaim,
  CoordinationKind.sequenceNext,
  ...Object.values(AuthKind),
]);

type Uses = Readonly<Record<KeyUse, CoveredKeys>>;

export class AuthPart implements MachinePart {
  readonly kinds = Object.values(AuthKind);
  readonly #rows: PartRows;
  readonly #row: RowKey;
  readonly #onChange: () => void;
  /** What users may do at `#usesRevision`, as far as somebody has asked. */
  readonly #uses = new Map<string, Uses>();
  #usesRevision = 0;
  /** Set while there is no row, which nobody has to look for again. */
  #none: AuthState | undefined;

  /** `prefix`: of the group. `onChange`: permissions have changed. */
  constructor(rows: PartRows, prefix: RowKey, onChange: () => void) {
    this.#rows = rows;
    this.#row = `${prefix}u`;
    this.#onChange = onChange;
  }

  /** As applied. */
  get state(): Readonly<AuthState> {
    return this.#state;
  }

  /** The user of a token that was made at a revision; undefined: it is not taken (any more). Invariant 3. */
  userOf(name: string, madeAt: number): Readonly<AuthUser> | undefined {
    const { users, tokensSince } = this.#state;
    const user = users.get(name);
    return user !== undefined && madeAt >= user.since && madeAt >= tokensSince ? user : undefined;
  }

  /** Whether a user has the role that may do everything. */
  isRoot(name: string): boolean {
    return this.hasRole(name, ROOT);
  }

  /** Whether a user has a role. */
  hasRole(name: string, role: string): boolean {
    return this.#state.users.get(name)?.roles.includes(role) === true;
  }

  /** Whether a user may use all keys of a span. */
  allows(name: string, use: KeyUse, span: KeySpan): boolean {
    return this.isRoot(name) || this.#usesOf(name)[use].covers(span);
  }

  /** Why a command is not to be applied that was checked at a revision of the permissions, or by nobody. Invariant 4. */
  refusalOf(kind: number, checkedAt: number | undefined): Refusal | undefined {
    const { isEnabled, revision } = this.#state;
    if (!isEnabled || checkedAt === revision) return undefined;
    if (checkedAt === undefined && !OF_USERS.has(kind)) return undefined;
    return { refused: 'AUTH_REVISION_OLD' };
  }

  parse(kind: number, reader: ByteReader): AuthCommand {
    return readAuthCommand(kind, reader);
  }

  /** Answers with the revision of the permissions. */
  apply(_: number, body: unknown): Outcome {
    const state = this.#state;
    const result = this.#change(state, body as AuthCommand);
    if (typeof result === 'object') return result;
    if (result) {
      state.revision++; // invariant 1
      this.#rows.putLive(this.#row, state);
      this.#none = undefined;
      this.#onChange();
    }
    return new ByteWriter(8).u64(state.revision).finish();
  }

  /** Whether it changed anything, or why it may not. */
  #change(state: AuthState, command: AuthCommand): boolean | Refusal {
    switch (command.kind) {
      case AuthKind.enable:
        return enable(state, command.secret);
      case AuthKind.disable:
        return disable(state);
      case AuthKind.addUser:
        return addUser(state, command.user, command.password);
      case AuthKind.deleteUser:
        return deleteUser(state, command.user);
      case AuthKind.changePassword:
        return changePassword(state, command.user, command.password);
      case AuthKind.grantRole:
        return grantRole(state, command.user, command.role);
      case AuthKind.revokeRole:
        return revokeRole(state, command.user, command.role);
      case AuthKind.addRole:
        return addRole(state, command.role);
      case AuthKind.deleteRole:
        return deleteRole(state, command.role);
      case AuthKind.grantPermission:
        return grantPermission(state, command.role, command.permission);
      case AuthKind.revokePermission:
        return revokePermission(state, command.role, command.range);
    }
  }

  get #state(): AuthState {
    return this.#none ?? this.#rows.live(this.#row, AuthState.decode) ?? (this.#none = new AuthState());
  }

  #usesOf(name: string): Uses {
    const { revision, users, roles } = this.#state;
    if (this.#usesRevision !== revision) {
      this.#uses.clear();
      this.#usesRevision = revision;
    }
    const known = this.#uses.get(name);
    if (known !== undefined) return known;
    const permissions = (users.get(name)?.roles ?? []).flatMap((role) => roles.get(role) ?? []);
    const spans = (use: KeyUse) => permissions.filter(({ kind }) => allowsUse(kind, use)).map(rangeSpan);
    const uses = { read: new CoveredKeys(spans('read')), write: new CoveredKeys(spans('write')) };
    this.#uses.set(name, uses);
    return uses;
  }
}

/** Invariant 2. Somebody must be able to log in as root, or nobody could ever switch it off. */
function enable(state: AuthState, secret: Uint8Array): boolean | Refusal {
  if (state.isEnabled) return false;
  const root = state.users.get(ROOT);
  if (root === undefined) return { refused: 'AUTH_ROOT_MISSING', actual: 'user' };
  if (!root.roles.includes(ROOT)) return { refused: 'AUTH_ROOT_MISSING', actual: 'role' };
  if (root.password.byteLength === 0) return { refused: 'AUTH_ROOT_MISSING', actual: 'password' };
  state.isEnabled = true;
  state.secret = secret;
  return true;
}

function disable(state: AuthState): boolean {
  if (!state.isEnabled) return false;
  state.isEnabled = false;
  state.tokensSince = state.revision + 1; // invariant 3
  return true;
}

function addUser(state: AuthState, name: string, password: Uint8Array): boolean | Refusal {
  if (state.users.has(name)) return { refused: 'USER_EXISTS' };
  const full = fullAfter(state, 24 + name.length + password.byteLength);
  if (full !== undefined) return full;
  state.users.set(name, { password, roles: [], since: state.revision + 1 });
  return true;
}

function deleteUser(state: AuthState, name: string): boolean | Refusal {
  if (state.isEnabled && name === ROOT) return PROTECTED;
  return state.users.delete(name) || USER_UNKNOWN;
}

function changePassword(state: AuthState, name: string, password: Uint8Array): boolean | Refusal {
  const user = state.users.get(name);
  if (user === undefined) return USER_UNKNOWN;
  if (state.isEnabled && name === ROOT && password.byteLength === 0) return PROTECTED; // invariant 2
  user.password = password;
  user.since = state.revision + 1;
  return true;
}

function grantRole(state: AuthState, name: string, role: string): boolean | Refusal {
  const user = state.users.get(name);
  if (user === undefined) return USER_UNKNOWN;
  if (role !== ROOT && !state.roles.has(role)) return ROLE_UNKNOWN;
  if (user.roles.includes(role)) return false;
  const full = fullAfter(state, 4 + role.length);
  if (full !== undefined) return full;
  user.roles.push(role);
  user.roles.sort();
  return true;
}

function revokeRole(state: AuthState, name: string, role: string): boolean | Refusal {
  if (state.isEnabled && name === ROOT && role === ROOT) return PROTECTED;
  const user = state.users.get(name);
  if (user === undefined) return USER_UNKNOWN;
  if (!user.roles.includes(role)) return { refused: 'ROLE_NOT_GRANTED' };
  user.roles = user.roles.filter((one) => one !== role);
  return true;
}

function addRole(state: AuthState, role: string): boolean | Refusal {
  if (state.roles.has(role)) return { refused: 'ROLE_EXISTS' };
  const full = fullAfter(state, 8 + role.length);
  if (full !== undefined) return full;
  state.roles.set(role, []);
  return true;
}

/** Everybody loses it. */
function deleteRole(state: AuthState, role: string): boolean | Refusal {
  if (state.isEnabled && role === ROOT) return PROTECTED;
  if (!state.roles.delete(role)) return ROLE_UNKNOWN;
  for (const user of state.users.values()) user.roles = user.roles.filter((one) => one !== role);
  return true;
}

/** What the role may do with the same range is replaced. */
function grantPermission(state: AuthState, name: string, permission: Permission): boolean | Refusal {
  const role = state.roles.get(name);
  if (role === undefined) return ROLE_UNKNOWN;
  const full = fullAfter(state, 9 + permission.key.length + permission.rangeEnd.length);
  if (full !== undefined) return full;
  state.roles.set(name, [...role.filter((one) => !isSameRange(one, permission)), permission].sort(byRange));
  return true;
}

function revokePermission(state: AuthState, name: string, range: PermissionRange): boolean | Refusal {
  const role = state.roles.get(name);
  if (role === undefined) return ROLE_UNKNOWN;
  const kept = role.filter((one) => !isSameRange(one, range));
  if (kept.length === role.length) return { refused: 'PERMISSION_NOT_GRANTED' };
  state.roles.set(name, kept);
  return true;
}

const PROTECTED: Refusal = { refused: 'AUTH_PROTECTED' };
const USER_UNKNOWN: Refusal = { refused: 'USER_UNKNOWN' };
const ROLE_UNKNOWN: Refusal = { refused: 'ROLE_UNKNOWN' };

function isSameRange(a: PermissionRange, b: PermissionRange): boolean {
  return a.key === b.key && a.rangeEnd === b.rangeEnd;
}

function byRange(a: PermissionRange, b: PermissionRange): number {
  if (a.key !== b.key) return a.key < b.key ? -1 : 1;
  return a.rangeEnd < b.rangeEnd ? -1 : a.rangeEnd > b.rangeEnd ? 1 : 0;
}

function fullAfter(state: AuthState, more: number): Refusal | undefined {
  const bytes = state.bytes + more;
  if (bytes <= MAX_AUTH_BYTES) return undefined;
  return { refused: 'AUTH_FULL', actual: String(bytes), limit: String(MAX_AUTH_BYTES) };
}
