/** Every deliberate bug is noticed by the check that is recorded for it; without the bug that check is content. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { CoreWorld } from '../raft/core-world.ts';
import { play } from '../simulation/world/play.ts';
import { CORE_DEFECTS } from './core-defects.ts';
import { play as playBackups } from './backup-rounds.ts';
import { applyDefect } from './defect.ts';
import { play as playEmptied } from './emptied-node.ts';
import { play as playGossip } from './gossip-scenes.ts';
import { play as playSteps } from './member-steps.ts';
import { play as playCuts } from './snapshot-cuts.ts';
import { play as playStrangers } from './strangers.ts';
import { WORLD_DEFECTS } from './world-defects.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

/** In processes of their own: modules with a bug in them are to reach nobody else. Both work while the sound code is played. */
const reports = { core: report('core'), world: report('world') };

test('one that does not fit its source is an error', () => {
  expect(() => applyDefect(CORE_DEFECTS[0]!, 'something else')).toThrow('fits 0 places');
  expect(() => applyDefect(CORE_DEFECTS[0]!, CORE_DEFECTS[0]!.find.repeat(2))).toThrow('fits 2 places');
});

test('the sound core passes the seeds that convict', () => {
  const seeds = CORE_DEFECTS.flatMap(({ caughtBy }) => ('seed' in caughtBy ? [caughtBy.seed] : []));
  for (const seed of new Set(seeds)) expect(new CoreWorld(seed).run().recovery).toBeGreaterThan(0);
});

const PLACES = new Map(
  WORLD_DEFECTS.filter(({ caughtBy }) => caughtBy.rig === undefined).map(
    ({ caughtBy: { seed, nodes, faults, coordination = false } }) => [
      `${seed} of ${nodes} nodes, ${faults?.join(' ') ?? 'drawn faults'}${coordination ? ', all work' : ''}`,
      { seed, nodes, faults, coordination },
    ],
  ),
);

test.each([...PLACES])(
  'the sound code passes seed %s',
  async (_, { seed, ...options }) => {
    const played = await play(seed, options);
    if ('error' in played) throw played.error;
  },
  60_000,
);

test('nodes of two clusters take nothing from each other', () => playStrangers());

test('a node that was emptied is not taken for what it was', () => playEmptied());

test('replicas move by steps that may be taken', () => playSteps());

test('nodes notice who is there, and who is gone', () => playGossip(), 60_000);

test('snapshots arrive whole, wherever their way is cut off', () => playCuts(), 60_000);

test('what is not a whole backup is refused, and what comes back is as it was', () => playBackups());

describe.each([
  ['core', CORE_DEFECTS],
  ['world', WORLD_DEFECTS],
] as const)('defects: %s', (level, defects) => {
  let lines: string;

  beforeAll(async () => (lines = await reports[level]), 300_000);

  test.each(defects.map(({ name }) => name))('%s', (name) => {
    const line = lines.split('\n').find((text) => text.includes(` ${name}: `));
    expect(line ?? lines.slice(-2000)).toMatch(/^caught /);
  });

  test('there are enough, with names of their own', () => {
    expect(new Set(defects.map(({ name }) => name)).size).toBe(defects.length);
    expect(defects.length).toBeGreaterThanOrEqual(20);
  });
});

async function report(level: 'core' | 'world'): Promise<string> {
  const run = promisify(execFile)(process.execPath, ['--conditions=holdfast-source', MAIN, `--${level}`]);
  return run.then(
    ({ stdout }) => stdout,
    (error: { stdout: string; stderr: string }) => error.stdout + error.stderr,
  );
}
