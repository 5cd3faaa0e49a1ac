/** Leases of the npm package `etcd3` on three nodes, through leaders that are killed: none ends early, none lasts for ever, and whoever holds one is told. */
import type { IKeyValue, Lease } from 'etcd3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EtcdLeaseInvalidError } from './etcd3-client.ts';
import { Etcd3Rig, type Client } from './etcd3-rig.ts';
import { until, within } from './real-node.ts';

const TTL_S = 5;
/** By then an expired lease has ended, through elections, each of which gives it its time anew. */
const ENDS_MS = 30_000;
const TOLD_MS = 15_000;

let rig: Etcd3Rig;
let client: Client;
beforeAll(async () => {
  rig = await Etcd3Rig.start();
  client = rig.client();
}, 120_000);
afterAll(async () => {
  console.log(rig.account);
  await rig[Symbol.asyncDispose]();
  expect(rig.kills).toBe(5);
});

/** The error by which a lease says that it is lost. */
function loss(lease: Lease): Promise<Error> {
  const lost = new Promise<Error>((resolve) => lease.on('lost', resolve));
  return within(lost, TOLD_MS, () => 'the holder was not told');
}

const keysOf = async (id: string) => {
  const { TTL, grantedTTL, keys } = await rig.patiently(() =>
    client.leaseClient.leaseTimeToLive({ ID: id, keys: true }),
  );
  return { left: Number(TTL), granted: Number(grantedTTL), keys: keys.map((key) => key.toString()) };
};

it('keeps leases that are kept alive, for longer than they would live, while leaders are killed', async () => {
  const leases = [1, 2, 3].map(() => rig.client().lease(TTL_S));
  const lost: Error[] = [];
  const kept = leases.map(() => 0);
  for (const [at, lease] of leases.entries()) {
    lease.on('lost', (error) => lost.push(error));
    lease.on('keepaliveSucceeded', ({ TTL, ID }) => {
      expect(Number(TTL)).toBe(TTL_S);
      expect(Number(ID)).toBeGreaterThan(0);
      kept[at]!++;
    });
    await lease.put(`kept/${at}`).value(`${at}`);
  }
  const deletions: string[] = [];
  const watch = await client.watch().prefix('kept/').only('delete').create();
  watch.on('delete', ({ key }: IKeyValue) => deletions.push(key.toString()));
  const beganMs = performance.now();
  for (let kill = 0; kill < 2; kill++) {
    await rig.killLeader();
    const before = [...kept];
    await until(
      () => kept.every((count, at) => count > before[at]!),
      ENDS_MS,
      () => `kept alive ${kept.join(', ')} times, ${before.join(', ')} of them before the kill`,
    );
  }
  await until(
    () => performance.now() - beganMs > 2_000 * TTL_S && kept.every((count) => count >= 5),
    ENDS_MS,
    () => `kept alive ${kept.join(', ')} times`,
  );
  console.log(`kept alive ${kept.join(', ')} times in ${Math.round(performance.now() - beganMs)} ms`);
  expect([lost, deletions]).toEqual([[], []]);
  const { responses } = await client
    .if('kept/0', 'Lease', '==', await leases[0]!.grant())
    .then(client.getAll().prefix('kept/'))
    .commit();
  expect(responses[0]!.response_range!.kvs.map(({ value }) => value.toString())).toEqual(['0', '1', '2']);
  for (const [at, lease] of leases.entries()) {
    const { left, granted, keys } = await keysOf(await lease.grant());
    expect([granted, keys]).toEqual([TTL_S, [`kept/${at}`]]);
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(TTL_S);
    await lease.revoke();
  }
  await until(
    () => deletions.length === 3,
    TOLD_MS,
    () => `deleted: ${deletions.join()}`,
  );
  expect(deletions).toEqual(['kept/0', 'kept/1', 'kept/2']);
  await watch.cancel();
});

