/** `holdfast.auth.v1.AuthService`. */
import { create } from '@bufbuild/protobuf';
import {
  AddRoleResponseSchema,
  AddUserResponseSchema,
  AuthService,
  DeleteRoleResponseSchema,
  DeleteUserResponseSchema,
  DescribeResponseSchema,
  DescribeRoleResponseSchema,
  DescribeUserResponseSchema,
  DisableResponseSchema,
  EnableResponseSchema,
  GrantPermissionResponseSchema,
  GrantRoleResponseSchema,
  ListRolesResponseSchema,
  ListUsersResponseSchema,
  LoginResponseSchema,
  RevokePermissionResponseSchema,
  RevokeRoleResponseSchema,
  SetPasswordResponseSchema,
} from '@holdfast/proto/auth/v1/auth';
import { AuthKind } from '../coordination/auth-command.ts';
import type { Auth } from '../coordination/auth.ts';
import { refusalError } from '../coordination/refusal-error.ts';
import {
  authName,
  newPassword,
  passwordBytes,
  permission,
  permissionMessage,
  permittedRange,
  shownAuthName,
  userMessage,
} from './auth-messages.ts';
import { serve, type Handlers, type ServedService } from './handler.ts';

type AuthHandlers = Handlers<typeof AuthService>;

/** Logging in, and looking after users and roles, on a node. */
export function authService(auth: Auth): ServedService {
  return serve(AuthService, { ...switches(auth), ...users(auth), ...roles(auth) });
}

function switches(auth: Auth): Pick<AuthHandlers, 'login' | 'describe' | 'enable' | 'disable'> {
  return {
    async login(context, { user, password }) {
      const name = authName(user, 'user');
      const token = await auth.login(name, passwordBytes(password, 'password'), context.peer(), context);
      return create(LoginResponseSchema, { token, ttlMs: BigInt(auth.tokenTtlMs) });
    },

    async describe({ deadlineMs }) {
      await auth.awaitRead(deadlineMs);
      const { isEnabled, revision } = auth.part.state;
      return create(DescribeResponseSchema, { enabled: isEnabled, revision: BigInt(revision) });
    },

    async enable(context) {
      await auth.enable(context);
      return create(EnableResponseSchema);
    },

    async disable(context) {
      await auth.change({ kind: AuthKind.disable }, context);
      return create(DisableResponseSchema);
    },
  };
}

function users(
  auth: Auth,
): Pick<
  AuthHandlers,
  'listUsers' | 'describeUser' | 'addUser' | 'deleteUser' | 'setPassword' | 'grantRole' | 'revokeRole'
> {
  return {
    async listUsers({ deadlineMs }) {
      await auth.awaitRead(deadlineMs);
      const listed = [...auth.part.state.users].sort(([a], [b]) => (a < b ? -1 : 1));
      return create(ListUsersResponseSchema, {
        users: listed.map(([name, user]) => userMessage(name, user)),
      });
    },

    async describeUser({ deadlineMs }, request) {
      const name = authName(request.name, 'name');
      await auth.awaitRead(deadlineMs);
      const user = auth.part.state.users.get(name);
      if (user === undefined) throw refusalError({ refused: 'USER_UNKNOWN' }).withOutcome(undefined);
      return create(DescribeUserResponseSchema, { user: userMessage(name, user) });
    },

    async addUser(context, { name, password }) {
      const user = authName(name, 'name');
      await auth.setPassword(AuthKind.addUser, user, newPassword(password, 'password'), context);
      return create(AddUserResponseSchema);
    },

    async deleteUser(context, { name }) {
      await auth.change({ kind: AuthKind.deleteUser, user: authName(name, 'name') }, context);
      return create(DeleteUserResponseSchema);
    },

    async setPassword(context, { name, password }) {
      const user = authName(name, 'name');
      await auth.setPassword(AuthKind.changePassword, user, newPassword(password, 'password'), context);
      return create(SetPasswordResponseSchema);
    },

    async grantRole(context, { user, role }) {
      const names = { user: authName(user, 'user'), role: authName(role, 'role') };
      await auth.change({ kind: AuthKind.grantRole, ...names }, context);
      return create(GrantRoleResponseSchema);
    },

    async revokeRole(context, { user, role }) {
      const names = { user: authName(user, 'user'), role: authName(role, 'role') };
      await auth.change({ kind: AuthKind.revokeRole, ...names }, context);
      return create(RevokeRoleResponseSchema);
    },
  };
}

function roles(
  auth: Auth,
): Pick<
  AuthHandlers,
  'listRoles' | 'describeRole' | 'addRole' | 'deleteRole' | 'grantPermission' | 'revokePermission'
> {
  return {
    async listRoles({ deadlineMs }) {
      await auth.awaitRead(deadlineMs);
      const names = [...auth.part.state.roles.keys()].sort();
      return create(ListRolesResponseSchema, { roles: names.map(shownAuthName) });
    },

    async describeRole({ deadlineMs }, request) {
      const name = authName(request.name, 'name');
      await auth.awaitRead(deadlineMs);
      const role = auth.part.state.roles.get(name);
      if (role === undefined) throw refusalError({ refused: 'ROLE_UNKNOWN' }).withOutcome(undefined);
      return create(DescribeRoleResponseSchema, { permissions: role.map(permissionMessage) });
    },

    async addRole(context, { name }) {
      await auth.change({ kind: AuthKind.addRole, role: authName(name, 'name') }, context);
      return create(AddRoleResponseSchema);
    },

    async deleteRole(context, { name }) {
      await auth.change({ kind: AuthKind.deleteRole, role: authName(name, 'name') }, context);
      return create(DeleteRoleResponseSchema);
    },

    async grantPermission(context, request) {
      const role = authName(request.role, 'role');
      const granted = permission(request.permission);
      await auth.change({ kind: AuthKind.grantPermission, role, permission: granted }, context);
      return create(GrantPermissionResponseSchema);
    },

    async revokePermission(context, request) {
      const role = authName(request.role, 'role');
      const range = permittedRange(request.range, 'range');
      await auth.change({ kind: AuthKind.revokePermission, role, range }, context);
      return create(RevokePermissionResponseSchema);
    },
  };
}
