/**
 * The topics of the cluster as this node knows them: descriptors under `/holdfast/topics/` in
 * the coordination tree, and for each partition its group.
 */
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import type { Clock } from '@holdfast/client/clock';
import { TopicSchema, type Topic } from '@holdfast/proto/broker/v1/topic';
import { MEMBER_TABLE } from '../cluster/cluster-members.ts';
import type { ClusterTree } from '../cluster/cluster-tree.ts';
import { placementKey, type GroupPlacements } from '../cluster/group-placements.ts';
import { NEXT_GROUP, checkGroupCount, compared, counter } from '../cluster/group-numbers.ts';
import { targetOf, type FirstPlacement } from '../cluster/placed-groups.ts';
import { placeReplicas } from '../cluster/placement.ts';
import type { GroupHost } from '../raft/group-host.ts';
import { COORDINATION_GROUP, type Member } from '../raft/members.ts';
import { awaitRead } from '../raft/propose.ts';
import { groupPrefix, prefixEnd } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';
import { PartitionMachine } from './partition-machine.ts';
import type { PartitionLogs } from './partition-logs.ts';
import {
  TOPICS,
  decodeTopic,
  encodeTopic,
  settingsMessage,
  settingsOf,
  topicArcs,
} from './topic-descriptor.ts';
import {
  checkTopicName,
  refuse,
  unknownPartition,
  unknownTopic,
  type TopicSettings,
} from './topic-limits.ts';
import { TopicPartition } from './topic-partition.ts';

const NEXT_TOPIC = '/holdfast/topic-ids/next';
const ATTEMPTS = 20;

/** A topic in use. */
export interface OpenTopic {
  readonly name: string;
  readonly descriptor: Topic;
  readonly settings: TopicSettings;
  readonly partitions: readonly TopicPartition[];
}

/** What a new topic is to be. */
export interface TopicPlan {
  readonly name: string;
  readonly partitions: number;
  /** Undefined: three, or as many as there are nodes. */
  readonly replication: number | undefined;
  readonly settings: TopicSettings;
}

export interface TopicsOptions {
  readonly tree: ClusterTree;
  readonly placements: GroupPlacements;
  /** The nodes that may hold replicas of new partitions. */
  readonly eligible: () => readonly Member[];
  /** Groups that are not of topics, with where they are. */
  readonly others: () => readonly FirstPlacement[];
  readonly host: GroupHost;
  readonly rows: RowStore;
  readonly logs: PartitionLogs;
  readonly clock: Clock;
  /** Rows or files of a deleted topic could not be removed. */
  readonly onRemoveFailure: (error: Error) => void;
}

export class Topics {
  readonly #options: TopicsOptions;
  readonly #open = new Map<string, OpenTopic>();
  readonly #byGroup = new Map<number, TopicPartition>();
  #removing: Promise<void> = Promise.resolve();
  #changes = 0;
  #readings = 0;
  #reading: Promise<void> = Promise.resolve();
  #stopped = false;

  private constructor(options: TopicsOptions) {
    this.#options = options;
  }

