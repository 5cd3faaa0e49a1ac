/** Messages between nodes on a simulated network: who is listened to, and what travels together. */
import { expect, test } from 'vitest';
import { ClockComparison } from '../../node/raft/clock-comparison.ts';
import type { GroupMessage } from '../../node/raft/core/message-codec.ts';
import type { Message } from '../../node/raft/core/messages.ts';
import type { Member } from '../../node/raft/members.ts';
import { HEADER_BYTES, PeerCourier, PeerMessageKind } from '../../node/raft/peer-courier.ts';
import { PeerMemory } from '../../node/raft/peer-memory.ts';
import type { PeerLane } from '../../node/runtime/peer-transport.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import {
  SimulatedNetwork,
  type SimulatedPeerTransport,
} from '../../node/runtime/simulated/simulated-network.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

/** Longer than a node waits for peers that do not answer. */
const PROBATION_MS = 1_150;
const MEMBERS: readonly Member[] = [1, 2, 3].map((id) => ({ id, name: `n${id}`, address: `n${id}:1` }));

const heartbeat = (from: number, to: number, round = 0): Message => ({
  type: 'heartbeat',
  from,
  to,
  term: 1,
  committed: 0,
  round,
});
const append = (from: number, to: number, bytes: number): Message => {
  const payload = new Uint8Array(bytes);
  const entry = { index: 1, term: 1, stampMs: 0, kind: 2, version: 1, payload };
  return { type: 'append', from, to, term: 1, prevIndex: 0, prevTerm: 0, committed: 0, entries: [entry] };
};

/** One node's courier and what it was told. */
interface Node {
  readonly courier: PeerCourier;
  readonly transport: SimulatedPeerTransport;
  readonly memory: PeerMemory;
  readonly clock: SimulatedClock;
  readonly clocks: ClockComparison;
  readonly messages: GroupMessage[];
  readonly batches: number[];
  readonly bulk: string[];
  readonly gossip: string[];
  readonly refused: string[];
  readonly dropped: GroupMessage[];
}

class Cluster {
  readonly world = new SimulatedScheduler();
  readonly network = new SimulatedNetwork(this.world, new SeededRandom(1));
  /** Everything that was sent. */
  readonly sent: { from: string; to: string; message: Buffer; lane: PeerLane }[] = [];
  #lane: PeerLane = 'control';
  readonly sequences = new Map<number, number>();
  #starts = 0;

  constructor() {
    this.network.observe = (from, to, message) =>
      this.sent.push({ from, to, message: Buffer.from(message), lane: this.#lane });
  }

  /** Starts a node with a log of this id; what it remembers of its peers is empty unless given. */
  start(id: number, logId = `log-${id}..`, memory = new PeerMemory(new Map(), () => undefined)): Node {
    const self = MEMBERS[id - 1]!;
    const transport = this.network.transport(self.name);
    const send = transport.send.bind(transport);
    transport.send = (peer: string, message: Uint8Array, lane: PeerLane = 'control') => {
      this.#lane = lane;
      send(peer, message);
    };
    const clock = new SimulatedClock(this.world);
    const clocks = new ClockComparison(clock);
    const [messages, batches, bulk]: [GroupMessage[], number[], string[]] = [[], [], []];
    const gossip: string[] = [];
    const [refused, dropped]: [string[], GroupMessage[]] = [[], []];
    const courier = new PeerCourier({
      transport,
      self,
      members: MEMBERS,
      clock,
      random: new SeededRandom(`start-${++this.#starts}`),
      memory,
      clocks,
      logId: Buffer.from(logId.padEnd(8, '.')).subarray(0, 8),
      logSequence: () => this.sequences.get(id) ?? 0,
      onMessages: (all) => {
        messages.push(...all);
        batches.push(all.length);
      },
      onBulk: (from, kind, body) => bulk.push(`${from} ${kind} ${body.toString()}`),
      onGossip: (from, body) => gossip.push(`${from} ${body.toString()}`),
      onRefused: (peer, reason) => refused.push(`${peer}: ${reason}`),
      led: () => 0,
      onLed: () => undefined,
      onDropped: (message) => dropped.push(message),
    });
    return { courier, transport, memory, clock, clocks, messages, batches, bulk, gossip, refused, dropped };
  }

  /** Two nodes that know each other. */
  async pair(): Promise<[Node, Node]> {
    const nodes: [Node, Node] = [this.start(1), this.start(2)];
    await this.acquaint(nodes[0], nodes[1]);
    return nodes;
  }

  /** They greet each other by themselves; the third is not there, so they wait for it. */
  async acquaint(...nodes: readonly Node[]): Promise<void> {
    await this.world.runFor(50);
    for (const { memory } of nodes) settle(memory);
    await this.world.runFor(PROBATION_MS);
    this.sent.length = 0;
  }

  async post(node: Node, ...messages: readonly GroupMessage[]): Promise<void> {
    for (const { group, message } of messages) node.courier.post(group, message);
    node.courier.flush();
    await this.world.runFor(50);
  }
}

/** As the log does with its next batch. */
function settle(memory: PeerMemory): void {
  memory.takeRecords([]);
  memory.noteWritten();
}

test('few entries go with what else is posted in a turn; soon after many, they follow those', async () => {
  const cluster = new Cluster();
  const [a] = await cluster.pair();
  const lanes = (...sizes: number[]) => {
    const before = cluster.sent.length;
    a.courier.post(1, heartbeat(1, 2, 1));
    for (const size of sizes) a.courier.post(7, append(1, 2, size));
    a.courier.flush();
    return cluster.sent.slice(before).map(({ lane }) => lane);
  };
  expect(lanes(100, 100)).toEqual(['control']);
  expect(lanes(40_000, 40_000)).toEqual(['control', 'bulk']);
  expect(lanes(100)).toEqual(['control', 'bulk']);
  await cluster.world.runFor(50);
  expect(lanes(100)).toEqual(['control']);
});

test('what is posted in a turn leaves as one envelope for each peer and lane, in order', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  const posted = [
    { group: 1, message: heartbeat(1, 2, 1) },
    { group: 1, message: heartbeat(1, 3, 2) },
    { group: 7, message: heartbeat(1, 2, 3) },
    { group: 7, message: append(1, 2, 40_000) },
    { group: 8, message: append(1, 2, 40_000) },
    { group: 9, message: { ...append(1, 2, 0), entries: [] } as Message },
  ];
  for (const { group, message } of posted) a.courier.post(group, message);
  expect(cluster.sent).toEqual([]);
  a.courier.flush();
  expect(cluster.sent.map(({ to, lane }) => `${to} ${lane}`)).toEqual([
    'n2 control',
    'n2 bulk',
    'n3 control',
  ]);
  await cluster.world.runFor(50);
  expect(b.batches).toEqual([3, 2]);
  expect(b.messages.map(({ group, message }) => `${group} ${message.type}`)).toEqual([
    '1 heartbeat',
    '7 heartbeat',
    '9 append',
    '7 append',
    '8 append',
  ]);
  a.courier.flush();
  expect(cluster.sent).toHaveLength(3);
});

test('envelopes are cut at about 4 MiB, and a larger message goes alone', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  const sizes = [1_500_000, 1_500_000, 1_500_000, 5_000_000, 10];
  await cluster.post(a, ...sizes.map((size) => ({ group: 1, message: append(1, 2, size) })));
  expect(b.batches).toEqual([2, 1, 1, 1]);
  for (const { message } of cluster.sent) expect(message.length).toBeLessThan(5_100_000);
});