it('ends a lease that nobody keeps alive, not before its time, with all its keys at once', async () => {
  const lease = client.lease(TTL_S, { autoKeepAlive: false });
  const id = await lease.grant();
  await lease.put('left/a').value('1');
  await client.put('left/b').value('2').lease(id);
  await client.put('left/c').value('3').lease(id);
  await client.put('left/c').value('4'); // without the lease
  expect((await keysOf(id)).keys).toEqual(['left/a', 'left/b']);
  const revisions: string[] = [];
  const watch = await client.watch().prefix('left/').only('delete').create();
  watch.on('delete', ({ mod_revision }: IKeyValue) => revisions.push(mod_revision));
  const askedMs = performance.now();
  const { TTL } = await lease.keepaliveOnce();
  expect(Number(TTL)).toBe(TTL_S);
  await rig.killLeader();
  await until(
    () => revisions.length === 2,
    ENDS_MS,
    () => `${revisions.length} keys are gone`,
  );
  expect(performance.now() - askedMs).toBeGreaterThanOrEqual(1_000 * TTL_S);
  expect(new Set(revisions).size).toBe(1);
  expect(await client.getAll().prefix('left/').strings()).toEqual({ 'left/c': '4' });
  expect(await keysOf(id)).toEqual({ left: -1, granted: 0, keys: [] });
  const lost = loss(lease);
  await expect(lease.keepaliveOnce()).rejects.toThrow(EtcdLeaseInvalidError);
  expect(await lost).toBeInstanceOf(EtcdLeaseInvalidError);
  await watch.cancel();
});

it('tells a holder whose lease was revoked by somebody else, while a leader is killed', async () => {
  const other = rig.client();
  const kept = client.lease(TTL_S);
  const written = client.lease(600);
  await kept.put('revoked/kept').value('x');
  await written.put('revoked/written').value('x');
  const keptIsLost = loss(kept);
  const writtenIsLost = loss(written);
  const killed = rig.killLeader();
  for (const lease of [kept, written]) {
    const id = await lease.grant();
    // Done again it is gone already, which is as good.
    await rig
      .patiently(() => other.leaseClient.leaseRevoke({ ID: id }))
      .catch((error: Error) => {
        if (!(error instanceof EtcdLeaseInvalidError)) throw error;
      });
  }
  expect(await rig.patiently(() => other.getAll().prefix('revoked/').keys())).toEqual([]);
  // One hears it when it keeps its lease alive, the other one when it writes.
  await expect(rig.patiently(async () => written.put('revoked/late').value('x').exec())).rejects.toThrow(
    EtcdLeaseInvalidError,
  );
  for (const lost of [await keptIsLost, await writtenIsLost])
    expect(lost).toBeInstanceOf(EtcdLeaseInvalidError);
  expect([kept.revoked(), written.revoked()]).toEqual([true, true]);
  await killed;
  expect(await rig.patiently(() => other.get('revoked/late').string())).toBe(null);
});

it('grants numbers that a client chooses once, and lists what there is on every node', async () => {
  const granted = await client.leaseClient.leaseGrant({ ID: '4711', TTL: 100 });
  expect([granted.ID, granted.TTL, granted.error]).toEqual(['4711', '100', '']);
  await expect(client.leaseClient.leaseGrant({ ID: '4711', TTL: 100 })).rejects.toThrow(
    'etcdserver: lease already exists',
  );
  const large = await client.leaseClient.leaseGrant({ ID: '9223372036854775806', TTL: 100 });
  expect(large.ID).toBe('9223372036854775806');
  await client.put('chosen').value('x').lease('4711');
  await rig.killLeader();
  for (const endpoint of rig.cluster.endpoints) {
    const on = rig.client({ hosts: endpoint });
    const { leases } = await rig.patiently(() => on.leaseClient.leaseLeases());
    expect(leases.map(({ ID }) => ID)).toEqual(['4711', '9223372036854775806']);
    const { TTL, keys } = await on.leaseClient.leaseTimeToLive({ ID: '4711', keys: true });
    expect([keys.map(String), Number(TTL) > 50]).toEqual([['chosen'], true]);
  }
  await expect(client.put('k').value('x').lease('4712').exec()).rejects.toThrow(EtcdLeaseInvalidError);
  for (const ID of ['4711', '9223372036854775806']) await client.leaseClient.leaseRevoke({ ID });
  expect(await client.get('chosen')).toBe(null);
  await expect(client.leaseClient.leaseRevoke({ ID: '4711' })).rejects.toThrow(EtcdLeaseInvalidError);
});
