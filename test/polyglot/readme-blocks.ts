import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Root of the repository. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** The text of a fenced block of README.md, named by its language and the word after it. */
export function readmeBlock(language: string, name: string): string {
  const readme = readFileSync(`${ROOT}README.md`, 'utf8');
  const blocks = [...readme.matchAll(/^```(\S+) (\S+)\n([\s\S]*?)^```$/gm)];
  const found = blocks.filter((block) => block[1] === language && block[2] === name);
  if (found.length !== 1) throw new Error(`README.md has ${found.length} blocks "${language} ${name}"`);
  return found[0]![3]!;
}

/** A text with every version and revision put as `N`: which numbers are given out is nobody's business. */
export function withoutVersions(text: string): string {
  return text.replaceAll(/("(?:version|revision)":"|^(?:version|revision) )\d+/gm, '$1N');
}
