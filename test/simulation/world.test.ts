/**
 * Clusters and their clients under faults, from seeds. `WORLD_SEEDS=a,b,c` plays these, `WORLD_SEEDS=5000`
 * so many; `NODES=3` fixes the number of nodes. `BROKER_SEEDS` is the same for those with topics, `GOSSIP_SEEDS` for
 * those whose nodes gossip.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { play, replayCommand } from './world/play.ts';
import type { WorldOptions } from './world/world-settings.ts';
import { ReportSum, type WorldReport } from './world/report.ts';

const NODES = process.env['NODES'] === undefined ? undefined : Number(process.env['NODES']);
const SEEDS = seeds(process.env['WORLD_SEEDS'] ?? '100');
const BROKER_SEEDS = seeds(process.env['BROKER_SEEDS'] ?? '40');
const GOSSIP_SEEDS = seeds(process.env['GOSSIP_SEEDS'] ?? '20');
/** What has to be done with the coordination, by kind. */
const WORK = [
  'lock held',
  'lock tried',
  'lock refused',
  'lock taken again',
  'lock lost',
  'lock failed',
  'resource written',
  'lease granted',
  'lease not kept',
  'lease kept',
  'lease revoked',
  'lease expired',
  'election won',
  'election proclaimed',
  'election lost',
  'election failed',
  'leader observed',
  'config put',
  'config put if',
  'config put if failed',
  'config put leased',
  'config delete',
  'config then',
  'config else',
  'config get',
  'config get stale',
  'config get at revision',
  'config list',
  'config list at revision',
  'config compacted',
  'watch begun',
  'watch resumed',
  'watch changes',
  'watch resync',
  'ids made',
  'ids in stock',
  'sequence',
  'client killed',
];
/** What has to be done with topics, by kind. */
const BROKER_WORK = [
  'record kept',
  'record failed',
  'replica read',
  'message polled',
  'partitions assigned',
  'partitions revoked',
  'partitions lost',
  'producer killed',
];
/** From so many runs on, none may leave anything out. */
const ENOUGH = 50;

test(
  `${SEEDS.length} worlds show nothing wrong, and are well again after the faults`,
  { timeout: 3_600_000 },
  async () => {
    const sum = new ReportSum();
    for (const seed of SEEDS) sum.add(await report(seed, { nodes: NODES }));
    console.log(sum.text());
    if (SEEDS.length >= ENOUGH) requireMuch(sum);
  },
);

test(
  `${GOSSIP_SEEDS.length} worlds whose nodes gossip: nothing is wrong, and in the end all see all`,
  { timeout: 3_600_000 },
  async () => {
    const sum = new ReportSum();
    for (const seed of GOSSIP_SEEDS) sum.add(await report(seed, { nodes: NODES, gossip: true }));
    console.log(sum.text());
  },
);

test(
  `${BROKER_SEEDS.length} worlds with topics: nothing is lost, twice, skipped or out of order`,
  { timeout: 3_600_000 },
  async () => {
    const sum = new ReportSum();
    const options = { nodes: NODES, coordination: false, broker: true };
    for (const seed of BROKER_SEEDS) sum.add(await report(seed, options));
    console.log(sum.text());
    if (BROKER_SEEDS.length < 20) return;
    for (const kind of BROKER_WORK) expect(sum.work.get(kind) ?? 0, kind).toBeGreaterThan(0);
    expect(sum.work.get('record kept')).toBeGreaterThan(100 * BROKER_SEEDS.length);
    expect(sum.work.get('message polled')).toBeGreaterThan(100 * BROKER_SEEDS.length);
  },
);

test('seeds that failed once do not any more', { timeout: 600_000 }, async () => {
  for (const { seed, ...options } of keptSeeds()) await report(seed, options);
});

test('a seed always gives the same run', async () => {
  const [first, second] = [await report('again', { nodes: NODES }), await report('again', { nodes: NODES })];
  expect(second.traceHash).toBe(first.traceHash);
  expect(second).toEqual(first);
  expect((await report('another', { nodes: NODES })).traceHash).not.toBe(first.traceHash);
});

/** Little done proves little. */
function requireMuch(sum: ReportSum): void {
  for (const [kind, count] of sum.injections) expect(count, kind).toBeGreaterThan(0);
  expect(sum.of('unknownWrites') / sum.of('writes')).toBeLessThan(0.2);
  expect((sum.of('ok') + sum.of('refused')) / sum.of('operations')).toBeGreaterThan(0.5);
  expect(sum.of('concurrentPairs')).toBeGreaterThan(sum.of('operations') / 10);
  expect(sum.of('refusals')).toBeGreaterThan(0);
  expect(sum.of('forwarded')).toBeGreaterThan(sum.of('operations') / 50);
  expect(sum.withLeaderChange).toBeGreaterThan(sum.runs / 2);
  for (const kind of WORK) expect(sum.work.get(kind) ?? 0, kind).toBeGreaterThan(sum.runs / 10);
}

async function report(seed: string, options: WorldOptions): Promise<WorldReport> {
  const played = await play(seed, options);
  if ('report' in played) return played.report;
  const { error, atMs } = played;
  const message = `seed ${seed} failed at ${atMs.toFixed(3)} ms: ${error.message.slice(0, 2_000)}`;
  throw new Error(`${message}\nreplay: ${replayCommand(seed, options)}`, { cause: error });
}

/** A number stands for so many seeds; anything else is a list of them. */
function seeds(given: string): string[] {
  if (!/^\d+$/.test(given)) return given.split(',').filter((seed) => seed !== '');
  return Array.from({ length: Number(given) }, (_, seed) => String(seed));
}

function keptSeeds(): ({ readonly seed: string } & WorldOptions)[] {
  const lines = readFileSync(new URL('kept-seeds.txt', import.meta.url), 'utf8').split('\n');
  return lines
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(/\s+/))
    .map(([seed, nodes, work]) => ({
      seed: seed!,
      nodes: nodes === '-' ? undefined : Number(nodes),
      coordination: work === 'all',
      broker: work === 'topics',
    }));
}
