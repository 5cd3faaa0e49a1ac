/** That what is taken out of what etcdctl says is only what no two runs have in common. */
import { describe, expect, test } from 'vitest';
import { differences } from './differences.ts';
import { normalised } from './normalised.ts';
import type { PlayedPart } from './player.ts';
import { shown, toldDifferences } from './told-differences.ts';

function part(...outputs: readonly string[]): PlayedPart {
  const ends = outputs.map((stdout) => ({ code: '0', stdout: `${stdout}\n`, stderr: '' }));
  return { name: 'p', isAlone: false, steps: outputs.map((_, at) => `step ${at}`), ends };
}

const one = (text: string) => normalised(part(text))[0]!.join('\n');
const differ = (a: readonly string[], b: readonly string[]) => differences([part(...a)], [part(...b)]);
const entry = (create: number, modified: number) =>
  `{"header":{"revision":${modified + 5}},"kvs":[{"create_revision":${create},"mod_revision":${modified},"version":1}]}`;

describe('taken out are', () => {
  test.each([
    [
      '127.0.0.2:7401, 8e9e05c52164694d, 3.4.23, 20 kB, true, false, 2, 4, 4, ',
      '<address>, <id>, 3.4.23, <bytes>, true, false, <term>, <index>, <index>, ',
    ],
    [
      'lease 694d8f2f3d7a6c0c granted with TTL(600s), remaining(599s)',
      'lease <id> granted with TTL(600s), remaining(<time>)',
    ],
    ['compacted revision 17', 'compacted revision <revision>'],
    ['"Lease" : 0', '"Lease" : 0'],
    ['"Version" : 3', '"Version" : 3'],
    [
      '{"level":"warn","ts":"x","msg":"m","target":"t","attempt":0,"error":"rpc error"}',
      'warns: m: rpc error',
    ],
    ['a key 1234567', 'a key 1234567'],
  ])('%s', (said, left) => {
    expect(one(said)).toBe(left);
  });
});

describe('it differs', () => {
  test('not, when the same was changed at other revisions', () => {
    expect(differ([entry(4, 9)], [entry(14, 29)])).toEqual([]);
  });

  test('when what was changed is another, or in another order', () => {
    expect(differ([entry(4, 9)], [entry(14, 14)])).toHaveLength(1);
    expect(differ([entry(4, 4), entry(9, 9)], [entry(9, 9), entry(4, 4)])).toHaveLength(2);
    expect(differ(['a\nb'], ['b\na'])).toMatchObject([{ there: ['a', 'b'], here: ['b', 'a'] }]);
  });

  test('when it ends otherwise, or only one of them says something', () => {
    const failed = { ...part('a'), ends: [{ code: '1', stdout: 'a\n', stderr: '' }] };
    expect(differences([part('a')], [failed])).toMatchObject([{ there: [], here: ['ends with 1'] }]);
    expect(differ(['a'], ['a\nb'])).toMatchObject([{ there: [], here: ['b'] }]);
  });
});

test('the page tells of a difference as it is shown, and explains it', () => {
  const [difference] = differ(['a'], ['b']);
  const heading = '## Differences from etcd seen through etcdctl\n\n';
  const block = `\`\`\`diff\n${shown(difference!)}\n\`\`\`\n`;
  const told = (text: string) => toldDifferences(`# Page\n\n${heading}${text}\n## More\n`);
  expect(told(`Why.\n\n${block}`)).toEqual({ differences: ['# p: step 0\n- a\n+ b'], unexplained: [] });
  expect(told(block).unexplained).toHaveLength(1);
  expect(toldDifferences('# Page\n').differences).toEqual([]);
});
