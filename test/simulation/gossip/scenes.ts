/** Scenes of a cluster that gossips, of one seed each; they throw a CheckFailure when something is not as it has to be. */
import type { GossipMessage } from '../../../node/cluster/gossip/messages.ts';
import type { LifeState, NodeRecord } from '../../../node/cluster/gossip/node-record.ts';
import { shortestSuspicionMs } from '../../../node/cluster/gossip/suspicion.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import {
  CLUSTER,
  GossipNetwork,
  OTHER_CLUSTER,
  type SeenChange,
  type SimulatedNode,
} from './gossip-network.ts';

export interface Scene {
  readonly name: string;
  /** `nodes`: at least five. */
  play(seed: string | number, nodes: number): void;
}

const LOSS = 0.05;
/** For news to reach everybody, on a network that loses nothing. */
const SPREAD_MS = 5_000;

export const SCENES: readonly Scene[] = [
  { name: 'crash', play: playCrash },
  { name: 'restart', play: playRestart },
  { name: 'leave', play: playLeave },
  { name: 'one-way loss', play: playOneWayLoss },
  { name: 'sparse links', play: playSparseLinks },
  { name: 'old run', play: playOldRun },
  { name: 'old incarnation', play: playOldIncarnation },
  { name: 'false accusation', play: playFalseAccusation },
  { name: 'clock jumps', play: playClockJumps },
  { name: 'halves', play: playHalves },
  { name: 'one against all', play: playOneAgainstAll },
  { name: 'shared address', play: playSharedAddress },
  { name: 'load', play: playLoad },
  { name: 'big news', play: playBigNews },
  { name: 'long sleep', play: playLongSleep },
  { name: 'slow node', play: playSlowNode },
  { name: 'stall', play: playStall },
];

/** One node stands still for 2 s in every 10, and messages are lost: no other is ever held for dead. */
export function playStall(seed: string | number, nodes: number, forMs = 100_000): void {
  const [network, names] = cluster(seed, nodes);
  network.loss = LOSS;
  const stalled = names[1]!;
  for (let passedMs = 0; passedMs < forMs; passedMs += 10_000) {
    network.stall(stalled, 2_000);
    network.runFor(10_000);
  }
  const dead = network.changes.find(({ after }) => after?.state === 'dead' && after.name !== stalled);
  if (dead !== undefined) fail('stall', `${shown(dead)}, while ${stalled} stood still at times`);
}

/** Everybody notices, in time, and nobody takes others for dead. */
function playCrash(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const crashed = names.at(-1)!;
  network.crash(crashed);
  const shortestMs = shortestSuspicionMs(network.settings, nodes);
  within(network, 'crash', shortestMs + 10_000, () => network.isHeldFor(crashed, 'dead'));
  const early = network.changes.find(({ after }) => after?.state === 'dead');
  if (early!.atMs < shortestMs) fail('crash', `${shown(early!)} before a suspicion of ${shortestMs} ms`);
  const other = network.changes.find(({ after }) => after?.name !== crashed && after?.state !== 'alive');
  if (other !== undefined) fail('crash', `${shown(other)}, but ${crashed} crashed`);
  network.runFor(60_000);
  if (!network.isHeldFor(crashed, 'dead')) fail('crash', `${crashed} did not stay dead`);
}

/** A node is back before it was missed, and another one after; both are known in their new run. */
function playRestart(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  for (const [at, downMs] of [300, 40_000].entries()) {
    const name = names[at + 1]!;
    network.crash(name);
    network.runFor(downMs);
    network.start(name, { member: at + 2, start: 2 }).core.join([names[0]!]);
    const isKnown = () =>
      network.running.every(({ core }) => {
        const known = core.get(name);
        return known?.state === 'alive' && known.start === 2;
      });
    within(network, 'restart', SPREAD_MS, isKnown);
  }
}

/** Everybody learns that a node has ended by itself, and nobody suspects it. */
function playLeave(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const leaver = network.node(names[1]!);
  leaver.core.leave();
  within(network, 'leave', 2_000, () => leaver.core.hasToldAll);
  network.crash(leaver.name);
  // Whom the news misses, as happens once in hundreds of times, the next Sync tells.
  within(network, 'leave', network.settings.syncIntervalMs + SPREAD_MS, () =>
    network.isHeldFor(leaver.name, 'left'),
  );
  network.runFor(60_000);
  const wrong = network.changes.find(({ after }) => after?.state === 'dead' || after?.state === 'suspect');
  if (wrong !== undefined) fail('leave', shown(wrong));
}

/** Of two nodes one does not hear the other: both are there for everybody. */
function playOneWayLoss(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  network.cut([names[1]!], [names[2]!]);
  network.runFor(120_000);
  noneDead(network, 'one-way loss');
}

