import { expect, test } from 'vitest';
import { LivedTime } from '../../../node/cluster/gossip/lived-time.ts';
import { LocalHealth } from '../../../node/cluster/gossip/local-health.ts';

test('doubt grows and shrinks within its bounds, and stretches probes', () => {
  const health = new LocalHealth(8);
  health.better();
  expect([health.doubt, health.stretch]).toEqual([0, 1]);
  health.worse();
  health.worse(3);
  expect([health.doubt, health.stretch]).toEqual([4, 5]);
  health.worse(100);
  health.better();
  expect([health.doubt, health.stretch]).toEqual([7, 8]);
});

test('time that passes in steps is lived', () => {
  const time = new LivedTime(500);
  for (const clockMs of [10_000, 10_100, 10_600]) expect(time.advance(clockMs)).toBe(false);
  expect(time.ms).toBe(600);
});

test('of a leap forward one step is lived, and that is said; of one back nothing', () => {
  const time = new LivedTime(500);
  time.advance(10_000);
  expect(time.advance(3_600_000)).toBe(true);
  expect(time.ms).toBe(500);
  expect(time.advance(0)).toBe(false);
  expect(time.ms).toBe(500);
  expect(time.advance(100)).toBe(false);
  expect(time.ms).toBe(600);
});
