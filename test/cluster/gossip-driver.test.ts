/** Drivers of gossip on a simulated network: members, starts, pauses, and the end of a node. */
import { expect, test } from 'vitest';
import { GossipDriver } from '../../node/cluster/gossip-driver.ts';
import type { Instance } from '../../node/cluster/gossip/node-record.ts';
import type { ClusterMember, MemberTable } from '../../node/cluster/membership.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedNetwork } from '../../node/runtime/simulated/simulated-network.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

const CLUSTER = '0123456789abcdef0123456789abcdef';

function tableOf(...ids: readonly (readonly [id: number, name: string])[]): MemberTable {
  const members = ids.map(([id, name]): ClusterMember => {
    const addresses = { grpc: `${name}:1`, http: `${name}:2` };
    return { id, name, nodeId: `${name}-${id}`, ...addresses, state: 'active', replaces: 0 };
  });
  return { version: 1, nextId: 10, members };
}

const THREE = tableOf([1, 'n1'], [2, 'n2'], [3, 'n3']);

interface Node {
  readonly driver: GossipDriver;
  readonly process: SimulatedProcess;
  readonly superseded: Instance[];
  isOver: boolean;
}

class Cluster {
  readonly world = new SimulatedScheduler();
  readonly network = new SimulatedNetwork(this.world, new SeededRandom('network'));

  start(name: string, member: number, start = 1, clusterId = CLUSTER): Node {
    const process = new SimulatedProcess(this.world);
    const transport = this.network.transport(name, process);
    const random = new SeededRandom(`${name}-${start}`);
    const node = { process, superseded: [] as Instance[], isOver: false };
    const driver = new GossipDriver({
      clusterId,
      self: {
        name,
        member,
        start,
        zone: 'z',
        datacentre: '',
        grpc: `${name}:1`,
        http: '',
        version: '1',
        load: 0,
      },
      clock: new SimulatedClock(process),
      random: () => random.float(),
      send: (to, message) => transport.send(to, message),
      load: () => 0,
      isOver: () => node.isOver,
      onSuperseded: (newer) => node.superseded.push(newer),
    });
    transport.onMessage((from, message) => driver.receive(from, message));
    driver.setMembers(THREE);
    return Object.assign(node, { driver });
  }

  startThree(): [Node, Node, Node] {
    return [this.start('n1', 1), this.start('n2', 2), this.start('n3', 3)];
  }
}

const states = ({ driver }: Node, table = THREE) =>
  table.members.map((member) => `${member.name} ${driver.stateOf(member)}`).join(', ');
const ALL_ALIVE = 'n1 alive, n2 alive, n3 alive';

test('members that the table names are suspected until they are heard, and alive then', async () => {
  const cluster = new Cluster();
  const first = cluster.start('n1', 1);
  expect(states(first)).toBe('n1 alive, n2 suspect, n3 suspect');
  const others = [cluster.start('n2', 2), cluster.start('n3', 3)];
  await cluster.world.runFor(3_000);
  for (const node of [first, ...others]) expect(states(node)).toBe(ALL_ALIVE);
  expect(first.driver.get('n2')).toMatchObject({ member: 2, start: 1, zone: 'z', grpc: 'n2:1' });
});

test('a node that was stopped for long reads what waited for it, and holds nobody for dead', async () => {
  const cluster = new Cluster();
  const [n1, n2, n3] = cluster.startThree();
  await cluster.world.runFor(3_000);
  n3.process.pause();
  await cluster.world.runFor(40_000);
  expect([states(n1), states(n2)]).toEqual(Array(2).fill('n1 alive, n2 alive, n3 dead'));
  const seen: string[] = [];
  n3.driver.follow(() => seen.push(states(n3)));
  n3.process.resume();
  await cluster.world.runFor(10_000);
  for (const node of [n1, n2, n3]) expect(states(node)).toBe(ALL_ALIVE);
  expect(seen.join('; ')).not.toContain('dead');
  expect(n3.driver.counts.changes.dead).toBe(0);
});