/** Every node reaches only its four neighbours: nobody is taken for dead for want of a direct way. */
function playSparseLinks(seed: string | number): void {
  const [network, names] = cluster(seed, 5);
  network.cutBoth([names[0]!], [names[1]!]);
  network.cutBoth([names[2]!], [names[3]!]);
  network.runFor(120_000);
  noneDead(network, 'sparse links');
  const suspected = network.changes.filter(({ after }) => after?.state === 'suspect').length;
  if (suspected > 0) fail('sparse links', `${suspected} suspicions of nodes that others reach`);
}

/** A node that was replaced goes on, somewhere: it is not heard, and falls silent. */
function playOldRun(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const name = names[1]!;
  const old = network.node(name);
  const successor = network.start(name, { member: nodes + 1, start: 1 });
  successor.core.join([names[0]!]);
  const isReplaced = ({ core }: SimulatedNode) => core.get(name)?.member === nodes + 1;
  const others = () => network.running.filter((node) => node !== old);
  within(network, 'old run', SPREAD_MS, () => others().every(isReplaced));
  within(network, 'old run', 60_000, () => old.core.newer !== undefined);
  old.sent.messages = 0;
  network.runFor(60_000);
  if (old.sent.messages > 0) fail('old run', 'a node that was replaced goes on telling');
  if (!others().every(isReplaced)) fail('old run', 'a node that was replaced is heard');
  const dead = network.changes.find(({ after }) => after?.name === name && after.state === 'dead');
  if (dead !== undefined) fail('old run', shown(dead));
}

/** News that were long on their way change nothing. */
function playOldIncarnation(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const target = network.node(names[1]!);
  target.core.describe({ zone: 'a' });
  within(network, 'old incarnation', SPREAD_MS, () => zoneIs(network, target.name, 'a'));
  const { incarnation } = target.core.self;
  for (const state of ['suspect', 'dead', 'left'] as const) {
    const accuser = state === 'suspect' ? names[2]! : '';
    tellAll(network, names[0]!, { ...target.core.self, incarnation: incarnation - 1, state, accuser });
    network.runFor(1_000);
  }
  const moved = network.changes.find(({ after }) => after?.name === target.name && after.state !== 'alive');
  if (moved !== undefined) fail('old incarnation', shown(moved));
  if (target.core.self.incarnation !== incarnation)
    fail('old incarnation', `${target.name} contradicts what nobody believes`);
}

/** What is said of a node that lives is contradicted, and the contradiction believed by all. */
function playFalseAccusation(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const target = network.node(names[1]!);
  for (const state of ['suspect', 'dead'] as const) {
    const accuser = state === 'suspect' ? names[2]! : '';
    const { incarnation } = target.core.self;
    tellAll(network, names[0]!, { ...target.core.self, state, accuser }, target.name);
    network.runFor(50);
    within(network, 'false accusation', SPREAD_MS, () => network.isHeldFor(target.name, 'alive'));
    if (target.core.self.incarnation <= incarnation) fail('false accusation', 'it was never contradicted');
  }
}

/** The clock of a node is set forward and back by an hour. */
function playClockJumps(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  network.loss = LOSS;
  const node = network.node(names[1]!);
  for (const offsetMs of [3_600_000, 0, -3_600_000, 0]) {
    node.clockOffsetMs = offsetMs;
    network.runFor(30_000);
  }
  noneDead(network, 'clock jumps');
  const { probes } = node.core.counts;
  network.runFor(20_000);
  if (node.core.counts.probes === probes) fail('clock jumps', `${node.name} probes nobody any more`);
}

/** Two halves take each other for dead, and come together again by themselves. */
function playHalves(seed: string | number, nodes: number): void {
  playSplit(seed, nodes, Math.floor(nodes / 2), 'halves');
}

function playOneAgainstAll(seed: string | number, nodes: number): void {
  playSplit(seed, nodes, 1, 'one against all');
}

function playSplit(seed: string | number, nodes: number, size: number, checker: string): void {
  const [network, names] = cluster(seed, nodes);
  const [some, others] = [names.slice(0, size), names.slice(size)];
  network.cutBoth(some, others);
  within(network, checker, 150_000, () => holdFor(network, others, some, 'dead'));
  // Few that reach nobody doubt themselves, and take long to be sure of the others.
  network.runFor(60_000);
  network.heal();
  network.changes.length = 0;
  within(network, checker, 30_000, () => network.isAgreed(names));
  const isOwn = ({ by, after }: SeenChange) =>
    after?.state === 'dead' && some.includes(by) === some.includes(after.name);
  const wrong = network.changes.find(isOwn);
  if (wrong !== undefined) fail(checker, `${shown(wrong)}, which it reached all the time`);
}

