/** What callers may do: every method, every key of a range, every branch of a transaction, and as long as it lasts. */
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { ClusterService } from '@holdfast/proto/cluster/v1/cluster';
import {
  ConfigService,
  WatchRequestSchema,
  WatchResponseSchema,
  type KeySelectionSchema,
  type OperationSchema,
  type WatchResponse,
} from '@holdfast/proto/config/v1/config';
import { ElectionService } from '@holdfast/proto/election/v1/election';
import { IdService } from '@holdfast/proto/id/v1/id';
import { KeyspaceService } from '@holdfast/proto/kv/v1/keyspace';
import { KvService } from '@holdfast/proto/kv/v1/kv';
import { LeaseService } from '@holdfast/proto/lease/v1/lease';
import { LockService } from '@holdfast/proto/lock/v1/lock';
import { BootstrapService } from '@holdfast/proto/raft/v1/bootstrap';
import { ForwardService } from '@holdfast/proto/raft/v1/forward';
import { beforeEach, describe, expect, test } from 'vitest';
import { AuthKind } from '../../node/coordination/auth-command.ts';
import { PermissionKind } from '../../node/coordination/auth-permission.ts';
import { accessRules } from '../../node/services/access-rules.ts';
import { Access, tokenOf } from '../../node/services/access.ts';
import { AccessRules, guardedService } from '../../node/services/guarded-service.ts';
import type { CallContext, MessageStream } from '../../node/services/handler.ts';
import { FREE_METHODS, METHOD_REQUESTS } from './method-needs.ts';
import { AuthRig, ROOT_PASSWORD, reasonOf } from './auth-rig.ts';

type Selection = MessageInitShape<typeof KeySelectionSchema>;
type Operation = MessageInitShape<typeof OperationSchema>;

const { config, kv } = { config: ConfigService.method, kv: KvService.method };
const bytes = (text: string) => Buffer.from(text) as Uint8Array<ArrayBuffer>;
const range = (start: string, end?: string): Selection => ({
  selection: { case: 'range', value: { start: bytes(start), ...(end !== undefined && { end: bytes(end) }) } },
});
const prefix = (text: string): Selection => ({ selection: { case: 'prefix', value: bytes(text) } });
const one = (text: string): Selection => ({ selection: { case: 'key', value: bytes(text) } });
const put = (key: string, more = {}) => ({ key: bytes(key), value: bytes('value'), ...more });

let rig: AuthRig;
let root: string;
/** May read and write a to c, read d, and write e. */
let alice: string;

beforeEach(async () => {
  rig = await AuthRig.enabled();
  await rig.addRole('team', ['a', 'd'], ['d', '', PermissionKind.read], ['e', '', PermissionKind.write]);
  await rig.addUser('alice', 'hers', 'team');
  root = await rig.login('root', ROOT_PASSWORD);
  alice = await rig.login('alice', 'hers');
});

describe('every method', () => {
  const rules = () => accessRules(() => rig.engine.sessions);

  test('of every service has a rule, and without one is not served', () => {
    const others = [ClusterService, ForwardService, BootstrapService];
    for (const service of [...rig.services.map((served) => served.service), ...others])
      for (const method of service.methods) expect(() => rules().of(method)).not.toThrow();
    const unruled = { service: KvService, handlers: {} };
    expect(() => guardedService(unruled, new AccessRules())).toThrow(
      'no rule says who may call holdfast.kv.v1.KvService/Get',
    );
  });

  test('lets nobody, a user without roles, a user with others, and root as far as it should', async () => {
    await rig.addUser('bob', 'his');
    const bob = await rig.login('bob', 'his');
    // A lease with a key on it, as one without anything on it says nothing.
    await rig.call(LeaseService.method.grant, root, { lease: 7n });
    await rig.call(config.put, root, put('z', { lease: 7n }));
    const others = [ClusterService, ForwardService, BootstrapService];
    for (const service of [...rig.services.map((served) => served.service), ...others])
      for (const method of service.methods) {
        const path = `${method.parent.typeName}/${method.name}`;
        const rule = rules().of(method);
        const request = create(method.input, METHOD_REQUESTS[path] ?? {});
        const asks = (token: string | undefined) =>
          reasonOf(
            Promise.resolve().then(() => rig.context(token).access.require(() => rule.needs(request))),
          );
        const asked = await Promise.all([undefined, 'forged', bob, alice, root].map(asks));
        const told = [path, ...asked];
        const free = FREE_METHODS[path];
        if (free === 'nobody')
          expect(told).toEqual([path, undefined, undefined, undefined, undefined, undefined]);
        else if (free === 'login')
          expect(told).toEqual([path, 'UNAUTHENTICATED', 'TOKEN_INVALID', undefined, undefined, undefined]);
        else if (service === ForwardService)
          expect(told).toEqual([
            path,
            'STARTING',
            'STARTING',
            ...Array.from({ length: 3 }, () => 'PERMISSION_DENIED'),
          ]);
        else
          expect(told).toEqual([
            path,
            'UNAUTHENTICATED',
            'TOKEN_INVALID',
            'PERMISSION_DENIED',
            'PERMISSION_DENIED',
            undefined,
          ]);
      }
  });

  test('asks nobody while permissions are not asked for', async () => {
    const open = await AuthRig.open();
    expect(await open.refused(config.put, undefined, put('z'))).toBeUndefined();
    expect(await open.refused(config.put, 'any token', put('z'))).toBeUndefined();
    await open.addUser('alice', 'hers');
    expect(await open.refused(config.put, undefined, put('z'))).toBeUndefined();
  });
});

