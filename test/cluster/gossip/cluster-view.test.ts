import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { ClusterView } from '../../../node/cluster/gossip/cluster-view.ts';
import { LocalHealth } from '../../../node/cluster/gossip/local-health.ts';
import { MAX_INCARNATION, type NodeRecord } from '../../../node/cluster/gossip/node-record.ts';
import { resolveGossipSettings } from '../../../node/cluster/gossip/settings.ts';
import { record } from './gossip-samples.ts';

let view: ClusterView;
let health: LocalHealth;

beforeEach(() => begin());

function begin(name = 'self'): void {
  health = new LocalHealth(8);
  const settings = resolveGossipSettings({ reapAfterMs: 60_000, maxNodes: 5 });
  const self = { ...record(name), member: 3, start: 2 };
  view = new ClusterView({ settings, self, health, random: () => 0.5 });
  view.takeChanges();
  view.news.drop(name);
}

const hear = (heard: NodeRecord, teller = 'b') => view.hear(heard, teller);
const stateOf = (name: string) => view.nodes.get(name)?.state;
const told = () =>
  view.news.take(100_000, 1).map(({ name, state, accuser }) => `${name} ${state} ${accuser}`.trim());

describe('what is heard', () => {
  test('is taken in and told on if it counts more, and else not', () => {
    hear(record('a', { incarnation: 2 }));
    expect(told()).toEqual(['a alive']);
    hear(record('a', { incarnation: 1, state: 'dead' }));
    hear(record('a', { incarnation: 2 }));
    expect([stateOf('a'), told()]).toEqual(['alive', []]);
    hear(record('a', { incarnation: 2, state: 'left' }));
    expect([stateOf('a'), told()]).toEqual(['left', ['a left']]);
  });

  test('of an unknown node that is gone is passed over, and what is too many', () => {
    hear(record('a', { state: 'dead' }));
    hear(record('b', { state: 'left' }));
    for (const name of ['c', 'd', 'e', 'f', 'g']) hear(record(name));
    expect([...view.nodes.all].map(({ name }) => name)).toEqual(['self', 'c', 'd', 'e', 'f']);
  });

  test('in whatever order leads to the same', () => {
    const changes = fc.record({
      name: fc.constantFrom('a', 'b'),
      incarnation: fc.nat(2),
      state: fc.constantFrom('alive' as const, 'suspect' as const, 'left' as const),
    });
    const known = [record('a'), record('b')];
    const after = (heard: readonly NodeRecord[]) => {
      begin();
      for (const each of [...known, ...heard]) hear(each);
      return [...view.nodes.all]
        .map(({ name, incarnation, state }) => `${name} ${incarnation} ${state}`)
        .sort();
    };
    fc.assert(
      fc.property(fc.array(changes, { maxLength: 8 }), (list) => {
        const heard = list.map(({ name, ...change }) => record(name, change));
        expect(after(heard)).toEqual(after([...heard].reverse()));
      }),
    );
  });

  test('says before and after', () => {
    hear(record('a'));
    hear(record('a', { state: 'suspect', accuser: 'b' }));
    expect(view.takeChanges().map(({ before, after }) => [before?.state, after?.state])).toEqual([
      [undefined, 'alive'],
      ['alive', 'suspect'],
    ]);
    expect(view.takeChanges()).toEqual([]);
  });
});

describe('a suspicion', () => {
  beforeEach(() => {
    for (const name of ['a', 'b', 'c']) hear(record(name));
    told();
    view.suspect('a', 'self');
  });

  test('is told with who accuses, ends in death, and that is told', () => {
    expect(told()).toEqual(['a suspect self']);
    view.tick(23_900);
    expect(stateOf('a')).toBe('suspect');
    view.tick(24_000);
    expect([stateOf('a'), told()]).toEqual(['dead', ['a dead']]);
  });

  test('is shorter once others find the same, whether they tell or this node finds it', () => {
    told();
    hear(record('a', { state: 'suspect', accuser: 'b' }));
    view.suspect('a', 'self');
    expect(told()).toEqual(['a suspect b']);
    hear(record('a', { state: 'suspect', accuser: 'c' }));
    view.tick(4_000);
    expect(stateOf('a')).toBe('dead');
  });

  test('is over when the node contradicts', () => {
    hear(record('a', { incarnation: 1 }));
    view.tick(60_000);
    expect(stateOf('a')).toBe('alive');
  });

  test('of who is not up, or is this node, is none', () => {
    hear(record('b', { state: 'left' }));
    for (const name of ['b', 'self', 'unknown']) view.suspect(name, 'c');
    expect([stateOf('b'), stateOf('self'), stateOf('unknown')]).toEqual(['left', 'alive', undefined]);
  });
});

