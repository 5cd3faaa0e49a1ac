/** Which changes of members are refused, and with what to do; and what is carried through in which order. */
import { describe, expect, test } from 'vitest';
import type { HoldfastError } from '../../client/error.ts';
import {
  withActive,
  withCandidate,
  withReplacement,
  withoutMember,
  withoutRow,
} from '../../node/cluster/member-change.ts';
import type { ClusterMember, MemberTable, MembershipState } from '../../node/cluster/membership.ts';
import { coordinationTarget, nextTask } from '../../node/cluster/next-task.ts';
import type { HeldGroup } from '../../node/cluster/placed-groups.ts';
import type { Configuration } from '../../node/raft/core/configuration.ts';

function member(
  id: number,
  state: MembershipState = 'active',
  more: Partial<ClusterMember> = {},
): ClusterMember {
  const [grpc, http] = [`10.0.0.${id}:7401`, `10.0.0.${id}:7501`];
  return { id, name: `n${id}`, nodeId: `${id}`.repeat(16), grpc, http, state, replaces: 0, ...more };
}

function table(...members: ClusterMember[]): MemberTable {
  return { version: 9, nextId: 1 + Math.max(...members.map(({ id }) => id)), members };
}

const three = table(member(1), member(2), member(3));
const candidate = (id: number) => member(id);

function refusal(change: () => unknown): string {
  try {
    change();
  } catch (error) {
    const { reason, outcome, message } = error as HoldfastError;
    expect(outcome).toBe('NOT_APPLIED');
    expect(message).toContain('Nothing was changed');
    return reason;
  }
  return 'not refused';
}

describe('members change', () => {
  test('one joins under a number that nobody had', () => {
    const once = withCandidate(three, candidate(7));
    expect(once.members.at(-1)).toMatchObject({ id: 4, name: 'n7', state: 'joining' });
    const without = withoutRow(withActive(once, 4), 4);
    const again = withCandidate(without, candidate(7));
    expect(again.members.at(-1)).toMatchObject({ id: 5, name: 'n7' });
    expect(again.version).toBeGreaterThan(without.version);
  });

  test('a name, a directory and an address are used once', () => {
    expect(refusal(() => withCandidate(three, { ...candidate(9), name: 'n2' }))).toBe('MEMBER_EXISTS');
    expect(refusal(() => withCandidate(three, { ...candidate(9), nodeId: '2'.repeat(16) }))).toBe(
      'MEMBER_EXISTS',
    );
    const atOther = { ...candidate(9), http: member(2).grpc };
    expect(refusal(() => withCandidate(three, atOther))).toBe('MEMBER_CHANGE_REFUSED');
  });

  test('at most seven', () => {
    const seven = table(...[1, 2, 3, 4, 5, 6, 7].map((id) => member(id)));
    expect(refusal(() => withCandidate(seven, candidate(8)))).toBe('MEMBER_CHANGE_REFUSED');
  });

  test('one at a time', () => {
    const joining = withCandidate(three, candidate(4));
    const leaving = withoutMember(three, 'n3');
    for (const busy of [joining, leaving]) {
      expect(refusal(() => withCandidate(busy, candidate(5)))).toBe('MEMBER_CHANGE_RUNNING');
      expect(refusal(() => withoutMember(busy, 'n1'))).toBe('MEMBER_CHANGE_RUNNING');
    }
    expect(refusal(() => withReplacement(joining, 'n1', candidate(5)))).toBe('MEMBER_CHANGE_RUNNING');
  });

  test('never the last one, and nobody whom there is not', () => {
    expect(refusal(() => withoutMember(table(member(1)), 'n1'))).toBe('MEMBER_CHANGE_REFUSED');
    expect(refusal(() => withoutMember(three, 'n8'))).toBe('MEMBER_UNKNOWN');
    expect(refusal(() => withReplacement(three, 'n8', candidate(9)))).toBe('MEMBER_UNKNOWN');
  });

  test('what is asked again changes nothing; who only begins to join can go at once', () => {
    const leaving = withoutMember(three, 'n3');
    expect(withoutMember(leaving, 'n3')).toBe(leaving);
    const replacing = withReplacement(three, 'n2', candidate(9));
    expect(replacing.members.map(({ state }) => state)).toEqual(['active', 'leaving', 'active', 'joining']);
    const givenUp = withoutMember(replacing, 'n9');
    expect(givenUp.members.map(({ state }) => state)).toEqual(['active', 'active', 'active', 'leaving']);
  });

  test('a node that lost its data takes its own place under another number', () => {
    const back = withReplacement(three, 'n2', { ...candidate(2), nodeId: 'a'.repeat(16) });
    expect(back.members.map(({ id, name }) => `${id} ${name}`)).toEqual(['1 n1', '2 n2', '3 n3', '4 n2']);
    expect(back.members.at(-1)).toMatchObject({ replaces: 2, state: 'joining' });
  });
});

