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

/** Numbers that a cluster gives out: which they are is nobody's business. */
const NUMBERS = /("(?:version|revision|token)":"|^(?:version|revision|token|PUT) +)\d+|\b\d{17,19}\b/gm;

/** A text with every version, revision, token and ID put as `N`. */
export function withoutVersions(text: string): string {
  return text.replaceAll(NUMBERS, (_, before: string | undefined) => `${before ?? ''}N`);
}
