/** The steps between two sets of replicas: played against a core's rules, they lead there and skip nothing. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isSettled, nextMove, type MoveInput } from '../../node/cluster/next-move.ts';
import { applyChanges, leaveJoint, type Configuration } from '../../node/raft/core/configuration.ts';

const ALL = [1, 2, 3, 4, 5, 6, 7];
const voting = (...voters: number[]): Configuration => ({ voters, outgoing: [], learners: [] });

function input(
  configuration: Configuration,
  target: readonly number[],
  more: Partial<MoveInput> = {},
): MoveInput {
  const base = { configuration, target, self: configuration.voters[0] ?? 1 };
  return { ...base, isAlive: () => true, hasCaughtUp: () => true, mayFill: true, ...more };
}

describe('a step', () => {
  test('adds a learner before a voter', () => {
    expect(nextMove(input(voting(1, 2, 3), [1, 2, 4]))).toEqual([{ type: 'add learner', replica: 4 }]);
  });

  test('exchanges voters in one change, once the learner has caught up', () => {
    const learning = { voters: [1, 2, 3], outgoing: [], learners: [4] };
    expect(nextMove(input(learning, [1, 2, 4], { hasCaughtUp: () => false }))).toBeUndefined();
    expect(nextMove(input(learning, [1, 2, 4]))).toEqual([
      { type: 'add voter', replica: 4 },
      { type: 'remove', replica: 3 },
    ]);
  });

  test('removes those first that are dead, and the leader last', () => {
    const alive = { isAlive: (id: number) => id !== 4 };
    expect(nextMove(input(voting(1, 2, 3, 4, 5), [2, 3, 5], alive))).toEqual([
      { type: 'remove', replica: 4 },
    ]);
    expect(nextMove(input(voting(1, 2, 3, 5), [2, 3, 5], alive))).toEqual([{ type: 'remove', replica: 1 }]);
  });

  test('is not taken while another is under way, nor to a majority that is dead', () => {
    const joint = { voters: [1, 2, 4], outgoing: [1, 2, 3], learners: [] };
    expect(nextMove(input(joint, [1, 2, 4]))).toBeUndefined();
    const two = { isAlive: (id: number) => id === 1 || id === 2 };
    expect(nextMove(input(voting(1, 2, 3, 4), [1, 3, 4], two))).toBeUndefined();
  });

  test('ends what was begun and is not wanted any more', () => {
    const learning = { voters: [1, 2, 3], outgoing: [], learners: [4] };
    expect(nextMove(input(learning, [1, 2, 3]))).toEqual([{ type: 'remove', replica: 4 }]);
  });

  test('fills one replica at a time, and none when enough are being filled', () => {
    const learning = { voters: [1, 2, 3], outgoing: [], learners: [4] };
    expect(nextMove(input(learning, [1, 4, 5], { hasCaughtUp: () => false }))).toBeUndefined();
    expect(nextMove(input(voting(1, 2, 3), [1, 2, 4], { mayFill: false }))).toBeUndefined();
  });
});

test('steps lead from any configuration to any target, with as many copies as there were or are to be', () => {
  const some = fc.subarray(ALL, { minLength: 1 });
  fc.assert(
    fc.property(some, some, fc.nat(), (before, target, lag) => {
      let configuration = voting(...before);
      let slow = lag % 3;
      let steps = 0;
      for (; !isSettled({ configuration, target }); steps++) {
        expect(steps).toBeLessThan(60);
        if (configuration.outgoing.length > 0) {
          configuration = leaveJoint(configuration);
          continue;
        }
        const caughtUp = --slow < 0;
        const changes = nextMove(input(configuration, target, { hasCaughtUp: () => caughtUp }));
        if (changes === undefined) continue;
        const { learners } = configuration;
        for (const { type, replica } of changes)
          if (type === 'add voter') expect(learners).toContain(replica);
        const next = applyChanges(configuration, changes);
        if (typeof next === 'string') throw new Error(next);
        expect(next.voters.length).toBeGreaterThanOrEqual(Math.min(before.length, target.length));
        if (next.learners.length > configuration.learners.length) slow = lag % 3;
        configuration = next;
      }
      expect(configuration).toEqual(voting(...target));
    }),
    { numRuns: 1_000 },
  );
});
