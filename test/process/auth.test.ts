/** Permissions on three nodes: any of them lets in, or does not, through a leader that is killed. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '@holdfast/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runHoldfast, temporaryDirectory } from '../main/run-holdfast.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const ROOT = { user: 'root', password: 'the password of root' };
const ALICE = { user: 'alice', password: 'the password of alice' };

let cluster: RealCluster;

beforeAll(async () => {
  cluster = await RealCluster.start();
  await admin('AddUser', { name: ROOT.user, password: ROOT.password });
  await admin('GrantRole', { user: 'root', role: 'root' });
  await admin('AddUser', { name: ALICE.user, password: ALICE.password });
  await admin('AddRole', { name: 'app' });
  for (const prefix of ['app/', '/holdfast/kv/default/app/', '/holdfast/lock/app/'])
    await admin('GrantPermission', {
      role: 'app',
      permission: { access: 'ACCESS_READ_WRITE', range: { key: base64(prefix), prefix: true } },
    });
  await admin('GrantRole', { user: 'alice', role: 'app' });
  await admin('Enable', {});
}, 120_000);

afterAll(() => cluster[Symbol.asyncDispose]());

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** Asks a node over HTTP, as somebody with curl would. */
async function ask(node: string, path: string, body: object, token?: string) {
  const response = await fetch(`${cluster.node(node).url}/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify(body),
  });
  return { status: response.status, json: (await response.json()) as Record<string, never> };
}

let rootToken: string | undefined;

async function admin(method: string, body: object, node = 'n1'): Promise<Record<string, never>> {
  const { status, json } = await ask(node, `holdfast.auth.v1.AuthService/${method}`, body, rootToken);
  if (status !== 200) throw new Error(`${method}: ${status} ${JSON.stringify(json)}`);
  return json;
}

async function login({ user, password }: typeof ROOT, node: string): Promise<string> {
  const { json } = await ask(node, 'holdfast.auth.v1.AuthService/Login', { user, password });
  return json['token']!;
}

test('every node asks, and takes what another one gave', async () => {
  rootToken = await login(ROOT, 'n1');
  const alice = await login(ALICE, 'n2');
  for (const node of cluster.names) {
    const get = (key: string, token?: string) =>
      ask(node, 'holdfast.config.v1.ConfigService/Get', { key: base64(key) }, token);
    expect((await get('app/1')).status).toBe(401);
    expect((await get('app/1', 'forged')).status).toBe(401);
    expect((await get('app/1', alice)).status).toBe(200);
    expect((await get('other', alice)).status).toBe(403);
    expect((await get('other', rootToken)).status).toBe(200);
    const plain = await fetch(`${cluster.node(node).url}/v1/config/app%2F1`, {
      method: 'PUT',
      body: 'value',
      headers: { authorization: `Bearer ${alice}` },
    });
    expect(plain.status).toBe(200);
    expect((await fetch(`${cluster.node(node).url}/v1/kv/default/app%2F1`)).status).toBe(401);
    // What one node asks of another for its callers is let in as well.
    expect((await ask(node, 'holdfast.raft.v1.ForwardService/Propose', {}, rootToken)).status).toBe(404);
  }
});

test('a client logs in by itself and does what it may, also when the leader is killed', async () => {
  rootToken ??= await login(ROOT, 'n1');
  const client = await cluster.connect({ login: ALICE });
  await client.config.put('app/a', '1');
  await expect(client.config.put('other', '1')).rejects.toMatchObject({ reason: 'PERMISSION_DENIED' });
  await client.keyspace('default').put('app/a', '1');
  await expect(client.keyspace('default').put('other', '1')).rejects.toMatchObject({
    reason: 'PERMISSION_DENIED',
  });
  const lock = await client.lock.acquire('app/lock');
  await lock.release();
  const anyone = await cluster.connect();
  await expect(anyone.config.get('app/a')).rejects.toMatchObject({ reason: 'UNAUTHENTICATED' });
  const wrong = await cluster.connect({ login: { user: 'alice', password: 'guess' } });
  const unknown = await cluster.connect({ login: { user: 'nobody', password: 'guess' } });
  const told = await Promise.all(
    [wrong, unknown].map(async (one) => one.config.get('app/a').catch((error: Error) => error.message)),
  );
  expect(told[0]).toMatch(/LOGIN_FAILED/);
  expect(told[1]).toBe(told[0]);

  const leader = await cluster.leaderOf(0n);
  await cluster.node(leader).kill();
  await client.config.put('app/a', '2');
  expect((await client.config.get('app/a'))!.text()).toBe('2');
  await client.keyspace('default').put('app/a', '2');
  const [other] = cluster.names.filter((name) => name !== leader);
  const { status } = await ask(
    other!,
    'holdfast.config.v1.ConfigService/Get',
    { key: base64('x') },
    rootToken,
  );
  expect(status).toBe(200);
  await cluster.restart(leader);
  const again = await ask(leader, 'holdfast.config.v1.ConfigService/Get', { key: base64('x') }, rootToken);
  expect(again.status).toBe(200);
}, 120_000);

test('a watch ends on every node when its permission is taken away', async () => {
  rootToken ??= await login(ROOT, 'n1');
  await admin('AddRole', { name: 'watcher' });
  const permission = { access: 'ACCESS_READ', range: { key: base64('w/'), prefix: true } };
  await admin('GrantPermission', { role: 'watcher', permission });
  await admin('AddUser', { name: 'watcher', password: 'p' });
  await admin('GrantRole', { user: 'watcher', role: 'watcher' });
  const root = await cluster.connect({ login: ROOT });
  const watched = await Promise.all(
    cluster.endpoints.map(async (endpoint) => {
      const client = await connect({ endpoints: endpoint, login: { user: 'watcher', password: 'p' } });
      const seen: string[] = [];
      const done = (async () => {
        try {
          for await (const item of client.config.watch({ prefix: 'w/' })) seen.push(item.type);
          return 'ended';
        } catch (error) {
          return (error as { reason?: string }).reason;
        }
      })();
      return { client, seen, done };
    }),
  );
  let number = 0;
  await until(
    async () => {
      await root.config.put('w/key', String(number++));
      return watched.every(({ seen }) => seen.length > 0);
    },
    30_000,
    () => 'a watch was told nothing',
  );
  await admin('RevokeRole', { user: 'watcher', role: 'watcher' });
  expect(await Promise.all(watched.map(({ done }) => done))).toEqual(watched.map(() => 'PERMISSION_DENIED'));
  await Promise.all(watched.map(({ client }) => client.close()));
}, 60_000);

test('the command line asks as a user, whose password is in a file or the environment', async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, 'password');
  writeFileSync(file, `${ALICE.password}\n`);
  const endpoints = ['--endpoints', cluster.endpoints.join(',')];
  const get = (args: string[], env = {}) =>
    runHoldfast(['config', 'get', 'app/a', ...endpoints, ...args], { env });
  const byFile = await get(['--user', 'alice', '--password-file', file]);
  expect([byFile.code, byFile.stderr]).toEqual([0, '']);
  const byEnvironment = await get([], { HOLDFAST_USER: 'alice', HOLDFAST_PASSWORD: ALICE.password });
  expect(byEnvironment.code).toBe(0);
  const without = await get([]);
  expect([without.code, without.stderr]).toEqual([1, expect.stringContaining('UNAUTHENTICATED')]);
  const wrong = await get([], { HOLDFAST_USER: 'alice', HOLDFAST_PASSWORD: 'guess' });
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('LOGIN_FAILED')]);
  const noPassword = await get(['--user', 'alice']);
  expect([noPassword.code, noPassword.stderr]).toEqual([2, expect.stringContaining('--password-file')]);
  const noUser = await get(['--password-file', file]);
  expect(noUser.code).toBe(2);
}, 60_000);

test('no log and no answer has a password or a token', async () => {
  const printed = cluster.nodes.map(({ output }) => output).join('');
  for (const secret of [ROOT.password, ALICE.password, rootToken!]) expect(printed).not.toContain(secret);
  const users = JSON.stringify(await admin('ListUsers', {}));
  expect(users).toContain('alice');
  expect(users).not.toMatch(/"password"|hash|salt/);
});
