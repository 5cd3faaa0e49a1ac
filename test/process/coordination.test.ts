/**
 * Configuration, leases, locks, elections and sequences by the TypeScript client and by plain HTTP
 * on three nodes, whose leader of group 0 is killed again and again: nothing acknowledged is lost,
 * nothing is applied twice, and no lock is held by two.
 */
import { expect, it } from 'vitest';
import type { Holdfast } from '@holdfast/client';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { RealCluster } from './real-cluster.ts';

const GROUP = BigInt(COORDINATION_GROUP);
const KILLS = 4;
const BETWEEN_MS = 1_500;
const CALL = { timeout: '30s' } as const;

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

/** A request over plain HTTP, at whichever node answers. */
async function http(cluster: RealCluster, method: string, path: string, body?: string): Promise<Response> {
  for (let attempt = 0; ; attempt++) {
    const node = cluster.nodes[attempt % cluster.nodes.length]!;
    try {
      const answer = await fetch(`${node.url}${path}`, { method, ...(body !== undefined && { body }) });
      if (answer.status < 500) return answer;
    } catch {
      // The node is being killed, or starts.
    }
    if (attempt > 300) throw new Error(`${method} ${path} was not answered`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

it('loses nothing and repeats nothing while leaders are killed', async () => {
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
  const transfers = new Worker(over, async (round) => {
    await two.config.transaction(
      { then: [0, 1, 2].map((at) => ({ put: `pair/${at}`, value: String(round) })) },
      CALL,
    );
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
  const curls = new Worker(over, async (round) => {
    const put = await http(cluster, 'PUT', `/v1/config/curl/${round % 5}`, String(round));
    expect(put.status).toBe(200);
    const { revision } = (await put.json()) as { revision: string };
    const got = await http(cluster, 'GET', `/v1/config/curl/${round % 5}`);
    expect([
      await got.text(),
      BigInt(got.headers.get('etag')!.replaceAll('"', '')) >= BigInt(revision),
    ]).toEqual([String(round), true]);
  });
  const view = await three.config.view('pair/', (entry) => Number(entry.text()));
  const workers = [...counters, ...doors, transfers, readers, ...sequences, elections, curls];
  const killed: string[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    const leader = await cluster.leaderOf(GROUP);
    await cluster.node(leader).kill();
    killed.push(leader);
    cluster.spawn(leader);
    await cluster.ready();
  }
  await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
  isOver = true;
  await Promise.all(workers.map(({ done }) => done));
  const rounds = (some: readonly Worker[]) => some.reduce((sum, worker) => sum + worker.rounds, 0);
  console.log(
    `killed ${killed.join(', ')}; ${rounds(counters)} counted, ${rounds(doors)} locks, ${transfers.rounds} transactions, ${readers.rounds} lists, ${numbers.length} numbers, ${elections.rounds} elections, ${curls.rounds} by HTTP`,
  );
  expect((await one.config.get('counter', CALL))?.text()).toBe(String(rounds(counters)));
  expect(new Set(numbers).size).toBe(numbers.length);
  expect(view.get('0')).toBe(transfers.rounds - 1);
  view.close();
  for (const worker of workers) expect(worker.rounds).toBeGreaterThan(10);
}, 180_000);
