import { expect, test } from 'vitest';
import { Deadlines, Expiring } from '../../client/deadlines.ts';
import type { Clock } from '../../client/clock.ts';

class Item extends Expiring {
  ended: string | undefined;

  expire(): void {
    this.ended = 'expired';
  }

  abandon(): void {
    this.ended = 'abandoned';
  }
}

/** A clock that is set, and whose timers are counted. */
function handClock() {
  const timers = new Map<object, { atMs: number; run: () => void }>();
  let nowMs = 0;
  const clock = {
    monotonicMs: () => nowMs,
    setTimer: (delayMs: number, run: () => void) => {
      const timer = { cancel: () => void timers.delete(timer) };
      timers.set(timer, { atMs: nowMs + delayMs, run });
      return timer;
    },
  } as unknown as Clock;
  const moveTo = (atMs: number) => {
    nowMs = atMs;
    for (const [timer, { atMs: due, run }] of timers)
      if (due <= nowMs) {
        timers.delete(timer);
        run();
      }
  };
  return { clock, timers, moveTo };
}

test('items end at their deadline, under one timer, unless they were removed', () => {
  const { clock, timers, moveTo } = handClock();
  const deadlines = new Deadlines(clock);
  const [first, removed, last] = [new Item(100), new Item(100), new Item(1_000)];
  for (const item of [last, first, removed]) deadlines.add(item);
  deadlines.remove(removed);
  expect(timers.size).toBe(1);
  moveTo(99);
  expect(first.ended).toBeUndefined();
  moveTo(130);
  expect([first.ended, removed.ended, last.ended]).toEqual(['expired', undefined, undefined]);
  expect([deadlines.size, timers.size]).toEqual([1, 1]);
  moveTo(1_030);
  expect(last.ended).toBe('expired');
  expect([deadlines.size, timers.size]).toEqual([0, 0]);
});

test('nothing waits for a timer after it was closed, whatever is added', () => {
  const { clock, timers } = handClock();
  const deadlines = new Deadlines(clock);
  const before = new Item(5_000);
  deadlines.add(before);
  deadlines.close();
  expect(before.ended).toBe('abandoned');
  const after = new Item(5_000);
  deadlines.add(after);
  deadlines.remove(after);
  expect([deadlines.size, timers.size]).toEqual([0, 0]);
});
