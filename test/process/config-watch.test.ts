/**
 * Watches of the configuration on real nodes, while these are killed, stopped, cut off, and
 * history is forgotten.
 */
import { expect, it } from 'vitest';
import type { Holdfast } from '@holdfast/client';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';
import { CANNOT_NETWORK, TestNetwork } from './test-network.ts';
import { WatchedLoad, type Following } from './watched-load.ts';

const NAMES = ['n1', 'n2', 'n3'];
const GROUP = BigInt(COORDINATION_GROUP);
/** A node says something at least so often. */
const HEARTBEAT_MS = 3_000;
const PAUSE_MS = 3_000;

const FOLLOWED = (prefix: string, revision: bigint): Following[] => [
  { title: 'all from a revision on', selection: { prefix }, options: { from: revision } },
  { title: 'all from now on', selection: { prefix } },
  { title: 'one key', selection: `${prefix}1` },
  { title: 'what nobody writes', selection: `${prefix}resting` },
  { title: 'a range', selection: { start: `${prefix}1`, end: `${prefix}4` } },
  { title: 'deletes', selection: { prefix }, options: { puts: false } },
  { title: 'puts of a key', selection: `${prefix}2`, options: { deletes: false } },
  { title: 'with what was before', selection: { prefix }, options: { from: revision, previous: true } },
  { title: 'by several clients in turn', selection: { prefix }, options: { from: revision }, hopsAfter: 20 },
];

async function begin(
  cluster: RealCluster,
  prefix: string,
): Promise<{ load: WatchedLoad; clients: Holdfast[] }> {
  const writers = await Promise.all([0, 1].map((first) => cluster.connect({}, first)));
  const clients = await Promise.all([0, 1, 2].map((first) => cluster.connect({}, first)));
  const { revision } = await clients[0]!.config.describe();
  const load = new WatchedLoad(writers, prefix);
  for (const [at, following] of FOLLOWED(prefix, revision + 1n).entries())
    await load.follow(at % 2 === 0 ? clients : [...clients].reverse(), following);
  return { load, clients };
}

it('tell everything once and in order, though nodes are killed and stopped and history is forgotten', async () => {
  await using cluster = await RealCluster.start();
  const { load, clients } = await begin(cluster, 'w/');
  await load.progress(100);
  for (let round = 0; round < 3; round++) {
    const leader = await cluster.leaderOf(GROUP);
    await cluster.node(leader).kill();
    await load.progress(100);
    cluster.spawn(leader);
    await cluster.ready();
    const paused = cluster.node(NAMES[round]!);
    paused.signal('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    paused.signal('SIGCONT');
    await load.progress(100);
    // Behind what everybody was told: nobody who keeps up loses anything.
    const { revision } = await clients[0]!.config.describe({ timeout: '30s' });
    await load.progress(50);
    if (round === 1) await load.compact(clients[0]!, revision - 20n);
  }
  const late = await load.follow(clients, {
    title: 'from what is forgotten on',
    selection: { prefix: 'w/' },
    options: { from: 1n },
  });
  await load.positions();
  const report = await load.end();
  console.log(report);
  expect(late.resyncs.length).toBe(1);
  expect(load.written).toBeGreaterThan(600);
}, 180_000);

it('tell everything once and in order through partitions', async (context) => {
  if (CANNOT_NETWORK !== undefined) context.skip(CANNOT_NETWORK);
  using network = await TestNetwork.create(NAMES);
  await using cluster = await RealCluster.start({ network });
  const { load } = await begin(cluster, 'p/');
  await load.progress(100);
  for (let round = 0; round < 2; round++) {
    const leader = await cluster.leaderOf(GROUP);
    const others = NAMES.filter((name) => name !== leader);
    if (round === 0) network.split([leader], others);
    else others.forEach((other) => network.cut(leader, other));
    await load.progress(150);
    network.heal();
    await cluster.ready();
    await load.progress(100);
  }
  console.log(await load.end());
  expect(load.written).toBeGreaterThan(500);
}, 180_000);

it('go on elsewhere within two heartbeats when a node stands still', async () => {
  await using cluster = await RealCluster.start();
  const noticed: number[] = [];
  for (let round = 0; round < 3; round++) {
    const watcher = await cluster.connect();
    const writer = await cluster.connect();
    const key = `noticed/${round}`;
    const watch = watcher.config.watch(key);
    await watch.started();
    const values: string[] = [];
    void (async () => {
      for await (const item of watch)
        if (item.type === 'changes') values.push(item.events.at(-1)!.entry.text());
    })();
    await writer.config.put(key, 'before');
    await until(
      () => values.includes('before'),
      10_000,
      () => 'the first change was not told',
    );
    const watching = await Promise.all(
      NAMES.map(async (name) => [name, await watchesOf(cluster, name)] as const),
    );
    const [served] = watching.find(([, watches]) => watches > 0)!;
    cluster.node(served).signal('SIGSTOP');
    const stoppedAt = performance.now();
    try {
      await writer.config.put(key, 'after', { timeout: '30s' });
      await until(
        () => values.includes('after'),
        30_000,
        () => 'the watch does not go on',
      );
      noticed.push(performance.now() - stoppedAt);
    } finally {
      cluster.node(served).signal('SIGCONT');
    }
    watch.close();
    await watcher.close();
    await cluster.ready();
  }
  console.log(`went on after ${noticed.map((ms) => Math.round(ms)).join(', ')} ms`);
  // What comes on top is for the others to elect a leader, and for a busy machine.
  for (const ms of noticed) expect(ms).toBeLessThan(2 * HEARTBEAT_MS + 2_000);
}, 120_000);

async function watchesOf(cluster: RealCluster, name: string): Promise<number> {
  const text = await (await fetch(`${cluster.node(name).url}/metrics`)).text();
  return Number(/^holdfast_config_watches\{state="at_end"\} (\d+)$/m.exec(text)?.[1] ?? 0);
}
