/**
 * `npm run demo` shows three nodes of which one is killed: a counter goes on, and the node
 * comes back. `npm run demo -- --kills 20 [--json]` measures how long writes take to go on,
 * over so many kills. Everything happens in a temporary directory, which goes away.
 */
import { parseArgs } from 'node:util';
import type { Holdfast } from '@holdfast/client';
import { measureKills } from './failover.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const CLIENTS = 3;
const LINE_MS = 500;
const SHOWN_MS = 3_000;

const { values } = parseArgs({
  options: { kills: { type: 'string' }, json: { type: 'boolean', default: false } },
});
const kills = values.kills === undefined ? undefined : Number(values.kills);
if (kills !== undefined && !(Number.isSafeInteger(kills) && kills > 0)) {
  console.error(`--kills is ${values.kills}, a whole number from 1 is allowed`);
  process.exit(2);
}

let isInterrupted = false;

class Counter {
  acknowledged = 0;
  unknown = 0;
  longestGapMs = 0;
  #value = 0n;
  #lastMs = performance.now();
  #isOver = false;
  readonly #callers: Promise<void>[];

  constructor(clients: readonly Holdfast[]) {
    this.#callers = clients.map((client) => this.#increment(client));
  }

  /** Prints a line now and then. */
  async show(forMs: number): Promise<void> {
    const endMs = performance.now() + forMs;
    while (performance.now() < endMs) {
      const before = this.#value;
      await new Promise((resolve) => setTimeout(resolve, LINE_MS));
      say(`  counter ${String(this.#value).padStart(6)}  +${this.#value - before}`);
    }
    const before = this.acknowledged;
    await until(
      () => this.acknowledged > before,
      30_000,
      () => 'the counter stands still',
    );
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#callers);
  }

  async #increment(client: Holdfast): Promise<void> {
    while (!this.#isOver) {
      try {
        const value = await client.keyspace('default').increment('demo');
        if (value > this.#value) this.#value = value;
        this.acknowledged++;
        const nowMs = performance.now();
        this.longestGapMs = Math.max(this.longestGapMs, nowMs - this.#lastMs);
        this.#lastMs = nowMs;
      } catch (error) {
        if (isInterrupted) return;
        this.unknown++;
        say(`  an increment failed: ${(error as Error).message}`);
      }
    }
  }
}

const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      isInterrupted = true;
      reject(new Error(`ended by ${signal}`));
    });
});
const starting = startCluster();
try {
  await Promise.race([run(), interrupted]);
} catch (error) {
  if (!isInterrupted) throw error;
  process.exitCode = 130;
} finally {
  await starting.then(
    (cluster) => cluster[Symbol.asyncDispose](),
    () => undefined, // it has cleaned up after itself
  );
}
if (isInterrupted) {
  say('Interrupted; nothing is left behind.');
  process.exit();
}

async function run(): Promise<void> {
  const cluster = await starting;
  if (kills === undefined) await demonstrate(cluster);
  else await measure(cluster, kills);
}

async function startCluster(): Promise<RealCluster> {
  say('Three nodes are started, each a process of its own, in a temporary directory.');
  const started = await RealCluster.start();
  for (const node of started.nodes)
    say(`  ${node.name}  gRPC ${node.grpc}  HTTP ${node.http}  process ${node.pid}`);
  return started;
}

async function demonstrate(cluster: RealCluster): Promise<void> {
  const clients: Holdfast[] = [];
  for (let at = 0; at < CLIENTS; at++) clients.push(await cluster.connect({ timeout: '20s' }, at));
  const group = await cluster.groupOf(clients[0]!, 'default', 'demo');
  const counter = new Counter(clients);
  say(`\n${CLIENTS} clients increment one counter.`);
  await counter.show(SHOWN_MS);

  const leader = await cluster.leaderOf(group);
  say(`\nkill -9 of ${leader}, which leads the partition of the counter.`);
  counter.longestGapMs = 0;
  await cluster.node(leader).kill();
  await counter.show(SHOWN_MS);
  const successor = await cluster.leaderOf(group);
  const gap = (counter.longestGapMs / 1_000).toFixed(2);
  say(`The counter goes on: ${successor} leads now. No increment was acknowledged for ${gap} s.`);

  say(`\n${leader} is started again.`);
  const startedMs = performance.now();
  await cluster.restart(leader);
  say(
    `It has what the others have, ${((performance.now() - startedMs) / 1_000).toFixed(1)} s after its start.`,
  );
  await counter.show(SHOWN_MS / 2);
  await counter.end();

  const value = (await clients[0]!.keyspace('default').get('demo'))!.text();
  say(
    `\nThe counter says ${value}; ${counter.acknowledged} increments were acknowledged, ${counter.unknown} failed.`,
  );
  for (const { name } of cluster.nodes) await cluster.node(name).stop();
  say('The nodes are stopped and their data is removed.');
}

async function measure(cluster: RealCluster, count: number): Promise<void> {
  say(`\n${count} times the node that leads a partition is killed while a client writes to it.`);
  const gaps = await measureKills(cluster, count, (leader, ms) =>
    say(`  ${leader} killed: the next write after ${ms.toFixed(0)} ms`),
  );
  const sorted = gaps.toSorted((a, b) => a - b);
  const median = Math.round((sorted[Math.floor((count - 1) / 2)]! + sorted[Math.ceil((count - 1) / 2)]!) / 2);
  const worst = Math.round(sorted.at(-1)!);
  if (!values.json) say(`median ${median} ms, worst ${worst} ms`);
  else
    console.log(
      JSON.stringify({ kills: count, median_ms: median, worst_ms: worst, ms: gaps.map(Math.round) }),
    );
}

/** With --json stdout is for programs. */
function say(text: string): void {
  if (values.json) console.error(text);
  else console.log(text);
}
