/** Users and roles by etcd's API: in etcd 3.4's words, which its clients compare, and by its rules. */
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type DescService,
  type MessageInitShape,
} from '@bufbuild/protobuf';
import {
  AlarmRequest_AlarmAction as AlarmAction,
  Auth,
  Cluster,
  DeleteRangeRequestSchema,
  KV,
  Lease,
  Maintenance,
  PutRequestSchema,
  RangeRequestSchema,
  TxnRequestSchema,
  Watch,
} from '@holdfast/proto/etcd/rpc';
import { Election } from '@holdfast/proto/etcd/v3election';
import { Lock } from '@holdfast/proto/etcd/v3lock';
import { LeaseService } from '@holdfast/proto/lease/v1/lease';
import { ConfigService } from '@holdfast/proto/config/v1/config';
import { beforeEach, describe, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { accessRules } from '../../node/services/access-rules.ts';
import { guardedService } from '../../node/services/guarded-service.ts';
import { AuthRig } from './auth-rig.ts';

const auth = Auth.method;
const bytes = (text: string) => Buffer.from(text) as Uint8Array<ArrayBuffer>;
const EVERYTHING = bytes('\0');

let rig: AuthRig;
let root: string | undefined;

beforeEach(async () => {
  rig = await AuthRig.open();
  root = undefined;
});

/** Status and text of a failure; undefined: it was done. */
async function told<I extends DescMessage>(
  method: DescMethodUnary<I, DescMessage>,
  token: string | undefined,
  request: MessageInitShape<I>,
): Promise<string | undefined> {
  try {
    await rig.call(method, token, request);
    return undefined;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return `${error.code} ${error.message}`;
  }
}

async function login(name: string, password: string): Promise<string> {
  return (await rig.call(auth.authenticate, undefined, { name, password })).token;
}

async function enable(): Promise<void> {
  await rig.call(auth.userAdd, undefined, { name: 'root', password: 'pw' });
  await rig.call(auth.userGrantRole, undefined, { user: 'root', role: 'root' });
  await rig.call(auth.authEnable, undefined, {});
  root = await login('root', 'pw');
}

const FAILED = 'FAILED_PRECONDITION etcdserver:';
const INVALID = 'INVALID_ARGUMENT etcdserver:';
const DENIED = 'PERMISSION_DENIED etcdserver: permission denied';

describe('etcd says', () => {
  test('what root lacks', async () => {
    expect(await told(auth.authEnable, root, {})).toBe(`${FAILED} root user does not exist`);
    await rig.call(auth.userAdd, root, { name: 'root', options: { noPassword: true } });
    expect(await told(auth.authEnable, root, {})).toBe(`${FAILED} root user does not have root role`);
    await rig.call(auth.userGrantRole, root, { user: 'root', role: 'root' });
    expect(await told(auth.authEnable, root, {})).toBe(`${FAILED} root user does not have a password`);
    await rig.call(auth.userChangePassword, root, { name: 'root', password: 'pw' });
    expect(await told(auth.authEnable, root, {})).toBeUndefined();
  });

  test('who is known and who is not', async () => {
    const asked: [string | undefined, string | undefined][] = [
      [await told(auth.userAdd, root, { name: '', password: 'p' }), `${INVALID} user name is empty`],
      [await told(auth.userAdd, root, { name: 'a', password: 'p' }), undefined],
      [await told(auth.userAdd, root, { name: 'a', password: 'p' }), `${FAILED} user name already exists`],
      [await told(auth.userGet, root, { name: 'nobody' }), `${FAILED} user name not found`],
      [await told(auth.userGet, root, { name: '' }), `${FAILED} user name not found`],
      [await told(auth.userDelete, root, { name: 'nobody' }), `${FAILED} user name not found`],
      [
        await told(auth.userChangePassword, root, { name: 'x', password: 'p' }),
        `${FAILED} user name not found`,
      ],
      [await told(auth.userGrantRole, root, { user: 'a', role: 'x' }), `${FAILED} role name not found`],
      [await told(auth.userGrantRole, root, { user: 'x', role: 'root' }), `${FAILED} user name not found`],
      [
        await told(auth.userRevokeRole, root, { name: 'a', role: 'r' }),
        `${FAILED} role is not granted to the user`,
      ],
      [await told(auth.roleAdd, root, { name: '' }), `${INVALID} role name is empty`],
      [await told(auth.roleAdd, root, { name: 'r' }), undefined],
      [await told(auth.roleAdd, root, { name: 'r' }), `${FAILED} role name already exists`],
      [await told(auth.roleGet, root, { role: 'root' }), `${FAILED} role name not found`],
      [await told(auth.roleDelete, root, { role: 'x' }), `${FAILED} role name not found`],
      [await told(auth.roleGrantPermission, root, { name: 'r' }), `${INVALID} permission not given`],
      [
        await told(auth.roleGrantPermission, root, { name: 'x', perm: { key: bytes('k') } }),
        `${FAILED} role name not found`,
      ],
      [
        await told(auth.roleRevokePermission, root, { role: 'r', key: bytes('k') }),
        `${FAILED} permission is not granted to the role`,
      ],
      [
        await told(auth.authenticate, root, { name: 'a', password: 'p' }),
        `${FAILED} authentication is not enabled`,
      ],
    ];
    for (const [said, expected] of asked) expect(said).toBe(expected);
  });

  test('who is let in and who is not', async () => {
    await enable();
    await rig.call(auth.userAdd, root, { name: 'a', password: 'p' });
    await rig.call(auth.userAdd, root, { name: 'b', options: { noPassword: true } });
    const failed = `${INVALID} authentication failed, invalid user ID or password`;
    for (const name of ['root', 'a', 'b', 'nobody', ''])
      expect(await told(auth.authenticate, undefined, { name, password: 'wrong' })).toBe(failed);
    expect(await told(auth.authenticate, undefined, { name: 'b', password: '' })).toBe(failed);
    expect(await told(auth.userList, undefined, {})).toBe(`${INVALID} user name is empty`);
    expect(await told(auth.userList, 'forged', {})).toBe('UNAUTHENTICATED etcdserver: invalid auth token');
    const a = await login('a', 'p');
    expect(await told(auth.userList, a, {})).toBe(DENIED);
    expect(await told(auth.userGet, a, { name: 'a' })).toBeUndefined();
    expect(await told(auth.userGet, a, { name: 'root' })).toBe(DENIED);
    expect(await told(auth.userChangePassword, a, { name: 'a', password: 'q' })).toBe(DENIED);
    const kept = `${INVALID} invalid auth management`;
    expect(await told(auth.userDelete, root, { name: 'root' })).toBe(kept);
    expect(await told(auth.roleDelete, root, { role: 'root' })).toBe(kept);
    expect(await told(auth.userRevokeRole, root, { name: 'root', role: 'root' })).toBe(kept);
    expect((await rig.call(auth.authStatus, root, {})).enabled).toBe(true);
    expect(await told(auth.authDisable, a, {})).toBe(DENIED);
    expect(await told(auth.authDisable, root, {})).toBeUndefined();
    expect((await rig.call(auth.userList, undefined, {})).users).toEqual(['a', 'b', 'root']);
  });
});

test('permissions are told as they were given', async () => {
  await rig.call(auth.roleAdd, root, { name: 'r' });
  const given = [
    { permType: 0, key: bytes('k'), rangeEnd: bytes('') },
    { permType: 2, key: bytes('z'), rangeEnd: bytes('a') },
    { permType: 0, key: bytes('p/'), rangeEnd: bytes('p0') },
    { permType: 1, key: bytes('m'), rangeEnd: EVERYTHING },
    { permType: 2, key: EVERYTHING, rangeEnd: EVERYTHING },
    { permType: 1, key: bytes('k'), rangeEnd: bytes('') },
  ];
  for (const perm of given) await rig.call(auth.roleGrantPermission, root, { name: 'r', perm });
  const listed = async () => {
    const { perm } = await rig.call(auth.roleGet, root, { role: 'r' });
    return perm.map(({ permType, key, rangeEnd }) => [
      permType,
      Buffer.from(key).toString(),
      Buffer.from(rangeEnd).toString(),
    ]);
  };
  expect(await listed()).toEqual([
    [2, '\0', '\0'],
    [1, 'k', ''],
    [1, 'm', '\0'],
    [0, 'p/', 'p0'],
    [2, 'z', 'a'],
  ]);
  await rig.call(auth.roleRevokePermission, root, { role: 'r', key: bytes('z'), rangeEnd: bytes('a') });
  expect((await listed()).map(([, key]) => key)).toEqual(['\0', 'k', 'm', 'p/']);
  expect((await rig.call(auth.roleList, root, {})).roles).toEqual(['r']);
});

describe("what etcd's other services need", () => {
  const SERVICES = [KV, Watch, Lease, Cluster, Maintenance, Auth, Lock, Election];
  /** May read and write a to c, read d, write e, and take locks under the name l. */
  let alice: string;

  beforeEach(async () => {
    await enable();
    await rig.call(auth.roleAdd, root, { name: 'team' });
    const grant = (permType: number, key: string, rangeEnd: string) =>
      rig.call(auth.roleGrantPermission, root, {
        name: 'team',
        perm: { permType, key: bytes(key), rangeEnd: bytes(rangeEnd) },
      });
    await grant(2, 'a', 'd');
    await grant(0, 'd', '');
    await grant(1, 'e', '');
    await grant(2, 'l/', 'l0');
    await rig.call(auth.userAdd, root, { name: 'alice', password: 'p' });
    await rig.call(auth.userGrantRole, root, { user: 'alice', role: 'team' });
    alice = await login('alice', 'p');
  });

  /** As the service would be told, if it were served. */
  async function asked<I extends DescMessage>(
    method: { parent: DescService; localName: string; input: I },
    token: string | undefined,
    request: MessageInitShape<I>,
  ): Promise<string> {
    const handlers = Object.fromEntries(
      method.parent.methods.map(({ localName, methodKind }) => [
        localName,
        methodKind === 'server_streaming'
          ? async function* () {
              yield {};
            }
          : async () => ({}),
      ]),
    );
    const rules = accessRules(() => rig.engine.sessions);
    const guarded = guardedService({ service: method.parent, handlers }, rules).handlers[
      method.localName
    ] as (...inputs: unknown[]) => unknown;
    try {
      const answer = guarded(rig.context(token), create(method.input, request));
      if (answer instanceof Promise) await rig.run(answer);
      else if (answer !== undefined)
        await rig.run((answer as AsyncIterator<unknown> & AsyncIterable<unknown>).next() as Promise<unknown>);
      return 'let in';
    } catch (error) {
      if (error instanceof HoldfastError) return error.message.replace('etcdserver: ', '');
      throw error;
    }
  }

  test('no method does without a rule, and none lets in who should not be', async () => {
    const free = new Set(['MemberList', 'Status', 'Authenticate']);
    const users = new Set([
      'LeaseGrant',
      'LeaseKeepAlive',
      'LeaseLeases',
      'LeaseTimeToLive',
      'Watch',
      'Alarm',
    ]);
    // Nothing is asked of what says nothing: no key, no lease that there is.
    const empty = new Set(['Range', 'LeaseRevoke', 'Unlock', 'Proclaim', 'Resign']);
    const other = new Set(['Put', 'DeleteRange', 'Txn']); // of these a key is wanted first
    await rig.call(auth.userAdd, root, { name: 'bob', password: 'p' });
    const bob = await login('bob', 'p');
    for (const service of SERVICES)
      for (const method of service.methods) {
        if (other.has(method.name)) continue;
        const ask = (token: string | undefined) =>
          asked({ parent: service, localName: method.localName, input: method.input }, token, {});
        const said = [
          method.name,
          await ask(undefined),
          await ask('forged'),
          await ask(bob),
          await ask(root),
        ];
        if (free.has(method.name))
          expect(said).toEqual([method.name, ...Array.from({ length: 4 }, () => 'let in')]);
        else
          expect(said).toEqual([
            method.name,
            'user name is empty',
            'invalid auth token',
            users.has(method.name) || empty.has(method.name) ? 'let in' : 'permission denied',
            'let in',
          ]);
      }
  });

  test('of KV: all keys of a range, and all operations of a transaction', async () => {
    const range = (key: string, rangeEnd = '') =>
      asked(KV.method.range, alice, { key: bytes(key), rangeEnd: bytes(rangeEnd) });
    expect(await range('a', 'd')).toBe('let in');
    expect(await range('a', 'd\0')).toBe('let in');
    expect(await range('a', 'e')).toBe('permission denied');
    expect(await range('a', '\0')).toBe('permission denied');
    expect(await range('e')).toBe('permission denied');
    expect(await asked(KV.method.put, alice, { key: bytes('e') })).toBe('let in');
    expect(await asked(KV.method.put, alice, { key: bytes('e'), prevKv: true })).toBe('permission denied');
    expect(await asked(KV.method.put, alice, { key: bytes('d') })).toBe('permission denied');
    const remove = (key: string, prevKv = false) =>
      asked(KV.method.deleteRange, alice, { key: bytes(key), prevKv });
    expect([await remove('e'), await remove('e', true)]).toEqual(['let in', 'permission denied']);
    const put = (key: string) => ({
      request: { case: 'requestPut' as const, value: create(PutRequestSchema, { key: bytes(key) }) },
    });
    const get = (key: string) => ({
      request: { case: 'requestRange' as const, value: create(RangeRequestSchema, { key: bytes(key) }) },
    });
    const del = (key: string) => ({
      request: {
        case: 'requestDeleteRange' as const,
        value: create(DeleteRangeRequestSchema, { key: bytes(key) }),
      },
    });
    type Op = ReturnType<typeof put> | ReturnType<typeof get> | ReturnType<typeof del>;
    const nested = (op: Op) => ({
      request: { case: 'requestTxn' as const, value: create(TxnRequestSchema, { failure: [op] }) },
    });
    for (const [right, wrong] of [
      [put('a'), put('d')],
      [get('d'), get('e')],
      [del('e'), del('d')],
    ] as const) {
      for (const branch of ['success', 'failure'] as const) {
        expect(await asked(KV.method.txn, alice, { [branch]: [right] })).toBe('let in');
        expect(await asked(KV.method.txn, alice, { [branch]: [wrong] })).toBe('permission denied');
        expect(await asked(KV.method.txn, alice, { [branch]: [nested(right)] })).toBe('let in');
        expect(await asked(KV.method.txn, alice, { [branch]: [nested(wrong)] })).toBe('permission denied');
      }
    }
    expect(await asked(KV.method.txn, alice, { compare: [{ key: bytes('e') }] })).toBe('permission denied');
    expect(await asked(KV.method.txn, alice, { compare: [{ key: bytes('d') }] })).toBe('let in');
  });

  test('of leases: whatever is on them', async () => {
    await rig.call(LeaseService.method.grant, root, { lease: 7n });
    await rig.call(ConfigService.method.put, root, { key: bytes('z'), value: bytes('v'), lease: 7n });
    expect(await asked(KV.method.put, alice, { key: bytes('a'), lease: 7n })).toBe('permission denied');
    expect(await asked(Lease.method.leaseRevoke, alice, { ID: 7n })).toBe('permission denied');
    expect(await asked(Lease.method.leaseTimeToLive, alice, { ID: 7n })).toBe('let in');
    expect(await asked(Lease.method.leaseTimeToLive, alice, { ID: 7n, keys: true })).toBe(
      'permission denied',
    );
  });

  test('of locks, elections and alarms', async () => {
    expect(await asked(Lock.method.lock, alice, { name: bytes('l') })).toBe('let in');
    expect(await asked(Lock.method.lock, alice, { name: bytes('m') })).toBe('permission denied');
    expect(await asked(Lock.method.unlock, alice, { key: bytes('m/1') })).toBe('permission denied');
    expect(await asked(Election.method.campaign, alice, { name: bytes('l') })).toBe('let in');
    expect(await asked(Election.method.proclaim, alice, { leader: { key: bytes('m/1') } })).toBe(
      'permission denied',
    );
    expect(await asked(Election.method.observe, alice, { name: bytes('m') })).toBe('permission denied');
    expect(await asked(Maintenance.method.alarm, alice, { action: AlarmAction.DEACTIVATE })).toBe(
      'permission denied',
    );
    expect(await asked(Maintenance.method.alarm, alice, { action: AlarmAction.GET })).toBe('let in');
  });
});
