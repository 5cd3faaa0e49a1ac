/**
 * A consumer group: its members, and who of them has which partition. Plain and deterministic.
 *
 *  1. A partition has one owner at most.
 *  2. The generation that an owner is told for a partition is greater than that of everybody who
 *     had it before. The group's generation is the greatest of them, and grows with each change of
 *     members, of what they subscribe to, and of partitions.
 *  3. A partition that is wanted elsewhere stays with its owner until that one has released it,
 *     is gone, or its time is over. One that is not is not touched.
 *  4. A member's version grows whenever what it has, or is to release, is another.
 */
import { ByteReader, ByteWriter } from '../../storage/byte-codec.ts';
import type { LiveRow } from '../machine-part.ts';
import { assign, type Strategy } from './assignment.ts';

const ROW_VERSION = 1;
/** Members that were replaced and are still told so. */
const FENCED = 64;
const STRATEGIES: readonly Strategy[] = ['range', 'round-robin', 'cooperative-sticky'];

/** A member. */
export interface GroupMember {
  readonly id: string;
  readonly lease: bigint;
  /** Of a static one; empty: it is none. */
  readonly instanceId: string;
  readonly clientName: string;
  topics: ReadonlySet<string>;
  rebalanceTimeoutMs: number;
  version: number;
}

/** A partition of a topic that somebody subscribes to. */
export interface OwnedPartition {
  readonly topic: string;
  readonly number: number;
  owner: string | undefined;
  /** In which its owner got it. */
  generation: number;
  /** Who is to have it. */
  target: string | undefined;
  /** Log time since which its owner is to release it; undefined: it may keep it. */
  revokedAtMs: number | undefined;
}

/** Partitions of a topic; undefined: there is no such topic. */
export type CountPartitions = (topic: string) => number | undefined;

/** What a member gives back. */
export interface Released {
  readonly topic: string;
  readonly number: number;
  readonly generation: number;
}

export class ConsumerGroup implements LiveRow {
  generation = 0;
  strategy: Strategy = 'cooperative-sticky';
  readonly members = new Map<string, GroupMember>();
  /** By topic and number. */
  partitions: OwnedPartition[] = [];
  /** Topics of which the group has stored offsets. */
  readonly committed = new Set<string>();
  /** Static members in whose place others have come. */
  #fenced: string[] = [];

  get isEmpty(): boolean {
    return this.members.size === 0;
  }

  /** The member of a lease. */
  ofLease(lease: bigint): GroupMember | undefined {
    return [...this.members.values()].find((member) => member.lease === lease);
  }

  /** The static member of an instance. */
  ofInstance(instanceId: string): GroupMember | undefined {
    return instanceId === ''
      ? undefined
      : [...this.members.values()].find((member) => member.instanceId === instanceId);
  }

  /** Whether another one has come in the place of a static member. */
  isFenced(id: string): boolean {
    return this.#fenced.includes(id);
  }

  /** What a member has, and what of it is to be released. */
  assignmentOf(id: string): { owned: OwnedPartition[]; revoked: OwnedPartition[] } {
    const all = this.partitions.filter(({ owner }) => owner === id);
    return {
      owned: all.filter(({ revokedAtMs }) => revokedAtMs === undefined),
      revoked: all.filter(({ revokedAtMs }) => revokedAtMs !== undefined),
    };
  }

  /** Topics that anybody subscribes to. */
  get topics(): Set<string> {
    return new Set([...this.members.values()].flatMap(({ topics }) => [...topics]));
  }

  /** Puts a member in; the group has none of its id. */
  add(member: GroupMember, count: CountPartitions, stampMs: number): void {
    this.members.set(member.id, member);
    this.#rebalance(count, stampMs);
  }