describe('the configuration', () => {
  test('lets a user read and write what its roles say', async () => {
    expect(await rig.refused(config.put, alice, put('a'))).toBeUndefined();
    expect(await rig.refused(config.get, alice, { key: bytes('a') })).toBeUndefined();
    expect(await rig.refused(config.get, alice, { key: bytes('d') })).toBeUndefined();
    expect(await rig.refused(config.put, alice, put('d'))).toBe('PERMISSION_DENIED');
    expect(await rig.refused(config.put, alice, put('e'))).toBeUndefined();
    expect(await rig.refused(config.get, alice, { key: bytes('e') })).toBe('PERMISSION_DENIED');
    expect(await rig.refused(config.put, undefined, put('a'))).toBe('UNAUTHENTICATED');
    expect(await rig.refused(config.put, root, put('z'))).toBeUndefined();
  });

  test('does not tell what was there to who may not read it', async () => {
    await rig.call(config.put, root, put('e'));
    for (const more of [{ returnPrevious: true }, { ifModRevision: 0n }]) {
      expect(await rig.refused(config.put, alice, put('e', more))).toBe('PERMISSION_DENIED');
      expect(await rig.refused(config.put, alice, put('a', more))).not.toBe('PERMISSION_DENIED');
      const remove = (key: string) => rig.refused(config.delete, alice, { selection: one(key), ...more });
      expect(await remove('e')).toBe('PERMISSION_DENIED');
      expect(await remove('a')).not.toBe('PERMISSION_DENIED');
    }
  });

  test('is refused for a whole range if one key of it is missing', async () => {
    const list = (selection: Selection) => rig.refused(config.list, alice, { selection });
    const remove = (selection: Selection) => rig.refused(config.delete, alice, { selection });
    expect(await list(range('a', 'd'))).toBeUndefined();
    expect(await list(range('a', 'd\0'))).toBeUndefined();
    expect(await list(range('a', 'd\0\0'))).toBe('PERMISSION_DENIED');
    expect(await list(range('a'))).toBe('PERMISSION_DENIED');
    expect(await list(range('', 'd'))).toBe('PERMISSION_DENIED');
    expect(await list(prefix('b'))).toBeUndefined();
    expect(await list(prefix('d'))).toBe('PERMISSION_DENIED');
    expect(await list(prefix(''))).toBe('PERMISSION_DENIED');
    expect(await remove(range('a', 'd'))).toBeUndefined();
    expect(await remove(range('a', 'd\0'))).toBe('PERMISSION_DENIED');
    expect(await rig.refused(config.list, root, { selection: prefix('') })).toBeUndefined();
  });

  test('is refused for a transaction if one operation of either branch, however deep, is missing', async () => {
    const ops = {
      put: (key: string): Operation => ({ operation: { case: 'put', value: put(key) } }),
      list: (key: string): Operation => ({ operation: { case: 'list', value: { selection: one(key) } } }),
      delete: (key: string): Operation => ({ operation: { case: 'delete', value: { selection: one(key) } } }),
      then: (inner: Operation): Operation => ({
        operation: { case: 'transaction', value: { thenOperations: [inner] } },
      }),
      else: (inner: Operation): Operation => ({
        operation: { case: 'transaction', value: { elseOperations: [inner] } },
      }),
    };
    const transact = (transaction: object) => rig.refused(config.transact, alice, { transaction });
    for (const [right, wrong] of [
      [ops.put('a'), ops.put('d')],
      [ops.list('d'), ops.list('e')],
      [ops.delete('e'), ops.delete('d')],
    ] as const)
      for (const wrap of [
        (inner: Operation) => ({ thenOperations: [inner] }),
        (inner: Operation) => ({ elseOperations: [inner] }),
        (inner: Operation) => ({ thenOperations: [ops.then(inner)] }),
        (inner: Operation) => ({ thenOperations: [ops.else(ops.then(inner))] }),
        (inner: Operation) => ({ elseOperations: [ops.list('a'), ops.then(ops.else(inner))] }),
      ]) {
        expect(await transact(wrap(right))).toBeUndefined();
        expect(await transact(wrap(wrong))).toBe('PERMISSION_DENIED');
      }
    const comparing = (key: string) => ({
      comparisons: [{ selection: one(key), target: { case: 'version', value: 0n } }],
    });
    expect(await transact(comparing('d'))).toBeUndefined();
    expect(await transact(comparing('e'))).toBe('PERMISSION_DENIED');
  });

  test('is refused for the calls of a batch one by one', async () => {
    const calls = [
      { call: { case: 'put' as const, value: put('a') } },
      { call: { case: 'put' as const, value: put('d') } },
      { call: { case: 'get' as const, value: { key: bytes('e') } } },
      { call: { case: 'get' as const, value: { key: bytes('d') } } },
    ];
    const { results } = await rig.call(config.batch, alice, { calls });
    const told = results.map(({ result }) => (result.case === 'error' ? result.value.reason : result.case));
    expect(told).toEqual(['put', 'PERMISSION_DENIED', 'PERMISSION_DENIED', 'get']);
    expect(await rig.refused(config.batch, undefined, { calls })).toBe('UNAUTHENTICATED');
  });

  test('is compacted by who may write all of it', async () => {
    const { revision } = await rig.call(config.put, root, put('a'));
    expect(await rig.refused(config.compact, alice, { revision })).toBe('PERMISSION_DENIED');
    await rig.addRole('all', ['\0', '*', PermissionKind.write]);
    await rig.change({ kind: AuthKind.grantRole, user: 'alice', role: 'all' });
    expect(await rig.refused(config.compact, alice, { revision })).toBeUndefined();
  });
});

