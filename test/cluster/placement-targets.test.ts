import fc from 'fast-check';
import { expect, test } from 'vitest';
import { partitionArcs } from '../../client/partition-table.ts';
import { placeReplicas } from '../../node/cluster/placement.ts';
import { moveTargets, type PlacedGroup } from '../../node/cluster/placement-targets.ts';

const members = (...ids: number[]) => ids.map((id) => ({ id, name: `n${id}` }));
const everyone = () => true;

function placed(count: number, exponent: number, replication: number): PlacedGroup[] {
  const arcs = partitionArcs(2 ** exponent).map(({ firstHash }) => firstHash);
  const ids = Array.from({ length: count }, (_, at) => at + 1);
  const targets = placeReplicas({ members: members(...ids), arcs, replication, held: [] });
  return arcs.map((arc, at) => ({ group: at + 1, arc, replication, target: targets[at]! }));
}

/** Until nothing changes any more. */
function settled(
  ids: readonly number[],
  before: readonly PlacedGroup[],
  isAlive = everyone as (id: number) => boolean,
) {
  let groups = before;
  for (let rounds = 0; ; rounds++) {
    const moved = moveTargets(members(...ids), groups, isAlive);
    if (moved.size === 0) return groups;
    expect(rounds).toBeLessThan(40);
    groups = groups.map((group) => ({ ...group, target: moved.get(group.group) ?? group.target }));
  }
}

function loads(ids: readonly number[], groups: readonly PlacedGroup[]): number[] {
  return ids.map((id) => groups.filter(({ target }) => target.includes(id)).length);
}

const moves = (before: readonly PlacedGroup[], after: readonly PlacedGroup[]) =>
  after.reduce(
    (sum, { target }, at) => sum + target.filter((id) => !before[at]!.target.includes(id)).length,
    0,
  );

test('every group ends with as many distinct replicas as it can, evenly, and at rest', () => {
  const sets = fc.record({
    count: fc.integer({ min: 1, max: 7 }),
    after: fc.subarray([1, 2, 3, 4, 5, 6, 7, 8], { minLength: 1, maxLength: 7 }),
    exponent: fc.integer({ min: 0, max: 6 }),
    replication: fc.integer({ min: 1, max: 7 }),
  });
  fc.assert(
    fc.property(sets, ({ count, after, exponent, replication }) => {
      const groups = settled(after, placed(count, exponent, replication));
      for (const { target } of groups) {
        expect(new Set(target).size).toBe(target.length);
        expect(target.length).toBe(Math.min(replication, after.length));
        for (const id of target) expect(after).toContain(id);
      }
      const held = loads(after, groups);
      expect(Math.max(...held) - Math.min(...held)).toBeLessThanOrEqual(2);
    }),
    { numRuns: 500 },
  );
});

test('a member more gets its share, and little else moves', () => {
  const before = placed(3, 6, 3);
  const after = settled([1, 2, 3, 4], before);
  const [, , , share] = loads([1, 2, 3, 4], after);
  expect(share).toBeGreaterThanOrEqual(46);
  expect(moves(before, after)).toBe(share);
});

test('of a member that goes only its own replicas move', () => {
  const before = placed(5, 6, 3);
  const [, lost] = loads([1, 2], before);
  const after = settled([1, 3, 4, 5], before);
  expect(moves(before, after)).toBeLessThanOrEqual(lost! + 4);
});

test('nothing is moved to a member that is away', () => {
  const before = placed(3, 3, 3);
  expect(settled([1, 2, 3, 4], before, (id) => id !== 4)).toEqual(before);
  const after = settled([1, 2, 4, 5], before, (id) => id !== 4);
  for (const { target } of after) expect(target).not.toContain(4);
});
