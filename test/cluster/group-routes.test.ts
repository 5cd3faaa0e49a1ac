/** Whom a node asks about a group, when others do not seem alive. */
import { expect, test } from 'vitest';
import type { LifeState } from '../../node/cluster/gossip/node-record.ts';
import { GroupRoutes } from '../../node/cluster/group-routes.ts';
import type { GroupHost } from '../../node/raft/group-host.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { MEMBERS } from './cluster-rig.ts';

const PLACE = { group: 7, replicas: [2, 3, 4], isGone: false };

function setUp(states: Record<string, LifeState> = {}, leader?: number) {
  const world = new SimulatedScheduler();
  const host = {
    members: MEMBERS,
    self: 1,
    leaderOf: () => MEMBERS.find(({ id }) => id === leader),
  } as unknown as GroupHost;
  const routes = new GroupRoutes(host, new SimulatedClock(world), ({ name }) => states[name] ?? 'alive');
  const next = (asked?: ReadonlySet<number>) => routes.next(PLACE, asked)?.member.name;
  return { states, routes, next, world };
}

test('who does not seem alive is asked after the others', () => {
  const { next } = setUp({ n2: 'suspect', n3: 'left' });
  expect([next(), next(), next()]).toEqual(['n4', 'n4', 'n4']);
  expect(['n2', 'n3']).toContain(next(new Set([4])));
});

test('when nobody seems alive all are asked in turn', () => {
  const { next } = setUp({ n2: 'dead', n3: 'dead', n4: 'suspect' });
  expect(new Set([next(), next(), next()])).toEqual(new Set(['n2', 'n3', 'n4']));
  expect(next(new Set([2, 3, 4]))).toBeUndefined();
});

test('whom the replica here follows as its leader is asked all the same', () => {
  const { next } = setUp({ n2: 'suspect' }, 2);
  expect(next()).toBe('n2');
});

test('a leader of whom others told is asked only if it seems alive', () => {
  const { states, routes, next } = setUp();
  routes.leads(PLACE, MEMBERS[1]!);
  expect(next()).toBe('n2');
  states['n2'] = 'dead';
  expect(next()).not.toBe('n2');
  states['n2'] = 'alive';
  expect(next()).toBe('n2');
});

test('who could not be reached is asked again as soon as it is back', async () => {
  const { routes, next, world } = setUp({ n3: 'dead', n4: 'dead' });
  routes.failed(MEMBERS[1]!);
  expect(next()).not.toBe('n2');
  routes.returned(MEMBERS[1]!);
  expect(next()).toBe('n2');
  routes.failed(MEMBERS[1]!);
  await world.runFor(2_001);
  expect(next()).toBe('n2');
});

test('a client that routes itself is sent to who seems alive, if anybody does', () => {
  const some = setUp({ n2: 'dead', n3: 'alive', n4: 'dead' });
  expect([some.routes.hint(PLACE), some.routes.hint(PLACE)].map((member) => member?.name)).toEqual([
    'n3',
    'n3',
  ]);
  const none = setUp({ n2: 'dead', n3: 'dead', n4: 'dead' });
  expect(none.routes.hint(PLACE)).toBeDefined();
});
