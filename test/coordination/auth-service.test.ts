/** What the service of users and roles answers and refuses. */
import { type MessageInitShape } from '@bufbuild/protobuf';
import { Access, AuthService, type PermissionSchema } from '@holdfast/proto/auth/v1/auth';
import { beforeEach, describe, expect, test } from 'vitest';
import { AuthRig, ROOT_PASSWORD } from './auth-rig.ts';

const auth = AuthService.method;
const bytes = (text: string) => Buffer.from(text) as Uint8Array<ArrayBuffer>;

let rig: AuthRig;
/** Undefined: nobody is asked. */
let token: string | undefined;

beforeEach(async () => {
  rig = await AuthRig.open();
  token = undefined;
});

async function enable(): Promise<void> {
  await rig.call(auth.addUser, token, { name: 'root', password: ROOT_PASSWORD });
  await rig.call(auth.grantRole, token, { user: 'root', role: 'root' });
  await rig.call(auth.enable, token, {});
  token = (await rig.call(auth.login, undefined, { user: 'root', password: ROOT_PASSWORD })).token;
}

describe('enabling', () => {
  test('needs root with a password and its role', async () => {
    const refused = () => rig.refused(auth.enable, undefined, {});
    expect(await refused()).toBe('AUTH_ROOT_MISSING');
    await rig.call(auth.addUser, undefined, { name: 'root' });
    await rig.call(auth.grantRole, undefined, { user: 'root', role: 'root' });
    expect(await refused()).toBe('AUTH_ROOT_MISSING');
    await rig.call(auth.setPassword, undefined, { name: 'root', password: ROOT_PASSWORD });
    expect((await rig.call(auth.describe, undefined, {})).enabled).toBe(false);
    expect(await refused()).toBeUndefined();
    expect((await rig.call(auth.describe, undefined, {})).enabled).toBe(true);
    expect(await refused()).toBe('UNAUTHENTICATED');
  });

  test('goes on with tokens, and ends with disabling', async () => {
    await enable();
    expect(await rig.refused(auth.listUsers, undefined, {})).toBe('UNAUTHENTICATED');
    const { ttlMs } = await rig.call(auth.login, undefined, { user: 'root', password: ROOT_PASSWORD });
    expect(ttlMs).toBe(300_000n);
    expect(await rig.refused(auth.disable, undefined, {})).toBe('UNAUTHENTICATED');
    await rig.call(auth.disable, token, {});
    expect(await rig.refused(auth.listUsers, undefined, {})).toBeUndefined();
    expect(await rig.refused(auth.login, undefined, { user: 'root', password: ROOT_PASSWORD })).toBe(
      'AUTH_NOT_ENABLED',
    );
  });

  test('keeps root', async () => {
    await enable();
    expect(await rig.refused(auth.deleteUser, token, { name: 'root' })).toBe('AUTH_PROTECTED');
    expect(await rig.refused(auth.revokeRole, token, { user: 'root', role: 'root' })).toBe('AUTH_PROTECTED');
    expect(await rig.refused(auth.setPassword, token, { name: 'root' })).toBe('AUTH_PROTECTED');
  });
});

test('users come, have roles, and go', async () => {
  await enable();
  const call = async (name: string) => (await rig.call(auth.describeUser, token, { name })).user;
  await rig.call(auth.addRole, token, { name: 'reader' });
  await rig.call(auth.addUser, token, { name: 'zoë', password: 'p' });
  await rig.call(auth.addUser, token, { name: 'bob' });
  expect(await rig.refused(auth.addUser, token, { name: 'bob' })).toBe('USER_EXISTS');
  await rig.call(auth.grantRole, token, { user: 'zoë', role: 'root' });
  await rig.call(auth.grantRole, token, { user: 'zoë', role: 'reader' });
  expect(await call('zoë')).toMatchObject({ name: 'zoë', roles: ['reader', 'root'], hasPassword: true });
  const { users } = await rig.call(auth.listUsers, token, {});
  expect(users.map(({ name, hasPassword }) => [name, hasPassword])).toEqual([
    ['bob', false],
    ['root', true],
    ['zoë', true],
  ]);
  expect(await rig.refused(auth.grantRole, token, { user: 'bob', role: 'none' })).toBe('ROLE_UNKNOWN');
  expect(await rig.refused(auth.grantRole, token, { user: 'none', role: 'reader' })).toBe('USER_UNKNOWN');
  expect(await rig.refused(auth.revokeRole, token, { user: 'bob', role: 'reader' })).toBe('ROLE_NOT_GRANTED');
  await rig.call(auth.deleteRole, token, { name: 'reader' });
  expect((await call('zoë'))!.roles).toEqual(['root']);
  await rig.call(auth.deleteUser, token, { name: 'zoë' });
  expect(await rig.refused(auth.describeUser, token, { name: 'zoë' })).toBe('USER_UNKNOWN');
  expect(await rig.refused(auth.deleteUser, token, { name: 'zoë' })).toBe('USER_UNKNOWN');
  expect(await rig.refused(auth.setPassword, token, { name: 'zoë', password: 'p' })).toBe('USER_UNKNOWN');
});

