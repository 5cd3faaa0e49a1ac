import { create } from '@bufbuild/protobuf';
import {
  Access,
  AddRoleRequestSchema,
  AddUserRequestSchema,
  AuthService,
  DeleteRoleRequestSchema,
  DeleteUserRequestSchema,
  DescribeRequestSchema,
  DescribeRoleRequestSchema,
  DescribeUserRequestSchema,
  DisableRequestSchema,
  EnableRequestSchema,
  GrantPermissionRequestSchema,
  GrantRoleRequestSchema,
  ListRolesRequestSchema,
  ListUsersRequestSchema,
  PermittedRangeSchema,
  RevokePermissionRequestSchema,
  RevokeRoleRequestSchema,
  SetPasswordRequestSchema,
  type PermittedRange as RangeMessage,
} from '@holdfast/proto/auth/v1/auth';
import type { ClientCore } from './core.ts';
import { timeoutMs } from './duration.ts';
import type { CallOptions } from './keyspace-options.ts';
import { callUnary, type UnaryOptions } from './unary.ts';
import { type Key, keyBytes } from './values.ts';

/** What a permission allows. */
export type PermissionAccess = 'read' | 'write' | 'readwrite';

/** Keys that a permission is on: one; up to `end`; all with the prefix `key`; all from `key` on. */
export interface PermittedRange {
  key: Key;
  /** First key that is not among them. */
  end?: Key | undefined;
  prefix?: boolean | undefined;
  fromKey?: boolean | undefined;
}

/** What a role may do with some keys, as the cluster tells it: a prefix is a range. */
export interface Permission {
  readonly access: PermissionAccess;
  readonly key: Uint8Array;
  readonly end: Uint8Array | undefined;
  readonly fromKey: boolean;
}

/** A user. */
export interface UserDescription {
  readonly name: string;
  readonly roles: readonly string[];
  /** Whether it logs in by a password. */
  readonly hasPassword: boolean;
}

/**
 * Looks after users, roles and permissions; needs the role root while they are asked for. No
 * change is retried once it may have been executed. Errors: those of holdfast.auth.v1.AuthService.
 */
export class Auth {
  readonly #core: ClientCore;

  /** @internal */
  constructor(core: ClientCore) {
    this.#core = core;
  }

  /** Whether callers are asked who they are, and a number that counts up with every change. */
  async describe(options: CallOptions = {}): Promise<{ enabled: boolean; revision: bigint }> {
    const { describe } = AuthService.method;
    const { enabled, revision } = await callUnary(
      this.#core,
      describe,
      create(DescribeRequestSchema),
      reading(options),
    );
    return { enabled, revision };
  }

