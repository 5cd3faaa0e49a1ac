/** The npm package `etcd3`, which knows nothing of us, against three real nodes of which one after the other is killed. */
import type { IKeyValue } from 'etcd3';
import { expect, it } from 'vitest';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { Etcd3 } from './etcd3-client.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const GROUP = BigInt(COORDINATION_GROUP);
const KILLS = 2;
const WRITES_BETWEEN = 40;

/** Repeats what fails while nodes are away: the client itself gives up after a few attempts. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + 30_000;
  for (;;)
    try {
      return await work();
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
}

it('goes on through leaders that are killed: writes, watches, leases, locks and transactions', async () => {
  await using cluster = await RealCluster.start();
  const client = new Etcd3({ hosts: cluster.endpoints });
  const told: [key: string, value: string, revision: number][] = [];
  const watch = await client.watch().prefix('w/').create();
  watch.on('put', ({ key, value, mod_revision }: IKeyValue) =>
    told.push([key.toString(), value.toString(), Number(mod_revision)]),
  );
  const lease = client.lease(10, { autoKeepAlive: true });
  await lease.put('leased').value('x').exec();
  const lost: Error[] = [];
  lease.on('lost', (error) => lost.push(error));
  await client.put('count').value(0);
  const written = new Map<string, string>();
  let tried = 0;
  let counted = 0;
  for (let kill = 0; kill <= KILLS; kill++) {
    for (let write = 0; write < WRITES_BETWEEN; write++) {
      const [key, value] = [`w/${write}`, `${kill}.${write}`];
      await patiently(() => client.put(key).value(value).exec());
      written.set(key, value);
      if (write % 10 !== 0) continue;
      await patiently(() =>
        client.lock('counting').do(async () => {
          tried++;
          await client.put('count').value((await client.get('count').number())! + 1);
          counted++;
        }),
      );
    }
    if (kill === KILLS) break;
    const leader = await cluster.leaderOf(GROUP);
    await cluster.node(leader).kill();
    await patiently(() => client.put('killed').value(leader).exec());
    cluster.spawn(leader);
    await cluster.ready();
  }
  // Whatever was acknowledged is there, and was told, in order and once each.
  expect(await client.getAll().prefix('w/').strings()).toEqual(Object.fromEntries(written));
  const last = told.length === 0 ? '' : `${KILLS}.${WRITES_BETWEEN - 1}`;
  await until(
    async () => told.some(([, value]) => value === last),
    20_000,
    () => `${told.length} changes were told, and not the last`,
  );
  const revisions = told.map(([, , revision]) => revision);
  expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
  for (let kill = 0; kill <= KILLS; kill++)
    for (let write = 0; write < WRITES_BETWEEN; write++)
      expect(told.some(([key, value]) => key === `w/${write}` && value === `${kill}.${write}`)).toBe(true);
  const count = (await client.get('count').number())!;
  expect(count).toBeGreaterThanOrEqual(counted); // less: two held the lock at once
  expect(count).toBeLessThanOrEqual(tried);
  expect([await client.get('leased').string(), lost]).toEqual(['x', []]);
  await lease.revoke();
  expect(await client.get('leased').string()).toBe(null);
  await watch.cancel();
  client.close();
}, 120_000);