test('who is no root sees itself and its roles, and nothing else', async () => {
  await enable();
  for (const name of ['reader', 'writer']) await rig.call(auth.addRole, token, { name });
  await rig.call(auth.addUser, token, { name: 'alice', password: 'hers' });
  await rig.call(auth.grantRole, token, { user: 'alice', role: 'reader' });
  const alice = (await rig.call(auth.login, undefined, { user: 'alice', password: 'hers' })).token;
  expect(await rig.refused(auth.describeUser, alice, { name: 'alice' })).toBeUndefined();
  expect(await rig.refused(auth.describeRole, alice, { name: 'reader' })).toBeUndefined();
  expect(await rig.refused(auth.describeUser, alice, { name: 'root' })).toBe('PERMISSION_DENIED');
  // Whether there is such a one is not said.
  expect(await rig.refused(auth.describeUser, alice, { name: 'nobody' })).toBe('PERMISSION_DENIED');
  expect(await rig.refused(auth.describeRole, alice, { name: 'writer' })).toBe('PERMISSION_DENIED');
  expect(await rig.refused(auth.setPassword, alice, { name: 'alice', password: 'p' })).toBe(
    'PERMISSION_DENIED',
  );
  expect(await rig.refused(auth.grantRole, alice, { user: 'alice', role: 'root' })).toBe('PERMISSION_DENIED');
});

describe('permissions', () => {
  type Range = NonNullable<MessageInitShape<typeof PermissionSchema>['range']>;
  const grant = (range: Range, access = Access.READ) =>
    rig.call(auth.grantPermission, token, { role: 'r', permission: { access, range } });
  const listed = async () => {
    const { permissions } = await rig.call(auth.describeRole, token, { name: 'r' });
    return permissions.map(({ access, range }) => {
      const { case: others, value } = range!.others;
      const shown = value instanceof Uint8Array ? Buffer.from(value).toString() : value;
      return [Buffer.from(range!.key).toString(), others, shown, Access[access]];
    });
  };

  beforeEach(() => rig.call(auth.addRole, token, { name: 'r' }));

  test('are told in order, prefixes as ranges; the same range has one', async () => {
    await grant({ key: bytes('m') }, Access.WRITE);
    await grant({ key: bytes('a/'), others: { case: 'prefix', value: true } }, Access.READ_WRITE);
    await grant({ key: bytes('x'), others: { case: 'fromKey', value: true } });
    await grant({ key: bytes('b'), others: { case: 'end', value: bytes('d') } });
    await grant({ others: { case: 'fromKey', value: true } });
    await grant({ key: bytes('m') }, Access.READ);
    expect(await listed()).toEqual([
      ['', 'fromKey', true, 'READ'],
      ['a/', 'end', 'a0', 'READ_WRITE'],
      ['b', 'end', 'd', 'READ'],
      ['m', undefined, undefined, 'READ'],
      ['x', 'fromKey', true, 'READ'],
    ]);
    const revoke = (range: Range) => rig.refused(auth.revokePermission, token, { role: 'r', range });
    expect(await revoke({ key: bytes('a/') })).toBe('PERMISSION_NOT_GRANTED');
    expect(await revoke({ key: bytes('a/'), others: { case: 'prefix', value: true } })).toBeUndefined();
    expect(await revoke({ others: { case: 'fromKey', value: true } })).toBeUndefined();
    expect((await listed()).map(([key]) => key)).toEqual(['b', 'm', 'x']);
  });

  test('say what they allow, and with which keys', async () => {
    const refused = (permission: MessageInitShape<typeof PermissionSchema> | undefined) =>
      rig.refused(auth.grantPermission, token, { role: 'r', ...(permission && { permission }) });
    expect(await refused(undefined)).toBe('INVALID_FIELD');
    expect(await refused({ range: { key: bytes('a') } })).toBe('INVALID_FIELD');
    expect(await refused({ access: Access.READ })).toBe('INVALID_FIELD');
    expect(await refused({ access: Access.READ, range: {} })).toBe('KEY_EMPTY');
    const range = (key: string, end: string): Range => ({
      key: bytes(key),
      others: { case: 'end', value: bytes(end) },
    });
    expect(await refused({ access: Access.READ, range: range('b', 'a') })).toBe('RANGE_INVERTED');
    expect(await refused({ access: Access.READ, range: range('b', '') })).toBe('RANGE_INVERTED');
    expect(await refused({ access: Access.READ, range: { key: bytes('x'.repeat(4_097)) } })).toBe(
      'KEY_TOO_LARGE',
    );
    expect(
      await rig.refused(auth.grantPermission, token, {
        role: 'none',
        permission: { access: Access.READ, range: { key: bytes('a') } },
      }),
    ).toBe('ROLE_UNKNOWN');
    expect(await listed()).toEqual([]);
  });
});

test('names and passwords have lengths', async () => {
  for (const name of ['', 'x'.repeat(257), 'é'.repeat(129)]) {
    expect(await rig.refused(auth.addUser, token, { name, password: 'p' })).toBe('AUTH_NAME_INVALID');
    expect(await rig.refused(auth.addRole, token, { name })).toBe('AUTH_NAME_INVALID');
    expect(await rig.refused(auth.login, token, { user: name, password: 'p' })).toBe('AUTH_NAME_INVALID');
  }
  expect(await rig.refused(auth.addUser, token, { name: 'a', password: '' })).toBe('INVALID_FIELD');
  expect(await rig.refused(auth.addUser, token, { name: 'a', password: 'x'.repeat(1_025) })).toBe(
    'INVALID_FIELD',
  );
  expect(
    await rig.refused(auth.addUser, token, { name: 'x'.repeat(256), password: 'x'.repeat(1_024) }),
  ).toBeUndefined();
});