test('who is no member any more has left, and a number that is replaced as well', async () => {
  const cluster = new Cluster();
  const [n1, n2] = cluster.startThree();
  await cluster.world.runFor(3_000);
  const without = tableOf([1, 'n1'], [2, 'n2']);
  for (const { driver } of [n1, n2]) driver.setMembers(without);
  expect(n1.driver.get('n3')?.state).toBe('left');
  await cluster.world.runFor(10_000);
  expect(n1.driver.get('n3')?.state).toBe('left');
  // Its name comes back under another number.
  const replaced = tableOf([1, 'n1'], [2, 'n2'], [3, 'n3'], [4, 'n3']);
  for (const { driver } of [n1, n2]) driver.setMembers(replaced);
  expect(states(n1, replaced)).toBe('n1 alive, n2 alive, n3 left, n3 suspect');
  n1.driver.setMembers(tableOf([1, 'n1'], [2, 'n2'], [4, 'n3']));
  expect(n1.driver.get('n3')).toMatchObject({ member: 4, state: 'suspect' });
});

test('a node that stops has told the others, and does not wait for long when there is nobody', async () => {
  const cluster = new Cluster();
  const [n1, n2, n3] = cluster.startThree();
  await cluster.world.runFor(3_000);
  let hasLeft = false;
  void n3.driver.leave().then(() => (hasLeft = true));
  await cluster.world.runUntilTrue(() => hasLeft, 1_100);
  expect(hasLeft).toBe(true);
  expect([states(n1), states(n2)]).toEqual(Array(2).fill('n1 alive, n2 alive, n3 left'));
  n3.driver.stop();
  n2.process.kill();
  await cluster.world.runFor(60_000);
  expect(states(n1)).toBe('n1 alive, n2 dead, n3 left');
  let isAlone = false;
  void n1.driver.leave().then(() => (isAlone = true));
  await cluster.world.runFor(1);
  expect(isAlone).toBe(true);
});

test('a node that serves no more is dead to the others, though its process goes on', async () => {
  const cluster = new Cluster();
  const [n1, , n3] = cluster.startThree();
  await cluster.world.runFor(3_000);
  n3.isOver = true;
  await cluster.world.runFor(40_000);
  expect(states(n1)).toBe('n1 alive, n2 alive, n3 dead');
});

test('a later start of a node counts, and an earlier one is told and falls silent', async () => {
  const cluster = new Cluster();
  const [n1, n2, n3] = cluster.startThree();
  await cluster.world.runFor(3_000);
  n3.process.kill();
  const again = cluster.start('n3', 3, 2);
  await cluster.world.runFor(5_000);
  for (const node of [n1, n2, again]) expect(states(node)).toBe(ALL_ALIVE);
  expect(n1.driver.get('n3')?.start).toBe(2);
  again.process.kill();
  const earlier = cluster.start('n3', 3, 1);
  await cluster.world.runFor(5_000);
  expect(earlier.superseded).toEqual([{ member: 3, start: 2 }]);
  const { messages } = earlier.driver.counts.sent;
  await cluster.world.runFor(5_000);
  expect(earlier.driver.counts.sent.messages - messages).toBeLessThan(60);
  expect(n1.driver.get('n3')?.state).not.toBe('alive');
});

test('what cannot be read, and what is of another cluster, is counted and changes nothing', async () => {
  const cluster = new Cluster();
  const [n1] = cluster.startThree();
  await cluster.world.runFor(3_000);
  for (const bytes of [Buffer.alloc(0), Buffer.from('nothing'), Buffer.alloc(40, 255)])
    n1.driver.receive('n2', bytes);
  expect(n1.driver.counts.unreadable).toBe(3);
  const stranger = cluster.start('n2', 9, 9, 'f'.repeat(32));
  await cluster.world.runFor(3_000);
  expect(n1.driver.core.counts.foreign).toBeGreaterThan(0);
  expect(n1.driver.get('n2')?.member).toBe(2);
  stranger.driver.stop();
});