describe('other things', () => {
  test('have names that permissions speak of', async () => {
    await rig.addRole(
      'names',
      ['/holdfast/lock/jobs', ''],
      ['/holdfast/kv/default/user/', '/holdfast/kv/default/user0'],
    );
    await rig.change({ kind: AuthKind.grantRole, user: 'alice', role: 'names' });
    const { lease: session } = await rig.call(LeaseService.method.grant, alice, {});
    const acquire = (lock: string) =>
      rig.refused(LockService.method.acquire, alice, { lock, session, requestId: bytes('r'), waitMs: 0n });
    expect(await acquire('jobs')).toBeUndefined();
    expect(await acquire('jobs2')).toBe('PERMISSION_DENIED');
    expect(await rig.refused(LockService.method.list, alice, { prefix: 'jobs' })).toBe('PERMISSION_DENIED');
    const kvPut = (key: string, keyspace = 'default') =>
      rig.refused(kv.put, alice, { keyspace, key: bytes(key), value: bytes('v') });
    expect(await kvPut('user/1')).toBeUndefined();
    expect(await kvPut('users')).toBe('PERMISSION_DENIED');
    expect(await kvPut('user/1', 'other')).toBe('PERMISSION_DENIED');
    expect(await rig.refused(KeyspaceService.method.dropKeyspace, alice, { name: 'default' })).toBe(
      'PERMISSION_DENIED',
    );
    expect(await rig.refused(IdService.method.nextInSequence, alice, { name: 's', count: 1 })).toBe(
      'PERMISSION_DENIED',
    );
    expect(await rig.refused(ElectionService.method.describe, alice, { election: 'e' })).toBe(
      'PERMISSION_DENIED',
    );
  });

  test('on a lease are ended by who may write all of them', async () => {
    await rig.call(LeaseService.method.grant, root, { lease: 7n });
    expect(await rig.refused(config.put, alice, put('a', { lease: 7n }))).toBeUndefined();
    await rig.call(config.put, root, put('z', { lease: 7n }));
    // It could not revoke what it has used.
    expect(await rig.refused(config.put, alice, put('b', { lease: 7n }))).toBe('PERMISSION_DENIED');
    expect(await rig.refused(LeaseService.method.revoke, alice, { lease: 7n })).toBe('PERMISSION_DENIED');
    expect(await rig.refused(LeaseService.method.describe, alice, { lease: 7n, withKeys: true })).toBe(
      'PERMISSION_DENIED',
    );
    await rig.call(config.delete, root, { selection: one('z') });
    expect(await rig.refused(LeaseService.method.revoke, alice, { lease: 7n })).toBeUndefined();
  });
});