  /** Opens all topics of the tree, and follows changes. */
  static async open(options: TopicsOptions): Promise<Topics> {
    const topics = new Topics(options);
    const { tree, placements, host } = options;
    tree.watch({
      prefix: TOPICS,
      onChange: ({ key, value }) => topics.#change(key.slice(TOPICS.length), value),
      onReplaced: () => topics.#follow(),
    });
    placements.follow((group) => topics.#notePlacement(group));
    host.onUnknownGroup.push((group) => topics.#openReplica(group));
    await topics.#read();
    return topics;
  }

  /** All groups are known: files that belong to none of them go. */
  removeOrphans(): void {
    const { logs } = this.#options;
    this.#removeSoon(() => logs.removeOrphans((group) => this.#byGroup.has(group)));
  }

  /** All topics, by name. */
  list(): OpenTopic[] {
    return [...this.#open.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Of all topics. */
  partitions(): TopicPartition[] {
    return [...this.#byGroup.values()];
  }

  /** The partition that a group is. */
  partitionOfGroup(group: number): TopicPartition | undefined {
    return this.#byGroup.get(group);
  }

  /** A topic as known here. Errors: TOPIC_NAME_INVALID, TOPIC_UNKNOWN. */
  get(name: string, field = 'topic'): OpenTopic {
    const topic = this.#open.get(name);
    if (topic !== undefined) return topic;
    checkTopicName(name, field);
    throw unknownTopic(name, field);
  }

  /**
   * A partition. At once when it is known here; that one is not known is said only after the
   * leader has confirmed that this node is up to date. Errors: TOPIC_UNKNOWN, PARTITION_UNKNOWN, NOT_LEADER.
   */
  partition(name: string, number: number): TopicPartition | Promise<TopicPartition> {
    const known = this.#open.get(name)?.partitions[number];
    if (known !== undefined) return known;
    checkTopicName(name, 'topic');
    return this.catchUp().then(() => {
      const { partitions } = this.get(name);
      const partition = partitions[number];
      if (partition === undefined) throw unknownPartition(name, number, partitions.length);
      return partition;
    });
  }

  /** A topic. Errors: TOPIC_NAME_INVALID, TOPIC_UNKNOWN, NOT_LEADER. */
  async find(name: string, field = 'name'): Promise<OpenTopic> {
    checkTopicName(name, field);
    await this.catchUp();
    return this.get(name, field);
  }

  /** Resolves when every topic created before this call is known here. Error: NOT_LEADER. */
  async catchUp(): Promise<void> {
    const { host } = this.#options;
    if (!host.canReadNow(COORDINATION_GROUP)) await awaitRead(host, COORDINATION_GROUP);
    await this.#reading;
  }

  /** Creates a topic. `anywhere`: whichever node leads group 0. Errors: TOPIC_EXISTS, INVALID_FIELD, NOT_LEADER. */
  create(plan: TopicPlan, anywhere: boolean): Promise<Topic> {
    checkTopicName(plan.name, 'name');
    return this.#attempt(async () => {
      await this.#catchUpForWrite();
      const { tree, clock } = this.#options;
      if (this.#open.has(plan.name)) throw topicExists(plan.name);
      this.#checkGroups(plan.partitions);
      const group = counter(tree, NEXT_GROUP);
      const id = counter(tree, NEXT_TOPIC);
      const replication = this.#replication(plan.replication);
      const arcs = topicArcs(plan.name, 0, plan.partitions, plan.partitions);
      const topic = create(TopicSchema, {
        name: plan.name,
        partitions: this.#placed(arcs, replication, group.next),
        replication,
        settings: settingsMessage(plan.settings)!,
        id: BigInt(id.next),
        createdAtMs: BigInt(clock.wallMs()),
      });
      const key = TOPICS + plan.name;
      const transaction = {
        // Nobody is to get a replica who is about to leave.
        comparisons: [{ key, modRevision: 0 }, group.comparison, id.comparison, compared(tree, MEMBER_TABLE)],
        changes: [{ key, value: encodeTopic(topic) }, group.advance(plan.partitions), id.advance(1)],
      };
      return (await tree.transact(transaction, anywhere)).succeeded ? topic : undefined;
    });
  }

  /** Changes a topic: `change` says what of it is to be. Errors: TOPIC_UNKNOWN, those of `change`, NOT_LEADER. */
  alter(
    name: string,
    change: (topic: OpenTopic) => { settings: TopicSettings; partitions: number },
    anywhere: boolean,
  ): Promise<Topic> {
    checkTopicName(name, 'name');
    return this.#attempt(async () => {
      await this.#catchUpForWrite();
      const { tree } = this.#options;
      const topic = this.get(name, 'name');
      const { settings, partitions } = change(topic);
      const { descriptor } = topic;
      const known = descriptor.partitions.length;
      this.#checkGroups(partitions - known);
      const group = counter(tree, NEXT_GROUP);
      const arcs = topicArcs(name, known, partitions, partitions);
      const altered = create(TopicSchema, {
        ...descriptor,
        settings: settingsMessage(settings)!,
        partitions: [...descriptor.partitions, ...this.#placed(arcs, descriptor.replication, group.next)],
      });
      const key = TOPICS + name;
      const isGrowing = partitions > known;
      const grown = isGrowing ? [group.comparison, compared(tree, MEMBER_TABLE)] : [];
      const transaction = {
        comparisons: [compared(tree, key), ...grown],
        changes: [
          { key, value: encodeTopic(altered) },
          ...(isGrowing ? [group.advance(partitions - known)] : []),
        ],
      };
      return (await tree.transact(transaction, anywhere)).succeeded ? altered : undefined;
    });
  }

  /** Deletes a topic for good. Errors: TOPIC_UNKNOWN, NOT_LEADER. */
  async delete(name: string, anywhere: boolean): Promise<void> {
    checkTopicName(name, 'name');
    await this.#attempt(async () => {
      await this.#catchUpForWrite();
      const { tree } = this.#options;
      const { partitions } = this.get(name, 'name');
      const key = TOPICS + name;
      const placed = partitions.map(({ group }) => placementKey(group)).filter((one) => tree.get(one));
      const changes = [key, ...placed].map((one) => ({ key: one, value: undefined }));
      const { succeeded } = await tree.transact({ comparisons: [compared(tree, key)], changes }, anywhere);
      return succeeded ? true : undefined;
    });
  }

  /** Resolves when what deleted topics leave is gone, or the removal under way was stopped. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#removing;
  }

  /** What a change elsewhere is compared with must be of now. Nothing was changed if that fails. */
  async #catchUpForWrite(): Promise<void> {
    try {
      await this.catchUp();
    } catch (error) {
      throw error instanceof HoldfastError ? error.withOutcome('NOT_APPLIED') : error;
    }
  }

