/** Users, roles and permissions by the npm package `etcd3` on three nodes, through leaders that are killed. */
import type { IKeyValue } from 'etcd3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  EtcdAuthenticationFailedError,
  EtcdPermissionDeniedError,
  GRPCInvalidArgumentError,
} from './etcd3-client.ts';
import { Etcd3Rig, type Client } from './etcd3-rig.ts';
import { until, within } from './real-node.ts';

const TOLD_MS = 15_000;
const ROUNDS = 20;
const PASSWORDS: Readonly<Record<string, string>> = { root: 'of root', ann: 'of ann', ben: 'of ben' };

let rig: Etcd3Rig;
let root: Client;
let ann: Client;

const login = (username: string, password = PASSWORDS[username]!) =>
  rig.client({ auth: { username, password } });

beforeAll(async () => {
  rig = await Etcd3Rig.start();
  const client = rig.client();
  await client.put('app/k').value('open');
  await client.put('secret').value('closed');
  for (const name of Object.keys(PASSWORDS)) await client.user(name).create(PASSWORDS[name]!);
  await client.role('root').create();
  await client.user('root').addRole('root');
  const app = await client.role('app').create();
  await app.grant([
    { permission: 'Readwrite', range: client.range({ prefix: 'app/' }) },
    { permission: 'Read', key: 'shown' },
  ]);
  await app.addUser('ann');
  await client.auth.authEnable();
  root = login('root');
  ann = login('ann');
}, 120_000);
afterAll(async () => {
  console.log(rig.account);
  await rig[Symbol.asyncDispose]();
  expect(rig.kills).toBe(4);
});

it('lists and changes users and roles, and refuses what is there or is not', async () => {
  expect((await root.getUsers()).map(({ name }) => name)).toEqual(['ann', 'ben', 'root']);
  expect((await root.getRoles()).map(({ name }) => name)).toEqual(['app', 'root']);
  expect((await root.user('ann').roles()).map(({ name }) => name)).toEqual(['app']);
  const permissions = await root.role('app').permissions();
  expect(
    permissions.map(({ permission, range }) => [permission, range.start.toString(), range.end.toString()]),
  ).toEqual([
    ['Readwrite', 'app/', 'app0'],
    ['Read', 'shown', ''],
  ]);
  const names = async (work: Promise<unknown>) =>
    work.then(
      () => 'done',
      (error: Error) => error.constructor.name,
    );
  expect(await names(root.user('ann').create('again'))).toBe('EtcdUserExistsError');
  expect(await names(root.role('app').create())).toBe('EtcdRoleExistsError');
  expect(await names(root.user('nobody').delete())).toBe('EtcdUserNotFoundError');
  expect(await names(root.role('none').delete())).toBe('EtcdRoleNotFoundError');
  expect(await names(root.user('ann').addRole('none'))).toBe('EtcdRoleNotFoundError');
  expect(await names(root.user('ben').removeRole('app'))).toBe('EtcdRoleNotGrantedError');
  await rig.killLeader();
  const passing = await rig.patiently(() => root.role('passing').create());
  await passing.grant({ permission: 'Write', range: root.range({ start: 'p', end: 'q' }) });
  await passing.addUser('ben');
  expect((await root.user('ben').roles()).map(({ name }) => name)).toEqual(['passing']);
  await passing.delete();
  expect(await root.user('ben').roles()).toEqual([]);
});

it('lets nobody in without the right password, and tells nobody who there is', async () => {
  const refusal = async (client: Client): Promise<Error> => {
    const error: unknown = await rig
      .patiently(() => client.get('app/k').string())
      .catch((given: unknown) => given);
    expect(error).toBeInstanceOf(Error);
    return error as Error;
  };
  const wrong = await refusal(login('ann', 'of ben'));
  const unknown = await refusal(login('nobody', 'of ann'));
  expect(wrong).toBeInstanceOf(EtcdAuthenticationFailedError);
  expect([unknown.constructor, unknown.message]).toEqual([wrong.constructor, wrong.message]);
  const bare = await refusal(rig.client());
  expect(bare).toBeInstanceOf(GRPCInvalidArgumentError);
  expect(bare.message).toContain('etcdserver: user name is empty');
});

