import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  composeId,
  describeId,
  ID_EPOCH_MS,
  ID_MS_END,
  IDS_PER_MS,
  MAX_IDS,
} from '../../client/ids/id-layout.ts';
import { IdGenerator, MAX_AHEAD_MS, type Taking } from '../../node/ids/id-generator.ts';

const NOW = Date.UTC(2026, 5, 1) - ID_EPOCH_MS;

function idsOf(taking: Taking): bigint[] {
  if (taking.case !== 'taken') throw new Error(`it is ${taking.case}`);
  return taking.runs.flatMap(({ first, count }) =>
    Array.from({ length: count }, (_, at) => first + BigInt(at)),
  );
}

describe('the layout', () => {
  test('is 41 bits of milliseconds since 2020, 10 of the worker, 12 of the sequence', () => {
    const id = composeId(1, 1, 1);
    expect(id).toBe((1n << 22n) | (1n << 12n) | 1n);
    expect(describeId(id)).toEqual({ id, timeMs: Date.UTC(2020, 0, 1) + 1, worker: 1, sequence: 1 });
    expect(composeId(ID_MS_END - 1, 1_023, 4_095)).toBe(2n ** 63n - 1n);
  });

  test('what is composed is taken apart again, and orders as its parts do', () => {
    const parts = fc.tuple(
      fc.integer({ min: 1, max: ID_MS_END - 1 }),
      fc.integer({ min: 0, max: 1_023 }),
      fc.integer({ min: 0, max: IDS_PER_MS - 1 }),
    );
    fc.assert(
      fc.property(parts, parts, (one, two) => {
        const [a, b] = [composeId(...one), composeId(...two)];
        const { timeMs, worker, sequence } = describeId(a);
        expect([timeMs - ID_EPOCH_MS, worker, sequence]).toEqual(one);
        const differing = one.findIndex((part, at) => part !== two[at]);
        expect(a < b).toBe(differing >= 0 && one[differing]! < two[differing]!);
      }),
    );
  });

  test.each([0n, -1n, 2n ** 63n, 2n ** 64n])('%d is no ID', (id) => {
    expect(() => describeId(id)).toThrow(
      expect.objectContaining({ reason: 'ID_INVALID', actual: String(id) }),
    );
  });
});

test('a block goes on in the next milliseconds, and is waited for', () => {
  const generator = new IdGenerator(7, 0, NOW + 3_000);
  const taking = generator.take(MAX_IDS, NOW);
  expect(taking).toMatchObject({ case: 'taken', waitMs: 15 });
  const ids = idsOf(taking);
  expect(ids.length).toBe(MAX_IDS);
  expect(new Set(ids).size).toBe(MAX_IDS);
  expect(describeId(ids[0]!)).toMatchObject({ timeMs: NOW + ID_EPOCH_MS, worker: 7, sequence: 0 });
  expect(describeId(ids.at(-1)!)).toMatchObject({ timeMs: NOW + 15 + ID_EPOCH_MS, sequence: 4_095 });
  expect(generator.take(1, NOW)).toMatchObject({ case: 'taken', waitMs: 16 });
});

test('a clock that was set back is waited for a little, and then refused', () => {
  const generator = new IdGenerator(0, 0, NOW + 3_000);
  const [before] = idsOf(generator.take(1, NOW));
  const [after] = idsOf(generator.take(1, NOW - MAX_AHEAD_MS));
  expect(after).toBe(before! + 1n);
  expect(generator.take(1, NOW - 10_000)).toEqual({ case: 'behind', byMs: 10_000 });
  expect(idsOf(generator.take(1, NOW))[0]).toBe(before! + 2n);
});

test('nothing is given out at the high-water, or below the floor', () => {
  const generator = new IdGenerator(0, NOW + 5, NOW + 6);
  expect(describeId(idsOf(generator.take(1, NOW))[0]!).timeMs).toBe(NOW + 5 + ID_EPOCH_MS);
  expect(generator.take(IDS_PER_MS, NOW)).toEqual({ case: 'spent' });
  expect(idsOf(generator.take(IDS_PER_MS - 1, NOW)).length).toBe(IDS_PER_MS - 1);
  expect(generator.take(1, NOW + 3)).toEqual({ case: 'spent' });
  generator.extend(NOW + 7);
  expect(describeId(idsOf(generator.take(1, NOW + 3))[0]!)).toMatchObject({ sequence: 0 });
});