describe('a death that is told', () => {
  beforeEach(() => {
    for (const name of ['a', 'b', 'c']) hear(record(name));
    view.takeDisputed();
    hear(record('a', { state: 'dead' }));
  });

  test('is a suspicion by who tells it, as short as one can be, and the node to be asked', () => {
    expect(view.nodes.get('a')).toMatchObject({ state: 'suspect', accuser: 'b' });
    expect([view.takeDisputed(), view.takeDisputed()]).toEqual([['a'], []]);
    view.tick(3_900);
    expect(stateOf('a')).toBe('suspect');
    view.tick(4_000);
    expect(stateOf('a')).toBe('dead');
  });

  test('makes a suspicion that there is as short, and begins no other', () => {
    view.suspect('c', 'self');
    view.takeDisputed();
    view.tick(3_000);
    hear(record('c', { state: 'dead' }));
    expect(view.takeDisputed()).toEqual([]);
    view.tick(4_000);
    expect(stateOf('c')).toBe('dead');
  });

  test('of an incarnation that is over is none', () => {
    hear(record('a', { incarnation: 1 }));
    hear(record('a', { state: 'dead' }));
    expect(stateOf('a')).toBe('alive');
  });

  test('and that others do not know of is disputed', () => {
    view.tick(4_000);
    view.takeDisputed();
    hear(record('a', { state: 'dead' }));
    expect(view.takeDisputed()).toEqual([]);
    hear(record('a'));
    expect([stateOf('a'), view.takeDisputed()]).toEqual(['dead', ['a']]);
  });
});

describe('what is said of this node', () => {
  test.each(['suspect', 'dead', 'left'] as const)('and is not so (%s) is contradicted', (state) => {
    hear({ ...view.self, incarnation: 4, state });
    expect([view.self.state, view.self.incarnation, health.doubt]).toEqual(['alive', 5, 1]);
    expect(told()).toEqual(['self alive']);
  });

  test('and is old is not answered', () => {
    view.describe({ zone: 'z' });
    hear({ ...view.self, incarnation: 0, state: 'dead' });
    hear({ ...view.self, start: 1, incarnation: 9, state: 'dead' });
    expect([view.self.incarnation, health.doubt, view.newer]).toEqual([1, 0, undefined]);
  });

  test('at an incarnation above which there is none changes nothing', () => {
    hear({ ...view.self, incarnation: MAX_INCARNATION - 1, state: 'dead' });
    expect(view.self.incarnation).toBe(0);
  });

  test('and is of a later run says that this one is over; the latest counts', () => {
    hear(record('self', { member: 4, start: 1 }));
    view.onNewer({ member: 3, start: 9 });
    expect(view.newer).toEqual({ member: 4, start: 1 });
  });

  test('when it has left does not bring it back', () => {
    view.leave();
    hear({ ...view.self, incarnation: 7, state: 'dead' });
    expect([view.self.state, view.self.incarnation]).toEqual(['left', 8]);
  });
});

describe('members of the table', () => {
  test('are suspect until they are heard of, nobody is told, and they die if they are not', () => {
    view.expect('a', 5);
    expect([stateOf('a'), told()]).toEqual(['suspect', []]);
    view.expect('b', 6);
    hear(record('b', { member: 6 }));
    expect(stateOf('b')).toBe('alive');
    view.tick(60_000);
    expect([stateOf('a'), stateOf('b')]).toEqual(['dead', 'alive']);
  });

  test('of an older number than is known, or known by the number, change nothing', () => {
    hear(record('a', { member: 6 }));
    for (const member of [5, 6]) view.expect('a', member);
    expect(view.nodes.get('a')).toEqual(record('a', { member: 6 }));
  });

  test('that are members no more are not heard again, but under another number', () => {
    hear(record('a', { member: 5 }));
    view.expel('a', 5);
    hear(record('a', { member: 5, start: 99, incarnation: 99 }));
    expect(stateOf('a')).toBe('left');
    hear(record('a', { member: 6 }));
    expect(stateOf('a')).toBe('alive');
    view.expel('a', 5);
    expect(stateOf('a')).toBe('alive');
  });

  test('that say of this node that another has its place, or none, end it', () => {
    view.expect('self', 3);
    expect(view.newer).toBeUndefined();
    view.expel('self', 3);
    expect(view.newer).toEqual({ member: 3, start: MAX_INCARNATION });
  });
});

describe('who is gone', () => {
  test('is forgotten in the end, and stays so', () => {
    hear(record('a'));
    hear(record('a', { state: 'left' }));
    view.tick(59_900);
    expect(stateOf('a')).toBe('left');
    view.takeChanges();
    view.tick(60_000);
    expect(stateOf('a')).toBeUndefined();
    expect(view.takeChanges().map(({ before, after }) => [before?.state, after])).toEqual([
      ['left', undefined],
    ]);
    hear(record('a', { state: 'left' }));
    expect(stateOf('a')).toBeUndefined();
  });

  test('is counted from when it was gone last', () => {
    hear(record('a'));
    hear(record('a', { state: 'left' }));
    view.tick(30_000);
    hear(record('a', { incarnation: 1 }));
    hear(record('a', { incarnation: 1, state: 'left' }));
    view.tick(60_000);
    expect(stateOf('a')).toBe('left');
    view.tick(90_000);
    expect(stateOf('a')).toBeUndefined();
  });

  test('is kept if it is a member', () => {
    view.expect('a', 5);
    view.tick(600_000);
    view.tick(1_200_000);
    expect(stateOf('a')).toBe('dead');
  });
});
