/** Looks whether the checks notice a defect. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { CoreWorld } from '../raft/core-world.ts';
import type { play } from '../raft/transcript.ts';
import type { play as playWorld } from '../simulation/world/play.ts';
import type { Defect } from './defect.ts';
import { loadWith } from './defect-loader.ts';
import type { WorldDefect } from './world-defects.ts';

const TRANSCRIPTS = fileURLToPath(new URL('../raft/transcripts/', import.meta.url));

/** The check that fails on a seed; undefined when none does. */
export async function failingCheck(defect: Defect, seed: string): Promise<string | undefined> {
  const world = (await loadWith(defect, 'test/raft/core-world.ts')) as { CoreWorld: typeof CoreWorld };
  try {
    new world.CoreWorld(seed).run();
    return undefined;
  } catch (error) {
    const { name, checker } = error as Error & { checker?: string };
    if (checker === undefined && name !== 'InvariantBroken') return `${name}: ${(error as Error).message}`;
    return checker ?? 'core invariant';
  }
}

/** Whether a scenario goes otherwise. */
export async function differs(defect: Defect, file: string): Promise<boolean> {
  const transcript = (await loadWith(defect, 'test/raft/transcript.ts')) as { play: typeof play };
  const source = readFileSync(TRANSCRIPTS + file, 'utf8');
  try {
    return transcript.play(source) !== source;
  } catch {
    return true;
  }
}

/** Undefined when the recorded evidence still convicts the defect; otherwise what happened instead. */
export async function acquittal(defect: Defect): Promise<string | undefined> {
  const { caughtBy } = defect;
  if ('transcript' in caughtBy) {
    return (await differs(defect, caughtBy.transcript)) ? undefined : 'the scenario goes as it should';
  }
  const { seed, checker } = caughtBy;
  const check = await failingCheck(defect, seed);
  return check === checker ? undefined : `seed ${seed} fails ${check ?? 'no check'}`;
}

/** All scenarios that go otherwise, and the first seed of so many on which a check fails. */
export async function search(defect: Defect, seeds: number): Promise<string> {
  const files = globSync('*.txt', { cwd: TRANSCRIPTS }).sort();
  const differing: string[] = [];
  for (const file of files) if (await differs(defect, file)) differing.push(file);
  for (let seed = 0; seed < seeds; seed++) {
    const check = await failingCheck(defect, String(seed));
    if (check !== undefined) return `seed ${seed} fails ${check}; scenarios: ${differing.join(' ')}`;
  }
  return `none of ${seeds} seeds; scenarios: ${differing.join(' ')}`;
}

/** The first of so many worlds, of one node and of three by turns, that notices; undefined: none does. */
export async function noticingWorld(defect: WorldDefect, seeds: number): Promise<string | undefined> {
  const path = 'test/simulation/world/play.ts';
  const world = (await loadWith(defect, path)) as { play: typeof playWorld };
  for (let seed = 0; seed < seeds; seed++) {
    const nodes = seed % 2 === 0 ? 1 : 3;
    const played = await world.play(String(seed), { nodes });
    if (!('error' in played)) continue;
    const { name, checker } = played.error as Error & { checker?: string };
    return `seed ${seed} of ${nodes} fails ${checker ?? name}`;
  }
  return undefined;
}
