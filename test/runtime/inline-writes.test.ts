import { expect, test } from 'vitest';
import { InlineWrites } from '../../node/runtime/inline-writes.ts';

const BYTES = 70_000;

/** Writes that take what `tookMs` says (0.5 ms more through the pool): how many were inline, and slow so. */
function play(count: number, tookMs: (position: number) => number): { inline: number; slow: number } {
  const writes = new InlineWrites();
  let [inline, slow] = [0, 0];
  for (let position = 0; position < count; position++) {
    const took = tookMs(position);
    if (writes.allows(BYTES)) {
      inline++;
      if (took > 2) slow++;
      writes.note(took);
    } else writes.notePooled(BYTES, took + 0.5);
  }
  return { inline, slow };
}

test('on a fast disk all small writes are inline, and no large one', () => {
  expect(play(10_000, () => 0.2)).toEqual({ inline: 10_000, slow: 0 });
  expect(new InlineWrites().allows(200_000)).toBe(false);
});

test('a slow disk holds the loop up once', () => {
  expect(play(100_000, () => 20)).toEqual({ inline: 1, slow: 1 });
});

test('a single slow write costs a few trips through the pool', () => {
  expect(play(10_000, (position) => (position === 5_000 ? 30 : 0.2)).inline).toBe(10_000 - 16);
});

test('after a slow time writes become inline again', () => {
  const { inline, slow } = play(20_000, (position) => (position < 10_000 ? 20 : 0.2));
  expect(slow).toBe(1);
  expect(inline).toBeGreaterThan(9_900);
});

test('a disk that is slow every twentieth time is left to the pool more and more', () => {
  const { slow } = play(100_000, (position) => (position % 20 === 19 ? 20 : 0.2));
  expect(slow).toBeLessThan(20); // always inline would be five thousand
});

test('large writes through the pool decide nothing', () => {
  const writes = new InlineWrites();
  writes.note(20);
  for (let i = 0; i < 100; i++) writes.notePooled(1_000_000, 0.1);
  expect(writes.allows(BYTES)).toBe(false);
});
