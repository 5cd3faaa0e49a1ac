/**
 * Groups of cores under faults, from seeds. `SEEDS=a,b,c` runs these, `SEEDS=5000` so many.
 */
import { expect, test } from 'vitest';
import { CoreWorld, type WorldReport } from './core-world.ts';

/** Runs of a former time that failed; each found something. */
const KEPT = ['28', '100135', '100236'];
const SEEDS = seeds(process.env['SEEDS'] ?? '80');

test(`${SEEDS.length} groups keep what they promise, and recover`, { timeout: 3_600_000 }, () => {
  const sums: Partial<Record<keyof WorldReport, number>> = {};
  let withSeveralTerms = 0;
  let slowest = 0;
  for (const seed of SEEDS) {
    const report = play(seed);
    for (const [name, value] of Object.entries(report) as [keyof WorldReport, number][]) {
      sums[name] = (sums[name] ?? 0) + value;
    }
    if (report.terms > 1) withSeveralTerms++;
    slowest = Math.max(slowest, report.recovery);
  }
  console.log(`${SEEDS.length} seeds: ${JSON.stringify(sums)}, slowest recovery ${slowest} ticks`);
  if (SEEDS.length < 50) return;
  // Little done proves little.
  for (const [name, sum] of Object.entries(sums))
    expect(sum, name).toBeGreaterThan(name === 'overtaken' ? 0 : SEEDS.length / 4);
  expect(sums.acknowledged! / sums.proposed!).toBeGreaterThan(0.5);
  expect(withSeveralTerms).toBeGreaterThan(SEEDS.length / 2);
});

test('a seed always gives the same run', () => {
  expect(new CoreWorld('again').run()).toEqual(new CoreWorld('again').run());
});

function play(seed: string): WorldReport {
  try {
    return new CoreWorld(seed).run();
  } catch (cause) {
    const replay = `SEEDS=${seed}, npx vitest run --config test/vitest.config.ts test/raft/core-world.test.ts`;
    throw new Error(`seed ${seed}: ${(cause as Error).message.slice(0, 500)}\nreplay: ${replay}`, { cause });
  }
}

/** A number stands for so many seeds; anything else is a list of them. */
function seeds(given: string): string[] {
  if (!/^\d+$/.test(given)) return given.split(',').filter((seed) => seed !== '');
  return [...new Set([...KEPT, ...Array.from({ length: Number(given) }, (_, seed) => String(seed))])];
}