describe('permissions that change', () => {
  const revoke = () => rig.change({ kind: AuthKind.revokeRole, user: 'alice', role: 'team' });

  test('are those of the moment: a user loses a key with its role', async () => {
    await revoke();
    expect(await rig.refused(config.put, alice, put('a'))).toBe('PERMISSION_DENIED');
  });

  test('end a call that was let in before: what it would change is not applied, what it read is not told', async () => {
    const reading = rig.context(alice);
    reading.access.require(() => [{ use: 'read', span: { start: 'a', end: 'b' } }]);
    const ended = await rig.run(
      (async () => {
        // One turn, so both are let in by the same permissions, and stand in the log in this order.
        const command = { kind: AuthKind.revokeRole, user: 'alice', role: 'team' } as const;
        const revoking = rig.engine.auth.change(command, rig.terms);
        const late = rig.handler(ConfigService, 'put')(
          rig.context(alice),
          create(config.put.input, put('a')),
        );
        await revoking;
        return reasonOf(late as Promise<unknown>);
      })(),
    );
    expect(ended).toBe('PERMISSION_DENIED');
    expect((await rig.call(config.get, root, { key: bytes('a') })).entry).toBeUndefined();
    expect(() => reading.access.confirm()).toThrow(/PERMISSION_DENIED/);
  });

  test('are asked for anew when a command comes late, and it goes on if it still may', async () => {
    const context = rig.context(alice);
    context.access.require(() => [{ use: 'write', span: { start: 'a', end: 'b' } }]);
    await rig.change({ kind: AuthKind.addRole, role: 'another' });
    expect(context.access.revision).toBeLessThan(rig.engine.auth.part.state.revision);
    const request = create(config.put.input, put('a'));
    const { revision } = (await rig.run(
      rig.engine.configuration.transact(
        {
          comparisons: [],
          thenOperations: [
            {
              case: 'put',
              key: 'a',
              value: request.value,
              lease: 0n,
              ifModRevision: undefined,
              returnPrevious: false,
              keepValue: false,
              keepLease: false,
            },
          ],
          elseOperations: [],
        },
        {
          deadlineMs: context.deadlineMs,
          isRouted: false,
          grows: true,
          identity: undefined,
          grant: context.access,
        },
      ),
    )) as { revision: number };
    expect(revision).toBeGreaterThan(0);
    expect(context.access.revision).toBe(rig.engine.auth.part.state.revision);
    await revoke();
    const late = rig.engine.configuration.transact(
      { comparisons: [], thenOperations: [], elseOperations: [] },
      {
        deadlineMs: context.deadlineMs,
        isRouted: false,
        grows: true,
        identity: undefined,
        grant: context.access,
      },
    );
    expect(await reasonOf(rig.run(late))).toBe('PERMISSION_DENIED');
  });

  test('of nobody: what users change is not applied without a grant', async () => {
    const terms = { deadlineMs: rig.node.clock.monotonicMs() + 5_000, isRouted: false };
    const transaction = { comparisons: [], thenOperations: [], elseOperations: [] };
    const without = rig.engine.configuration.transact(transaction, {
      ...terms,
      grows: false,
      identity: undefined,
    });
    expect(await reasonOf(rig.run(without))).toBe('AUTH_REVISION_OLD');
    const disable = rig.engine.auth.change({ kind: AuthKind.disable }, terms);
    expect(await reasonOf(rig.run(disable))).toBe('AUTH_REVISION_OLD');
  });
});

/** One watch stream as its caller sees it. */
class WatchCaller implements MessageStream {
  readonly heard: WatchResponse[] = [];
  readonly unsentBytes = 0;
  ended: Error | 'well' | undefined;
  #receive: ((message: Buffer) => void) | undefined;

  constructor(context: CallContext) {
    (rig.handler(ConfigService, 'watch') as (context: CallContext, stream: MessageStream) => void)(
      context,
      this,
    );
  }

  async watch(id: number, selection: Selection): Promise<void> {
    const request = create(WatchRequestSchema, {
      request: { case: 'create', value: { watchId: BigInt(id), selection } },
    });
    this.#receive!(Buffer.from(toBinary(WatchRequestSchema, request)));
    await rig.pass(50);
  }

  /** What was said of a watch: its events' keys, and the reason it ended for. */
  told(id: number): string[] {
    return this.heard.flatMap(({ response }) => {
      if (response.case === 'events' && response.value.watchId === BigInt(id))
        return response.value.events.map(({ entry }) => Buffer.from(entry!.key).toString());
      if (response.case === 'cancelled' && response.value.watchId === BigInt(id))
        return [response.value.error?.reason ?? 'cancelled'];
      return [];
    });
  }

