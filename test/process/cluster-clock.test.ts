/** The wall clock of one of three real nodes is set while they run. */
import { expect, it } from 'vitest';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';
import { CANNOT_STEP, SteppedClock } from './stepped-clock.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const TTL_MS = 4_000;
const STEP_S = 10;

it('a node whose clock is set does not stop the others, nor make values expire early', async (context) => {
  if (CANNOT_STEP !== undefined) context.skip(CANNOT_STEP);
  using clock = new SteppedClock();
  await using cluster = await RealCluster.start({ env: (name) => (name === 'n1' ? clock.env : {}) });
  const client = await cluster.connect({ timeout: '20s' });
  const kv = client.keyspace('default');
  await using load = await CheckedLoad.begin(cluster, { seed: SEED });
  for (const seconds of [STEP_S, -STEP_S]) {
    clock.set(seconds);
    const { length } = cluster.node('n1').output;
    await until(
      () => cluster.node('n1').output.slice(length).includes('the wall clock was set'),
      30_000,
      () => `n1 does not notice: ${cluster.node('n1').output.slice(length)}`,
    );
    await load.progress(100);
    await until(
      async () => (await figure(cluster.node('n1').http, 'holdfast_groups_led')) === 0,
      30_000,
      () => 'n1 leads although its clock is wrong',
    );
    // One key in each of many partitions, whoever led it when the clock was set.
    const keys = Array.from({ length: 32 }, (_, at) => `ttl/${seconds}/${at}`);
    const written = performance.now();
    await kv.putMany(
      keys.map((key) => [key, 'x']),
      { ttl: TTL_MS },
    );
    const early = (await kv.getMany(keys)).filter((entry) => entry === undefined).length;
    if (performance.now() - written < TTL_MS / 2) expect(early).toBe(0);
    await until(
      async () => (await kv.getMany(keys)).every((entry) => entry === undefined),
      60_000,
      () => 'values do not expire',
    );
    expect(performance.now() - written).toBeGreaterThan(TTL_MS - 600);
    console.log(
      `${seconds} s: all of ${TTL_MS} ms gone after ${(performance.now() - written).toFixed(0)} ms`,
    );
  }
  // It may have stamped what came before it knew; afterwards nobody has.
  const ahead = await figure(cluster.node('n2').http, 'holdfast_log_time_ahead_seconds');
  console.log(`log time is ${ahead.toFixed(1)} s ahead`);
  clock.set(0);
  await load.end();
  await cluster.ready();
  await cluster.caughtUp();
}, 180_000);

/** A figure without labels that a node has for Prometheus. */
async function figure(http: string, name: string): Promise<number> {
  const text = await (await fetch(`http://${http}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}