it('does for users what their roles allow and nothing else, on every node, while leaders are killed', async () => {
  const allowed = [
    () => ann.get('app/k').exec(),
    () => ann.get('shown').exec(),
    () => ann.put('app/mine').value('1').exec(),
    () => ann.getAll().prefix('app/').exec(),
    () => ann.delete().prefix('app/gone').exec(),
    () => ann.if('shown', 'Create', '==', 0).then(ann.put('app/then').value('1')).commit(),
    () => ann.stm().transact((tx) => tx.put('app/stm').value('1')),
    () => rig.alone(() => ann.lock('app/lock').do(() => undefined)),
  ];
  const denied = [
    () => ann.get('secret').exec(),
    () => ann.put('shown').value('x').exec(),
    () => ann.put('secret').value('x').exec(),
    () => ann.getAll().exec(),
    () => ann.getAll().inRange({ start: 'app/', end: 'app1' }).exec(),
    () => ann.delete().prefix('app').exec(),
    () => ann.if('secret', 'Value', '==', 'guess').then(ann.put('app/then').value('x')).commit(),
    () => ann.if('shown', 'Create', '>', 0).then(ann.put('secret').value('x')).commit(),
    () => ann.lock('lock').acquire(),
    () => ann.role('app').grant({ permission: 'Read', key: 'secret' }),
    () => ann.user('ann').addRole('root'),
    () => ann.user('ben').delete(),
    () => ann.getUsers(),
    () => ann.auth.authDisable(),
    () => login('ben').get('app/k').exec(),
  ];
  let [done, refused] = [0, 0];
  const worker = async () => {
    await rig.patiently<unknown>(allowed[done++ % allowed.length]!);
  };
  const intruder = async () => {
    const attempt = rig.patiently<unknown>(denied[refused++ % denied.length]!);
    await expect(attempt, `${refused - 1}`).rejects.toThrow(EtcdPermissionDeniedError);
  };
  await rig.throughKills(2, ROUNDS, [worker, intruder]);
  console.log(`${done} calls done, ${refused} refused`);
  expect(await root.get('secret')).toBe('closed');
  expect(await root.get('shown')).toBe(null);
  expect(await root.getAll().all().keys()).toEqual(['app/k', 'app/mine', 'app/stm', 'app/then', 'secret']);
  expect(await root.get('app/then')).toBe('1');
  expect([done, refused].every((count) => count >= 3 * ROUNDS)).toBe(true);
});

it('ends watches and calls with the role, and takes the new password in place of the old', async () => {
  const told: string[] = [];
  const watch = await ann.watch().prefix('app/').create();
  watch.on('put', ({ key }: IKeyValue) => told.push(key.toString()));
  const over = new Promise<Error>((resolve) => watch.on('error', resolve));
  await expect(ann.watch().key('secret').create()).rejects.toThrow(EtcdPermissionDeniedError);
  await root.put('app/seen').value('1');
  await until(
    () => told.length > 0,
    TOLD_MS,
    () => 'nothing was told',
  );
  await rig.killLeader();
  await rig.patiently(() => root.user('ann').removeRole('app'));
  expect((await within(over, TOLD_MS, () => 'the watch goes on')).message).toContain('permission denied');
  await root.put('app/unseen').value('1');
  await expect(rig.patiently(() => ann.get('app/k').string())).rejects.toThrow(EtcdPermissionDeniedError);
  await root.user('ann').addRole('app');
  expect(await ann.get('app/k')).toBe('open');
  expect(told).toEqual(['app/seen']);
  await root.user('ann').setPassword('another');
  await expect(ann.get('app/k').string()).rejects.toThrow(EtcdAuthenticationFailedError);
  const again = login('ann', 'another');
  expect(await again.get('app/k')).toBe('open');
  await root.user('ann').delete();
  await expect(again.get('app/k').string()).rejects.toThrow(EtcdAuthenticationFailedError);
  await root.auth.authDisable();
  expect(await rig.client().get('secret')).toBe('closed');
});
