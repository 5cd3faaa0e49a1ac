/** The median of what clocks show, and that what is old does not count. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { ClockComparison } from '../../node/raft/clock-comparison.ts';

test('the offset is the median of all, of those heard within five seconds', async () => {
  const heard = fc.array(
    fc.record({
      peer: fc.nat({ max: 6 }),
      offsetMs: fc.integer({ min: -9_000, max: 9_000 }),
      waitMs: fc.nat(2_500),
    }),
    { maxLength: 12 },
  );
  await fc.assert(
    fc.asyncProperty(heard, async (all) => {
      const world = new SimulatedScheduler();
      const clock = new SimulatedClock(world);
      const comparison = new ClockComparison(clock);
      const last = new Map<number, { offsetMs: number; atMs: number }>();
      for (const { peer, offsetMs, waitMs } of all) {
        await world.runFor(waitMs);
        comparison.heard(peer, clock.wallMs() + offsetMs);
        last.set(peer, { offsetMs, atMs: world.nowMs() });
        const fresh = [...last.values()].filter(({ atMs }) => world.nowMs() - atMs < 5_000);
        const sorted = [0, ...fresh.map((each) => each.offsetMs)].sort((a, b) => a - b);
        const below = sorted.filter((each) => each < comparison.offsetMs()).length;
        const above = sorted.filter((each) => each > comparison.offsetMs()).length;
        expect(sorted).toContain(comparison.offsetMs());
        expect(below).toBeLessThanOrEqual(sorted.length / 2);
        expect(above).toBeLessThanOrEqual(sorted.length / 2);
      }
      await world.runFor(5_000);
      expect(comparison.offsetMs()).toBe(0);
    }),
    { numRuns: 30 },
  );
});

test('a clock that is set shows at once, before anybody has spoken again', async () => {
  const world = new SimulatedScheduler();
  const clock = new SimulatedClock(world);
  const comparison = new ClockComparison(clock);
  for (const peer of [2, 3]) comparison.heard(peer, clock.wallMs());
  expect(comparison.offsetMs()).toBe(0);
  clock.jump(3_000);
  expect(comparison.offsetMs()).toBe(-3_000);
});

test('of two clocks the earlier one is taken for right', () => {
  const clock = new SimulatedClock(new SimulatedScheduler());
  const ahead = new ClockComparison(clock);
  ahead.heard(2, clock.wallMs() - 800);
  expect(ahead.offsetMs()).toBe(-800);
  const behind = new ClockComparison(clock);
  behind.heard(2, clock.wallMs() + 800);
  expect(behind.offsetMs()).toBe(0);
});

test('those near the median are named, and no others', () => {
  const clock = new SimulatedClock(new SimulatedScheduler());
  const comparison = new ClockComparison(clock);
  for (const [peer, offsetMs] of [
    [2, 3_000],
    [3, 3_300],
    [4, 9_000],
    [5, 2_900],
  ] as const)
    comparison.heard(peer, clock.wallMs() + offsetMs);
  expect(comparison.offsetMs()).toBe(3_000);
  expect(comparison.within(500)).toEqual([2, 3, 5]);
  expect(comparison.within(50)).toEqual([2]);
});