const voting = (...voters: number[]): Configuration => ({ voters, outgoing: [], learners: [] });
const group = (target: number[], holders = target): HeldGroup => ({
  group: 1,
  arc: 0,
  replication: 3,
  target,
  holders,
});
const isAlive = () => true;

describe('the leader of group 0', () => {
  test('calls a member active once it votes, and moves nothing to it before', () => {
    const joining = withCandidate(three, candidate(4));
    const groups = [group([1, 2, 3])];
    expect(coordinationTarget(joining, groups)).toEqual([1, 2, 3, 4]);
    for (const early of [voting(1, 2, 3), { ...voting(1, 2, 3), learners: [4] }])
      expect(nextTask(joining, early, groups, isAlive)).toBeUndefined();
    const joint = { voters: [1, 2, 3, 4], outgoing: [1, 2, 3], learners: [] };
    expect(nextTask(joining, joint, groups, isAlive)).toBeUndefined();
    const task = nextTask(joining, voting(1, 2, 3, 4), groups, isAlive);
    expect(task).toMatchObject({
      table: { members: [{}, {}, {}, { state: 'active' }] },
    });
  });

  test('lets a member out of group 0 only when it holds nothing, and drops it last', () => {
    const four = table(member(1), member(2), member(3), member(4));
    const leaving = withoutMember(four, 'n3');
    const first = nextTask(leaving, voting(1, 2, 3, 4), [group([1, 2, 3])], isAlive);
    expect(first).toEqual({ targets: new Map([[1, [1, 2, 4]]]) });
    const moving = [group([1, 2, 4], [1, 2, 3, 4])];
    expect(nextTask(leaving, voting(1, 2, 3, 4), moving, isAlive)).toBeUndefined();
    expect(coordinationTarget(leaving, moving)).toEqual([1, 2, 3, 4]);
    const moved = [group([1, 2, 4])];
    expect(coordinationTarget(leaving, moved)).toEqual([1, 2, 4]);
    expect(nextTask(leaving, voting(1, 2, 3, 4), moved, isAlive)).toBeUndefined();
    const task = nextTask(leaving, voting(1, 2, 4), moved, isAlive);
    expect(task).toMatchObject({
      table: { members: [{ id: 1 }, { id: 2 }, { id: 4 }] },
    });
  });

  test('puts a replacement in the place of the member that is gone, in group 0 first', () => {
    const replacing = withReplacement(three, 'n2', candidate(9));
    const groups = [group([1, 2, 3])];
    expect(coordinationTarget(replacing, groups)).toEqual([1, 3, 4]);
    expect(nextTask(replacing, voting(1, 2, 3, 4), groups, isAlive)).toBeUndefined();
    const active = withActive(replacing, 4);
    expect(nextTask(active, voting(1, 3, 4), groups, isAlive)).toEqual({
      targets: new Map([[1, [1, 3, 4]]]),
    });
  });
});
