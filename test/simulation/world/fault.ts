/** What a kind of fault is, and what it can reach. */
import { between } from '../../../client/random.ts';
import type { CrashPolicy } from '../../../node/runtime/simulated/crash-policy.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import type { SimulatedNetwork } from '../../../node/runtime/simulated/simulated-network.ts';
import type { SimulatedScheduler } from '../../../node/runtime/simulated/simulated-scheduler.ts';
import type { SimulatedLinks } from '../../../node/transport/simulated/simulated-links.ts';
import type { Trace } from './trace.ts';
import type { WorldClient } from './world-client.ts';
import type { WorldNode } from './world-node.ts';
import { pick } from './world-settings.ts';

/** What faults reach. */
export interface FaultScene {
  readonly nodes: readonly WorldNode[];
  readonly clients: readonly WorldClient[];
  readonly links: SimulatedLinks;
  readonly network: SimulatedNetwork;
  readonly scheduler: SimulatedScheduler;
  readonly random: SeededRandom;
  readonly trace: Trace;
  /** Whether members of groups may be changed in this run. */
  readonly changesMembers: boolean;
  /** No fault that lasts is under way. */
  isCalm(): boolean;
  /** Injects nothing for so long. */
  quiet(forMs: number): void;
  /** Nodes that lead some group now. */
  leaders(): WorldNode[];
  /** Whether one more node may be damaged for good: a majority never is. */
  mayDamage(): boolean;
}

/** A fault that lasts: how long, and how it is undone. */
export interface Lasting {
  readonly forMs: number;
  heal(): void;
}

export interface FaultKind {
  readonly name: string;
  /** Least number of nodes for which it means anything. Default 1. */
  readonly leastNodes?: number;
  /** Between two injections in milliseconds, drawn for each run from this range. */
  readonly everyMs: readonly [least: number, most: number];
  /** Injects it once; undefined: not possible now. */
  inject(scene: FaultScene): Lasting | 'done' | undefined;
  /** Injections so far, where the fault is only laid out and something else meets it. Default: how often `inject` did it. */
  met?(scene: FaultScene): number;
}

export const CRASH_POLICIES: readonly CrashPolicy[] = [
  'seeded',
  'seeded',
  'lose-all',
  'keep-all',
  'keep-last',
  'keep-first',
];

/** A node that fulfils a condition, often one that leads; undefined: none does. */
export function someNode(
  { nodes, random, leaders }: FaultScene,
  fits: (node: WorldNode) => boolean,
): WorldNode | undefined {
  const leading = leaders().filter(fits);
  const fitting = leading.length > 0 && random.chance(0.5) ? leading : nodes.filter(fits);
  return fitting.length === 0 ? undefined : pick(random, ...fitting);
}

/** Milliseconds in a range, whole. */
export function during({ random }: FaultScene, least: number, most: number): number {
  return between(random, least, most);
}

export function isUp(node: WorldNode): boolean {
  return node.state === 'up';
}