  /** The tree was replaced as a whole. */
  #follow(): void {
    this.#changes++;
    const { host } = this.#options;
    const opened = host.expectGroups();
    this.#reading = this.#read().finally(opened);
    this.#reading.catch((error: unknown) => this.#options.onRemoveFailure(error as Error));
  }

  /** Opens and closes what differs from the tree. While it is read nothing is opened, for it may change. */
  async #read(): Promise<void> {
    this.#readings++;
    let nodes;
    let changes;
    do {
      changes = this.#changes;
      nodes = await this.#options.tree.list(TOPICS);
    } while (changes !== this.#changes);
    this.#readings--;
    const descriptors = nodes.map(({ value }) => decodeTopic(value));
    const ids = new Map(descriptors.map(({ name, id }) => [name, id]));
    for (const { name, descriptor } of this.#open.values())
      if (ids.get(name) !== descriptor.id) this.#close(name);
    for (const descriptor of descriptors) this.#note(descriptor);
  }

  #change(name: string, value: Uint8Array | undefined): void {
    this.#changes++;
    if (this.#readings > 0) return;
    const descriptor = value && decodeTopic(value);
    if (this.#open.get(name)?.descriptor.id !== descriptor?.id) this.#close(name);
    if (descriptor !== undefined) this.#note(descriptor);
  }

  /** A topic is as its descriptor says. */
  #note(descriptor: Topic): void {
    const settings = settingsOf(descriptor);
    const { name } = descriptor;
    const known = this.#open.get(name)?.partitions ?? [];
    for (const partition of known) {
      partition.settings = settings;
      partition.machine?.log.setLayout(settings);
    }
    const added = descriptor.partitions.slice(known.length).map((one, at) => {
      const number = known.length + at;
      const { replication } = descriptor;
      const [arc] = topicArcs(name, number, number + 1, descriptor.partitions.length) as [number];
      const { firstReplicas } = one;
      const group = Number(one.group);
      const partition = new TopicPartition({
        topic: name,
        number,
        group,
        arc,
        replication,
        firstReplicas,
        settings,
      });
      this.#add(partition);
      return partition;
    });
    this.#open.set(name, { name, descriptor, settings, partitions: [...known, ...added] });
  }

  #add(partition: TopicPartition): void {
    const { host } = this.#options;
    const { group, firstReplicas } = partition;
    this.#byGroup.set(group, partition);
    if (firstReplicas.includes(host.self) || host.hasRemains(group)) this.#openReplica(group);
    this.#notePlacement(group);
  }

  /** Opens the replica of a partition, with what is on the disk of it, if anything. */
  #openReplica(group: number): void {
    const { host, rows, logs } = this.#options;
    const partition = this.#byGroup.get(group);
    if (partition === undefined || partition.replica !== undefined) return;
    const onMoved = () => partition.moved();
    partition.replica = host.addGroup(
      group,
      partition.firstReplicas,
      (generation) =>
        new PartitionMachine({
          group,
          generation,
          rows,
          openLog: (bounds) => logs.open(group, generation, bounds, partition.settings),
          onMoved,
        }),
    );
    this.#notePlacement(group);
  }

  /** Whether the replica here is of use, and who else has one. One that was taken out of its group waits for nobody. */
  #notePlacement(group: number): void {
    const { host, placements } = this.#options;
    const partition = this.#byGroup.get(group);
    if (partition === undefined) return;
    const { index, voters, learners, target } = placements.of(group);
    if (index === 0) return;
    partition.replicas = voters;
    partition.isAside = !voters.includes(host.self);
    const isWanted = [voters, learners, target].some((ids) => ids.includes(host.self));
    if (partition.replica === undefined) return;
    // One that has heard more than whoever said so may be needed: without it there may be no leader.
    partition.replica.isResting = !isWanted && index >= partition.replica.lastIndex;
    if (!isWanted) partition.replica.reads.fail(); // whoever waits is served elsewhere
    partition.moved();
  }

  #close(name: string): void {
    const topic = this.#open.get(name);
    if (topic === undefined) return;
    this.#open.delete(name);
    for (const partition of topic.partitions) {
      const { group } = partition;
      partition.isGone = true;
      this.#options.host.removeGroup(group);
      this.#byGroup.delete(group);
      this.#removeData(group);
      partition.moved();
    }
  }

  #removeData(group: number): void {
    const { rows, logs } = this.#options;
    const prefix = groupPrefix(group, 0).slice(0, 8);
    this.#removeSoon(async () => {
      await rows.removeRange(prefix, prefixEnd(prefix), () => this.#stopped);
      await logs.remove(group, undefined);
    });
  }

  #removeSoon(work: () => Promise<unknown>): void {
    this.#removing = this.#removing.then(async () => {
      if (this.#stopped) return;
      await work().catch((error: unknown) => this.#options.onRemoveFailure(error as Error));
    });
  }

  /** Repeats a compare-and-set that lost against another. */
  async #attempt<T>(change: () => Promise<T | undefined>): Promise<T> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const done = await change();
      if (done !== undefined) return done;
    }
    throw new HoldfastError({
      reason: 'OVERLOADED',
      message: 'too many topics are being changed at once. Nothing was changed; try again.',
      outcome: 'NOT_APPLIED',
      retryAfterMs: 500,
    });
  }

  #replication(wanted: number | undefined): number {
    const nodes = this.#options.eligible().length;
    if (wanted === undefined) return Math.min(3, nodes);
    if (wanted <= nodes) return wanted;
    const message = `replication is ${wanted}, and the cluster has ${nodes} nodes that can hold replicas. Nothing was created. Ask for fewer, or add nodes first.`;
    throw refuse('INVALID_FIELD', 'replication', message, String(wanted), `1..${nodes}`);
  }

  /** Where new partitions go. */
  #placed(arcs: readonly number[], replication: number, firstGroup: number): Topic['partitions'] {
    if (arcs.length === 0) return [];
    const { placements, eligible, others } = this.#options;
    const held = [...others(), ...this.partitions()].map((one) => targetOf(one, placements));
    const placed = placeReplicas({ members: eligible(), arcs, replication, held });
    const { partitions } = create(TopicSchema, {
      partitions: placed.map((firstReplicas, at) => ({ group: BigInt(firstGroup + at), firstReplicas })),
    });
    return partitions;
  }

  #checkGroups(more: number): void {
    checkGroupCount(this.#byGroup.size + this.#options.others().length, more);
  }
}

function topicExists(name: string): HoldfastError {
  return refuse('TOPIC_EXISTS', 'name', `topic "${name}" exists. Nothing was changed.`, name);
}
