/** Every deliberate bug is noticed by the check that is recorded for it. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { CoreWorld } from '../raft/core-world.ts';
import { CORE_DEFECTS } from './core-defects.ts';
import { applyDefect } from './defect.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

describe('defects', () => {
  let report = '';

  // In a process of its own: modules with a bug in them are to reach nobody else.
  beforeAll(async () => {
    const run = promisify(execFile)(process.execPath, ['--conditions=holdfast-source', MAIN]);
    report = await run.then(
      ({ stdout }) => stdout,
      (error: { stdout: string; stderr: string }) => error.stdout + error.stderr,
    );
  }, 120_000);

  test.each(CORE_DEFECTS.map(({ name }) => name))('%s', (name) => {
    const line = report.split('\n').find((text) => text.includes(` ${name}: `));
    expect(line ?? report.slice(-2000)).toMatch(/^caught /);
  });
});

test('there are enough, with names of their own', () => {
  expect(new Set(CORE_DEFECTS.map(({ name }) => name)).size).toBe(CORE_DEFECTS.length);
  expect(CORE_DEFECTS.length).toBeGreaterThan(20);
});

test('one that does not fit its source is an error', () => {
  expect(() => applyDefect(CORE_DEFECTS[0]!, 'something else')).toThrow('fits 0 places');
});

test('the sound code passes the seeds that convict', () => {
  const seeds = CORE_DEFECTS.flatMap(({ caughtBy }) => ('seed' in caughtBy ? [caughtBy.seed] : []));
  for (const seed of new Set(seeds)) expect(new CoreWorld(seed).run().recovery).toBeGreaterThan(0);
});
