/** Who gets which partitions, beside dumb versions of the same. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assign, type Slot, type Subscriber } from '../../node/coordination/groups/assignment.ts';

const topicNames = ['a', 'b', 'c'];

const input = fc
  .record({
    counts: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 3, maxLength: 3 }),
    subscriptions: fc.array(fc.subarray(topicNames, { minLength: 1 }), { minLength: 0, maxLength: 5 }),
    owners: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 15, maxLength: 15 }),
  })
  .map(({ counts, subscriptions, owners }) => {
    const members = subscriptions.map((topics, at): Subscriber => ({
      id: `m${at}`,
      topics: new Set(topics),
    }));
    const slots = topicNames.flatMap((topic, at) =>
      Array.from({ length: counts[at]! }, (_, number): Slot => {
        const owner = owners[at * 5 + number]!;
        return { topic, number, owner: owner > 4 ? undefined : `m${owner}` };
      }),
    );
    return { members, slots };
  });

/** Everybody subscribes to everything. */
const equal = input.map(({ members, slots }) => ({
  slots,
  members: members.map(({ id }) => ({ id, topics: new Set(topicNames) })),
}));

function loads(members: readonly Subscriber[], assigned: readonly (string | undefined)[]): number[] {
  return members.map(({ id }) => assigned.filter((one) => one === id).length);
}

test.each(['range', 'round-robin', 'cooperative-sticky'] as const)(
  '%s: every partition that somebody subscribes to has one owner, who does',
  (strategy) => {
    fc.assert(
      fc.property(input, ({ members, slots }) => {
        const assigned = assign(strategy, members, slots);
        expect(assigned).toHaveLength(slots.length);
        for (const [at, { topic }] of slots.entries()) {
          const subscribed = members.filter(({ topics }) => topics.has(topic)).map(({ id }) => id);
          if (subscribed.length === 0) expect(assigned[at]).toBeUndefined();
          else expect(subscribed).toContain(assigned[at]);
        }
      }),
      { numRuns: 500 },
    );
  },
);

test('range: neighbours go together, the first members get one more', () => {
  fc.assert(
    fc.property(input, ({ members, slots }) => {
      const assigned = assign('range', members, slots);
      for (const topic of topicNames) {
        const ids = members
          .filter(({ topics }) => topics.has(topic))
          .map(({ id }) => id)
          .sort();
        const of = slots.flatMap((slot, at) => (slot.topic === topic ? [assigned[at]] : []));
        if (ids.length === 0) continue;
        // Dumb: dealt out one at a time to count, then laid out in order.
        const counts = new Map(ids.map((id) => [id, 0]));
        for (let at = 0; at < of.length; at++)
          counts.set(ids[at % ids.length]!, counts.get(ids[at % ids.length]!)! + 1);
        expect(of).toEqual(ids.flatMap((id) => Array.from({ length: counts.get(id)! }, () => id)));
      }
    }),
    { numRuns: 500 },
  );
});

test('round-robin: with equal subscriptions one after the other', () => {
  fc.assert(
    fc.property(equal, ({ members, slots }) => {
      if (members.length === 0) return;
      const ids = members.map(({ id }) => id).sort();
      expect(assign('round-robin', members, slots)).toEqual(slots.map((_, at) => ids[at % ids.length]));
    }),
  );
});

test('cooperative-sticky: even within one, and with as few moves as can be', () => {
  let moved = 0;
  fc.assert(
    fc.property(equal, ({ members, slots }) => {
      if (members.length === 0) return;
      const assigned = assign('cooperative-sticky', members, slots);
      const after = loads(members, assigned);
      expect(Math.max(...after) - Math.min(...after)).toBeLessThanOrEqual(1);
      const isThere = (id: string | undefined) => members.some((member) => member.id === id);
      const moves = slots.filter(({ owner }, at) => isThere(owner) && assigned[at] !== owner).length;
      // Who has most keeps the larger share: what is above it must move, and nothing else.
      const before = members.map(({ id }) => slots.filter(({ owner }) => owner === id).length);
      const share = Math.floor(slots.length / members.length);
      const larger = slots.length % members.length;
      const least = [...before]
        .sort((a, b) => b - a)
        .reduce((sum, load, at) => sum + Math.max(0, load - share - (at < larger ? 1 : 0)), 0);
      expect(moves).toBe(least);
      moved += moves;
    }),
    { numRuns: 1_000 },
  );
  expect(moved).toBeGreaterThan(50);
});

test('cooperative-sticky: as even as subscriptions allow, by trying all ways', () => {
  fc.assert(
    fc.property(input, ({ members, slots: all }) => {
      const slots = all.slice(0, 6);
      const assigned = assign('cooperative-sticky', members, slots);
      const squares = (one: readonly (string | undefined)[]) =>
        loads(members, one).reduce((sum, load) => sum + load * load, 0);
      let best = Infinity;
      const tryAll = (chosen: (string | undefined)[]) => {
        if (chosen.length === slots.length) {
          best = Math.min(best, squares(chosen));
          return;
        }
        const { topic } = slots[chosen.length]!;
        const subscribed = members.filter(({ topics }) => topics.has(topic));
        if (subscribed.length === 0) tryAll([...chosen, undefined]);
        for (const { id } of subscribed) tryAll([...chosen, id]);
      };
      tryAll([]);
      expect(squares(assigned)).toBe(best);
    }),
    { numRuns: 300 },
  );
});
