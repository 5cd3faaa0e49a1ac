/** Three real nodes are stopped and started one after the other under load: no call fails. */
import { expect, it } from 'vitest';
import type { Holdfast } from '@holdfast/client';
import { RealCluster } from './real-cluster.ts';
import { until, within } from './real-node.ts';

const CALLERS = 4;

/** Callers of every kind, and what their calls failed with. */
class Callers {
  readonly failures: string[] = [];
  calls = 0;
  increments = 0n;
  longestMs = 0;
  readonly #running: Promise<void>[];
  #isOver = false;

  constructor(clients: readonly Holdfast[]) {
    this.#running = clients.flatMap((client, number) =>
      Array.from({ length: CALLERS }, (_, caller) => this.#work(client, `${number}.${caller}`)),
    );
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  progress(count: number): Promise<void> {
    const goal = this.calls + count;
    return until(
      () => this.calls >= goal,
      60_000,
      () => `${this.calls} of ${goal} calls`,
    );
  }

  async #work(client: Holdfast, name: string): Promise<void> {
    const kv = client.keyspace('default');
    for (let serial = 0; !this.#isOver; serial++) {
      const key = `${name}/${serial % 50}`;
      const value = `${serial}`;
      await this.#call('put', () => kv.put(key, value));
      await this.#call('get', async () => {
        const found = (await kv.get(key))?.text();
        if (found !== value) throw new Error(`found ${found}, wrote ${value}`);
      });
      await this.#call('increment', () => kv.increment(`counter/${serial % 8}`));
      this.increments++;
      // These two do not travel by the pipeline.
      await this.#call('transact', () => kv.transact({ then: [{ put: `pair/${key}`, value }] }));
      if (serial % 10 === 0) await this.#call('describe', () => client.keyspaces.describe('default'));
    }
  }

  async #call(kind: string, call: () => Promise<unknown>): Promise<void> {
    const startMs = performance.now();
    try {
      await call();
    } catch (error) {
      const tookMs = (performance.now() - startMs).toFixed(0);
      this.failures.push(`${kind} after ${tookMs} ms: ${(error as Error).message}`);
    }
    this.longestMs = Math.max(this.longestMs, performance.now() - startMs);
    this.calls++;
  }
}

it('a rolling restart fails no call', async () => {
  await using cluster = await RealCluster.start();
  const clients = await Promise.all([0, 1, 2].map((first) => cluster.connect({ timeout: '10s' }, first)));
  const callers = new Callers(clients);
  await callers.progress(200);
  for (const name of cluster.names) {
    const { code } = await within(cluster.node(name).stop(), 60_000, () => cluster.node(name).output);
    expect(code).toBe(0);
    await callers.progress(100);
    await cluster.restart(name);
    await callers.progress(100);
  }
  await callers.end();
  expect(callers.failures).toEqual([]);
  const counters = await clients[0]!
    .keyspace('default')
    .getMany(Array.from({ length: 8 }, (_, at) => `counter/${at}`));
  const sum = counters.reduce((total, entry) => total + BigInt(entry?.text() ?? '0'), 0n);
  expect(sum).toBe(callers.increments);
  console.log(
    `3 nodes restarted one after the other: ${callers.calls} calls, none failed, the longest took ${callers.longestMs.toFixed(0)} ms`,
  );
}, 180_000);
