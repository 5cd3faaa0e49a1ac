/** How long news take to reach everybody, and what it costs, by the number of nodes. */
import { GossipNetwork } from './gossip-network.ts';

/** Of one cluster. Times from what happened until all that are up know; rounds of 200 ms, in which news are told. */
export interface Convergence {
  readonly nodes: number;
  /** Of a node that comes. */
  readonly joinRounds: number;
  /** Of a node that says that it ends. */
  readonly leaveRounds: number;
  /** From a crash until somebody suspects the node, until the first holds it for dead, and until all do. */
  readonly suspectedMs: number;
  readonly deadMs: number;
  readonly allKnowMs: number;
  /** Of the busiest node, in a second, while nothing happens. */
  readonly restMessages: number;
  readonly restBytes: number;
  /** Of a node on average. */
  readonly meanMessages: number;
  readonly meanBytes: number;
  /** Of a node on average, in the 15 s after a crash. */
  readonly crashMessages: number;
  readonly crashBytes: number;
}

const REST_MS = 120_000;
const CRASH_MS = 15_000;
const LIMIT_MS = 120_000;

export function measure(nodes: number, seed: string | number): Convergence {
  const network = new GossipNetwork({ seed: `${seed} of ${nodes}` });
  const names = network.startMany(nodes);
  // Until Syncs are as rare as they get.
  network.runFor(240_000);
  return { nodes, ...rest(network), ...turnover(network), ...crash(network, names.at(-1)!) };
}

function rest(network: GossipNetwork) {
  network.resetTraffic();
  network.runFor(REST_MS);
  const perSecond = (count: number) => count / (REST_MS / 1_000);
  const sent = network.running.map((node) => node.sent);
  return {
    restMessages: perSecond(Math.max(...sent.map(({ messages }) => messages))),
    restBytes: perSecond(Math.max(...sent.map(({ bytes }) => bytes))),
    ...meanTraffic(network, REST_MS),
  };
}

/** A node comes and goes again. */
function turnover(network: GossipNetwork) {
  const { newsIntervalMs } = network.settings;
  const node = network.start('joiner', { member: 1_000 });
  node.core.join(['n1']);
  const joinMs = network.runUntil(() => network.isHeldFor('joiner', 'alive'), LIMIT_MS, 'joined');
  network.runFor(10_000);
  node.core.leave();
  const leaveMs = network.runUntil(() => network.isHeldFor('joiner', 'left'), LIMIT_MS, 'left');
  network.crash('joiner');
  network.runFor(10_000);
  return { joinRounds: joinMs / newsIntervalMs, leaveRounds: leaveMs / newsIntervalMs };
}

function crash(network: GossipNetwork, name: string) {
  network.changes.length = 0;
  network.resetTraffic();
  const startMs = network.nowMs;
  network.crash(name);
  network.runFor(CRASH_MS);
  const { meanMessages: crashMessages, meanBytes: crashBytes } = meanTraffic(network, CRASH_MS);
  network.hasBecome(() => network.isHeldFor(name, 'dead'), LIMIT_MS);
  const times = (state: string) =>
    network.changes.flatMap(({ atMs, after }) =>
      after?.name === name && after.state === state ? [atMs - startMs] : [],
    );
  const dead = times('dead');
  const told = { deadMs: dead[0]!, allKnowMs: dead.at(-1)! };
  return { suspectedMs: times('suspect')[0]!, ...told, crashMessages, crashBytes };
}

function meanTraffic(network: GossipNetwork, durationMs: number) {
  const { running } = network;
  const perNodeSecond = (total: number) => total / running.length / (durationMs / 1_000);
  return {
    meanMessages: perNodeSecond(running.reduce((sum, { sent }) => sum + sent.messages, 0)),
    meanBytes: perNodeSecond(running.reduce((sum, { sent }) => sum + sent.bytes, 0)),
  };
}

/** Figure by figure the median of some runs of one number of nodes, and for `worst` the greatest. */
export function summary(runs: readonly Convergence[], pick: 'median' | 'worst'): Convergence {
  const keys = Object.keys(runs[0]!) as (keyof Convergence)[];
  const of = (key: keyof Convergence) => {
    const sorted = runs.map((run) => run[key]).sort((a, b) => a - b);
    return pick === 'worst' ? sorted.at(-1)! : sorted[sorted.length >> 1]!;
  };
  return Object.fromEntries(keys.map((key) => [key, of(key)])) as unknown as Convergence;
}
