/** A few whole engines on one simulated network, without faults but those that a test makes. */
import { MutationKind } from '../../node/kv/kv-command.ts';
import { placeOf } from '../../node/kv/key-value.ts';
import { CONTENTS, openEngine, type Engine } from '../../node/main/engine.ts';
import { claimDirectory } from '../../node/storage/identity.ts';
import type { Membership } from '../../node/cluster/membership.ts';
import type { Member } from '../../node/raft/members.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedDisk } from '../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedNetwork } from '../../node/runtime/simulated/simulated-network.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { SimulatedOrderedStore, SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import { forwardService } from '../../node/services/forward-service.ts';
import { leaseService } from '../../node/services/lease-service.ts';
import { CallEdge } from '../../node/transport/call-edge.ts';
import { SimulatedLinks } from '../../node/transport/simulated/simulated-links.ts';
import { SimulatedServer } from '../../node/transport/simulated/simulated-server.ts';
import { SimulatedTransport } from '../../node/transport/simulated/simulated-transport.ts';
import { openAccess } from '../../node/services/access.ts';

const EMPTY = new Uint8Array(0);

/** One machine and what runs on it. */
export interface SmallNode {
  readonly member: Member;
  readonly medium: SimulatedStoreMedium;
  disk: SimulatedDisk;
  process: SimulatedProcess;
  clock: SimulatedClock;
  store: SimulatedOrderedStore | undefined;
  engine: Engine | undefined;
  readonly failures: string[];
}

export class SmallCluster {
  readonly world = new SimulatedScheduler();
  readonly random: SeededRandom;
  readonly network: SimulatedNetwork;
  readonly nodes: readonly SmallNode[];
  readonly #membership: Membership;
  readonly #entryCacheBytes: number;
  /** The way on which nodes have others do what their callers want; undefined: there is none. */
  readonly #links: SimulatedLinks | undefined;
  #starts = 0;

  constructor(seed: string, size = 3, entryCacheBytes = 0, isForwarding = false) {
    this.random = new SeededRandom(seed);
    this.network = new SimulatedNetwork(this.world, this.random.fork('network'));
    this.#entryCacheBytes = entryCacheBytes;
    this.#links = isForwarding ? new SimulatedLinks(this.world, this.random.fork('links')) : undefined;
    const ids = Array.from({ length: size }, (_, at) => at + 1);
    const members = ids.map((id) => ({
      id,
      name: `n${id}`,
      nodeId: '',
      grpc: `n${id}:1`,
      http: '',
      state: 'active' as const,
      replaces: 0,
    }));
    this.#membership = { clusterId: '', members, version: 0, nextId: size + 1, founders: ids };
    this.nodes = members.map(({ id, name, grpc }) => {
      const member: Member = { id, name, address: grpc };
      const process = new SimulatedProcess(this.world);
      const disk = new SimulatedDisk(process, this.random.fork(`disk-${member.id}`));
      const clock = new SimulatedClock(process);
      const medium = new SimulatedStoreMedium();
      return { member, medium, disk, process, clock, store: undefined, engine: undefined, failures: [] };
    });
  }

  static async start(
    seed: string,
    size = 3,
    entryCacheBytes = 0,
    isForwarding = false,
  ): Promise<SmallCluster> {
    const cluster = new SmallCluster(seed, size, entryCacheBytes, isForwarding);
    await Promise.all(cluster.nodes.map((node) => cluster.open(node)));
    await cluster.until(() => cluster.nodes.every(({ engine }) => engine!.keyspaces.list().length > 0));
    return cluster;
  }

  /** Starts a node on what its disk has. */
  async open(node: SmallNode): Promise<void> {
    const { member, process, disk, clock, medium } = node;
    const random = this.random.fork(`engine-${++this.#starts}`);
    const claimed = claimDirectory(disk, random, member.name, CONTENTS);
    const { node_id: nodeId } = await this.world.settle(claimed, 60_000);
    const members = this.#membership.members.map((one) => (one.id === member.id ? { ...one, nodeId } : one));
    const opening = openEngine({
      disk,
      verifyStore: async () => [],
      verifyNextFile: async () => undefined,
      openStore: async () =>
        (node.store = new SimulatedOrderedStore(
          process,
          this.random.fork(`store-${++this.#starts}`),
          medium,
        )),
      clock,
      random,
      nodeName: member.name,
      segmentBytes: 128 * 1024,
      minFreeBytes: 0,
      queueBytes: 16 * 1024 * 1024,
      membership: { ...this.#membership, members },
      peers: this.network.transport(member.name, process),
      entryCacheBytes: this.#entryCacheBytes,
      forwarding: this.#forwarding(node),
      onFailure: (cause) => node.failures.push(cause),
    });
    node.engine = await this.world.settle(opening, 60_000);
    this.#serveOthers(node, node.engine);
  }

  #forwarding({ member, process, clock }: SmallNode): SimulatedTransport | undefined {
    return (
      this.#links &&
      new SimulatedTransport({
        links: this.#links,
        host: member.name,
        process,
        clock,
        isPatient: false,
        windowBytes: 65_536,
        maxQueuedBytes: 1_048_576,
        routes: '1',
      })
    );
  }

