/** Looks whether the checks notice a defect. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { CoreWorld } from '../raft/core-world.ts';
import type { play } from '../raft/transcript.ts';
import type { play as playWorld } from '../simulation/world/play.ts';
import type { Defect } from './defect.ts';
import { loadWith } from './defect-loader.ts';
import type { WorldDefect, WorldEvidence } from './world-defect.ts';

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

/** The check that fails in a world; undefined: none does. */
export async function failingWorldCheck(
  defect: WorldDefect,
  { seed, nodes, faults, rig, coordination = false, broker }: Omit<WorldEvidence, 'checker'>,
): Promise<string | undefined> {
  if (rig !== undefined) return failingRigCheck(defect, rig);
  const world = (await loadWith(defect, 'test/simulation/world/play.ts')) as { play: typeof playWorld };
  const played = await world.play(seed, { nodes, faults, coordination, broker });
  if (!('error' in played)) return undefined;
  const { name, checker, message } = played.error as Error & { checker?: string };
  return checker ?? `${name}: ${message}`;
}

async function failingRigCheck(defect: WorldDefect, rig: string): Promise<string | undefined> {
  const { play } = (await loadWith(defect, rig)) as { play: () => Promise<void> };
  try {
    await play();
    return undefined;
  } catch (error) {
    const { name, checker, message } = error as Error & { checker?: string };
    return checker ?? `${name}: ${message}`;
  }
}

/** Undefined when the recorded world still convicts the defect; otherwise what happened instead. */
export async function worldAcquittal(defect: WorldDefect): Promise<string | undefined> {
  const check = await failingWorldCheck(defect, defect.caughtBy);
  return check === defect.caughtBy.checker ? undefined : `fails ${check ?? 'no check'}`;
}

/** The first seed of so many that notices. */
export async function searchWorlds(
  defect: WorldDefect,
  seeds: number,
  place: Omit<WorldEvidence, 'checker' | 'seed'>,
): Promise<string> {
  for (let seed = 0; seed < seeds; seed++) {
    const check = await failingWorldCheck(defect, { ...place, seed: String(seed) });
    if (check !== undefined) return `seed ${seed} of ${place.nodes} nodes fails ${check}`;
  }
  return `none of ${seeds} seeds`;
}

/** Who notices, and after how many seeds. */
export function shownEvidence({ caughtBy }: Defect | WorldDefect): string {
  if ('transcript' in caughtBy) return caughtBy.transcript;
  if ('rig' in caughtBy) return `${caughtBy.checker}, ${caughtBy.rig}`;
  const taken = /^\d{1,6}$/.test(caughtBy.seed) ? `, ${Number(caughtBy.seed) + 1} tried` : '';
  const place = 'nodes' in caughtBy ? ` of ${caughtBy.nodes} nodes` : '';
  const { faults: kinds } = caughtBy as Partial<WorldEvidence>;
  const faults = kinds === undefined ? '' : ` with ${kinds.join(', ') || 'no faults'}`;
  return `${caughtBy.checker}, seed ${caughtBy.seed}${place}${taken}${faults}`;
}
