/** Plays the script of etcdctl commands against some cluster, and gives what each step said. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { STEPS, type Part } from './script.ts';

/** Parts played side by side. */
const AT_ONCE = 5;
/** Of one part. */
const PART_MS = 150_000;

/** What a step left. */
export interface StepEnd {
  readonly code: string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PlayedPart extends Part {
  readonly ends: readonly StepEnd[];
}

export interface Stage {
  /** Path of etcdctl. */
  readonly etcdctl: string;
  readonly endpoints: readonly string[];
  /** Where nobody listens. */
  readonly nobody: string;
}

/** Plays parts side by side, and then those that want to be alone. */
export async function play(parts: readonly Part[], stage: Stage): Promise<PlayedPart[]> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-etcdctl-'));
  try {
    writeWrapper(directory, stage.etcdctl);
    const played = new Map<Part, PlayedPart>();
    const playOne = async (part: Part) => void played.set(part, await playPart(part, stage, directory));
    const together = parts.filter(({ isAlone }) => !isAlone);
    const lane = async () => {
      for (let part = together.shift(); part !== undefined; part = together.shift()) await playOne(part);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    for (const part of parts) if (part.isAlone) await playOne(part);
    return parts.map((part) => played.get(part)!);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** An etcdctl that knows where to go, unless it is told. */
function writeWrapper(directory: string, etcdctl: string): void {
  const path = join(directory, 'etcdctl');
  // On a busy machine five seconds are not enough for what takes none.
  const lines = [
    '#!/bin/sh',
    'case "$*" in *--endpoints=*) ;; *) set -- --endpoints="$ENDPOINTS" "$@" ;; esac',
    'case "$*" in *-timeout=*) ;; *) set -- --command-timeout=40s --dial-timeout=20s "$@" ;; esac',
    `exec ${etcdctl} "$@"`,
  ];
  writeFileSync(path, `${lines.join('\n')}\n`);
  chmodSync(path, 0o755);
}

/** A step that met a change of leader, as a busy machine has them in either cluster, is played again. */
const DRIVER = `
. "$STEPS"
at=0
while IFS= read -r -u 3 step; do
  for attempt in 1 2 3; do
    eval "$step" >"$WORK/$at.out" 2>"$WORK/$at.err" </dev/null
    echo $? >"$WORK/$at.code"
    grep -qE 'etcdserver: (leader changed|no leader|request timed out)' "$WORK/$at.out" "$WORK/$at.err" || break
  done
  at=$((at + 1))
done 3<"$WORK/steps"
`;

async function playPart(part: Part, { endpoints, nobody }: Stage, directory: string): Promise<PlayedPart> {
  const work = join(directory, part.name);
  mkdirSync(work);
  writeFileSync(join(work, 'steps'), part.steps.map((step) => `${step}\n`).join(''));
  const env = {
    ...process.env,
    PATH: `${directory}${delimiter}${process.env['PATH'] ?? ''}`,
    ETCDCTL_API: '3',
    LC_ALL: 'C.UTF-8',
    STEPS,
    WORK: work,
    ENDPOINTS: endpoints.join(','),
    ENDPOINT: endpoints[0]!,
    NOBODY: nobody,
  };
  // A group of its own, so that what it left running ends with it.
  const child = spawn('bash', ['-c', DRIVER], { env, cwd: work, stdio: 'ignore', detached: true });
  const timer = setTimeout(() => kill(child.pid!), PART_MS);
  await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', resolve);
  });
  clearTimeout(timer);
  kill(child.pid!);
  const ends = part.steps.map((_, at) => ({
    code: contents(join(work, `${at}.code`)).trim(),
    stdout: contents(join(work, `${at}.out`)),
    stderr: contents(join(work, `${at}.err`)),
  }));
  return { ...part, ends };
}

function kill(group: number): void {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // all of it has ended
  }
}

/** Of a step that was not come to there is nothing. */
function contents(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