  #serveOthers({ member, process, clock }: SmallNode, engine: Engine): void {
    const edge = new CallEdge({
      clock,
      random: this.random.fork(`edge-${this.#starts}`),
      authorise: openAccess,
      inFlightBytes: 16 * 1024 * 1024,
      refusal: () => undefined,
      observe: () => undefined,
      onDefect: (method, _, error) => {
        throw new Error(`${method} failed`, { cause: error });
      },
    });
    const server = new SimulatedServer({
      process,
      clock,
      edge,
      services: [forwardService({ ...engine, clock }), leaseService(engine)],
      connectionInFlightBytes: 16 * 1024 * 1024,
      sendQueueBytes: 1_048_576,
    });
    this.#links?.listen(member.address, member.name, server);
  }

  /** The power of one machine fails, and is back at once. */
  crash(node: SmallNode): void {
    this.#links?.listen(node.member.address, node.member.name, undefined);
    this.#links?.processEnded(node.process, true);
    node.process.kill();
    node.store?.crash('seeded');
    node.process = new SimulatedProcess(this.world);
    node.disk = node.disk.crash('seeded', node.process);
    node.clock = new SimulatedClock(node.process);
    node.engine = undefined;
  }

  /** Cuts one machine off from all others, in every way that nodes speak. */
  isolate({ member }: SmallNode): void {
    const others = this.nodes.map((node) => node.member.name).filter((name) => name !== member.name);
    this.network.partition([member.name], others);
    for (const other of others) {
      this.#links?.cut(member.name, other);
      this.#links?.cut(other, member.name);
    }
  }

  /** Ends `isolate`. */
  heal(): void {
    this.network.heal();
    for (const one of this.nodes)
      for (const other of this.nodes) this.#links?.mend(one.member.name, other.member.name);
  }

  async until(condition: () => boolean, withinMs = 60_000): Promise<void> {
    if (!(await this.world.runUntilTrue(condition, withinMs))) throw new Error('it did not come to that');
  }

  leaderOf(group: number): SmallNode | undefined {
    return this.nodes.find(({ engine }) => engine?.host.isLeader(group));
  }

  /** Group of a key of the first keyspace. */
  groupOf(key: string): number {
    const { engine } = this.nodes.find((node) => (node.engine?.keyspaces.list().length ?? 0) > 0)!;
    return placeOf(engine!.keyspaces.get('default'), Buffer.from(key)).partition.group;
  }

  /** Puts a key on whoever leads its partition; resolves to the reason of an error. */
  async put(key: string, value: string): Promise<string | undefined> {
    const group = this.groupOf(key);
    await this.until(() => this.leaderOf(group) !== undefined);
    const { engine } = this.leaderOf(group)!;
    const mutation = {
      kind: MutationKind.put,
      key: Buffer.from(key),
      value: Buffer.from(value),
      ttlMs: undefined,
      expectedVersion: 0,
      expectedValue: EMPTY,
      delta: 0n,
    };
    const context = { identity: undefined, fence: undefined };
    const done = new Promise<string | undefined>((resolve) => {
      engine!.kv.mutate(engine!.keyspaces.get('default'), mutation, context, Infinity, {
        onDone: () => resolve(undefined),
        onError: ({ reason }) => resolve(reason),
      });
    });
    return this.world.settle(done, 30_000);
  }

  /** Reads a key on one node. */
  async get(node: SmallNode, key: string): Promise<string | undefined> {
    const { kv, keyspaces } = node.engine!;
    const found = await this.world.settle(
      Promise.resolve(kv.get(keyspaces.get('default'), Buffer.from(key))),
      30_000,
    );
    return found && Buffer.from(found.value).toString();
  }
}
