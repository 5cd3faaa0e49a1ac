/**
 * The work on topics of a run, and its checks: producers with clients of their own, some of which
 * are killed; readers that look into the replicas of nodes at any moment; and in the end, without
 * faults: every partition takes a record, and all replicas hold in their files what the log says.
 */
import { sleep } from '../../../client/clock.ts';
import { HoldfastError } from '../../../client/error.ts';
import { between } from '../../../client/random.ts';
import type { Producer } from '../../../client/broker/producer.ts';
import type { TopicPartition } from '../../../node/broker/topic-partition.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { BrokerChecker } from '../checkers/broker-checker.ts';
import { GroupChecker } from '../checkers/group-checker.ts';
import { GroupReader } from './group-reader.ts';
import type { NodeSurroundings } from './node-surroundings.ts';
import { PartitionApplied, valuesOf } from './partition-applied.ts';
import { WorkRecorder } from './work-recorder.ts';
import type { World } from './world.ts';
import { WorldClient } from './world-client.ts';
import type { WorldNode } from './world-node.ts';
import { pick } from './world-settings.ts';

/** Virtual time from the end of the faults until all is well. */
const BOUND_MS = 60_000;
const DELIVERY_MS = 8_000;
const RECORDS_A_SECOND = 40;
const LOOK_MS = 100;
/** Share of clients that are killed, with what is under way. */
const KILLED = 0.3;
const TOPICS: readonly { readonly name: string; readonly partitions: number }[] = [
  { name: 'one', partitions: 1 },
  { name: 'three', partitions: 3 },
];

export class BrokerWork {
  readonly checker = new BrokerChecker();
  readonly groups = new GroupChecker(this.checker);
  readonly applied: PartitionApplied;
  readonly recorder: WorkRecorder;
  readonly clients: readonly WorldClient[];
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #running = new Set<WorldClient>();
  readonly #dead = new Set<WorldClient>();
  readonly #readers = new Map<WorldClient, GroupReader>();
  /** Of partitions, by topic and number. */
  readonly #groups = new Map<string, number>();

  constructor(world: World, around: NodeSurroundings, random: SeededRandom) {
    this.#world = world;
    this.#random = random;
    this.recorder = new WorkRecorder(world.recorder);
    this.applied = new PartitionApplied(this.checker, this.groups, (error) => world.fail(error));
    this.clients = Array.from(
      { length: world.settings.producers },
      (_, at) => new WorldClient(`b${at + 1}`, random.fork(`client-${at}`), around),
    );
  }

