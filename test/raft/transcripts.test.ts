/** Scenarios of the Raft core, step by step. `REWRITE=1` writes what happens into the files. */
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { play } from './transcript.ts';

const DIRECTORY = fileURLToPath(new URL('transcripts/', import.meta.url));
const FILES = globSync('*.txt', { cwd: DIRECTORY }).sort();

test('there are scenarios', () => {
  expect(FILES.length).toBeGreaterThan(15);
});

test.each(FILES)('%s', (file) => {
  const path = DIRECTORY + file;
  const source = readFileSync(path, 'utf8');
  const played = play(source);
  if (process.env['REWRITE'] === '1') writeFileSync(path, played);
  else expect(played).toBe(source);
});
