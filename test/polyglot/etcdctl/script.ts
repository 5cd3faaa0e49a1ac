/** The script that is played with etcdctl: what it says, read from script.txt. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Steps that follow each other in one shell. */
export interface Part {
  readonly name: string;
  /** Whether nothing else may go on meanwhile. */
  readonly isAlone: boolean;
  /** Lines of bash. */
  readonly steps: readonly string[];
}

const SCRIPT = fileURLToPath(new URL('script.txt', import.meta.url));
/** What steps are made of. */
export const STEPS = fileURLToPath(new URL('steps.sh', import.meta.url));

export function readScript(text = readFileSync(SCRIPT, 'utf8')): Part[] {
  const parts: { name: string; isAlone: boolean; steps: string[] }[] = [];
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const title = /^== (\S+)( alone)?$/.exec(line);
    if (title !== null) parts.push({ name: title[1]!, isAlone: title[2] !== undefined, steps: [] });
    else parts.at(-1)!.steps.push(line);
  }
  return parts;
}
