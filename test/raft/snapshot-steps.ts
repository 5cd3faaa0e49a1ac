/**
 * One transfer of a snapshot between whole nodes, cut off wherever it may be: a machine's
 * state changes in its events alone, so its power fails after each of them in turn, from the
 * moment of the offer until the rows that the snapshot replaced are gone. Writes go on
 * meanwhile, and what was under way on disk and in the store is kept, torn or lost by chance.
 */
import { members } from '../../node/raft/core/configuration.ts';
import { decodeEnvelope } from '../../node/raft/core/message-codec.ts';
import { HEADER_BYTES, PeerMessageKind } from '../../node/raft/peer-courier.ts';
import { decodePart } from '../../node/raft/snapshot-parts.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import type { DiskImage } from '../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import type { SortedRows } from '../../node/runtime/simulated/sorted-rows.ts';
import {
  binaryBytes,
  binaryString,
  generationOf,
  groupPrefix,
  prefixEnd,
} from '../../node/storage/row-key.ts';
import { CheckFailure } from './check-failure.ts';
import { SmallCluster, type SmallNode } from './small-cluster.ts';
import { StepWriter, putOf, removalOf } from './step-writer.ts';

/** Who loses its power. */
export type Side = 'sender' | 'receiver';

/** After which of a side's events. */
export interface Cut {
  readonly side: Side;
  readonly step: number;
}

/** A follower that lacks what the others' logs no longer have, as their disks have it. */
export interface Lag {
  readonly seed: string;
  readonly atMs: number;
  readonly group: number;
  readonly follower: number;
  readonly disks: readonly DiskImage[];
  readonly stores: readonly SortedRows[];
  readonly counted: number;
}

/** How a transfer went. */
export interface Passage {
  /** Events of each side between the offer and the end. */
  readonly steps: Readonly<Record<Side, number>>;
  readonly parts: number;
  /** The receiver's step after which the last part was on its way. */
  readonly lastPart: number;
  /** Increments that were acknowledged from the offer on. */
  readonly acknowledged: number;
  /** The snapshot was fetched again, from its beginning. */
  readonly offers: number;
}

/** So that as many rows as are read at once are a part. */
const VALUE_BYTES = 1_100;
const VALUES = 900;
const REPLACED = 30;
const SETTLE_MS = 40_000;
/** How far the store is: each node's own. */
const STORED = 'i';

/** Writes what the follower has, then, while it is away, so much that it needs a snapshot in several parts. */
export async function prepareLag(seed: string): Promise<Lag> {
  const cluster = await SmallCluster.start(seed);
  const writer = new StepWriter(cluster, cluster.groupOf('k0'));
  const names = writer.names(VALUES);
  await writer.all(names.slice(0, REPLACED).map((name) => putOf(name, 'small', 3_600_000)));
  await writer.increment();
  await cluster.world.runFor(1_500);
  const leader = cluster.leaderOf(writer.group)!;
  const follower = cluster.nodes.find((node) => node !== leader)!;
  cluster.crash(follower);
  await writer.all(names.slice(0, REPLACED / 2).map(removalOf));
  const values = names.slice(REPLACED / 2).map((name, at) => {
    return putOf(name, `${at} `.padEnd(VALUE_BYTES, 'x'), at % 2 === 0 ? undefined : 3_600_000);
  });
  await writer.all(values);
  for (let i = 0; i < 5; i++) await writer.increment();
  await cluster.world.runFor(3_000);
  for (const node of cluster.nodes) if (node !== follower) cluster.crash(node);
  return {
    seed,
    atMs: cluster.world.nowMs(),
    group: writer.group,
    follower: cluster.nodes.indexOf(follower),
    disks: cluster.nodes.map(({ disk }) => disk.snapshot()),
    stores: cluster.nodes.map(({ medium }) => medium.rows),
    counted: writer.counted,
  };
}

/** Runs the transfer, with a cut where one is given. Error: CheckFailure. */
export async function transfer(lag: Lag, cut?: Cut): Promise<Passage> {
  const run = new TransferRun(lag, cut);
  return run.play();
}

/** A machine whose events are counted. */
class CountedProcess extends SimulatedProcess {
  events = 0;

  override after(delayMs: number, run: () => void) {
    return super.after(delayMs, () => {
      this.events++;
      run();
    });
  }
}

class TransferRun {
  readonly #lag: Lag;
  readonly #cut: Cut | undefined;
  readonly #cluster: SmallCluster;
  readonly #follower: SmallNode;
  readonly #writer: StepWriter;
  #sender: SmallNode | undefined;
  readonly #parts = new Set<number>();
  #offers = 0;
  #lastPart = 0;
  /** What the follower has at first: until it has the snapshot, it has nothing else. */
  #before = new Map<string, string>();
  /** Least that each node may be at: entry and log time. */
  readonly #reached = new Map<SmallNode, { readonly index: number; readonly stampMs: number }>();