  /** Has callers asked from now on. Error: AUTH_ROOT_MISSING. */
  async enable(options: CallOptions = {}): Promise<void> {
    await callUnary(this.#core, AuthService.method.enable, create(EnableRequestSchema), changing(options));
  }

  /** Nobody is asked any more; users and roles stay. */
  async disable(options: CallOptions = {}): Promise<void> {
    await callUnary(this.#core, AuthService.method.disable, create(DisableRequestSchema), changing(options));
  }

  /** All users. */
  async users(options: CallOptions = {}): Promise<UserDescription[]> {
    const { listUsers } = AuthService.method;
    const { users } = await callUnary(
      this.#core,
      listUsers,
      create(ListUsersRequestSchema),
      reading(options),
    );
    return users;
  }

  /** One user. Error: USER_UNKNOWN. */
  async user(name: string, options: CallOptions = {}): Promise<UserDescription> {
    const request = create(DescribeUserRequestSchema, { name });
    const { user } = await callUnary(this.#core, AuthService.method.describeUser, request, reading(options));
    return user!;
  }

  /** Adds a user; without a password nobody logs in as it. Error: USER_EXISTS. */
  async addUser(name: string, password: string | undefined, options: CallOptions = {}): Promise<void> {
    const request = create(AddUserRequestSchema, { name, ...(password !== undefined && { password }) });
    await callUnary(this.#core, AuthService.method.addUser, request, changing(options));
  }

  /** Deletes a user; its tokens end. Errors: USER_UNKNOWN, AUTH_PROTECTED. */
  async deleteUser(name: string, options: CallOptions = {}): Promise<void> {
    const request = create(DeleteUserRequestSchema, { name });
    await callUnary(this.#core, AuthService.method.deleteUser, request, changing(options));
  }

  /** Sets the password of a user; its tokens end. Errors: USER_UNKNOWN, AUTH_PROTECTED. */
  async setPassword(name: string, password: string | undefined, options: CallOptions = {}): Promise<void> {
    const request = create(SetPasswordRequestSchema, { name, ...(password !== undefined && { password }) });
    await callUnary(this.#core, AuthService.method.setPassword, request, changing(options));
  }

  /** Gives a user a role. Errors: USER_UNKNOWN, ROLE_UNKNOWN. */
  async grantRole(user: string, role: string, options: CallOptions = {}): Promise<void> {
    const request = create(GrantRoleRequestSchema, { user, role });
    await callUnary(this.#core, AuthService.method.grantRole, request, changing(options));
  }

  /** Takes a role from a user. Errors: USER_UNKNOWN, ROLE_NOT_GRANTED, AUTH_PROTECTED. */
  async revokeRole(user: string, role: string, options: CallOptions = {}): Promise<void> {
    const request = create(RevokeRoleRequestSchema, { user, role });
    await callUnary(this.#core, AuthService.method.revokeRole, request, changing(options));
  }

  /** All roles. */
  async roles(options: CallOptions = {}): Promise<string[]> {
    const { listRoles } = AuthService.method;
    const { roles } = await callUnary(
      this.#core,
      listRoles,
      create(ListRolesRequestSchema),
      reading(options),
    );
    return roles;
  }

  /** The permissions of a role. Error: ROLE_UNKNOWN. */
  async role(name: string, options: CallOptions = {}): Promise<Permission[]> {
    const request = create(DescribeRoleRequestSchema, { name });
    const { describeRole } = AuthService.method;
    const { permissions } = await callUnary(this.#core, describeRole, request, reading(options));
    return permissions.map(({ access, range }) => ({
      access: NAMES[access] ?? 'read',
      key: range!.key,
      end: range!.others.case === 'end' ? range!.others.value : undefined,
      fromKey: range!.others.case === 'fromKey',
    }));
  }

  /** Adds a role. Error: ROLE_EXISTS. */
  async addRole(name: string, options: CallOptions = {}): Promise<void> {
    const request = create(AddRoleRequestSchema, { name });
    await callUnary(this.#core, AuthService.method.addRole, request, changing(options));
  }

  /** Deletes a role, also from those who have it. Errors: ROLE_UNKNOWN, AUTH_PROTECTED. */
  async deleteRole(name: string, options: CallOptions = {}): Promise<void> {
    const request = create(DeleteRoleRequestSchema, { name });
    await callUnary(this.#core, AuthService.method.deleteRole, request, changing(options));
  }

  /** Lets a role do something with keys. Error: ROLE_UNKNOWN. */
  async grantPermission(
    role: string,
    access: PermissionAccess,
    range: PermittedRange,
    options: CallOptions = {},
  ): Promise<void> {
    const permission = { access: ACCESSES[access], range: rangeMessage(range) };
    const request = create(GrantPermissionRequestSchema, { role, permission });
    await callUnary(this.#core, AuthService.method.grantPermission, request, changing(options));
  }

  /** Takes the permission on exactly these keys from a role. Errors: ROLE_UNKNOWN, PERMISSION_NOT_GRANTED. */
  async revokePermission(role: string, range: PermittedRange, options: CallOptions = {}): Promise<void> {
    const request = create(RevokePermissionRequestSchema, { role, range: rangeMessage(range) });
    await callUnary(this.#core, AuthService.method.revokePermission, request, changing(options));
  }
}

const ACCESSES: Readonly<Record<PermissionAccess, Access>> = {
  read: Access.READ,
  write: Access.WRITE,
  readwrite: Access.READ_WRITE,
};

const NAMES: Readonly<Partial<Record<Access, PermissionAccess>>> = {
  [Access.READ]: 'read',
  [Access.WRITE]: 'write',
  [Access.READ_WRITE]: 'readwrite',
};

function rangeMessage({ key, end, prefix = false, fromKey = false }: PermittedRange): RangeMessage {
  const bytes = (one: Key) => keyBytes(one) as Uint8Array<ArrayBuffer>;
  const message = create(PermittedRangeSchema, { key: bytes(key) });
  if (prefix) message.others = { case: 'prefix', value: true };
  else if (fromKey) message.others = { case: 'fromKey', value: true };
  else if (end !== undefined) message.others = { case: 'end', value: bytes(end) };
  return message;
}

function reading(options: CallOptions): UnaryOptions {
  return unary(options, false);
}

function changing(options: CallOptions): UnaryOptions {
  return unary(options, true);
}

function unary(options: CallOptions, isWrite: boolean): UnaryOptions {
  const time = options.timeout === undefined ? undefined : timeoutMs(options.timeout);
  return { timeoutMs: time, signal: options.signal, isWrite, isCoordination: true };
}