  /** One that comes back takes the place of the one before, with everything that one had. Invariant 2. */
  replace(before: GroupMember, after: GroupMember, count: CountPartitions, stampMs: number): void {
    this.generation++;
    this.members.delete(before.id);
    this.#fenced = [...this.#fenced, before.id].slice(-FENCED);
    this.members.set(after.id, after);
    for (const partition of this.partitions) {
      if (partition.target === before.id) partition.target = after.id;
      if (partition.owner !== before.id) continue;
      partition.owner = after.id;
      partition.generation = this.generation;
    }
    const isSame = sameTopics(before.topics, after.topics);
    if (!isSame) this.#rebalance(count, stampMs);
  }

  /** A member subscribes to something else. */
  subscribe(member: GroupMember, topics: ReadonlySet<string>, count: CountPartitions, stampMs: number): void {
    if (sameTopics(member.topics, topics)) return;
    member.topics = topics;
    this.#rebalance(count, stampMs);
  }

  /** A member is gone. */
  remove(id: string, count: CountPartitions, stampMs: number): void {
    if (!this.members.delete(id)) return;
    for (const partition of this.partitions) if (partition.owner === id) partition.owner = undefined;
    this.#rebalance(count, stampMs);
  }

  /** Topics have come or gone, or have more partitions. */
  refresh(count: CountPartitions, stampMs: number): void {
    if (this.isOutdated(count)) this.#rebalance(count, stampMs);
  }

  /** Whether topics have other partitions than the group knows. */
  isOutdated(count: CountPartitions): boolean {
    const known = new Map<string, number>();
    for (const { topic } of this.partitions) known.set(topic, (known.get(topic) ?? 0) + 1);
    for (const topic of new Set([...this.topics, ...known.keys()]))
      if ((this.topics.has(topic) ? (count(topic) ?? 0) : 0) !== (known.get(topic) ?? 0)) return true;
    return false;
  }

  /** A member works on these no more: they go to who is to have them. Others are passed over. */
  release(id: string, released: readonly Released[]): void {
    for (const { topic, number, generation } of released) {
      const partition = this.partitions.find((one) => one.topic === topic && one.number === number);
      const isReleased =
        partition?.owner === id && partition.revokedAtMs !== undefined && partition.generation === generation;
      if (!isReleased) continue;
      partition.owner = undefined;
      this.#bump(id);
      this.#settle(partition);
    }
  }

