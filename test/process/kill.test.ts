/**
 * kill -9 under load, again and again on one data directory. `KILLS` says how often;
 * `SEED` makes the load and the moments of the kills those of an earlier run, as far as
 * the machine's own timing allows.
 */
import { expect, it } from 'vitest';
import { between } from '@holdfast/client/random';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { Load } from './load.ts';
import { RealNode, until, type StartReport } from './real-node.ts';

const KILLS = Number(process.env['KILLS'] ?? 15);
const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
/** Calls acknowledged before a kill: from hardly one batch to several log segments. */
const FEWEST = 20;
const MOST = 1_000;

it(
  `keeps what it acknowledged through ${KILLS} kills`,
  async () => {
    await using node = await RealNode.start();
    await using load = await Load.over(node.grpc, SEED);
    const random = new SeededRandom(SEED + 1);
    const starts: StartReport[] = [];
    const { history } = load;
    let killedStarts = 0;
    load.begin();
    for (let kills = 1; kills <= KILLS; kills++) {
      const target = history.totals.acknowledged + between(random, FEWEST, MOST);
      await until(
        () => history.totals.acknowledged >= target,
        60_000,
        () => `${target} acknowledged: ${node.output}`,
      );
      await node.kill();
      if (kills % 10 === 0) killedStarts += await killWhileStarting(node, random);
      starts.push(await node.start());
      await load.verifyTouched();
      if (kills % 25 === 0) await load.verifyAll();
      expect(history.violations, `seed ${SEED}, after ${kills} kills`).toEqual([]);
    }
    await load.end();
    const keys = await load.verifyAll();
    expect(history.violations, `seed ${SEED}`).toEqual([]);
    report(killedStarts, keys, load, starts);
    expect(history.totals.acknowledged).toBeGreaterThan(KILLS * FEWEST);
    expect(history.totals.unknown).toBeGreaterThan(KILLS / 2);
    expect(starts.some(({ replayedEntries }) => replayedEntries > 0)).toBe(true);
  },
  60_000 + KILLS * 30_000,
);

it('loses nothing and answers everything when it is stopped under load', async () => {
  await using node = await RealNode.start();
  await using load = await Load.over(node.grpc, SEED, true);
  const { totals, violations } = load.history;
  const stops: number[] = [];
  for (let round = 0; round < 3; round++) {
    const target = totals.acknowledged + 1_000;
    load.begin();
    await until(
      () => totals.acknowledged >= target,
      60_000,
      () => node.output,
    );
    const { code, signal, stopMs } = await node.stop();
    stops.push(stopMs);
    expect([code, signal], node.output).toEqual([0, null]);
    expect(stopMs).toBeLessThan(15_000);
    const { replayedEntries, tornBytes } = await node.start();
    // A node that stopped in order has nothing to make up for.
    expect([replayedEntries, tornBytes]).toEqual([0, 0]);
    await load.end();
  }
  await load.verifyAll();
  expect(violations, `seed ${SEED}`).toEqual([]);
  // Patient clients repeat what a stop cut off, and a repeat is answered with the first result.
  expect(totals.unknown).toBe(0);
  console.log(
    `stopped 3 times under load in ${stops.map((ms) => ms.toFixed(0)).join(', ')} ms: ` +
      `${totals.acknowledged} acknowledged, ${totals.unknown} unknown, ${totals.notApplied} refused`,
  );
}, 300_000);

/** Recovery must bear being cut off as well; at any point of it. */
async function killWhileStarting(node: RealNode, random: SeededRandom): Promise<number> {
  const ended = node.spawn();
  await Promise.race([
    new Promise((resolve) => setTimeout(resolve, between(random, 50, 600))),
    ended.then(({ code }) => expect(code, node.output).toBe(0)),
  ]);
  await node.kill();
  return 1;
}

function report(killedStarts: number, keys: number, load: Load, starts: readonly StartReport[]): void {
  const { acknowledged, unknown, notApplied, reads } = load.history.totals;
  const operations = acknowledged + unknown + notApplied;
  const torn = starts.filter(({ tornBytes }) => tornBytes > 0).length;
  console.log(
    [
      `${KILLS} kills under load and ${killedStarts} while starting, seed ${SEED}: ${operations} writes of ${keys} keys, of which ${acknowledged} acknowledged, ` +
        `${unknown} unknown, ${notApplied} refused; ${reads} reads checked`,
      `recovery: ${spread(starts.map(({ recoveryMs }) => recoveryMs))} ms; ` +
        `from spawn to ready: ${spread(starts.map(({ startMs }) => startMs))} ms; ` +
        `entries replayed: ${spread(starts.map(({ replayedEntries }) => replayedEntries))}; ` +
        `${torn} torn tails`,
    ].join('\n'),
  );
}

/** Least, median and greatest. */
function spread(figures: readonly number[]): string {
  const sorted = figures.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)]!.toFixed(0);
  return `min ${at(0)}, median ${at(0.5)}, max ${at(1)}`;
}
