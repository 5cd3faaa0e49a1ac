/**
 * Configuration, leases, locks, elections and sequences by the TypeScript client on three nodes,
 * whose leader of group 0 is killed or stopped again and again: nothing acknowledged is lost, nothing is
 * applied twice, and no lock is held by two.
 */
import { expect, it } from 'vitest';
import type { ConfigWatch, Holdfast } from '@holdfast/client';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const GROUP = BigInt(COORDINATION_GROUP);
const KILLS = 4;
const PAUSES = 2;
const BETWEEN_MS = 1_500;
const CALL = { timeout: '30s' } as const;
const PAIRS = ['pair/0', 'pair/1', 'pair/2'];

/** Does something again and again until the others are done. */
class Worker {
  rounds = 0;
  readonly done: Promise<void>;

  constructor(isOver: () => boolean, round: (number: number) => Promise<void>) {
    this.done = (async () => {
      while (!isOver()) {
        await round(this.rounds);
        this.rounds++;
      }
    })();
    this.done.catch(() => undefined); // awaited at the end
  }
}

/** Compare-and-set of one counter: each success is one. */
async function count(client: Holdfast, key: string): Promise<void> {
  for (;;) {
    const entry = await client.config.get(key, CALL);
    const next = String(Number(entry?.text() ?? '0') + 1);
    try {
      await client.config.put(key, next, { ...CALL, ifModRevision: entry?.modRevision ?? 0n });
      return;
    } catch (error) {
      if ((error as { reason?: string }).reason !== 'REVISION_MISMATCH') throw error;
    }
  }
}

/** Follows what is written in threes: each three at one revision, every one once, in order. */
async function followPairs(watch: ConfigWatch, told: string[]): Promise<void> {
  for await (const item of watch) {
    if (item.type !== 'changes') continue;
    const byRevision = Map.groupBy(item.events, ({ revision }) => revision);
    for (const events of byRevision.values()) {
      expect(events.map(({ key }) => key)).toEqual(PAIRS);
      const [value, ...others] = new Set(events.map(({ entry }) => entry.text()));
      expect(others).toEqual([]);
      told.push(value!);
    }
  }
}

it('loses nothing and repeats nothing while leaders are killed and stopped', async () => {
  await using cluster = await RealCluster.start();
  const clients = await Promise.all([0, 1, 2].map((first) => cluster.connect(CALL, first)));
  const [one, two, three] = clients as [Holdfast, Holdfast, Holdfast];
  let isOver = false;
  const over = () => isOver;
  const numbers: bigint[] = [];
  let inside = 0;
  let greatest = 0n;
  const enter = async (client: Holdfast) => {
    await using held = await client.lock.acquire('door');
    expect(held.token).toBeGreaterThan(greatest);
    greatest = held.token;
    inside++;
    expect(inside).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (held.isHeld) expect(inside).toBe(1);
    inside--;
  };
  const counters = clients.map((client) => new Worker(over, () => count(client, 'counter')));
  const doors = clients.map((client) => new Worker(over, () => enter(client)));
  // Of this one the numbers are told in order, so there is one of it.
  const transfers = new Worker(over, async (round) => {
    await two.config.transaction({ then: PAIRS.map((put) => ({ put, value: String(round) })) }, CALL);
  });
  const readers = new Worker(over, async () => {
    const { entries } = await three.config.list({ prefix: 'pair/' }, CALL);
    expect(new Set(entries.map((entry) => entry.text())).size).toBeLessThanOrEqual(1);
  });
  const sequences = [one, two].map(
    (client) => new Worker(over, async () => void numbers.push(await client.sequence('seq').next(1, CALL))),
  );
  const elections = new Worker(over, async (round) => {
    const leadership = await one.election('chair').campaign(`round ${round}`, { ttl: '30s' });
    const leader = await two.election('chair').leader(CALL);
    expect([leader?.token, leader?.text()]).toEqual([leadership.token, `round ${round}`]);
    await leadership.resign(CALL);
  });
  // Each is there when it is deleted, and deleted once.
  const deletes = new Worker(over, async (round) => {
    const { revision } = await two.config.put('gone', String(round), { ...CALL, ifAbsent: true });
    const { deleted, previous } = await two.config.delete('gone', { ...CALL, returnPrevious: true });
    expect([deleted, previous[0]?.modRevision]).toEqual([1, revision]);
  });
  const tenants = new Worker(over, async (round) => {
    const lease = await three.leases.grant({ ttl: '1m' });
    await three.config.put(`tenant/${round}`, 'here', { ...CALL, lease });
    expect((await one.config.get(`tenant/${round}`, CALL))?.lease).toBe(lease.id);
    await lease.revoke(CALL);
    expect(await one.config.get(`tenant/${round}`, CALL)).toBeUndefined();
  });
  const kept = await two.leases.grant({ name: 'kept' });
  await two.config.put('lease/kept', 'here', { ...CALL, lease: kept });
  const short = await two.leases.grant({ ttl: '1s', keepAlive: false });
  await two.config.put('lease/short', 'here', { ...CALL, lease: short });
  const told: string[] = [];
  const watch = one.config.watch({ prefix: 'pair/' }, { from: 1n });
  const following = followPairs(watch, told);
  following.catch(() => undefined); // awaited at the end
  const view = await three.config.view('pair/', (entry) => Number(entry.text()));
  const workers = [...counters, ...doors, transfers, readers, ...sequences, elections, deletes, tenants];
  const killed: string[] = [];
  const paused: string[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    const leader = await cluster.leaderOf(GROUP);
    await cluster.node(leader).kill();
    killed.push(leader);
    cluster.spawn(leader);
    await cluster.ready();
  }
  for (let pause = 0; pause < PAUSES; pause++) {
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    const leader = await cluster.leaderOf(GROUP);
    cluster.node(leader).signal('SIGSTOP');
    await cluster.leaderOf(
      GROUP,
      cluster.names.filter((name) => name !== leader),
    );
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    // It wakes as somebody who still believes to lead.
    cluster.node(leader).signal('SIGCONT');
    paused.push(leader);
  }
  await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
  isOver = true;
  await Promise.all(workers.map(({ done }) => done));
  const rounds = (some: readonly Worker[]) => some.reduce((sum, worker) => sum + worker.rounds, 0);
  console.log(
    `killed ${killed.join(', ')}, paused ${paused.join(', ')}; ${rounds(counters)} counted, ${rounds(doors)} locks, ${transfers.rounds} transactions, ${readers.rounds} lists, ${numbers.length} numbers, ${elections.rounds} elections, ${deletes.rounds} deletes, ${tenants.rounds} leases; ${told.length} revisions watched`,
  );
  expect((await one.config.get('counter', CALL))?.text()).toBe(String(rounds(counters)));
  expect(new Set(numbers).size).toBe(numbers.length);
  await until(
    () => view.get('0') === transfers.rounds - 1 && told.length >= transfers.rounds,
    10_000,
    () => `the view shows ${view.get('0')}, and ${told.length} of ${transfers.rounds} revisions were told`,
  );
  view.close();
  watch.close();
  await following;
  expect(told).toEqual(told.map((_, at) => String(at)));
  expect(told.length).toBe(transfers.rounds);
  expect([kept.signal.aborted, short.signal.aborted]).toEqual([false, true]);
  expect((await one.config.list({ prefix: 'lease/' }, CALL)).entries.map(({ key }) => key)).toEqual([
    'lease/kept',
  ]);
  for (const worker of workers) expect(worker.rounds).toBeGreaterThan(10);
}, 180_000);
