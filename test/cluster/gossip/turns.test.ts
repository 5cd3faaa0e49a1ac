import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shuffled, Turns } from '../../../node/cluster/gossip/turns.ts';
import { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';

const names = (count: number) => Array.from({ length: count }, (_, at) => `n${at}`);
const always = () => true;

test('each of n that stay has a turn in any 2n - 1', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 12 }), fc.nat(40), (seed, count, skipped) => {
      const random = new SeededRandom(seed);
      const turns = new Turns(() => random.float());
      const all = names(count);
      const next = () => turns.next(always, () => all)!;
      for (let turn = 0; turn < skipped; turn++) next();
      const met = new Set(Array.from({ length: 2 * count - 1 }, next));
      expect(met.size).toBe(count);
    }),
  );
});

test('who comes has a turn before a second pass begins', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 9 }), fc.nat(8), (seed, count, taken) => {
      const random = new SeededRandom(seed);
      const turns = new Turns(() => random.float());
      const all = names(count);
      for (let turn = 0; turn < taken % count; turn++) turns.next(always, () => all);
      turns.add('new');
      all.push('new');
      const met = Array.from({ length: count + 1 }, () => turns.next(always, () => all));
      expect(met).toContain('new');
    }),
  );
});

test('who does not count is passed over; where nobody does there is no turn', () => {
  const turns = new Turns(() => 0.5);
  expect(
    turns.next(
      (name) => name === 'n1',
      () => names(3),
    ),
  ).toBe('n1');
  expect(
    turns.next(
      () => false,
      () => names(3),
    ),
  ).toBeUndefined();
});

test('some in random order are distinct, and every one may be first', () => {
  const random = new SeededRandom(1);
  const firsts = new Set<string>();
  for (let each = 0; each < 100; each++) {
    const some = shuffled(names(4), () => random.float(), 3);
    expect(new Set(some).size).toBe(3);
    firsts.add(some[0]!);
  }
  expect(firsts.size).toBe(4);
  expect(shuffled([], () => 0.5, 3)).toEqual([]);
});