test('with too much on its way to a peer its appends are dropped and told, and nothing else', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  for (let i = 0; i < 9; i++) a.courier.sendBulk(2, 9, Buffer.alloc(4_000_000));
  const probe = { ...append(1, 2, 0), entries: [] } as Message;
  const posted = [append(1, 2, 50), heartbeat(1, 2), probe].map((message) => ({ group: 1, message }));
  await cluster.post(a, ...posted);
  expect(a.dropped.map(({ message }) => message.type)).toEqual(['append']);
  expect(b.messages.map(({ message }) => message.type)).toEqual(['heartbeat', 'append']);
});

test('nothing is taken from a peer before it is durably known', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.start(1), cluster.start(2)];
  await cluster.world.runFor(PROBATION_MS);
  await cluster.post(a, { group: 1, message: heartbeat(1, 2) });
  expect(b.messages).toEqual([]);
  settle(b.memory);
  await cluster.post(a, { group: 1, message: heartbeat(1, 2) });
  expect([b.messages.length, a.refused]).toEqual([1, []]);
});

test('a member speaks for its own replicas alone', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  await cluster.post(a, { group: 1, message: heartbeat(3, 2) }, { group: 2, message: heartbeat(1, 2) });
  expect(b.messages.map(({ group }) => group)).toEqual([2]);
  await cluster.post(a, { group: 3, message: heartbeat(3, 2) });
  expect(b.batches).toEqual([1]);
});

test('strangers and what cannot be read are ignored', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  await cluster.post(a, { group: 1, message: heartbeat(1, 2) });
  const good = cluster.sent.at(-1)!.message;
  const stranger = cluster.network.transport('n9');
  stranger.send('n2', good);
  const changed = (change: (message: Buffer) => void) => {
    const copy = Buffer.from(good);
    change(copy);
    return copy;
  };
  const bad = [
    Buffer.alloc(0),
    good.subarray(0, HEADER_BYTES - 1),
    good.subarray(0, HEADER_BYTES),
    good.subarray(0, good.length - 1),
    changed((copy) => (copy[HEADER_BYTES] = 99)), // version of the envelope
    ...[17, 25, 33].map((at) => changed((copy) => copy.fill(255, at, at + 8))),
    Buffer.concat([good, Buffer.from([200])]),
    changed((copy) => (copy[0] = PeerMessageKind.refusal)),
  ];
  for (const message of bad) a.transport.send('n2', message);
  await cluster.world.runFor(50);
  expect([b.batches, b.bulk, b.refused]).toEqual([[1], [], []]);
  a.transport.send('n2', good);
  await cluster.world.runFor(50);
  expect(b.batches).toEqual([1, 1]);
});

