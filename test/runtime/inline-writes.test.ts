import { expect, test } from 'vitest';
import { InlineWrites } from '../../node/runtime/inline-writes.ts';

/** One write a millisecond for `seconds`, each taking `tookMs(now)`; how many were inline. */
function play(seconds: number, tookMs: (nowMs: number) => number): { inline: number; slow: number } {
  const writes = new InlineWrites();
  let [inline, slow] = [0, 0];
  for (let now = 0; now < seconds * 1_000; now++) {
    if (!writes.allows(70_000, now)) continue;
    inline++;
    if (tookMs(now) > 2) slow++;
    writes.note(now, now + tookMs(now));
  }
  return { inline, slow };
}

test('on a fast disk all small writes are inline, and no large one', () => {
  expect(play(10, () => 0.2)).toEqual({ inline: 10_000, slow: 0 });
  expect(new InlineWrites().allows(200_000, 1)).toBe(false);
});

test('a slow disk holds the loop up a few times only', () => {
  const { inline, slow } = play(60, () => 20);
  expect(inline).toBe(slow);
  expect(slow).toBeLessThan(20);
});

test('a single slow write costs a short pause', () => {
  expect(play(10, (now) => (now === 5_000 ? 30 : 0.2)).inline).toBeGreaterThan(9_900);
});

test('after a slow minute writes become inline again', () => {
  const { inline } = play(120, (now) => (now < 60_000 ? 20 : 0.2));
  expect(inline).toBeGreaterThan(45_000);
});

test('a disk that is slow every tenth time is left to the pool for most of the time', () => {
  let count = 0;
  const { slow } = play(60, () => (count++ % 10 === 9 ? 20 : 0.2));
  expect(slow * 20).toBeLessThan(6_000); // below a tenth of the minute, where always inline would be a third
});