  /** Topics are there before the faults begin. */
  async setUp(): Promise<void> {
    const { topics } = this.clients[0]!.holdfast;
    const segmentBytes = 1024 * 1024;
    const creating = TOPICS.map(({ name, partitions }) => topics.create(name, { partitions, segmentBytes }));
    await this.#world.finish(Promise.all(creating), BOUND_MS, 'setup', 'creating topics');
    const areKnown = () => {
      for (const { engine } of this.#world.nodes)
        for (const { topic, number, group } of engine?.topics.partitions() ?? [])
          this.#groups.set(`${topic}/${number}`, group);
      return TOPICS.every(({ name, partitions }) => this.#groups.has(`${name}/${partitions - 1}`));
    };
    await this.#world.until(areKnown, BOUND_MS);
  }

  /** Producers work until `isOver`; some die before. */
  start(isOver: () => boolean): void {
    for (const [at, client] of this.clients.entries()) {
      this.#run(client, this.#random.fork(`producer-${at}`), isOver);
      this.#read(client, this.#random.fork(`reader-${at}`));
    }
    this.#look(isOver);
  }

  /** After the faults: all records are where they belong, in the files of every replica. */
  async finish(): Promise<void> {
    const world = this.#world;
    if (!(await world.until(() => this.#running.size === 0, BOUND_MS)))
      throw new CheckFailure('liveness', `${this.#running.size} producers do not come to an end`);
    const living = this.clients.filter((client) => !this.#dead.has(client));
    await world.finish(this.#probe(living[0]!), BOUND_MS, 'liveness', 'producing to all partitions');
    await this.#seeAll();
    const leaving = Promise.all(living.map((client) => this.#readers.get(client)!.close()));
    await world.finish(leaving, BOUND_MS, 'liveness', 'closing consumers');
    const closing = Promise.all(living.map(({ holdfast }) => holdfast.close()));
    await world.finish(closing, BOUND_MS, 'liveness', 'closing clients');
    await world.finish(this.#compareFiles(), BOUND_MS, 'liveness', 'reading all partitions');
    this.recorder.did('broker', 'records kept', String(this.checker.kept));
  }

  #read(client: WorldClient, random: SeededRandom): void {
    const reader = new GroupReader({
      client,
      random,
      topics: TOPICS.map(({ name }) => name),
      checker: this.groups,
      recorder: this.recorder,
      groupOf: (topic, partition) => this.#groupOf(topic, partition),
      isDead: () => this.#dead.has(client),
    });
    this.#readers.set(client, reader);
    reader.start((error) => this.#world.fail(error));
  }

  /** Every record was given to a member. */
  async #seeAll(): Promise<void> {
    const isSeen = () => this.groups.unseen(this.#groups.values()).length === 0;
    if (await this.#world.until(isSeen, BOUND_MS)) return;
    const unseen = this.groups.unseen(this.#groups.values());
    throw new CheckFailure(
      'unseen',
      `${unseen.length} records were given to nobody: ${unseen.slice(0, 5).join(' ')}`,
    );
  }

  #run(client: WorldClient, random: SeededRandom, isOver: () => boolean): void {
    const { scheduler, settings, links } = this.#world;
    this.#running.add(client);
    this.#produce(client, random, isOver).then(
      () => this.#running.delete(client),
      (error: unknown) => this.#world.fail(error as Error),
    );
    // One has to be there in the end.
    if (client === this.clients[0] || !this.#random.chance(KILLED)) return;
    scheduler.after(this.#random.float() * settings.faultyMs, () => {
      client.process.kill();
      links.processEnded(client.process, true);
      this.#dead.add(client);
      this.#running.delete(client);
      this.recorder.did(client.name, 'producer killed', '');
    });
  }

  async #produce(client: WorldClient, random: SeededRandom, isOver: () => boolean): Promise<void> {
    const compression = pick(random, 'none', 'none', 'gzip', 'zstd');
    const linger = pick(random, 0, 0, 5, 50);
    const batchBytes = pick(random, 1_024, 4_096, 65_536);
    const options = { compression, linger, batchBytes, deliveryTimeout: DELIVERY_MS } as const;
    const producer = client.holdfast.producer(options);
    const thinkMs = (this.clients.length * 1_000) / RECORDS_A_SECOND;
    const sends = new Set<Promise<void>>();
    let number = 0;
    while (!isOver()) {
      await sleep(client.clock, -Math.log(1 - random.float()) * thinkMs * 4);
      for (let left = between(random, 1, 8); left > 0 && !isOver(); left--) {
        const send = this.#send(client, producer, number++, random);
        sends.add(send);
        void send.finally(() => sends.delete(send));
      }
    }
    await Promise.all(sends);
    await producer.close();
  }

  async #send(client: WorldClient, producer: Producer, number: number, random: SeededRandom): Promise<void> {
    const sent = { producer: client.name, number };
    const { name: topic } = pick(random, ...TOPICS);
    const value = `${client.name}/${number}`;
    const key = random.chance(0.5) ? `k${between(random, 1, 5)}` : undefined;
    try {
      const { partition, offset } = await producer.send({ topic, key, value });
      if (this.#dead.has(client)) return;
      this.checker.onAcknowledged(sent, this.#groupOf(topic, partition), offset);
      this.recorder.did(client.name, 'record kept', `${topic}/${partition}@${offset} ${value}`);
    } catch (error) {
      if (!(error instanceof HoldfastError)) return this.#world.fail(error as Error);
      const { outcome } = this.recorder.failed(client.name, 'record', value, error);
      if (outcome === 'NOT_APPLIED') this.checker.onRefused(sent);
    }
  }

  /** What any replica shows at any moment is what the log says. */
  #look(isOver: () => boolean): void {
    const { scheduler, nodes } = this.#world;
    const up = nodes.filter(({ state, engine }) => state === 'up' && engine !== undefined);
    if (up.length > 0)
      this.#lookInto(pick(this.#random, ...up)).catch((error: unknown) => this.#world.fail(error as Error));
    if (!isOver()) scheduler.after(LOOK_MS, () => this.#look(isOver));
  }

  async #lookInto(node: WorldNode): Promise<void> {
    const partitions = node.engine!.topics.partitions();
    if (partitions.length === 0) return;
    const partition = pick(this.#random, ...partitions);
    const { machine } = partition;
    if (machine === undefined || machine.logEnd === 0) return;
    const offset = Math.floor(this.#random.float() * machine.logEnd);
    try {
      const { frames } = await machine.log.read(offset, between(this.#random, 1, 20_000));
      for (const { baseOffset, batch } of frames)
        this.checker.onRead(node.name, partition.group, baseOffset, valuesOf(batch));
      this.recorder.did(node.name, 'replica read', '');
    } catch (error) {
      // Its process, or the disk, ended meanwhile; damage is told by the node.
      if ((error as Error).name === 'CheckFailed') throw error;
    }
  }

  /** Every partition takes a record. */
  async #probe(client: WorldClient): Promise<void> {
    const producer = client.holdfast.producer({ deliveryTimeout: DELIVERY_MS });
    let number = 1_000_000;
    for (const { name: topic, partitions } of TOPICS) {
      for (let partition = 0; partition < partitions; partition++) {
        for (;;) {
          const sent = { producer: `${client.name}-probe`, number: number++ };
          try {
            const value = `${sent.producer}/${sent.number}`;
            const { offset } = await producer.send({ topic, partition, value });
            this.checker.onAcknowledged(sent, this.#groupOf(topic, partition), offset);
            break;
          } catch (error) {
            this.recorder.failed(sent.producer, 'probe', `${topic}/${partition}`, error);
          }
        }
      }
    }
    await producer.close();
  }

  async #compareFiles(): Promise<void> {
    for (const { engine, name, state } of this.#world.nodes) {
      if (state !== 'up' || engine === undefined) continue;
      for (const partition of engine.topics.partitions()) await this.#compareFile(name, partition);
    }
  }

  async #compareFile(node: string, { group, machine, isAside }: TopicPartition): Promise<void> {
    if (machine === undefined || isAside) return;
    for (let offset = machine.logStart; offset < machine.logEnd;) {
      const { frames, nextOffset } = await machine.log.read(offset, 100_000);
      for (const { baseOffset, batch } of frames)
        this.checker.onRead(node, group, baseOffset, valuesOf(batch));
      if (nextOffset <= offset)
        throw new CheckFailure('partitions', `${node} has nothing of group ${group} at ${offset}`);
      offset = nextOffset;
    }
  }

  #groupOf(topic: string, partition: number): number {
    return this.#groups.get(`${topic}/${partition}`)!;
  }
}