  /** Members that have kept for too long what they were to release. */
  overdue(stampMs: number): GroupMember[] {
    const isOverdue = ({ id, rebalanceTimeoutMs }: GroupMember) =>
      this.partitions.some(
        ({ owner, revokedAtMs }) =>
          owner === id && revokedAtMs !== undefined && stampMs - revokedAtMs > rebalanceTimeoutMs,
      );
    return [...this.members.values()].filter(isOverdue);
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(256).u8(ROW_VERSION).u64(this.generation);
    writer.u8(STRATEGIES.indexOf(this.strategy)).u32(this.members.size);
    for (const member of this.members.values()) {
      writer.latin1(member.id).i64(member.lease).bytes(Buffer.from(member.instanceId));
      writer.bytes(Buffer.from(member.clientName)).u64(member.rebalanceTimeoutMs).u64(member.version);
      writer.u32(member.topics.size);
      for (const topic of member.topics) writer.latin1(topic);
    }
    writer.u32(this.partitions.length);
    for (const { topic, number, owner, generation, target, revokedAtMs } of this.partitions) {
      writer
        .latin1(topic)
        .u32(number)
        .latin1(owner ?? '')
        .u64(generation)
        .latin1(target ?? '');
      writer.u64(revokedAtMs === undefined ? 0 : revokedAtMs + 1);
    }
    for (const names of [[...this.committed], this.#fenced]) {
      writer.u32(names.length);
      for (const name of names) writer.latin1(name);
    }
    return writer.finish();
  }

  static decode(content: Uint8Array): ConsumerGroup {
    const reader = new ByteReader(content);
    const version = reader.u8();
    if (version !== ROW_VERSION) throw new RangeError(`a consumer group of version ${version}`);
    const group = new ConsumerGroup();
    group.generation = reader.u64();
    group.strategy = STRATEGIES[reader.u8()]!;
    for (let left = reader.u32(); left > 0; left--) {
      const [id, lease] = [reader.latin1(), reader.i64()];
      const [instanceId, clientName] = [reader.bytes().toString(), reader.bytes().toString()];
      const [rebalanceTimeoutMs, memberVersion] = [reader.u64(), reader.u64()];
      const topics = new Set(Array.from({ length: reader.u32() }, () => reader.latin1()));
      group.members.set(id, {
        id,
        lease,
        instanceId,
        clientName,
        topics,
        rebalanceTimeoutMs,
        version: memberVersion,
      });
    }
    for (let left = reader.u32(); left > 0; left--) {
      const [topic, number, owner, generation] = [
        reader.latin1(),
        reader.u32(),
        reader.latin1(),
        reader.u64(),
      ];
      const [target, revoked] = [reader.latin1(), reader.u64()];
      group.partitions.push({
        topic,
        number,
        owner: owner === '' ? undefined : owner,
        generation,
        target: target === '' ? undefined : target,
        revokedAtMs: revoked === 0 ? undefined : revoked - 1,
      });
    }
    for (let left = reader.u32(); left > 0; left--) group.committed.add(reader.latin1());
    for (let left = reader.u32(); left > 0; left--) group.#fenced.push(reader.latin1());
    return group;
  }

  /** Decides anew who is to have what. Invariants 2, 3. */
  #rebalance(count: CountPartitions, stampMs: number): void {
    this.generation++;
    this.#takePartitions(count);
    const slots = this.partitions.map(({ topic, number, owner, target }) => ({
      topic,
      number,
      // What is on its way to somebody is as good as there.
      owner: target !== undefined && this.members.has(target) ? target : owner,
    }));
    const targets = assign(this.strategy, [...this.members.values()], slots);
    for (const [at, partition] of this.partitions.entries()) {
      partition.target = targets[at];
      if (partition.owner === undefined) this.#settle(partition);
      else if (partition.owner === partition.target) this.#keep(partition);
      else if (partition.revokedAtMs === undefined) {
        partition.revokedAtMs = stampMs;
        this.#bump(partition.owner);
      }
    }
  }

  /** Partitions are those of the topics that are subscribed to. */
  #takePartitions(count: CountPartitions): void {
    const known = new Map(this.partitions.map((one) => [`${one.topic}/${one.number}`, one]));
    const partitions: OwnedPartition[] = [];
    for (const topic of [...this.topics].sort()) {
      for (let number = 0; number < (count(topic) ?? 0); number++) {
        const name = `${topic}/${number}`;
        partitions.push(known.get(name) ?? newPartition(topic, number));
        known.delete(name);
      }
    }
    for (const { owner } of known.values()) if (owner !== undefined) this.#bump(owner);
    this.partitions = partitions;
  }

  /** Gives a partition that nobody has to who is to have it. Invariants 1, 2. */
  #settle(partition: OwnedPartition): void {
    partition.owner = partition.target;
    partition.revokedAtMs = undefined;
    if (partition.owner === undefined) return;
    // Who came in the place of another has it in this generation already.
    if (partition.generation === this.generation) this.generation++;
    partition.generation = this.generation;
    this.#bump(partition.owner);
  }

  #keep(partition: OwnedPartition): void {
    if (partition.revokedAtMs === undefined) return;
    partition.revokedAtMs = undefined;
    this.#bump(partition.owner!);
  }

  /** Invariant 4. */
  #bump(id: string): void {
    const member = this.members.get(id);
    if (member !== undefined) member.version++;
  }
}

function newPartition(topic: string, number: number): OwnedPartition {
  return { topic, number, owner: undefined, generation: 0, target: undefined, revokedAtMs: undefined };
}

function sameTopics(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((topic) => b.has(topic));
}