  onMessage(receive: (message: Buffer) => void): void {
    this.#receive = receive;
  }
  onEnd(): void {}
  onClose(): void {}
  onDrain(): void {}
  pause(): void {}
  resume(): void {}
  send(message: Uint8Array): boolean {
    this.heard.push(fromBinary(WatchResponseSchema, message));
    return true;
  }
  end(error?: Error): void {
    this.ended = error ?? 'well';
  }
}

describe('watches', () => {
  test('begin for keys that may be read', async () => {
    const caller = new WatchCaller(rig.context(alice));
    await caller.watch(1, range('a', 'c'));
    await caller.watch(2, range('a', 'f'));
    await rig.call(config.put, root, put('b'));
    await rig.pass(50);
    expect(caller.told(1)).toEqual(['b']);
    expect(caller.told(2)).toEqual(['PERMISSION_DENIED']);
    expect(() => new WatchCaller(rig.context(undefined))).toThrow(/UNAUTHENTICATED/);
  });

  test('end when the role is taken away, before another change is told; others go on', async () => {
    const hers = new WatchCaller(rig.context(alice));
    const roots = new WatchCaller(rig.context(root));
    await hers.watch(1, one('a'));
    await hers.watch(2, one('d'));
    await roots.watch(1, one('a'));
    await rig.addRole('reader', ['d', '', PermissionKind.read]);
    await rig.change({ kind: AuthKind.grantRole, user: 'alice', role: 'reader' });
    await rig.call(config.put, root, put('a'));
    await rig.run(
      (async () => {
        // In one turn: the change comes right behind.
        const taken = rig.engine.auth.change(
          { kind: AuthKind.revokeRole, user: 'alice', role: 'team' },
          rig.terms,
        );
        await taken;
        await (rig.handler(ConfigService, 'put')(
          rig.context(root),
          create(config.put.input, put('a')),
        ) as Promise<unknown>);
        await (rig.handler(ConfigService, 'put')(
          rig.context(root),
          create(config.put.input, put('d')),
        ) as Promise<unknown>);
      })(),
    );
    await rig.pass(50);
    expect(hers.told(1)).toEqual(['a', 'PERMISSION_DENIED']);
    expect(hers.told(2)).toEqual(['d']);
    expect(roots.told(1)).toEqual(['a', 'a']);
  });

  test('end when a permission, the user, or its password goes, and when permissions begin to be asked for', async () => {
    const begin = async () => {
      const token = await rig.login('alice', 'hers');
      const caller = new WatchCaller(rig.context(token));
      await caller.watch(1, one('a'));
      return caller;
    };
    const first = await begin();
    await rig.change({ kind: AuthKind.revokePermission, role: 'team', range: { key: 'a', rangeEnd: 'd' } });
    await rig.pass(50);
    expect(first.told(1)).toEqual(['PERMISSION_DENIED']);
    await rig.addRole('again', ['a', 'd']);
    await rig.change({ kind: AuthKind.grantRole, user: 'alice', role: 'again' });
    const second = await begin();
    await rig.run(
      rig.engine.auth.setPassword(AuthKind.changePassword, 'alice', Buffer.from('hers'), rig.terms),
    );
    await rig.pass(50);
    expect(second.told(1)).toEqual(['TOKEN_INVALID']);
    const third = await begin();
    await rig.change({ kind: AuthKind.deleteUser, user: 'alice' });
    await rig.pass(50);
    expect(third.told(1)).toEqual(['TOKEN_INVALID']);
    await rig.change({ kind: AuthKind.disable });
    const anyone = new WatchCaller(rig.context(undefined));
    await anyone.watch(1, one('a'));
    await rig.run(rig.engine.auth.enable(rig.terms));
    await rig.pass(50);
    expect(anyone.told(1)).toEqual(['UNAUTHENTICATED']);
  });
});

test('a token is shown as etcd does, or as HTTP does', () => {
  expect(tokenOf('t', 'Bearer other')).toBe('t');
  expect(tokenOf(undefined, 'Bearer t')).toBe('t');
  expect(tokenOf(undefined, 'bearer  t')).toBe('t');
  expect(tokenOf(undefined, 't')).toBe('t');
  expect(tokenOf(undefined, undefined)).toBeUndefined();
  expect(new Access(undefined, 'x').name).toBe('<anyone>');
  expect(rig.context(alice).principal).toBe('alice');
  expect(rig.context('x').principal).toBe('<refused>');
});
