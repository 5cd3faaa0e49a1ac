/**
 * Holders of locks are cut off from all nodes: each hears from its signal that its lock may be
 * lost before a node gives it to somebody else. `RUNS=100` has so many holders.
 */
import { fork } from 'node:child_process';
import { expect, it } from 'vitest';
import { RealCluster } from './real-cluster.ts';
import type { Holdfast } from '@holdfast/client';
import { until, within } from './real-node.ts';
import type { ContenderNews, ContenderOrders } from './lock-contender.ts';
import { CANNOT_NETWORK, CLIENTS, TestNetwork } from './test-network.ts';

const RUNS = Number(process.env['RUNS'] ?? 20);
/** Locks that are held when the holder is cut off. */
const AT_ONCE = 10;
const NAMES = ['n1', 'n2', 'n3'];
const TTL_MS = 2_000;
const WAITER = new URL('./lock-waiter.ts', import.meta.url);

interface Heard {
  readonly lock: string;
  readonly atUs: number;
}

/** A process, here or on the host of a node, that takes locks and says when it heard what. */
class Party implements AsyncDisposable {
  readonly held = new Map<string, Heard>();
  readonly lost = new Map<string, Heard>();
  readonly #child;
  #changed: () => void = () => undefined;

  constructor(launcher: readonly string[], orders: Partial<ContenderOrders>) {
    const [program, ...before] = launcher;
    const execArgv = ['--conditions=holdfast-source'];
    const args = [JSON.stringify(orders)];
    this.#child =
      program === undefined
        ? fork(WAITER, args, { execArgv })
        : fork(WAITER, args, { execPath: program, execArgv: [...before, process.execPath, ...execArgv] });
    this.#child.on('message', (message) => {
      const news = message as ContenderNews;
      if (news.what === 'held') this.held.set(news.lock, news);
      if (news.what === 'ended' && news.how === 'lost') this.lost.set(news.lock, news);
      this.#changed();
    });
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const came = new Promise<void>((resolve) => {
      this.#changed = () => condition() && resolve();
      this.#changed();
    });
    await within(came, 60_000, () => what);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGKILL');
    await closed;
  }
}

/** Resolves when somebody waits for each of the locks. */
async function queued(client: Holdfast, locks: readonly string[]): Promise<void> {
  for (const lock of locks)
    await until(
      async () => (await client.lock.describe(lock)).waiting > 0,
      30_000,
      () => `nobody waits for ${lock}`,
    );
}

it('tells a holder that is cut off before it gives the lock away', async (context) => {
  if (CANNOT_NETWORK !== undefined) context.skip(CANNOT_NETWORK);
  using network = await TestNetwork.create(NAMES);
  await using cluster = await RealCluster.start({ network });
  const watcher = await cluster.connect({ timeout: 10_000 });
  const marginsMs: number[] = [];
  for (let round = 0; marginsMs.length < RUNS; round++) {
    const locks = Array.from({ length: AT_ONCE }, (_, at) => `cut-${round}-${at}`);
    const orders = { endpoints: cluster.endpoints, locks, ttlMs: TTL_MS, seed: round };
    await using holder = new Party([], orders);
    await holder.until(() => holder.held.size === AT_ONCE, 'the holder does not get its locks');
    await using waiter = new Party(network.launcher(NAMES[round % 3]!), orders);
    await queued(watcher, locks);
    for (const name of NAMES) network.cut(CLIENTS, name);
    await waiter.until(() => waiter.held.size === AT_ONCE, 'the locks are not given away');
    for (const lock of locks) {
      const heard = holder.lost.get(lock);
      const given = waiter.held.get(lock)!;
      expect(heard, `${lock}: the holder was not told at all`).toBeDefined();
      marginsMs.push((given.atUs - heard!.atUs) / 1_000);
    }
    network.heal();
    await cluster.ready();
  }
  console.log(
    `${marginsMs.length} holders cut off: told ${Math.min(...marginsMs).toFixed(0)} ms or more before the lock was given away`,
  );
  expect(Math.min(...marginsMs)).toBeGreaterThan(0);
}, 900_000);
