import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { GroupRole, NodeState, NodeStatusSchema } from '@holdfast/proto/cluster/v1/cluster';
import { groupsKeptWithout, groupsWith } from '../../node/cluster/kept-groups.ts';

interface Led {
  readonly group: number;
  readonly voters: readonly string[];
  readonly active: readonly string[];
  readonly learners?: readonly string[];
}

function leads(name: string, ...groups: readonly Led[]) {
  return create(NodeStatusSchema, {
    name,
    groups: groups.map(({ group, voters, active, learners = [] }) => ({
      group: BigInt(group),
      role: GroupRole.LEADER,
      voters: [...voters],
      learners: [...learners],
      followers: [...voters, ...learners]
        .filter((other) => other !== name)
        .map((other) => ({ name: other, active: active.includes(other) })),
    })),
  });
}

const THREE = ['n1', 'n2', 'n3'];

test('a group is kept without a node while a majority of its voters answers without it', () => {
  const kept = (...groups: readonly Led[]) => [...groupsKeptWithout('n2', [leads('n1', ...groups)])];
  expect(kept({ group: 1, voters: THREE, active: ['n3'] })).toEqual([1]);
  expect(kept({ group: 1, voters: THREE, active: ['n2', 'n3'] })).toEqual([1]);
  expect(kept({ group: 1, voters: ['n1', 'n3'], active: ['n3'] })).toEqual([1]);
});

test('it is not kept by answers of the node itself, of learners, or of too few', () => {
  const kept = (...groups: readonly Led[]) => [...groupsKeptWithout('n2', [leads('n1', ...groups)])];
  expect(kept({ group: 1, voters: THREE, active: ['n2'] })).toEqual([]);
  expect(kept({ group: 1, voters: ['n1', 'n2'], active: ['n2'] })).toEqual([]);
  expect(kept({ group: 1, voters: ['n1', 'n2'], active: ['n2', 'n3'], learners: ['n3'] })).toEqual([]);
  expect(kept({ group: 1, voters: ['n2', 'n3'], active: ['n2', 'n3'] })).toEqual([]);
});

test('what the node says of itself, and what followers say, keeps nothing', () => {
  const own = leads('n2', { group: 1, voters: THREE, active: THREE });
  const follows = leads('n1', { group: 2, voters: THREE, active: THREE });
  follows.groups[0]!.role = GroupRole.FOLLOWER;
  expect([...groupsKeptWithout('n2', [own, follows])]).toEqual([]);
});

test('the groups with a node are those whose leaders have it as voter or learner', () => {
  const nodes = [
    leads('n1', { group: 1, voters: THREE, active: [] }, { group: 2, voters: ['n1'], active: [] }),
    leads('n3', { group: 3, voters: ['n3'], active: [], learners: ['n2'] }),
  ];
  expect([...groupsWith('n2', nodes)]).toEqual([1, 3]);
});

function follower(name: string, active: boolean) {
  return { name, active };
}

test('a new replica that is being filled is not counted for the one of the same name that is gone', () => {
  const group = { group: 1n, role: GroupRole.LEADER, voters: THREE, learners: ['n2'] };
  const followers = [follower('n2', false), follower('n3', true), follower('n2', true)];
  const filled = create(NodeStatusSchema, { name: 'n1', groups: [{ ...group, followers }] });
  expect([...groupsKeptWithout('n3', [filled])]).toEqual([]);
  expect([...groupsKeptWithout('n2', [filled])]).toEqual([1]);
});

test('what a node says that is damaged, or stops, keeps nothing', () => {
  for (const state of [NodeState.DAMAGED, NodeState.STOPPING]) {
    const node = leads('n1', { group: 1, voters: THREE, active: ['n3'] });
    node.state = state;
    expect([...groupsKeptWithout('n2', [node])]).toEqual([]);
    expect([...groupsWith('n2', [node])]).toEqual([1]);
  }
});

test('of two that say that they lead, the one of the newer term is heard', () => {
  const earlier = leads('n1', { group: 1, voters: THREE, active: ['n3'] });
  const newer = leads('n3', { group: 1, voters: THREE, active: [] });
  newer.groups[0]!.term = 1n;
  expect([...groupsKeptWithout('n2', [earlier, newer])]).toEqual([]);
  expect([...groupsKeptWithout('n2', [newer, earlier])]).toEqual([]);
});

test('a group whose voters change is not kept before that is through', () => {
  const node = leads('n1', { group: 1, voters: THREE, active: ['n2', 'n3'] });
  node.groups[0]!.outgoing = THREE;
  expect([...groupsKeptWithout('n3', [node])]).toEqual([]);
  node.groups[0]!.voters = ['n1', 'n2'];
  expect([...groupsWith('n3', [node])]).toEqual([1]);
});