/** A node of another cluster listens where one of this was: neither cluster hears of the other. */
function playSharedAddress(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const lost = names.at(-1)!;
  network.crash(lost);
  const first = network.start('m1', { clusterId: OTHER_CLUSTER });
  const second = network.start(lost, { clusterId: OTHER_CLUSTER, address: lost });
  // By mistake it is told of a node of the other cluster, too.
  second.core.join(['m1', names[0]!]);
  first.core.join(names.slice(0, 2));
  network.runFor(60_000);
  for (const { name, core } of [first, second]) {
    const known = core.nodes.map((node) => node.name).sort();
    if (known.join() !== `m1,${lost}`) fail('shared address', `${name} of the second knows ${known.join()}`);
  }
  const ours = names.slice(0, -1).map((name) => network.node(name).core);
  if (ours.some((core) => core.get(lost)?.state !== 'dead'))
    fail('shared address', `${lost} is not held for dead`);
  if (ours.some((core) => core.get('m1') !== undefined)) fail('shared address', 'm1 is known in the first');
  if (second.core.counts.foreign === 0) fail('shared address', 'no message went astray');
}

/** At rest a node sends two messages a second and few bytes, however many nodes there are. */
function playLoad(seed: string | number, nodes: number): void {
  const [network] = cluster(seed, nodes);
  network.runFor(90_000);
  network.resetTraffic();
  network.runFor(60_000);
  for (const { name, sent } of network.running) {
    // Whose turn it is in a pass is drawn: now and then a node is probed by more than one in a second.
    if (sent.messages > 4 * 60) fail('load', `${name} sent ${sent.messages} messages in a minute`);
    if (sent.bytes > 60 * 1_000) fail('load', `${name} sent ${sent.bytes} bytes in a minute`);
  }
}

/** When everything changes at once messages stay small, and all is told in the end. */
function playBigNews(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const zone = 'z'.repeat(60);
  const most = network.settings.maxNewsBytes + 200;
  for (const name of names) network.node(name).core.describe({ zone, datacentre: zone });
  const isTold = () => names.every((name) => zoneIs(network, name, zone));
  network.onSent = (node, message, bytes) => {
    if (message.body.type !== 'sync' && bytes > most)
      fail('big news', `${node.name} sent ${bytes} bytes of ${message.body.type}`);
  };
  within(network, 'big news', 30_000, isTold);
}

/** A node is stopped for a minute while it suspects others, and then goes on. */
function playLongSleep(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const sleeper = names[1]!;
  network.cutBoth([sleeper], names);
  const suspects = () =>
    network.changes.some(({ by, after }) => by === sleeper && after?.state === 'suspect');
  within(network, 'long sleep', 30_000, suspects);
  network.stall(sleeper, 60_000);
  network.heal();
  network.runFor(120_000);
  const dead = network.changes.find(({ after }) => after?.state === 'dead' && after.name !== sleeper);
  if (dead !== undefined) fail('long sleep', `${shown(dead)}, while ${sleeper} slept`);
  if (!network.isAgreed(names)) fail('long sleep', `${sleeper} is not back`);
}

/** All that comes to a node comes late: it doubts itself, not the others. */
function playSlowNode(seed: string | number, nodes: number): void {
  const [network, names] = cluster(seed, nodes);
  const slow = network.node(names[1]!);
  slow.lateByMs = 1_100;
  network.runFor(120_000);
  noneDead(network, 'slow node');
  const { probes, silences } = slow.core.counts;
  if (silences > probes / 2) fail('slow node', `${slow.name} found ${silences} of ${probes} silent`);
}

/** A network with a cluster at rest, of which nothing is remembered. */
function cluster(seed: string | number, nodes: number): [GossipNetwork, string[]] {
  const network = new GossipNetwork({ seed });
  const names = network.startMany(nodes);
  network.runFor(10_000);
  network.changes.length = 0;
  return [network, names];
}

function within(network: GossipNetwork, checker: string, withinMs: number, condition: () => boolean): void {
  if (!network.hasBecome(condition, withinMs)) fail(checker, `not so within ${withinMs} ms`);
}

function tellAll(network: GossipNetwork, teller: string, record: NodeRecord, except?: string): void {
  const from = network.node(teller);
  const { member, start } = from.core.self;
  const message: GossipMessage = {
    clusterId: CLUSTER,
    from: { member, start },
    news: [record],
    body: { type: 'notice' },
  };
  for (const { name } of network.running)
    if (name !== teller && name !== except) network.inject(from, name, message);
}

function zoneIs(network: GossipNetwork, name: string, zone: string): boolean {
  return network.running.every(({ core }) => core.get(name)?.zone === zone);
}

function holdFor(
  network: GossipNetwork,
  some: readonly string[],
  others: readonly string[],
  state: LifeState,
): boolean {
  return some.every((one) => others.every((other) => network.node(one).core.get(other)?.state === state));
}

function noneDead(network: GossipNetwork, checker: string): void {
  const dead = network.changes.find(({ after }) => after?.state === 'dead');
  if (dead !== undefined) fail(checker, shown(dead));
}

function shown({ atMs, by, after }: SeenChange): string {
  return `at ${atMs} ms ${by} held ${after?.name} for ${after?.state}`;
}

function fail(checker: string, message: string): never {
  throw new CheckFailure(checker, message);
}
