/** `etcdserverpb.Auth`: users and roles as etcd's clients look after them. */
import { create, type DescMessage, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { PermissionSchema, type Permission as PermissionMessage } from '@holdfast/proto/etcd/auth';
import {
  Auth as AuthContract,
  AuthDisableResponseSchema,
  AuthEnableResponseSchema,
  AuthRoleAddResponseSchema,
  AuthRoleDeleteResponseSchema,
  AuthRoleGetResponseSchema,
  AuthRoleGrantPermissionResponseSchema,
  AuthRoleListResponseSchema,
  AuthRoleRevokePermissionResponseSchema,
  AuthStatusResponseSchema,
  AuthUserAddResponseSchema,
  AuthUserChangePasswordResponseSchema,
  AuthUserDeleteResponseSchema,
  AuthUserGetResponseSchema,
  AuthUserGrantRoleResponseSchema,
  AuthUserListResponseSchema,
  AuthUserRevokeRoleResponseSchema,
  AuthenticateResponseSchema,
} from '@holdfast/proto/etcd/rpc';
import { AuthKind, MAX_AUTH_NAME_BYTES, type AuthCommand } from '../../coordination/auth-command.ts';
import { PermissionKind, type Permission } from '../../coordination/auth-permission.ts';
import type { Auth } from '../../coordination/auth.ts';
import { MAX_CONFIG_KEY_BYTES } from '../../coordination/config-limits.ts';
import { refusalError } from '../../coordination/refusal-error.ts';
import { binaryBytes, binaryString } from '../../storage/row-key.ts';
import { MAX_PASSWORD_BYTES, shownAuthName } from '../auth-messages.ts';
import { serve, type CallContext, type Handlers, type ServedService } from '../handler.ts';
import { ROOT_TEXTS } from './etcd-auth-texts.ts';
import { EtcdError, asEtcd, invalid } from './etcd-error.ts';
import type { HeaderOf } from './etcd-header.ts';

type AuthHandlers = Handlers<typeof AuthContract>;

export interface EtcdAuthOptions {
  readonly auth: Auth;
  /** What answers begin with, as of now. */
  readonly header: HeaderOf;
}

export function etcdAuthService(options: EtcdAuthOptions): ServedService {
  const calls = new EtcdAuth(options);
  return serve(AuthContract, { ...switches(calls), ...users(calls), ...roles(calls) });
}

/** What the methods have in common. */
class EtcdAuth {
  readonly auth: Auth;
  readonly #header: HeaderOf;

  constructor({ auth, header }: EtcdAuthOptions) {
    this.auth = auth;
    this.#header = header;
  }

  /** Every answer has a header, made when all else is done. */
  answer<S extends DescMessage>(
    schema: S,
    work: () => Promise<MessageInitShape<S> | void>,
  ): Promise<MessageShape<S>> {
    return asEtcd(async () => {
      const init = (await work()) ?? {};
      return create(schema, { ...init, header: this.#header() } as unknown as MessageInitShape<S>);
    });
  }

  /** Changes something, and answers with a header alone. */
  change<S extends DescMessage>(
    schema: S,
    context: CallContext,
    command: () => AuthCommand,
  ): Promise<MessageShape<S>> {
    return this.answer(schema, async () => void (await this.auth.change(command(), context)));
  }
}

function switches(
  calls: EtcdAuth,
): Pick<AuthHandlers, 'authEnable' | 'authDisable' | 'authStatus' | 'authenticate'> {
  const { auth } = calls;
  return {
    authEnable: (context) =>
      calls.answer(AuthEnableResponseSchema, () => auth.enable(context).catch(rootMissing)),

    authDisable: (context) =>
      calls.change(AuthDisableResponseSchema, context, () => ({ kind: AuthKind.disable })),

    authStatus: ({ deadlineMs }) =>
      calls.answer(AuthStatusResponseSchema, async () => {
        await auth.awaitRead(deadlineMs);
        const { isEnabled, revision } = auth.part.state;
        return { enabled: isEnabled, authRevision: BigInt(revision) };
      }),

    authenticate: (context, { name, password }) =>
      calls.answer(AuthenticateResponseSchema, async () => {
        const [user, given] = [binaryString(Buffer.from(name)), passwordOf(password)];
        return { token: await auth.login(user, given, context.peer(), context) };
      }),
  };
}

function users(
  calls: EtcdAuth,
): Pick<
  AuthHandlers,
  | 'userAdd'
  | 'userGet'
  | 'userList'
  | 'userDelete'
  | 'userChangePassword'
  | 'userGrantRole'
  | 'userRevokeRole'
> {
  const { auth } = calls;
  return {
    userAdd: (context, { name, password, options }) =>
      calls.answer(AuthUserAddResponseSchema, () => {
        const given = options?.noPassword === true ? undefined : passwordToSet(password);
        return auth.setPassword(AuthKind.addUser, newName(name, 'user'), given, context);
      }),

    userGet: ({ deadlineMs }, { name }) =>
      calls.answer(AuthUserGetResponseSchema, async () => {
        await auth.awaitRead(deadlineMs);
        const user = auth.part.state.users.get(binaryString(Buffer.from(name)));
        if (user === undefined) throw refusalError({ refused: 'USER_UNKNOWN' });
        return { roles: user.roles.map(shownAuthName) };
      }),

    userList: ({ deadlineMs }) =>
      calls.answer(AuthUserListResponseSchema, async () => {
        await auth.awaitRead(deadlineMs);
        return { users: [...auth.part.state.users.keys()].sort().map(shownAuthName) };
      }),

    userDelete: (context, { name }) =>
      calls.change(AuthUserDeleteResponseSchema, context, () => ({
        kind: AuthKind.deleteUser,
        user: knownName(name, 'USER_UNKNOWN'),
      })),

    userChangePassword: (context, { name, password }) =>
      calls.answer(AuthUserChangePasswordResponseSchema, () => {
        const user = knownName(name, 'USER_UNKNOWN');
        return auth.setPassword(AuthKind.changePassword, user, passwordToSet(password), context);
      }),

    userGrantRole: (context, { user, role }) =>
      calls.change(AuthUserGrantRoleResponseSchema, context, () => ({
        kind: AuthKind.grantRole,
        user: knownName(user, 'USER_UNKNOWN'),
        role: knownName(role, 'ROLE_UNKNOWN'),
      })),

    userRevokeRole: (context, { name, role }) =>
      calls.change(AuthUserRevokeRoleResponseSchema, context, () => ({
        kind: AuthKind.revokeRole,
        user: knownName(name, 'USER_UNKNOWN'),
        role: knownName(role, 'ROLE_NOT_GRANTED'),
      })),
  };
}

function roles(
  calls: EtcdAuth,
): Pick<
  AuthHandlers,
  'roleAdd' | 'roleGet' | 'roleList' | 'roleDelete' | 'roleGrantPermission' | 'roleRevokePermission'
> {
  const { auth } = calls;
  return {
    roleAdd: (context, { name }) =>
      calls.change(AuthRoleAddResponseSchema, context, () => ({
        kind: AuthKind.addRole,
        role: newName(name, 'role'),
      })),

    roleGet: ({ deadlineMs }, { role }) =>
      calls.answer(AuthRoleGetResponseSchema, async () => {
        await auth.awaitRead(deadlineMs);
        const permissions = auth.part.state.roles.get(binaryString(Buffer.from(role)));
        if (permissions === undefined) throw refusalError({ refused: 'ROLE_UNKNOWN' });
        return { perm: permissions.map(permissionMessage) };
      }),

    roleList: ({ deadlineMs }) =>
      calls.answer(AuthRoleListResponseSchema, async () => {
        await auth.awaitRead(deadlineMs);
        return { roles: [...auth.part.state.roles.keys()].sort().map(shownAuthName) };
      }),

    roleDelete: (context, { role }) =>
      calls.change(AuthRoleDeleteResponseSchema, context, () => ({
        kind: AuthKind.deleteRole,
        role: knownName(role, 'ROLE_UNKNOWN'),
      })),

    roleGrantPermission: (context, { name, perm }) =>
      calls.change(AuthRoleGrantPermissionResponseSchema, context, () => ({
        kind: AuthKind.grantPermission,
        role: knownName(name, 'ROLE_UNKNOWN'),
        permission: permissionOf(perm),
      })),

    roleRevokePermission: (context, { role, key, rangeEnd }) =>
      calls.change(AuthRoleRevokePermissionResponseSchema, context, () => ({
        kind: AuthKind.revokePermission,
        role: knownName(role, 'ROLE_UNKNOWN'),
        range: { key: keyOf(key), rangeEnd: keyOf(rangeEnd) },
      })),
  };
}

/** What is missing is in the refusal, and etcd has a text for each. */
function rootMissing(error: unknown): never {
  const text =
    error instanceof HoldfastError && error.reason === 'AUTH_ROOT_MISSING'
      ? ROOT_TEXTS[error.actual!]
      : undefined;
  if (text === undefined) throw error;
  const { reason, message, outcome, actual } = error as HoldfastError;
  throw new EtcdError({ reason, message, outcome, actual, cause: error }, ...text);
}

/** The name of somebody to be made. Error: user name is empty, role name is empty. */
function newName(name: string, of: 'user' | 'role'): string {
  const bytes = Buffer.from(name);
  if (bytes.length === 0) throw invalid(`${of} name is empty`, 'name');
  if (bytes.length > MAX_AUTH_NAME_BYTES) throw invalid(`${of} name is too long`, 'name');
  return binaryString(bytes);
}

/** A name that nobody can have is not known. */
function knownName(name: string, reason: 'USER_UNKNOWN' | 'ROLE_UNKNOWN' | 'ROLE_NOT_GRANTED'): string {
  const bytes = Buffer.from(name);
  if (bytes.length >= 1 && bytes.length <= MAX_AUTH_NAME_BYTES) return binaryString(bytes);
  throw refusalError({ refused: reason });
}

/** An empty one is none: nobody shall log in by saying nothing. */
function passwordToSet(password: string): Uint8Array | undefined {
  return password === '' ? undefined : passwordOf(password);
}

function passwordOf(password: string): Uint8Array {
  const bytes = Buffer.from(password);
  if (bytes.length > MAX_PASSWORD_BYTES) throw invalid('request is too large', 'password');
  return bytes;
}

/** A range that ends before it begins is taken, as etcd does, and allows nothing. */
function permissionOf(message: PermissionMessage | undefined): Permission {
  const kind = Object.values(PermissionKind).find((known) => known === message?.permType);
  if (message === undefined || kind === undefined) throw invalid('permission not given', 'perm');
  return { kind, key: keyOf(message.key), rangeEnd: keyOf(message.rangeEnd) };
}

function permissionMessage({ kind, key, rangeEnd }: Permission): PermissionMessage {
  const bytes = (text: string) => binaryBytes(text) as Uint8Array<ArrayBuffer>;
  return create(PermissionSchema, { permType: kind, key: bytes(key), rangeEnd: bytes(rangeEnd) });
}

function keyOf(key: Uint8Array): string {
  if (key.byteLength > MAX_CONFIG_KEY_BYTES) throw invalid('request is too large', 'key');
  return binaryString(key);
}
