/** Users and roles as a list of facts: the oracle of the part. */
import { AuthKind, type AuthCommand } from '../../node/coordination/auth-command.ts';
import type { KeyUse, Permission } from '../../node/coordination/auth-permission.ts';

interface Told {
  readonly changed: boolean;
  readonly refused: string | undefined;
}

const DONE: Told = { changed: true, refused: undefined };
const NOTHING: Told = { changed: false, refused: undefined };

function no(refused: string): Told {
  return { changed: false, refused };
}

export class NaiveAuth {
  isEnabled = false;
  #users: { name: string; hasPassword: boolean }[] = [];
  #roles: string[] = [];
  #granted: { user: string; role: string }[] = [];
  #permissions: { role: string; permission: Permission }[] = [];

  allows(user: string, use: KeyUse, key: string): boolean {
    const roles = this.#granted.filter((one) => one.user === user).map(({ role }) => role);
    if (roles.includes('root')) return true;
    return this.#permissions.some(({ role, permission: { kind, key: from, rangeEnd } }) => {
      if (!roles.includes(role)) return false;
      if (kind !== 2 && kind !== (use === 'read' ? 0 : 1)) return false;
      if (rangeEnd === '') return key === from;
      return key >= from && (rangeEnd === '\0' || key < rangeEnd);
    });
  }

  apply(command: AuthCommand): Told {
    switch (command.kind) {
      case AuthKind.enable: {
        if (this.isEnabled) return NOTHING;
        const root = this.#users.find(({ name }) => name === 'root');
        const isRoot = this.#granted.some(({ user, role }) => user === 'root' && role === 'root');
        if (root === undefined || !isRoot || !root.hasPassword) return no('AUTH_ROOT_MISSING');
        this.isEnabled = true;
        return DONE;
      }
      case AuthKind.disable:
        if (!this.isEnabled) return NOTHING;
        this.isEnabled = false;
        return DONE;
      case AuthKind.addUser:
        if (this.#has(command.user)) return no('USER_EXISTS');
        this.#users.push({ name: command.user, hasPassword: command.password.byteLength > 0 });
        return DONE;
      case AuthKind.changePassword: {
        const user = this.#users.find(({ name }) => name === command.user);
        if (user === undefined) return no('USER_UNKNOWN');
        const hasPassword = command.password.byteLength > 0;
        if (this.isEnabled && command.user === 'root' && !hasPassword) return no('AUTH_PROTECTED');
        user.hasPassword = hasPassword;
        return DONE;
      }
      case AuthKind.deleteUser:
        if (this.isEnabled && command.user === 'root') return no('AUTH_PROTECTED');
        if (!this.#has(command.user)) return no('USER_UNKNOWN');
        this.#users = this.#users.filter(({ name }) => name !== command.user);
        this.#granted = this.#granted.filter(({ user }) => user !== command.user);
        return DONE;
      default:
        return this.#applyToRole(command);
    }
  }

  #applyToRole(command: AuthCommand & { role?: string }): Told {
    switch (command.kind) {
      case AuthKind.grantRole: {
        const { user, role } = command;
        if (!this.#has(user)) return no('USER_UNKNOWN');
        if (role !== 'root' && !this.#roles.includes(role)) return no('ROLE_UNKNOWN');
        if (this.#granted.some((one) => one.user === user && one.role === role)) return NOTHING;
        this.#granted.push({ user, role });
        return DONE;
      }
      case AuthKind.revokeRole: {
        const { user, role } = command;
        if (this.isEnabled && user === 'root' && role === 'root') return no('AUTH_PROTECTED');
        if (!this.#has(user)) return no('USER_UNKNOWN');
        const kept = this.#granted.filter((one) => one.user !== user || one.role !== role);
        if (kept.length === this.#granted.length) return no('ROLE_NOT_GRANTED');
        this.#granted = kept;
        return DONE;
      }
      case AuthKind.addRole:
        if (this.#roles.includes(command.role)) return no('ROLE_EXISTS');
        this.#roles.push(command.role);
        return DONE;
      case AuthKind.deleteRole:
        if (this.isEnabled && command.role === 'root') return no('AUTH_PROTECTED');
        if (!this.#roles.includes(command.role)) return no('ROLE_UNKNOWN');
        this.#roles = this.#roles.filter((role) => role !== command.role);
        this.#granted = this.#granted.filter(({ role }) => role !== command.role);
        this.#permissions = this.#permissions.filter(({ role }) => role !== command.role);
        return DONE;
      case AuthKind.grantPermission: {
        const { role, permission } = command;
        if (!this.#roles.includes(role)) return no('ROLE_UNKNOWN');
        this.#permissions = [...this.#others(role, permission), { role, permission }];
        return DONE;
      }
      case AuthKind.revokePermission: {
        const { role, range } = command;
        if (!this.#roles.includes(role)) return no('ROLE_UNKNOWN');
        const kept = this.#others(role, range);
        if (kept.length === this.#permissions.length) return no('PERMISSION_NOT_GRANTED');
        this.#permissions = kept;
        return DONE;
      }
      default:
        return NOTHING;
    }
  }

  #has(user: string): boolean {
    return this.#users.some(({ name }) => name === user);
  }

  #others(of: string, { key, rangeEnd }: { key: string; rangeEnd: string }) {
    return this.#permissions.filter(
      ({ role, permission }) => role !== of || permission.key !== key || permission.rangeEnd !== rangeEnd,
    );
  }
}
