/** What else users do with the npm package `etcd3`, each on three real nodes of which a leader is killed meanwhile. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { Authority } from './certificates.ts';
import { Etcd3 } from './etcd3-client.ts';
import { RealCluster } from './real-cluster.ts';
import { until, within } from './real-node.ts';
import { startTlsNode } from './tls-node.ts';

const GROUP = BigInt(COORDINATION_GROUP);
const PATIENCE_MS = 30_000;
const CASE_MS = 120_000;

type Client = InstanceType<typeof Etcd3>;

let cluster: RealCluster;
let client: Client;
/** Calls that were made while leaders were killed, and how many of these. */
let calls = 0;
let kills = 0;

beforeAll(async () => {
  cluster = await RealCluster.start();
  client = new Etcd3({ hosts: cluster.endpoints });
}, CASE_MS);

afterAll(async () => {
  client.close();
  await cluster[Symbol.asyncDispose]();
});

/** Repeats what fails while nodes are away: the client itself gives up after a few attempts. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + PATIENCE_MS;
  for (;;)
    try {
      calls++;
      return await work();
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

/** Kills whoever leads, and starts it again once somebody else does. */
async function killLeader(): Promise<void> {
  const leader = await cluster.leaderOf(GROUP);
  await cluster.node(leader).kill();
  kills++;
  await cluster.leaderOf(
    GROUP,
    cluster.names.filter((name) => name !== leader),
  );
  await cluster.restart(leader);
}

it(
  'transactions do one thing or the other, whole',
  async () => {
    await client.put('tx/a').value('1');
    const swap = (from: string, to: string) =>
      // oxlint-disable-next-line promise/valid-params -- no promise
      client
        .if('tx/a', 'Value', '==', from)
        .and('tx/none', 'Version', '==', 0)
        .then(client.put('tx/a').value(to), client.put('tx/b').value(to), client.get('tx/a'))
        .else(client.get('tx/a'))
        .commit();
    const done = await swap('1', '2');
    expect(done.succeeded).toBe(true);
    expect(done.responses[2]!.response_range.kvs[0]!.value.toString()).toBe('2');
    const refused = await swap('1', '3');
    expect(refused.succeeded).toBe(false);
    expect(refused.responses[0]!.response_range.kvs[0]!.value.toString()).toBe('2');
    const killed = killLeader();
    for (let at = 2; at < 40; at++) {
      const { succeeded } = await patiently(() => swap(String(at), String(at + 1)));
      // An attempt that failed may have done it.
      if (!succeeded) expect(await patiently(() => client.get('tx/a').string())).toBe(String(at + 1));
    }
    await killed;
    const both = [await client.get('tx/a').string(), await client.get('tx/b').string()];
    expect(both).toEqual(['40', '40']);
  },
  CASE_MS,
);

it(
  'software transactions lose no update',
  async () => {
    await client.put('stm').value('0');
    let tried = 0;
    let acknowledged = 0;
    const increment = () =>
      client.stm({ retries: 100 }).transact(async (tx) => {
        const value = Number(await tx.get('stm').string());
        tried++;
        await tx.put('stm').value(String(value + 1));
      });
    const worker = async () => {
      for (let round = 0; round < 10; round++) {
        await patiently(increment);
        acknowledged++;
      }
    };
    const workers = Promise.all(Array.from({ length: 4 }, worker));
    await killLeader();
    await workers;
    expect(acknowledged).toBe(40);
    const counted = Number(await client.get('stm').string());
    expect(counted).toBeGreaterThanOrEqual(acknowledged);
    expect(counted).toBeLessThanOrEqual(tried);
  },
  CASE_MS,
);

it(
  'namespaces see what is theirs, without its beginning',
  async () => {
    const space = client.namespace('space/');
    const told: string[] = [];
    const watch = await space.watch().prefix('').create();
    watch.on('put', ({ key }: { key: Buffer }) => told.push(key.toString()));
    await patiently(() => space.put('one').value('1').exec());
    await patiently(() => client.put('elsewhere').value('2').exec());
    await killLeader();
    await patiently(() => space.put('two').value('2').exec());
    expect(await patiently(() => space.getAll().strings())).toEqual({ one: '1', two: '2' });
    expect(await patiently(() => client.get('space/one').string())).toBe('1');
    await until(
      () => told.includes('two'),
      PATIENCE_MS,
      () => told.join(),
    );
    expect(new Set(told)).toEqual(new Set(['one', 'two']));
    await space.delete().all();
    expect(await client.getAll().prefix('space/').keys()).toEqual([]);
    expect(await client.get('elsewhere').string()).toBe('2');
    await watch.cancel();
  },
  CASE_MS,
);