test('a peer that lost its data, or part of it, hears so before it takes part, and is not listened to', async () => {
  const cluster = new Cluster();
  cluster.sequences.set(2, 50);
  const [a] = await cluster.pair();
  const losses = [
    ['another', 50, 'data removed'],
    ['log-2..', 49, 'data rolled back'],
  ] as const;
  for (const [logId, sequence, reason] of losses) {
    cluster.sequences.set(2, sequence);
    const lost = cluster.start(2, logId);
    await cluster.world.runFor(150);
    expect([lost.courier.isAdmitted, lost.refused[0]]).toEqual([false, `n1: ${reason}`]);
    await cluster.world.runFor(PROBATION_MS);
    await cluster.post(lost, { group: 1, message: heartbeat(2, 1) });
    expect([new Set(lost.refused), a.messages]).toEqual([new Set([`n1: ${reason}`]), []]);
    await lost.courier.close();
  }
  cluster.sequences.set(2, 50);
  const whole = cluster.start(2);
  await cluster.acquaint(whole);
  await cluster.post(whole, { group: 1, message: heartbeat(2, 1) });
  expect([whole.refused, a.messages.length]).toEqual([[], 1]);
});

test('after a start a node waits for all its peers to know it again, or for a second', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  const third = cluster.start(3);
  await cluster.world.runFor(50);
  for (const { memory } of [a, b, third]) settle(memory);
  expect(third.courier.isAdmitted).toBe(false);
  await cluster.post(a, { group: 1, message: heartbeat(1, 3) });
  expect(third.messages).toEqual([]);
  for (let times = 0; times < 5; times++) {
    for (const { memory } of [a, b, third]) settle(memory);
    await cluster.world.runFor(60);
  }
  expect(third.courier.isAdmitted).toBe(true);
  await cluster.post(a, { group: 1, message: heartbeat(1, 3) });
  expect(third.messages).toHaveLength(1);
  await a.courier.close();
  const again = cluster.start(2, 'log-2..', b.memory);
  await cluster.world.runFor(900);
  expect(again.courier.isAdmitted).toBe(false);
  await cluster.world.runFor(250);
  expect(again.courier.isAdmitted).toBe(true);
});

test('a refusal of an earlier run does not end the one that is there', async () => {
  const cluster = new Cluster();
  const [, b] = await cluster.pair();
  await cluster.post(b, { group: 1, message: heartbeat(2, 1) });
  const late = cluster.sent.at(-1)!.message;
  cluster.sequences.set(2, 5);
  const restarted = cluster.start(2);
  await cluster.post(restarted, { group: 1, message: heartbeat(2, 1) });
  restarted.transport.send('n1', late); // was on its way for long
  await cluster.world.runFor(50);
  const refusals = cluster.sent.filter(({ message }) => message[0] === PeerMessageKind.refusal);
  expect([refusals.length, restarted.refused]).toEqual([1, []]);
});

test('what is not of cores goes by its kind, with the id of its sender', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  a.courier.sendBulk(2, PeerMessageKind.snapshotPart, Buffer.from('rows'));
  a.courier.sendBulk(8, PeerMessageKind.snapshotPart, Buffer.from('nobody'));
  await cluster.world.runFor(50);
  expect([b.bulk, cluster.sent.map(({ lane }) => lane)]).toEqual([['1 3 rows'], ['bulk']]);
});

test('gossip goes by the name of a member, and is not taken of strangers or before its sender is known', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  a.courier.sendGossip('n2', Buffer.from('news'));
  a.courier.sendGossip('n9', Buffer.from('nobody'));
  await cluster.world.runFor(50);
  expect([b.gossip, cluster.sent.map(({ to, lane }) => `${to} ${lane}`)]).toEqual([
    ['n1 news'],
    ['n2 control'],
  ]);
  const { message } = cluster.sent.at(-1)!;
  expect(message[0]).toBe(7);
  cluster.network.transport('n9').send('n2', message);
  b.courier.setMembers(MEMBERS.filter(({ name }) => name !== 'n1'));
  a.transport.send('n2', message);
  await cluster.world.runFor(50);
  expect(b.gossip).toHaveLength(1);

  const [early, late] = [cluster.start(1, 'log-1..'), cluster.start(2, 'log-2..')];
  await cluster.world.runFor(PROBATION_MS);
  early.courier.sendGossip('n2', Buffer.from('early'));
  await cluster.world.runFor(50);
  expect(late.gossip).toEqual([]);
  settle(late.memory);
  early.courier.sendGossip('n2', Buffer.from('then'));
  await cluster.world.runFor(50);
  expect(late.gossip).toEqual(['n1 then']);
});

test('clocks are compared by what messages say', async () => {
  const cluster = new Cluster();
  const [a, b] = await cluster.pair();
  b.clock.jump(-4_000);
  await cluster.post(b, { group: 1, message: heartbeat(2, 1) });
  expect(a.clocks.offsetMs()).toBeLessThan(-3_900);
  await cluster.world.runFor(5_000);
  expect(a.clocks.offsetMs()).toBe(0);
});
