import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CoveredKeys, FROM_KEY, rangeSpan } from '../../node/coordination/auth-permission.ts';
import type { KeySpan } from '../../node/coordination/config-command.ts';

/** Few letters, so that ends meet; a zero byte, as the end of a single key has one. */
const keys = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\xff'), minLength: 1, maxLength: 3 });
const ranges = fc.record({ key: keys, rangeEnd: fc.oneof(fc.constant(''), fc.constant(FROM_KEY), keys) });

/** All keys that can lie between the ends above. */
const UNIVERSE = (() => {
  const letters = ['\0', 'a', 'b', '\xff'];
  let grown = [''];
  const all: string[] = [];
  for (let length = 1; length <= 4; length++) {
    grown = grown.flatMap((start) => letters.map((letter) => start + letter));
    all.push(...grown);
  }
  return all;
})();

function isIn(key: string, { start, end }: KeySpan): boolean {
  return key >= start && (end === undefined || key < end);
}

test('what several ranges cover together is what each of their keys says', () => {
  fc.assert(
    fc.property(fc.array(ranges, { maxLength: 5 }), ranges, (granted, asked) => {
      const spans = granted.map(rangeSpan);
      const span = rangeSpan(asked);
      const expected = UNIVERSE.filter((key) => isIn(key, span)).every((key) =>
        spans.some((one) => isIn(key, one)),
      );
      // Keys beyond the universe tell only where an open end is asked for.
      const isOpen = span.end === undefined && !spans.some(({ end }) => end === undefined);
      expect(new CoveredKeys(spans).covers(span)).toBe(expected && !isOpen);
    }),
    { numRuns: 2_000 },
  );
});

test('one key missing within a range is enough', () => {
  const covered = new CoveredKeys([
    { start: 'a', end: 'c' },
    { start: 'c\0', end: 'f' },
  ]);
  expect(covered.covers({ start: 'a', end: 'f' })).toBe(false);
  expect(covered.covers({ start: 'a', end: 'c' })).toBe(true);
  expect(covered.covers({ start: 'c', end: 'c\0' })).toBe(false);
  const whole = new CoveredKeys([
    { start: 'c', end: 'c\0' },
    { start: 'a', end: 'c' },
    { start: 'c\0', end: 'f' },
  ]);
  expect(whole.covers({ start: 'a', end: 'f' })).toBe(true);
  expect(whole.covers({ start: 'a', end: undefined })).toBe(false);
});
