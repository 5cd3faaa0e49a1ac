import fc from 'fast-check';
import { expect, test } from 'vitest';
import { partitionArcs } from '../../client/partition-table.ts';
import { keyHash } from '../../client/key-hash.ts';
import { placeReplicas } from '../../node/cluster/placement.ts';
import { Ring } from '../../node/cluster/ring.ts';

const names = (count: number) => Array.from({ length: count }, (_, at) => `n${at + 1}`);
const members = (count: number) => names(count).map((name, at) => ({ id: at + 1, name }));
const arcs = (count: number) => partitionArcs(count).map(({ firstHash }) => firstHash);

/** The same by looking at every place. */
function naiveFrom(nodes: readonly string[], hash: number): string[] {
  const places = nodes.flatMap((name) =>
    Array.from({ length: 150 }, (_, at) => ({ name, at: keyHash(Buffer.from(`${name}#${at}`)) })),
  );
  const distance = (at: number) => (at - hash + 2 ** 32) % 2 ** 32;
  places.sort((a, b) => distance(a.at) - distance(b.at));
  return [...new Set(places.map(({ name }) => name))];
}

test('nodes are met clockwise, each once', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }), (count, hash) => {
      expect(new Ring(names(count)).from(hash)).toEqual(naiveFrom(names(count), hash));
    }),
    { numRuns: 200 },
  );
});

test('the order of the names does not matter', () => {
  const hashes = arcs(64);
  const turned = new Ring(names(7).reverse());
  const ring = new Ring(names(7));
  expect(hashes.map((hash) => turned.from(hash))).toEqual(hashes.map((hash) => ring.from(hash)));
});

test('a node more takes about its own share, and nothing moves between the others', () => {
  const before = new Ring(names(9));
  const after = new Ring(names(10));
  let moved = 0;
  const hashes = arcs(16_384);
  for (const hash of hashes) {
    const [old] = before.from(hash);
    const [now] = after.from(hash);
    if (old === now) continue;
    expect(now).toBe('n10');
    moved++;
  }
  expect(moved / hashes.length).toBeGreaterThan(0.05);
  expect(moved / hashes.length).toBeLessThan(0.2);
});

test('replicas are distinct nodes, none of which holds more than one above the mean, rounded up', () => {
  const input = fc.record({
    count: fc.integer({ min: 1, max: 7 }),
    exponents: fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 4 }),
    replication: fc.integer({ min: 1, max: 7 }),
  });
  fc.assert(
    fc.property(input, ({ count, exponents, replication }) => {
      const held: number[][] = [];
      for (const exponent of exponents) {
        held.push(
          ...placeReplicas({ members: members(count), arcs: arcs(2 ** exponent), replication, held }),
        );
      }
      const copies = Math.min(count, replication);
      for (const replicas of held) expect(new Set(replicas).size).toBe(copies);
      const mean = (held.length * copies) / count;
      for (const { id } of members(count)) {
        const load = held.filter((replicas) => replicas.includes(id)).length;
        expect(load).toBeLessThanOrEqual(Math.ceil(mean) + 1);
      }
    }),
    { numRuns: 1_000 },
  );
});

test('who is to lead is even: three nodes, eight partitions', () => {
  const placed = placeReplicas({ members: members(3), arcs: arcs(8), replication: 3, held: [] });
  const leads = [1, 2, 3].map((id) => placed.filter(([first]) => first === id).length);
  expect(leads.sort()).toEqual([2, 3, 3]);
});
