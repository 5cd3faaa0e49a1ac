import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KnownNodes } from '../../../node/cluster/gossip/known-nodes.ts';
import { compareRecords, isUp, type NodeRecord } from '../../../node/cluster/gossip/node-record.ts';
import { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { record } from './gossip-samples.ts';

const known = (seed = 1) => {
  const random = new SeededRandom(seed);
  return new KnownNodes('self', () => random.float());
};
const changes = fc.record({
  name: fc.constantFrom('self', 'a', 'b', 'c'),
  incarnation: fc.nat(3),
  state: fc.constantFrom('alive' as const, 'suspect' as const, 'dead' as const, 'left' as const),
});

test('each name has the greatest record that was put; only those up and others have turns', () => {
  fc.assert(
    fc.property(fc.nat(), fc.array(changes, { maxLength: 30 }), (seed, puts) => {
      const nodes = known(seed);
      const greatest = new Map<string, NodeRecord>();
      for (const { name, ...change } of puts) {
        const next = record(name, change);
        const before = greatest.get(name);
        const counts = before === undefined || compareRecords(next, before) > 0;
        expect(nodes.put(next)).toBe(counts);
        if (counts) greatest.set(name, next);
      }
      expect(new Map([...nodes.all].map((one) => [one.name, one]))).toEqual(greatest);
      const up = [...greatest.values()].filter(isUp).map(({ name }) => name);
      expect(nodes.upCount).toBe(up.length);
      const others = up.filter((name) => name !== 'self').sort();
      const probed = Array.from({ length: 2 * others.length - 1 }, () => nodes.nextToProbe());
      expect([...new Set(probed)].sort()).toEqual(others);
      if (others.length === 0) expect(nodes.nextToProbe()).toBeUndefined();
      expect(others).toEqual(expect.arrayContaining(nodes.nextToTell(3)));
    }),
  );
});

test('who is removed is not known, counted or probed any more', () => {
  const nodes = known();
  for (const name of ['self', 'a']) nodes.put(record(name));
  nodes.remove('a');
  expect([nodes.get('a'), nodes.size, nodes.upCount, nodes.nextToProbe()]).toEqual([
    undefined,
    1,
    1,
    undefined,
  ]);
});

test('some that fit are distinct', () => {
  const nodes = known();
  for (const name of ['self', 'a', 'b', 'c']) nodes.put(record(name));
  expect(nodes.pick(2, ({ name }) => name !== 'self')).toHaveLength(2);
  expect(nodes.pick(9, ({ name }) => name !== 'self').sort()).toEqual(['a', 'b', 'c']);
});
