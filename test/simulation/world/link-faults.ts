/** Faults between clients and nodes, and between nodes. */
import type { InjectionCounts } from '../../../node/runtime/simulated/injection-counts.ts';
import { during, type FaultKind, type FaultScene, type Lasting } from './fault.ts';
import { logUniform, pick } from './world-settings.ts';

/** A client and a node cannot reach each other, or one of them the other. */
function clientCut(name: string, cutsRequests: boolean, cutsReplies: boolean): FaultKind {
  return {
    name,
    everyMs: [2_000, 10_000],
    inject(scene) {
      const client = pick(scene.random, ...scene.clients).name;
      const node = pick(scene.random, ...scene.nodes).name;
      if (cutsRequests) scene.links.cut(client, node);
      if (cutsReplies) scene.links.cut(node, client);
      scene.trace.note('links', `${name} ${client} ${node}`);
      const heal = () => {
        scene.links.mend(client, node);
        scene.links.mend(node, client);
      };
      return { forMs: Math.round(logUniform(scene.random, 100, 6_000)), heal };
    },
  };
}

const resetConnections: FaultKind = {
  name: 'reset-connections',
  everyMs: [1_500, 8_000],
  inject({ nodes, links, random }) {
    return links.resetConnections(pick(random, ...nodes).name, random.float()) > 0 ? 'done' : undefined;
  },
};

/** While it lasts, each message meets it with some probability. */
function whileItLasts(
  name: string,
  counts: (scene: FaultScene) => InjectionCounts,
  counted: string,
  set: (scene: FaultScene, rate: number) => void,
  mostRate: number,
  leastNodes = 1,
): FaultKind {
  return {
    name,
    leastNodes,
    everyMs: [1_000, 6_000],
    inject(scene) {
      const rate = logUniform(scene.random, mostRate / 50, mostRate);
      set(scene, rate);
      scene.trace.note('links', `${name} ${rate.toFixed(4)}`);
      return { forMs: during(scene, 500, 5_000), heal: () => set(scene, 0) };
    },
    met: (scene) => counts(scene).of(counted),
  };
}

const ofLinks = ({ links }: FaultScene) => links.injections;
const ofNetwork = ({ network }: FaultScene) => network.injections;

const peerFaults = (['drop', 'duplicate', 'reorder', 'delay'] as const).map((kind) =>
  whileItLasts(
    `peer-${kind}`,
    ofNetwork,
    kind,
    ({ network }, rate) => (network.conditions[kind] = rate),
    0.2,
    2,
  ),
);

/** Nodes fall into groups; `overlap` of them are in both: a bridge. */
function split(name: string, leastNodes: number, overlap: number): FaultKind {
  return {
    name,
    leastNodes,
    everyMs: [2_000, 10_000],
    inject(scene) {
      const names = shuffled(
        scene,
        scene.nodes.map((node) => node.name),
      );
      const middle = Math.max(1, Math.floor(scene.random.float() * names.length));
      const left = names.slice(0, middle + overlap);
      const right = names.slice(middle);
      scene.network.partition(left, right);
      for (const one of left)
        for (const other of right)
          if (!left.includes(other) && !right.includes(one)) cutCalls(scene, one, other);
      scene.trace.note('links', `${name} ${left.join(' ')} | ${right.join(' ')}`);
      return mending(scene);
    },
  };
}

/** One node hears nobody, or is heard by nobody. */
const oneWay: FaultKind = {
  name: 'peer-one-way',
  leastNodes: 2,
  everyMs: [2_000, 10_000],
  inject(scene) {
    const leading = scene.leaders();
    const node = pick(scene.random, ...(leading.length > 0 ? leading : scene.nodes)).name;
    const isDeaf = scene.random.chance(0.5);
    for (const { name } of scene.nodes) {
      if (name === node || scene.random.chance(0.3)) continue;
      const [from, to] = isDeaf ? [name, node] : [node, name];
      scene.network.cut(from, to);
      scene.links.cut(from, to);
    }
    scene.trace.note('links', `${node} ${isDeaf ? 'hears nobody' : 'is heard by nobody'}`);
    return mending(scene);
  },
};

/** What nodes do for each other's callers meets the same as what their replicas say. */
function cutCalls({ links }: FaultScene, one: string, other: string): void {
  links.cut(one, other);
  links.cut(other, one);
}

function mending(scene: FaultScene): Lasting {
  const heal = () => {
    scene.network.heal();
    for (const one of scene.nodes) for (const other of scene.nodes) scene.links.mend(one.name, other.name);
  };
  return { forMs: Math.round(logUniform(scene.random, 200, 6_000)), heal };
}

function shuffled<T>({ random }: FaultScene, items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: random.u32() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

export const LINK_FAULTS: readonly FaultKind[] = [
  clientCut('client-cut', true, true),
  clientCut('client-requests-cut', true, false),
  clientCut('client-replies-cut', false, true),
  resetConnections,
  whileItLasts(
    'lost-reply',
    ofLinks,
    'lose-reply',
    ({ links }, rate) => (links.conditions.loseReply = rate),
    0.1,
  ),
  whileItLasts(
    'reset-by-request',
    ofLinks,
    'reset-connection',
    ({ links }, rate) => (links.conditions.reset = rate),
    0.1,
  ),
  whileItLasts(
    'delayed-frame',
    ofLinks,
    'delay-frame',
    ({ links }, rate) => (links.conditions.delay = rate),
    0.2,
  ),
  ...peerFaults,
  split('peer-partition', 2, 0),
  split('peer-bridge', 3, 1),
  oneWay,
];
