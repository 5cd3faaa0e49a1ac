import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chooseHandover, type LedGroup } from '../../node/cluster/leader-balance.ts';

const always = () => true;

function led(count: number, voters: readonly number[] = [1, 2, 3]): LedGroup[] {
  return Array.from({ length: count }, (_, group) => ({ group, voters }));
}

const leading = (counts: Record<number, number>) => (node: number) => counts[node] ?? 0;

test('one above another is left alone, two above is not', () => {
  expect(chooseHandover(1, led(2), leading({ 2: 1, 3: 1 }), always)).toBeUndefined();
  expect(chooseHandover(1, led(2), leading({ 2: 1, 3: 0 }), always)).toEqual({ group: 0, to: 3 });
});

test('who leads fewest is given first', () => {
  expect(chooseHandover(1, led(5), leading({ 2: 3, 3: 1 }), always)).toMatchObject({ to: 3 });
});

test('nothing goes to whom it may not', () => {
  const none = leading({});
  expect(chooseHandover(1, led(3), none, (_, voter) => voter === 2)).toMatchObject({ to: 2 });
  expect(chooseHandover(1, led(3), none, (group) => group === 2)).toMatchObject({ group: 2 });
  expect(chooseHandover(1, led(3), none, () => false)).toBeUndefined();
  expect(chooseHandover(1, led(9, [1]), none, always)).toBeUndefined();
});

test('it comes to an end, and no two voters of a group are more than one apart', () => {
  const world = fc.record({
    nodes: fc.integer({ min: 2, max: 7 }),
    seed: fc.array(fc.tuple(fc.nat(), fc.nat()), { minLength: 1, maxLength: 40 }),
  });
  let handovers = 0;
  fc.assert(
    fc.property(world, ({ nodes, seed }) => {
      const ids = Array.from({ length: nodes }, (_, at) => at + 1);
      const all = seed.map(([at, lead], group) => {
        const voters = [...new Set([0, 1, 2].map((step) => ids[(at + step) % nodes]!))];
        return { group, voters, leader: voters[lead % voters.length]! };
      });
      const ledBy = (id: number) => all.filter(({ leader }) => leader === id).length;
      const move = () => {
        for (const self of ids) {
          const own = all.filter(({ leader }) => leader === self);
          const handover = chooseHandover(self, own, ledBy, always);
          if (handover === undefined) continue;
          all[handover.group]!.leader = handover.to;
          return true;
        }
        return false;
      };
      for (let moves = 0; move(); moves++, handovers++) expect(moves).toBeLessThan(40 * 40);
      for (const { leader, voters } of all)
        for (const voter of voters) expect(ledBy(leader) - ledBy(voter)).toBeLessThanOrEqual(1);
    }),
    { numRuns: 500 },
  );
  expect(handovers).toBeGreaterThan(500);
});
