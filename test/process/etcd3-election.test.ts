/** Locks and elections of the npm package `etcd3` on three nodes, through leaders that are killed. */
import type { Campaign } from 'etcd3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EtcdLockFailedError, NotCampaigningError } from './etcd3-client.ts';
import { Etcd3Rig, type Client } from './etcd3-rig.ts';
import { until, within } from './real-node.ts';

const TOLD_MS = 20_000;
const LOCK_TTL_S = 20;

let rig: Etcd3Rig;
let client: Client;
beforeAll(async () => {
  rig = await Etcd3Rig.start();
  client = rig.client();
}, 120_000);
afterAll(async () => {
  console.log(rig.account);
  await rig[Symbol.asyncDispose]();
  expect(rig.kills).toBe(6);
});

it('gives a lock to one at a time: what is done in it is done alone, each once', async () => {
  await client.put('count').value(0);
  let inside = 0;
  let refused = 0;
  let entered = 0;
  const contenders = [1, 2, 3].map(() => {
    const own = rig.client();
    return async () => {
      for (let isDone = false; !isDone;)
        try {
          await rig.patiently(() =>
            own
              .lock('locks/counting')
              .ttl(LOCK_TTL_S)
              .do(async () => {
                // Whoever has given it back without hearing so comes in again, and counts again.
                expect(++inside).toBe(1);
                const count = (await rig.patiently(() => own.get('count').number()))!;
                expect(count).toBe(entered);
                await rig.patiently(async () =>
                  own
                    .put('count')
                    .value(count + 1)
                    .exec(),
                );
                entered++;
                inside--;
              }),
          );
          isDone = true;
        } catch (error) {
          if (!(error instanceof EtcdLockFailedError)) throw error;
          refused++;
        }
    };
  });
  const rounds = await rig.throughKills(2, 5, contenders);
  console.log(`${rounds} times locked, ${refused} refused`);
  expect(await client.get('count').number()).toBe(entered);
  expect(entered).toBeGreaterThanOrEqual(rounds);
  expect(rounds).toBeGreaterThanOrEqual(45);
  expect(refused).toBeGreaterThan(10);
});

it('keeps a lock through a leader that is killed, and frees it with its lease', async () => {
  const other = rig.client();
  const held = client.lock('locks/held').ttl(LOCK_TTL_S);
  await held.acquire();
  await expect(other.lock('locks/held').acquire()).rejects.toThrow(EtcdLockFailedError);
  await rig.killLeader();
  await expect(rig.patiently(() => other.lock('locks/held').acquire())).rejects.toThrow(EtcdLockFailedError);
  expect((await other.get('locks/held').exec()).kvs.map(({ lease }) => lease)).toEqual([
    await held.leaseId(),
  ]);
  await held.release();
  const next = other.lock('locks/held');
  await next.acquire();
  await client.leaseClient.leaseRevoke({ ID: (await next.leaseId())! });
  expect(await client.get('locks/held')).toBe(null);
  await client.lock('locks/held').do(() => undefined);
  expect(await client.getAll().prefix('locks/').keys()).toEqual([]);
});

/** Resolves when a campaign is elected. */
function elected(campaign: Campaign): Promise<Campaign> {
  const won = campaign.wait();
  won.catch(() => undefined);
  return within(won, TOLD_MS, () => 'it was not elected');
}

it('elects one after another in the order in which they stood, and tells whoever observes', async () => {
  const election = client.election('office', LOCK_TTL_S);
  const seen: (string | undefined)[] = [];
  const sees = (...leaders: (string | undefined)[]) =>
    until(
      () => seen.length >= leaders.length,
      TOLD_MS,
      () => `seen: ${seen.join()}`,
    ).then(() => expect(seen).toEqual(leaders));
  const observer = await rig.client().election('office').observe();
  observer.on('change', (leader) => seen.push(leader));
  observer.on('error', (error) => seen.push(`error: ${error.message}`));
  expect([observer.leader(), await election.leader()]).toEqual([undefined, undefined]);

  const stood: Campaign[] = [];
  const winners: string[] = [];
  for (const name of ['a', 'b', 'c', 'd']) {
    const campaign = rig.client().election('office', LOCK_TTL_S).campaign(name);
    campaign.on('elected', () => winners.push(name));
    const key = await campaign.getCampaignKey();
    await until(
      async () => (await client.get(key)) === name,
      TOLD_MS,
      () => `${name} does not stand`,
    );
    stood.push(campaign);
  }
  const [a, b, c, d] = stood as [Campaign, Campaign, Campaign, Campaign];
  await until(
    () => winners.length > 0,
    TOLD_MS,
    () => 'nobody was elected',
  );
  await sees('a');
  await rig.killLeader();
  await rig.patiently(() => a.proclaim('a again'));
  await sees('a', 'a again');
  expect([winners, await election.leader()]).toEqual([['a'], 'a again']);

  const bWins = elected(b);
  await a.resign();
  await bWins;
  await sees('a', 'a again', 'b');
  await expect(a.proclaim('too late')).rejects.toThrow(NotCampaigningError);
  await rig.killLeader();
  expect([winners, await rig.patiently(() => election.leader())]).toEqual([['a', 'b'], 'b']);

  // One that waits gives up; then who leads is lost with its lease.
  await c.resign();
  c.removeAllListeners('elected'); // which this package emits all the same
  const lost = new Promise<Error>((resolve) => b.on('error', resolve));
  const dWins = elected(d);
  const lease = (await b.getCampaignKey()).split('/').at(-1)!;
  await client.leaseClient.leaseRevoke({ ID: lease });
  expect((await within(lost, TOLD_MS, () => 'who led was not told')).message).toContain('expired or revoked');
  await dWins;
  await sees('a', 'a again', 'b', 'd');
  expect(winners).toEqual(['a', 'b', 'd']);

  await rig.killLeader();
  await rig.patiently(() => d.resign());
  await sees('a', 'a again', 'b', 'd', undefined);
  expect(await rig.patiently(() => election.leader())).toBe(undefined);
  expect(observer.hasLeader).toBe(false);
  await observer.cancel();
});