test('more than milliseconds pass is refused, and a time without room too', () => {
  const generator = new IdGenerator(0, 0, NOW + 3_000);
  let taken = 0;
  while (generator.take(MAX_IDS, NOW).case === 'taken') taken += MAX_IDS;
  expect(taken).toBe(Math.floor(((MAX_AHEAD_MS + 1) * IDS_PER_MS) / MAX_IDS) * MAX_IDS);
  expect(generator.take(MAX_IDS, NOW)).toEqual({ case: 'crowded' });
  const late = new IdGenerator(0, 0, ID_MS_END);
  expect(late.take(1, ID_MS_END)).toEqual({ case: 'unusable' });
  expect(late.take(IDS_PER_MS + 1, ID_MS_END - 1)).toEqual({ case: 'unusable' });
  expect(late.take(1, 0)).toEqual({ case: 'unusable' });
  expect(late.take(1, -5)).toEqual({ case: 'unusable' });
});

const step = fc.record({
  /** Of the clock, before the call; mostly small, sometimes far, forwards and backwards. */
  byMs: fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 40 }) },
    { weight: 2, arbitrary: fc.integer({ min: -700, max: 700 }) },
    { weight: 1, arbitrary: fc.integer({ min: -20_000, max: 20_000 }) },
  ),
  count: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: MAX_IDS })),
  extends: fc.boolean(),
});

test('whatever the clock does, IDs grow, lie between floor and high-water, and are not of the future', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -5_000, max: 5_000 }),
      fc.array(step, { maxLength: 60 }),
      (floor, steps) => {
        const floorMs = NOW + floor;
        let highWaterMs = floorMs + 1_000;
        const generator = new IdGenerator(5, floorMs, highWaterMs);
        let clockMs = NOW;
        let last = composeId(floorMs, 5, 0) - 1n;
        let reachedMs = floorMs;
        for (const { byMs, count, extends: isExtended } of steps) {
          clockMs += byMs;
          if (isExtended) generator.extend((highWaterMs = Math.max(highWaterMs, clockMs + 3_000)));
          const taking = generator.take(count, clockMs);
          // The naive way: the next free number at or after the clock, one by one.
          const from = describeId(last + 1n);
          const isCarried = from.worker !== 5; // the millisecond is full
          let [ms, sequence] = isCarried
            ? [describeId(last).timeMs + 1 - ID_EPOCH_MS, 0]
            : [from.timeMs - ID_EPOCH_MS, from.sequence];
          if (clockMs > ms) [ms, sequence] = [clockMs, 0];
          const lastMs = ms + Math.floor((sequence + count - 1) / IDS_PER_MS);
          if (reachedMs - clockMs > MAX_AHEAD_MS) {
            expect(taking).toEqual({ case: 'behind', byMs: reachedMs - clockMs });
          } else if (lastMs - clockMs > MAX_AHEAD_MS) {
            expect(taking).toEqual({ case: 'crowded' });
          } else if (lastMs >= highWaterMs) {
            expect(taking).toEqual({ case: 'spent' });
          } else {
            expect(taking).toMatchObject({ case: 'taken', waitMs: Math.max(0, lastMs - clockMs) });
            let given = 0;
            for (const { first, count: length } of (taking as Extract<Taking, { case: 'taken' }>).runs) {
              expect(first).toBe(composeId(ms, 5, sequence));
              expect(first).toBeGreaterThan(last);
              expect(length).toBeLessThanOrEqual(IDS_PER_MS - sequence);
              last = first + BigInt(length) - 1n;
              given += length;
              [ms, sequence] = [ms + 1, 0];
            }
            expect(given).toBe(count);
            expect(describeId(last)).toMatchObject({ timeMs: lastMs + ID_EPOCH_MS, worker: 5 });
            reachedMs = Math.max(reachedMs, clockMs);
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});
