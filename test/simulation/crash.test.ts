/** Crash safety: the power fails at every operation of the disk, and nothing acknowledged is lost. */
import { describe, expect, test } from 'vitest';
import { between } from '../../client/random.ts';
import type { CrashPolicy } from '../../node/runtime/simulated/crash-policy.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { CrashWorkload } from './crash-workload.ts';
import { SimulatedNode } from './simulated-node.ts';

const WRITES = 120;
const POLICIES: readonly CrashPolicy[] = ['seeded', 'lose-all', 'keep-all', 'keep-last', 'keep-first'];
const MOMENTS = ['before', 'torn', 'after'] as const;
const SETTINGS = { segmentBytes: 48 * 1024 };
const SEEDS = (process.env['SEEDS'] ?? 'a,b,c,d').split(',');

/** Runs the workload; with a crash point, crashes there, perhaps once more while recovering, and goes on. */
async function run(
  seed: string,
  crash?: { operation: number; moment: (typeof MOMENTS)[number]; policy: CrashPolicy },
) {
  const node = new SimulatedNode(seed, SETTINGS);
  const workload = new CrashWorkload(new SeededRandom(`${seed} workload`));
  let crashes = 0;
  if (crash !== undefined) node.disk.crashAt(crash.operation, crash.moment);
  const working = node.start().then((engine) => workload.write(engine, WRITES));
  working.catch(() => undefined);
  if (crash === undefined) {
    await node.run(working);
    return { node, workload, operations: node.disk.operations, crashes };
  }
  let failure: unknown;
  let done = false;
  working.then(
    () => (done = true),
    (error: unknown) => (failure = error),
  );
  await node.world.runUntilTrue(() => node.disk.isEnded || done || failure !== undefined, 60_000);
  if (failure !== undefined) throw failure as Error;
  crashes++;
  node.crash(crash.policy);
  const random = new SeededRandom(`${seed} ${crash.operation} ${crash.moment}`);
  while (random.chance(0.4)) {
    await crashInRecovery(node, random, crash.policy);
    crashes++;
  }
  const engine = await node.run(node.start());
  await node.run(workload.resume(engine));
  await node.run(workload.write(engine, 20));
  workload.check(engine);
  await node.run(engine.stop());
  node.crash('lose-all');
  workload.check(await node.run(node.start()));
  return { node, workload, operations: 0, crashes };
}

/** The power fails again while the node recovers. */
async function crashInRecovery(
  node: SimulatedNode,
  random: SeededRandom,
  policy: CrashPolicy,
): Promise<void> {
  node.disk.crashAt(between(random, 1, 40), 'torn');
  let ended = false;
  node.start().then(
    () => (ended = true),
    () => (ended = true),
  );
  await node.world.runUntilTrue(() => node.disk.isEnded || ended, 60_000);
  node.crash(policy);
}

describe('a crash at every operation of the disk', () => {
  test.each(SEEDS)(
    'seed %s keeps what was acknowledged, shows nothing else, applies nothing twice',
    async (seed) => {
      const { operations } = await run(seed);
      expect(operations).toBeGreaterThan(120);
      const sums = { runs: 0, crashes: 0, acknowledged: 0, unknown: 0, retriedApplied: 0, retriedFresh: 0 };
      for (let operation = 1; operation <= operations; operation++) {
        for (const [position, moment] of MOMENTS.entries()) {
          const policy = POLICIES[(operation + position) % POLICIES.length]!;
          const { workload, crashes } = await run(seed, { operation, moment, policy }).catch(
            (cause: unknown) => {
              throw new Error(
                `seed ${seed}, crash ${moment} operation ${operation}, ${policy}; replay: SEEDS=${seed} npx vitest run --config test/vitest.config.ts test/simulation/crash.test.ts`,
                { cause },
              );
            },
          );
          sums.runs++;
          sums.crashes += crashes;
          sums.acknowledged += workload.acknowledged;
          sums.unknown += workload.unknown;
          sums.retriedApplied += workload.retriedApplied;
          sums.retriedFresh += workload.retriedFresh;
        }
      }
      console.log(`seed ${seed}: ${operations} operations, ${JSON.stringify(sums)}`);
      expect(sums.unknown).toBeGreaterThan(sums.runs / 4);
      expect(sums.retriedApplied).toBeGreaterThan(20);
      expect(sums.retriedFresh).toBeGreaterThan(20);
    },
    300_000,
  );
});
