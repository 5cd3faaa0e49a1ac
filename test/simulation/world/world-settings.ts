/** What one run is like; everything is drawn from its seed. */
import { between } from '../../../client/random.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { CLUSTER_SIZES } from './open-member.ts';

export interface WorldSettings {
  /** Nodes that found the cluster. */
  readonly nodes: number;
  /** Machines with an empty directory, which may be added to it. */
  readonly spares: number;
  readonly clients: number;
  /** Callers in each client that wait for their own answers alone. */
  readonly callersPerClient: number;
  /** Callers without our client, which know of no leaders. */
  readonly plainCallers: number;
  readonly keyspaces: readonly KeyspacePlan[];
  readonly faultyMs: number;
  /** Operations that are aimed at. */
  readonly operations: number;
  readonly timeoutMs: number;
  readonly segmentBytes: number;
  readonly minFreeBytes: number;
  readonly queueBytes: number;
  readonly inFlightBytes: number;
  readonly connectionInFlightBytes: number;
  readonly windowBytes: number;
  readonly sendQueueBytes: number;
  readonly maxQueuedBytes: number;
  readonly maxValueBytes: number;
  /** Bytes of log entries that a node keeps for replicas that lag: with few of them snapshots are common. */
  readonly entryCacheBytes: number;
  /** Whether members of groups are changed: then fewer nodes may lose their data for good. */
  readonly changesMembers: boolean;
  /** Share of clients that ask leaders themselves; nodes do it for the others. */
  readonly routing: number;
  readonly weights: OperationWeights;
  /** Callers of the coordination, each with a client of its own; 0: none of its work is done. */
  readonly coordinators: number;
  readonly leaseCheckpointMs: number;
  /** Clients that produce to topics; 0: there are none. */
  readonly producers: number;
  /** Whether nodes find out who seems alive, and go by it in whom they ask. */
  readonly gossip: boolean;
}

export interface KeyspacePlan {
  readonly name: string;
  readonly partitions: number;
  readonly registers: number;
  readonly counters: number;
}

/** How often each kind of operation is chosen, against the others. */
export interface OperationWeights {
  readonly get: number;
  readonly put: number;
  readonly create: number;
  readonly setIfVersion: number;
  readonly setIfValue: number;
  readonly increment: number;
  readonly delete: number;
  readonly deleteIfVersion: number;
  readonly scan: number;
  readonly batch: number;
  readonly batchGet: number;
  readonly transaction: number;
  readonly expiring: number;
}

/** What a caller may fix. */
export interface WorldOptions {
  readonly nodes?: number | undefined;
  /** Kinds of faults, by name: these and no others. */
  readonly faults?: readonly string[] | undefined;
  /** False: nothing but keyspaces is worked on. Default: locks and the like as well. */
  readonly coordination?: boolean | undefined;
  /** True: topics are worked on. Default: they are not, and a seed is what it was before there were any. */
  readonly broker?: boolean | undefined;
  /** True: nodes gossip. Default: they do not, and a seed is what it was before they could. */
  readonly gossip?: boolean | undefined;
  readonly print?: ((line: string) => void) | undefined;
}

export function drawSettings(random: SeededRandom, options: WorldOptions): WorldSettings {
  const faultyMs = between(random, 6_000, 14_000);
  const nodes = options.nodes ?? pick(random.fork('nodes'), ...CLUSTER_SIZES);
  return {
    nodes,
    spares: nodes < 3 ? 0 : Math.min(7 - nodes, pick(random.fork('spares'), 0, 1, 1, 2)),
    clients: between(random, 3, 8),
    callersPerClient: between(random, 1, 4),
    plainCallers: nodes === 1 ? 0 : pick(random.fork('plain'), 0, 0, 1, 3),
    keyspaces: drawKeyspaces(random),
    faultyMs,
    operations: between(random, 300, 1_000),
    timeoutMs: between(random, 2_000, 6_000),
    segmentBytes: pick(random, 64, 128, 256) * 1024,
    minFreeBytes: 1024 * 1024,
    queueBytes: pick(random, 64, 256, 4_096) * 1024,
    inFlightBytes: pick(random, 64, 256, 4_096) * 1024,
    connectionInFlightBytes: pick(random, 48, 256, 1_024) * 1024,
    windowBytes: pick(random, 2, 8, 64) * 1024,
    sendQueueBytes: pick(random, 4, 16, 128, 4_096) * 1024,
    maxQueuedBytes: pick(random, 2, 8, 64, 1_024) * 1024,
    maxValueBytes: pick(random, 64, 1_024, 20 * 1024),
    changesMembers: random.fork('members').chance(0.4),
    entryCacheBytes: pick(random.fork('cache'), 0, 4, 64, 1_024) * 1024,
    routing: pick(random.fork('routing'), 1, 1, 0.5, 0.5, 0),
    weights: drawWeights(random),
    coordinators: options.coordination === false ? 0 : between(random.fork('coordinators'), 2, 4),
    leaseCheckpointMs: pick(random.fork('checkpoint'), 1_000, 2_000, 5_000),
    producers: options.broker === true ? between(random.fork('producers'), 1, 3) : 0,
    gossip: options.gossip ?? false,
  };
}

function drawKeyspaces(random: SeededRandom): KeyspacePlan[] {
  const count = between(random, 1, 3);
  return Array.from({ length: count }, (_, position) => ({
    name: `ks${position}`,
    // The first has one partition, so that every run can have transactions over several keys.
    partitions: position === 0 ? 1 : pick(random, 1, 2, 4),
    registers: between(random, 2, 6),
    counters: between(random, 1, 3),
  }));
}

/** Some kinds not at all, so that the others meet each other more. */
function drawWeights(random: SeededRandom): OperationWeights {
  const draw = (most: number) => (random.chance(0.2) ? 0 : most * random.float());
  return {
    get: 1 + draw(4),
    put: 1 + draw(3),
    create: draw(1),
    setIfVersion: draw(2),
    setIfValue: draw(2),
    increment: 0.2 + draw(2),
    delete: draw(1),
    deleteIfVersion: draw(1),
    scan: draw(0.5),
    batch: draw(0.5),
    batchGet: draw(0.5),
    transaction: draw(1),
    expiring: draw(0.7),
  };
}

/** One of `values`. */
export function pick<T>(random: SeededRandom, ...values: readonly T[]): T {
  return values[Math.floor(random.float() * values.length)]!;
}

/** A number spread evenly over orders of magnitude. */
export function logUniform(random: SeededRandom, low: number, high: number): number {
  return low * (high / low) ** random.float();
}