it(
  'elections have one leader, who is observed, and another when it resigns',
  async () => {
    const election = client.election('office', 10);
    const first = election.campaign('first');
    await within(first.wait(), PATIENCE_MS, () => 'nobody was elected');
    expect(await election.leader()).toBe('first');
    const observer = await election.observe();
    const seen: (string | undefined)[] = [observer.leader()];
    observer.on('change', (leader) => seen.push(leader));
    const second = election.campaign('second');
    const elected = second.wait();
    await killLeader();
    expect(await patiently(() => election.leader())).toBe('first');
    await patiently(() => first.resign());
    await within(elected, PATIENCE_MS, () => `nobody followed: ${seen.join()}`);
    expect(await patiently(() => election.leader())).toBe('second');
    await until(
      () => seen.includes('second'),
      PATIENCE_MS,
      () => seen.join(),
    );
    expect(
      seen.filter((leader) => leader !== undefined && leader !== 'first' && leader !== 'second'),
    ).toEqual([]);
    await observer.cancel();
    await patiently(() => second.resign());
  },
  CASE_MS,
);

it(
  'a lease that is not kept alive ends with its keys, and says so to who held it',
  async () => {
    const lease = client.lease(2, { autoKeepAlive: false });
    const id = await lease.grant();
    await lease.put('leased/a').value('x').exec();
    expect(await client.get('leased/a').string()).toBe('x');
    await killLeader();
    await until(
      async () => (await patiently(() => client.get('leased/a').string())) === null,
      PATIENCE_MS,
      () => 'the key outlives its lease',
    );
    const dead = client.leaseClient.leaseTimeToLive({ ID: id });
    expect(Number((await patiently(() => dead)).TTL)).toBe(-1);
    const kept = client.lease(10);
    const lost = new Promise<Error>((resolve) => kept.on('lost', resolve));
    const keptId = await kept.grant();
    await client.leaseClient.leaseRevoke({ ID: keptId });
    await expect(kept.keepaliveOnce()).rejects.toThrow();
    await within(lost, PATIENCE_MS, () => 'the holder was not told');
  },
  CASE_MS,
);

it(
  'users see what their roles allow, on every node, through a leader that is killed',
  async () => {
    const asRoot = () =>
      new Etcd3({ hosts: cluster.endpoints, auth: { username: 'root', password: 'of root' } });
    await client.role('root').create();
    await client.user('root').create('of root');
    await client.user('root').addRole('root');
    await client.role('reader').create();
    await client.role('reader').grant({ permission: 'Read', range: client.range({ prefix: 'open/' }) });
    await client.user('ann').create('of ann');
    await client.user('ann').addRole('reader');
    await client.put('open/a').value('seen');
    await client.put('closed/a').value('not seen');
    await client.auth.authEnable();
    const root = asRoot();
    const ann = new Etcd3({ hosts: cluster.endpoints, auth: { username: 'ann', password: 'of ann' } });
    const stranger = new Etcd3({ hosts: cluster.endpoints, auth: { username: 'ann', password: 'wrong' } });
    try {
      await expect(client.get('open/a').string()).rejects.toThrow(/user name is empty/);
      await expect(stranger.get('open/a').string()).rejects.toThrow(/authentication failed/);
      for (const look of [1, 2]) {
        expect(await patiently(() => ann.get('open/a').string())).toBe('seen');
        await expect(ann.get('closed/a').string()).rejects.toThrow(/permission denied/);
        await expect(ann.put('open/a').value('changed').exec()).rejects.toThrow(/permission denied/);
        await expect(ann.getAll().strings()).rejects.toThrow(/permission denied/);
        if (look === 1) await killLeader();
      }
      expect(await patiently(() => root.get('closed/a').string())).toBe('not seen');
    } finally {
      await patiently(() => root.auth.authDisable());
      for (const one of [root, ann, stranger]) one.close();
    }
    expect(await client.get('open/a').string()).toBe('seen');
  },
  CASE_MS,
);

it('was interrupted by the kills', () => {
  console.log(`${kills} leaders killed, ${calls} calls made meanwhile`);
  expect(kills).toBe(6);
  expect(calls).toBeGreaterThan(80);
});

it(
  'speaks TLS, and to nobody whose certificate its authority did not sign',
  async () => {
    const authority = await Authority.create();
    // It would name the address to the server, which Node.js does not do for a number.
    const grpcOptions = { 'grpc.ssl_target_name_override': 'localhost' };
    await using node = await startTlsNode({ authority });
    const credentials = { rootCertificate: Buffer.from(authority.certificate) };
    const one = new Etcd3({ hosts: `https://${node.grpc}`, credentials, grpcOptions });
    await one.put('secret').value('x');
    expect(await one.get('secret').string()).toBe('x');
    one.close();
    const other = await Authority.create();
    const deceived = new Etcd3({
      hosts: `https://${node.grpc}`,
      credentials: { rootCertificate: Buffer.from(other.certificate) },
      grpcOptions,
    });
    await expect(deceived.get('secret').string()).rejects.toThrow();
    deceived.close();
  },
  CASE_MS,
);
