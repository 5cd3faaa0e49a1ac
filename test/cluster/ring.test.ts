/** How much of the ring a node has, and how much of it moves, against what is to be expected. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { partitionArcs } from '../../client/partition-table.ts';
import { placeReplicas } from '../../node/cluster/placement.ts';
import { moveTargets, type PlacedGroup } from '../../node/cluster/placement-targets.ts';
import { Ring } from '../../node/cluster/ring.ts';

const names = (count: number) => Array.from({ length: count }, (_, at) => `node-${at + 1}`);
const HASHES = partitionArcs(8_192).map(({ firstHash }) => firstHash);

/** The first N of each of many hashes. */
function holders(ring: Ring, replication: number): string[][] {
  return HASHES.map((hash) => ring.from(hash).slice(0, replication));
}

describe('the ring', () => {
  test.each([3, 5, 10, 30])('gives each of %i nodes about the same share', (count) => {
    const shares = new Map<string, number>();
    for (const [name] of holders(new Ring(names(count)), 1)) shares.set(name!, (shares.get(name!) ?? 0) + 1);
    // 150 places give a share a standard deviation of 1 in 12; four of them.
    for (const share of shares.values()) {
      expect((share * count) / HASHES.length).toBeGreaterThan(0.66);
      expect((share * count) / HASHES.length).toBeLessThan(1.34);
    }
    expect(shares.size).toBe(count);
  });

  test.each([1, 2, 3])(
    'moves the share of a node that comes or goes, and nothing else, with %i replicas',
    (copies) => {
      for (const count of [4, 9, 19]) {
        const all = names(count + 1);
        const added = all.at(-1)!;
        const [before, after] = [holders(new Ring(all.slice(0, -1)), copies), holders(new Ring(all), copies)];
        let moved = 0;
        for (const [at, nodes] of after.entries()) {
          const come = nodes.filter((name) => !before[at]!.includes(name));
          expect(come.every((name) => name === added)).toBe(true);
          // Whoever stays keeps its place before the others that stay.
          const stayed = nodes.filter((name) => name !== added);
          expect(before[at]!.filter((name) => stayed.includes(name))).toEqual(stayed);
          moved += come.length;
        }
        const theory = 1 / (count + 1);
        const share = moved / (HASHES.length * copies);
        expect(share / theory).toBeGreaterThan(0.7);
        expect(share / theory).toBeLessThan(1.3);
      }
    },
  );
});

/** What is to hold of a table of replicas, looked at one by one. */
function greatestLoad(ids: readonly number[], table: readonly (readonly number[])[]): number {
  return Math.max(...ids.map((id) => table.filter((replicas) => replicas.includes(id)).length));
}

const member = (id: number) => ({ id, name: `node-${id}` });

function settle(ids: readonly number[], before: readonly PlacedGroup[]): readonly PlacedGroup[] {
  let groups = before;
  for (;;) {
    const moved = moveTargets(ids.map(member), groups, () => true);
    if (moved.size === 0) return groups;
    groups = groups.map((group) => ({ ...group, target: moved.get(group.group) ?? group.target }));
  }
}

describe('the planner', () => {
  const cases = fc.record({
    count: fc.integer({ min: 3, max: 9 }),
    exponent: fc.integer({ min: 4, max: 8 }),
    copies: fc.integer({ min: 1, max: 3 }),
  });

  test('moves the theoretical share of a node that comes, give or take what it tolerates, to it alone', () => {
    fc.assert(
      fc.property(cases, ({ count, exponent, copies }) => {
        const ids = Array.from({ length: count }, (_, at) => at + 1);
        const arcs = partitionArcs(2 ** exponent).map(({ firstHash }) => firstHash);
        const targets = placeReplicas({ members: ids.map(member), arcs, replication: copies, held: [] });
        const before = arcs.map((arc, at) => ({
          group: at + 1,
          arc,
          replication: copies,
          target: targets[at]!,
        }));
        const all = [...ids, count + 1];
        const after = settle(all, before);
        const mean = (arcs.length * copies) / all.length;
        const come = after.flatMap(({ target }, at) =>
          target.filter((id) => !before[at]!.target.includes(id)),
        );
        const toOthers = come.filter((id) => id !== count + 1).length;
        expect(come.length - toOthers).toBeLessThanOrEqual(Math.ceil(mean));
        expect(come.length - toOthers).toBeGreaterThanOrEqual(Math.floor(mean) - 2);
        expect(toOthers).toBeLessThanOrEqual(count);
        expect(
          greatestLoad(
            all,
            after.map(({ target }) => target),
          ),
        ).toBeLessThanOrEqual(Math.ceil(mean) + 1);
      }),
      { numRuns: 60 },
    );
  });

  test('moves of a node that goes its own share, and next to nothing else', () => {
    fc.assert(
      fc.property(cases, ({ count, exponent, copies }) => {
        const ids = Array.from({ length: count + 1 }, (_, at) => at + 1);
        const arcs = partitionArcs(2 ** exponent).map(({ firstHash }) => firstHash);
        const targets = placeReplicas({ members: ids.map(member), arcs, replication: copies, held: [] });
        const before = arcs.map((arc, at) => ({
          group: at + 1,
          arc,
          replication: copies,
          target: targets[at]!,
        }));
        const stay = ids.slice(0, -1);
        const after = settle(stay, before);
        const lost = targets.filter((replicas) => replicas.includes(count + 1)).length;
        const moved = after.reduce(
          (sum, { target }, at) => sum + target.filter((id) => !before[at]!.target.includes(id)).length,
          0,
        );
        expect(moved).toBeGreaterThanOrEqual(lost);
        expect(moved).toBeLessThanOrEqual(lost + count);
        const mean = (arcs.length * copies) / count;
        expect(
          greatestLoad(
            stay,
            after.map(({ target }) => target),
          ),
        ).toBeLessThanOrEqual(Math.ceil(mean) + 1);
      }),
      { numRuns: 60 },
    );
  });
});
