/** The differences that the documentation tells of, each in a block marked `diff`, below what explains it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Difference } from './differences.ts';

const PAGE = fileURLToPath(new URL('../../../node/docs/etcd.md', import.meta.url));
const SECTION = '## Differences from etcd seen through etcdctl';
const FENCE = '```';

export interface ToldDifferences {
  /** As `shown` shows them. */
  readonly differences: readonly string[];
  /** Blocks with no word of explanation before them. */
  readonly unexplained: readonly string[];
}

export function toldDifferences(page = readFileSync(PAGE, 'utf8')): ToldDifferences {
  const section = page.split(/^(?=## )/m).find((one) => one.startsWith(`${SECTION}\n`)) ?? '';
  const pieces = section.slice(SECTION.length).split(FENCE);
  const differences: string[] = [];
  const unexplained: string[] = [];
  for (let at = 1; at < pieces.length; at += 2) {
    const block = pieces[at]!;
    if (!block.startsWith('diff\n')) continue;
    if (!/\w/.test(pieces[at - 1]!)) unexplained.push(block);
    differences.push(
      ...block
        .slice('diff\n'.length)
        .trimEnd()
        .split(/\n(?=# )/),
    );
  }
  return { differences, unexplained };
}

/** A difference as a block shows it: the step, what only etcd said, what only Holdfast did. */
export function shown({ part, step, there, here }: Difference): string {
  const lines = [
    `# ${part}: ${step}`,
    ...there.map((line) => `- ${line}`),
    ...here.map((line) => `+ ${line}`),
  ];
  return lines.map((line) => line.trimEnd()).join('\n');
}
