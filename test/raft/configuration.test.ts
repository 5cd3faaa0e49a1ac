import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  applyChanges,
  decodeConfiguration,
  encodeConfiguration,
  isJoint,
  leaveJoint,
  members,
  type Configuration,
  type ConfigurationChange,
} from '../../node/raft/core/configuration.ts';
import { hasQuorum } from '../../node/raft/core/quorum.ts';

const ids = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 7 });
const settled: fc.Arbitrary<Configuration> = fc.tuple(ids, ids).map(([voters, learners]) => ({
  voters: voters.sort((a, b) => a - b),
  outgoing: [],
  learners: learners.filter((id) => !voters.includes(id)).sort((a, b) => a - b),
}));
const changes: fc.Arbitrary<ConfigurationChange[]> = fc.array(
  fc.record({
    type: fc.constantFrom('add voter' as const, 'add learner' as const, 'remove' as const),
    replica: fc.integer({ min: 1, max: 9 }),
  }),
  { minLength: 1, maxLength: 5 },
);

describe('changes of members', () => {
  test('end as if made one by one, through a joint configuration that shares a quorum with both', () => {
    fc.assert(
      fc.property(settled, changes, fc.array(ids), (before, steps, sets) => {
        const first = applyChanges(before, steps);
        if (typeof first === 'string') return;
        const last = leaveJoint(first);
        expect([last.voters, last.learners]).toEqual(naive(before, steps));
        expect(isJoint(first)).toBe(String(last.voters) !== String(before.voters));
        for (const set of sets) {
          const isQuorum = (configuration: Configuration) =>
            hasQuorum(configuration, (id) => set.includes(id));
          if (isJoint(first)) expect(isQuorum(first)).toBe(isQuorum(before) && isQuorum(last));
        }
      }),
    );
  });

  test('are refused when they change nothing, leave no voter, or name nobody', () => {
    const one = { voters: [1], outgoing: [], learners: [] };
    expect(applyChanges(one, [{ type: 'remove', replica: 2 }])).toBe('nothing would change');
    expect(applyChanges(one, [{ type: 'remove', replica: 1 }])).toBe('no voter would be left');
    expect(applyChanges(one, [{ type: 'add voter', replica: 0 }])).toBe('0 is no replica');
  });

  test('a demoted voter gets the log as long as it is on its way out, and after', () => {
    const joint = applyChanges({ voters: [1, 2], outgoing: [], learners: [] }, [
      { type: 'add learner', replica: 2 },
    ]);
    expect(joint).toEqual({ voters: [1], outgoing: [1, 2], learners: [2] });
    expect(members(joint as Configuration)).toEqual([1, 2]);
  });
});

describe('bytes of a configuration', () => {
  test('come back as they were', () => {
    fc.assert(
      fc.property(settled, changes, (before, steps) => {
        const next = applyChanges(before, steps);
        const configuration = typeof next === 'string' ? before : next;
        expect(decodeConfiguration(encodeConfiguration(configuration))).toEqual(configuration);
      }),
    );
  });

  test('that are not a configuration give a RangeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          expect(encodeConfiguration(decodeConfiguration(bytes)).length).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

function naive({ voters, learners }: Configuration, steps: readonly ConfigurationChange[]): number[][] {
  const role = new Map<number, string>();
  for (const id of voters) role.set(id, 'add voter');
  for (const id of learners) role.set(id, 'add learner');
  for (const { type, replica } of steps) role.set(replica, type);
  const withRole = (wanted: string) =>
    [...role]
      .filter(([, is]) => is === wanted)
      .map(([id]) => id)
      .sort((a, b) => a - b);
  return [withRole('add voter'), withRole('add learner')];
}
