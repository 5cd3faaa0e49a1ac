/** Majorities against an oracle that counts over all subsets. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Configuration } from '../../node/raft/core/configuration.ts';
import { hasQuorum, majority, quorumIndex, tally } from '../../node/raft/core/quorum.ts';

const replicas = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 7 });
const configurations: fc.Arbitrary<Configuration> = fc.record({
  voters: replicas,
  outgoing: fc.oneof(fc.constant([]), replicas),
  learners: fc.constant([10, 11]),
});

/** Whether more than half of one list of voters is in the set, and of the other if there is one. */
function naiveQuorum({ voters, outgoing }: Configuration, set: ReadonlySet<number>): boolean {
  const isMajority = (list: readonly number[]) => list.filter((id) => set.has(id)).length * 2 > list.length;
  return isMajority(voters) && (outgoing.length === 0 || isMajority(outgoing));
}

test('a majority is the least number of which two always meet', () => {
  for (let size = 1; size < 20; size++) {
    expect(2 * majority(size)).toBeGreaterThan(size);
    expect(2 * (majority(size) - 1)).toBeLessThanOrEqual(size);
  }
});

describe('quorums', () => {
  test('the index that a quorum has reached is the greatest at which those who reached it are one', () => {
    const indexes = fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(configurations, indexes, (configuration, reached) => {
        const members = Array.from({ length: 12 }, (_, id) => id);
        const isReached = (index: number) =>
          naiveQuorum(configuration, new Set(members.filter((id) => reached[id]! >= index)));
        const naive = [6, 5, 4, 3, 2, 1, 0].find(isReached);
        expect(quorumIndex(configuration, (id) => reached[id]!)).toBe(naive);
      }),
    );
  });

  test('a vote is won when those for it are a quorum, lost when they cannot become one', () => {
    const votes = fc.array(fc.constantFrom(true, false, undefined), { minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(configurations, votes, (configuration, vote) => {
        const members = Array.from({ length: 12 }, (_, id) => id);
        const isFor = new Set(members.filter((id) => vote[id] === true));
        const isOpen = new Set(members.filter((id) => vote[id] !== false));
        const naive = naiveQuorum(configuration, isFor)
          ? 'won'
          : naiveQuorum(configuration, isOpen)
            ? 'pending'
            : 'lost';
        expect(tally(configuration, (id) => vote[id])).toBe(naive);
      }),
    );
  });

  test('any two quorums of a configuration meet', () => {
    const subsets = fc.uniqueArray(fc.integer({ min: 1, max: 9 }));
    fc.assert(
      fc.property(configurations, subsets, subsets, (configuration, one, other) => {
        const isQuorum = (set: readonly number[]) => hasQuorum(configuration, (id) => set.includes(id));
        if (isQuorum(one) && isQuorum(other)) expect(one.some((id) => other.includes(id))).toBe(true);
      }),
    );
  });

  test('without voters nothing is decided', () => {
    const none = { voters: [], outgoing: [], learners: [1] };
    expect(quorumIndex(none, () => 5)).toBe(0);
    expect(hasQuorum(none, () => true)).toBe(false);
  });
});
