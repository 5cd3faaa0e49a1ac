import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { KeySpan } from '../../node/coordination/config-command.ts';
import { WatchIndex } from '../../node/coordination/watch-index.ts';
import { prefixSpan } from '../../node/services/key-selection.ts';

const key = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\xff'), minLength: 1, maxLength: 3 });
const span: fc.Arbitrary<KeySpan> = fc.oneof(
  key.map((start) => ({ start, end: `${start}\0` })),
  key.map(prefixSpan),
  fc.constant({ start: '', end: undefined }),
  fc
    .tuple(fc.oneof(fc.constant(''), key), fc.option(key, { nil: undefined }))
    .filter(isRange)
    .map(toSpan),
);

function isRange([start, end]: [string, string | undefined]): boolean {
  return end === undefined || start < end;
}

function toSpan([start, end]: [string, string | undefined]): KeySpan {
  return { start, end };
}

it('finds everyone whose span has a key, whatever came and went before', () => {
  let found = 0;
  const step = fc.oneof(
    { weight: 6, arbitrary: span.map((added) => ({ added })) },
    { weight: 3, arbitrary: fc.nat().map((removed) => ({ removed })) },
    { weight: 3, arbitrary: key.map((asked) => ({ asked })) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
      const index = new WatchIndex<{ readonly span: KeySpan }>();
      const all: { readonly span: KeySpan }[] = [];
      for (const taken of steps) {
        if ('added' in taken) {
          const watcher = { span: taken.added };
          all.push(watcher);
          index.add(watcher);
        } else if ('removed' in taken && all.length > 0) {
          index.remove(all.splice(taken.removed % all.length, 1)[0]!);
        } else if ('asked' in taken) {
          const visited: object[] = [];
          index.visit(taken.asked, (watcher) => visited.push(watcher));
          const wanted = all.filter(
            ({ span: { start, end } }) => start <= taken.asked && (end === undefined || taken.asked < end),
          );
          expect(new Set(visited)).toEqual(new Set(wanted));
          expect(visited.length).toBe(wanted.length);
          found += visited.length;
        }
      }
    }),
    {
      numRuns: 300,
      examples: [[[{ added: { start: '\xff', end: '\xff\xff' } }, { asked: '\xff\xff' }]]],
    },
  );
  expect(found).toBeGreaterThan(10_000);
});