  constructor(lag: Lag, cut: Cut | undefined) {
    this.#lag = lag;
    this.#cut = cut;
    // Another seed: nodes that are started again draw other numbers than in their life before.
    const cluster = (this.#cluster = new SmallCluster(`${lag.seed} ${cut?.side ?? ''} ${cut?.step ?? ''}`));
    this.#follower = cluster.nodes[lag.follower]!;
    this.#writer = new StepWriter(cluster, lag.group, lag.counted);
    // A part that comes twice, or late, is as harmless.
    Object.assign(cluster.network.conditions, { duplicate: 0.1, delay: 0.1, reorder: 0.1, longDelayMs: 20 });
    cluster.network.observe = (from, to, message) => this.#watch(from, to, message);
  }

  async play(): Promise<Passage> {
    const { world } = this.#cluster;
    await world.runUntil(this.#lag.atMs);
    await this.#openAll();
    this.#before = await world.settle(rowsOf(this.#follower, this.#lag.group), SETTLE_MS);
    await this.#until(() => this.#sender !== undefined, 'liveness', 'nobody offers a snapshot');
    const sender = this.#sender!;
    const before = this.#writer.acknowledged;
    const begun = { sender: eventsOf(sender), receiver: eventsOf(this.#follower) };
    const writing = this.#writer.run(this.#writer.names(VALUES).slice(REPLACED));
    const steps = (side: Side) => eventsOf(side === 'sender' ? sender : this.#follower) - begun[side];
    if (this.#cut !== undefined) {
      const { side, step } = this.#cut;
      await this.#until(() => steps(side) >= step, 'liveness', `the ${side} comes to no step ${step}`);
      await this.#restart(side === 'sender' ? sender : this.#follower);
    }
    await this.#until(() => this.#isComplete(), 'liveness', 'the follower is not filled, or not tidied');
    const counted = { sender: steps('sender'), receiver: steps('receiver') };
    this.#writer.stop();
    await world.settle(writing, SETTLE_MS);
    await this.#checkEnd();
    return {
      steps: counted,
      parts: this.#parts.size,
      lastPart: this.#lastPart - begun.receiver,
      acknowledged: this.#writer.acknowledged - before,
      offers: this.#offers,
    };
  }

  /** The machines as they were left, with counted events. */
  async #openAll(): Promise<void> {
    const { nodes, world } = this.#cluster;
    for (const [at, node] of nodes.entries()) {
      this.#count(node);
      node.disk.restore(this.#lag.disks[at]!);
      node.medium.rows = this.#lag.stores[at]!;
    }
    for (const node of nodes) await this.#cluster.open(node);
    await world.runFor(0);
  }

  #count(node: SmallNode): void {
    node.process = new CountedProcess(this.#cluster.world);
    node.disk = node.disk.crash('keep-all', node.process);
    node.clock = new SimulatedClock(node.process);
  }

  /** The power fails, and comes back some time later. What was promised must be there. */
  async #restart(node: SmallNode): Promise<void> {
    const { group } = this.#lag;
    const id = node.member.id;
    const stored = node.engine!.host.replica(group)!.storedIndex;
    const leader = this.#cluster.nodes.find((one) => one !== node && one.engine!.host.isLeader(group));
    const match = leader?.engine!.host.replica(group)!.core.status.followers.get(id)?.match ?? 0;
    this.#cluster.crash(node);
    await this.#cluster.world.runFor(this.#cluster.random.fork('away').float() * 2_500);
    this.#reached.delete(node);
    await this.#cluster.open(node);
    await this.#until(
      () => node.engine!.host.replica(group) !== undefined,
      'liveness',
      'a group is not opened again',
    );
    const { applied, lastIndex } = node.engine!.host.replica(group)!;
    if (node === this.#follower && applied.generation === 0)
      requireEqual(group, this.#before, await this.#cluster.world.settle(rowsOf(node, group), SETTLE_MS));
    if (applied.index < stored)
      throw new CheckFailure('applied index', `starts at ${applied.index}, had stored ${stored}`);
    if (lastIndex < match)
      throw new CheckFailure('applied index', `has entries up to ${lastIndex}, acknowledged ${match}`);
  }

  async #until(condition: () => boolean, checker: string, what: string): Promise<void> {
    const { world, nodes } = this.#cluster;
    const holds = () => {
      this.#checkLife();
      return condition();
    };
    if (await world.runUntilTrue(holds, SETTLE_MS)) return;
    const positions = nodes.map(({ member, engine }) => {
      const replica = engine?.host.replica(this.#lag.group);
      return `${member.name} at ${replica?.applied.index ?? 'nothing'}`;
    });
    throw new CheckFailure(checker, `${what}: ${positions.join(', ')}`);
  }

  /** No node fails, and within a life none goes back. */
  #checkLife(): void {
    for (const node of this.#cluster.nodes) {
      if (node.failures.length > 0)
        throw new CheckFailure('failure', `${node.member.name}: ${node.failures.join(', ')}`);
      const applied = node.engine?.host.replica(this.#lag.group)?.applied;
      const reached = this.#reached.get(node);
      if (applied === undefined || applied === reached) continue;
      const { index, stampMs } = applied;
      if (reached !== undefined && index < reached.index)
        throw new CheckFailure('applied index', `${node.member.name} goes from ${reached.index} to ${index}`);
      if (reached !== undefined && stampMs < reached.stampMs)
        throw new CheckFailure('log time', `${node.member.name} goes from ${reached.stampMs} to ${stampMs}`);
      this.#reached.set(node, applied);
    }
  }

  #isComplete(): boolean {
    const { nodes } = this.#cluster;
    if (nodes.some(({ engine }) => engine === undefined)) return false;
    const { group } = this.#lag;
    const leader = this.#cluster.leaderOf(group)?.engine?.host.replica(group);
    const own = this.#follower.engine!.host.replica(group);
    if (leader === undefined || own === undefined || own.generation === 0) return false;
    const isNear = own.applied.index >= leader.core.status.committed - 5;
    return isNear && own.storedIndex > 0 && nodes.every((node) => this.#isTidy(node));
  }

  /** Nothing of generations that are not in use is on the disk. */
  #isTidy(node: SmallNode): boolean {
    const { group } = this.#lag;
    const { generation } = node.engine!.host.replica(group)!;
    for (let other = 0; other <= generation + 4; other++) {
      if (other === generation) continue;
      const prefix = groupPrefix(group, other);
      const end = binaryBytes(prefixEnd(prefix));
      const rows = node.medium.rows.slice(binaryBytes(prefix), end, 2, false);
      if (
        rows.some(
          ([key]) => binaryString(key) !== prefix + STORED && generationOf(binaryString(key)) === other,
        )
      )
        return false;
    }
    return true;
  }

  async #checkEnd(): Promise<void> {
    const { nodes, world } = this.#cluster;
    await this.#until(() => this.#areLevel(), 'liveness', 'replicas do not catch up');
    const groups = nodes[0]!.engine!.host.replicas.map(({ group }) => group);
    for (const group of groups) {
      const held = nodes.filter((node) => holds(node, group));
      const all = await Promise.all(held.map((node) => world.settle(rowsOf(node, group), SETTLE_MS)));
      for (const rows of all) requireEqual(group, all[0]!, rows);
    }
    const count = await this.#writer.read();
    if (!this.#writer.isPossible(count))
      throw new CheckFailure(
        'applied-once',
        `the counter is ${count}, ${this.#writer.counted} were acknowledged`,
      );
    this.#checkLife();
  }

  #areLevel(): boolean {
    const { nodes } = this.#cluster;
    return nodes[0]!.engine!.host.replicas.every(({ group }) => {
      const held = nodes
        .filter((node) => holds(node, group))
        .map(({ engine }) => engine!.host.replica(group));
      const [first] = held;
      return held.every(
        (each) => each?.applied.index === first?.applied.index && each?.lastIndex === each?.applied.index,
      );
    });
  }

  #watch(from: string, to: string, message: Uint8Array): void {
    if (to === this.#follower.member.name && message[0] === PeerMessageKind.snapshotPart) {
      const { group, part, isLast } = decodePart(message.subarray(HEADER_BYTES));
      if (group === this.#lag.group) this.#parts.add(part);
      if (group === this.#lag.group && isLast) this.#lastPart = eventsOf(this.#follower);
    }
    if (message[0] !== PeerMessageKind.envelope) return;
    const offer = decodeEnvelope(message.subarray(HEADER_BYTES)).find(
      ({ group, message: { type } }) => type === 'snapshot' && group === this.#lag.group,
    );
    if (offer === undefined) return;
    this.#offers++;
    this.#sender ??= this.#cluster.nodes.find(({ member }) => member.name === from);
  }
}

function eventsOf({ process }: SmallNode): number {
  return process instanceof CountedProcess ? process.events : 0;
}

function holds({ member, engine }: SmallNode, group: number): boolean {
  const replica = engine!.host.replica(group);
  return replica !== undefined && members(replica.core.configuration).includes(member.id);
}

/** The rows of a group as anybody reads them on a node. */
async function rowsOf({ engine }: SmallNode, group: number): Promise<Map<string, string>> {
  const prefix = groupPrefix(group, engine!.host.replica(group)!.generation);
  const { rows } = await engine!.rows.range(prefix, prefixEnd(prefix), Infinity);
  const named = rows.map(([key, content]): [string, string] => [
    key.slice(prefix.length),
    binaryString(content),
  ]);
  return new Map(named.filter(([rest]) => rest !== STORED));
}

function requireEqual(group: number, one: Map<string, string>, other: Map<string, string>): void {
  const names = new Set([...one.keys(), ...other.keys()]);
  const differing = [...names].filter((name) => one.get(name) !== other.get(name));
  if (differing.length === 0) return;
  const shown = differing.slice(0, 5).map((name) => JSON.stringify(name));
  throw new CheckFailure('replicas', `group ${group}: ${differing.length} rows differ: ${shown.join(', ')}`);
}
