/** Replicas in zones: against oracles that look at everything. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { partitionArcs } from '../../client/partition-table.ts';
import { placeReplicas } from '../../node/cluster/placement.ts';
import { moveTargets, type PlacedGroup } from '../../node/cluster/placement-targets.ts';
import { Zones, type ZonedNode } from '../../node/cluster/zones.ts';

/** Nodes by the number of them in each zone. */
function nodesOf(sizes: readonly number[]): ZonedNode[] {
  const zones = sizes.flatMap((size, at) => Array<string>(size).fill(`z${at}`));
  return zones.map((zone, at) => ({ id: at + 1, name: `node-${at + 1}`, zone }));
}

const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 });
const arcsOf = (exponent: number) => partitionArcs(2 ** exponent).map(({ firstHash }) => firstHash);

/** The most copies in one zone that a group of so many has if they stand as far apart as they can. */
function fewestTogether(zoneSizes: readonly number[], copies: number): number {
  for (let most = 1; ; most++)
    if (zoneSizes.reduce((sum, size) => sum + Math.min(size, most), 0) >= copies) return most;
}

function mostTogether(nodes: readonly ZonedNode[], replicas: readonly number[]): number {
  const zones = replicas.map((id) => nodes.find((node) => node.id === id)!.zone);
  return Math.max(...zones.map((zone) => zones.filter((one) => one === zone).length));
}

describe('new replicas', () => {
  test('stand in as many zones as can be', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 5 }), fc.nat(6), (zoneSizes, replication, exponent) => {
        const members = nodesOf(zoneSizes);
        const copies = Math.min(replication, members.length);
        for (const replicas of placeReplicas({ members, arcs: arcsOf(exponent), replication, held: [] })) {
          expect(new Set(replicas).size).toBe(copies);
          expect(mostTogether(members, replicas)).toBe(fewestTogether(zoneSizes, copies));
        }
      }),
    );
  });

  test('of zones of one size are no more on a node than one above the mean, rounded up', () => {
    const equal = fc.record({ size: fc.integer({ min: 1, max: 3 }), zones: fc.integer({ min: 1, max: 5 }) });
    fc.assert(
      fc.property(
        equal,
        fc.integer({ min: 1, max: 5 }),
        fc.nat(7),
        ({ size, zones }, replication, exponent) => {
          const members = nodesOf(Array<number>(zones).fill(size));
          const table = placeReplicas({ members, arcs: arcsOf(exponent), replication, held: [] });
          const mean = (table.length * Math.min(replication, members.length)) / members.length;
          for (const { id } of members)
            expect(table.filter((replicas) => replicas.includes(id)).length).toBeLessThanOrEqual(
              Math.ceil(mean) + 1,
            );
        },
      ),
    );
  });

  test('without zones are where they are with a zone for each node', () => {
    const members = nodesOf([1, 1, 1, 1, 1]);
    const without = members.map(({ id, name }) => ({ id, name }));
    const place = (nodes: readonly ZonedNode[]) =>
      placeReplicas({ members: nodes, arcs: arcsOf(6), replication: 3, held: [] });
    expect(place(without)).toEqual(place(members));
  });
});

describe('replicas that are there', () => {
  function settle(members: readonly ZonedNode[], before: readonly PlacedGroup[]): readonly PlacedGroup[] {
    let groups = before;
    for (let rounds = 0; ; rounds++) {
      const moved = moveTargets(members, groups, () => true);
      if (moved.size === 0) return groups;
      expect(rounds).toBeLessThan(40);
      groups = groups.map((group) => ({ ...group, target: moved.get(group.group) ?? group.target }));
    }
  }

  test('come to stand apart, wherever they stood, and rest', () => {
    const cases = fc.record({ before: sizes, after: sizes, replication: fc.integer({ min: 1, max: 5 }) });
    fc.assert(
      fc.property(cases, fc.nat(5), ({ before, after, replication }, exponent) => {
        const arcs = arcsOf(exponent);
        const table = placeReplicas({ members: nodesOf(before), arcs, replication, held: [] });
        const groups = arcs.map((arc, at) => ({ group: at + 1, arc, replication, target: table[at]! }));
        const members = nodesOf(after);
        const copies = Math.min(replication, members.length);
        for (const { target } of settle(members, groups)) {
          expect(new Set(target).size).toBe(copies);
          expect(mostTogether(members, target)).toBe(fewestTogether(after, copies));
        }
      }),
    );
  });
});

describe('shares', () => {
  test('add up to all copies, are equal within a zone, and the mean where zones are equal', () => {
    fc.assert(
      fc.property(
        sizes,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 50 }),
        (zoneSizes, wanted, count) => {
          const members = nodesOf(zoneSizes);
          const copies = Math.min(wanted, members.length, zoneSizes.length);
          const shares = new Zones(members).shares(new Map([[copies, count]]));
          const total = [...shares.values()].reduce((sum, share) => sum + share, 0);
          expect(total).toBeCloseTo(copies * count, 6);
          for (const zone of new Set(members.map((node) => node.zone))) {
            const own = members.filter((node) => node.zone === zone).map(({ id }) => shares.get(id)!);
            expect(Math.max(...own) - Math.min(...own)).toBeLessThan(1e-9);
            // A zone has no group twice.
            expect(own.reduce((sum, share) => sum + share, 0)).toBeLessThanOrEqual(count + 1e-9);
          }
          if (new Set(zoneSizes).size === 1)
            expect(shares.get(1)).toBeCloseTo((copies * count) / members.length, 6);
        },
      ),
    );
  });

  test('of a small zone are greater, as it must have each group', () => {
    const shares = new Zones(nodesOf([1, 2, 2])).shares(new Map([[3, 100]]));
    expect([...shares.values()]).toEqual([100, 50, 50, 50, 50]);
  });
});
