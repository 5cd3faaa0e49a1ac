/**
 * Random commands to consumer groups, whose rows are written and read anew after each of them,
 * beside what the partitions and members were before.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { TopicSchema } from '@holdfast/proto/broker/v1/topic';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CoordinationKind as Kind } from '../../node/coordination/coordination-command.ts';
import { ConsumerGroup, type OwnedPartition } from '../../node/coordination/groups/consumer-group.ts';
import { writeGroupCommand, type GroupCommand } from '../../node/coordination/groups/group-command.ts';
import { GroupPart, TOPIC_KEYS } from '../../node/coordination/groups/group-part.ts';
import { LeaseTable } from '../../node/coordination/lease-table.ts';
import { isRefusal } from '../../node/coordination/refusal.ts';
import { ByteReader, ByteWriter } from '../../node/storage/byte-codec.ts';
import { StepRows } from '../coordination/step-rows.ts';

const LEASES = 5;
const TOPICS = ['a', 'b', 'c'];
const STRATEGIES = ['cooperative-sticky', 'range', 'round-robin'] as const;
const TIMEOUT_MS = 5_000;

/** What happens. Members are meant by their place in the group. */
type Event =
  | { kind: 'join'; lease: number; topics: string[]; strategy: number; instance: number }
  | { kind: 'release'; member: number; places: number[]; isStale: boolean }
  | { kind: 'leave' | 'end'; member: number }
  | { kind: 'refresh' | 'expel' | 'delete' }
  | { kind: 'touch'; topic: string }
  | { kind: 'resize'; topic: string; count: number }
  | { kind: 'wait'; forMs: number };

const place = fc.integer({ min: 0, max: LEASES - 1 });
const topic = fc.constantFrom(...TOPICS);
const join = fc.record({
  kind: fc.constant('join' as const),
  lease: place,
  topics: fc.oneof(fc.constant(TOPICS), fc.subarray(TOPICS, { minLength: 1 })),
  // Mostly the same, or nobody would join.
  strategy: fc.constantFrom(0, 0, 0, 0, 1, 2),
  // 0: none.
  instance: fc.constantFrom(0, 0, 1, 2),
});
const release = fc.record({
  kind: fc.constant('release' as const),
  member: place,
  places: fc.array(fc.nat(9), { minLength: 1, maxLength: 8 }),
  isStale: fc.constantFrom(false, false, false, true),
});
const events: fc.Arbitrary<Event[]> = fc.array(
  fc.oneof(
    { arbitrary: join, weight: 5 },
    { arbitrary: release, weight: 5 },
    {
      arbitrary: fc.record({ kind: fc.constantFrom('leave' as const, 'end' as const), member: place }),
      weight: 1,
    },
    { arbitrary: fc.record({ kind: fc.constantFrom('refresh' as const, 'expel' as const) }), weight: 2 },
    { arbitrary: fc.record({ kind: fc.constant('delete' as const) }), weight: 1 },
    { arbitrary: fc.record({ kind: fc.constant('touch' as const), topic }), weight: 1 },
    { arbitrary: fc.record({ kind: fc.constant('resize' as const), topic, count: fc.nat(5) }), weight: 2 },
    {
      arbitrary: fc.record({ kind: fc.constant('wait' as const), forMs: fc.nat(TIMEOUT_MS * 2) }),
      weight: 2,
    },
  ),
  { minLength: 1, maxLength: 60, size: 'max' },
);

const nameOf = ({ topic: of, number }: OwnedPartition) => `${of}/${number}`;

class World {
  readonly rows = new StepRows();
  readonly leases = new LeaseTable(this.rows, 'l');
  readonly #topics = new Map<string, { value: Uint8Array; modRevision: number }>();
  readonly #part: GroupPart;
  #stampMs = 1_000_000;
  #revision = 1;
  /** By partition: greatest generation that anybody had it in. */
  readonly #seen = new Map<string, number>();

  constructor() {
    const own = { get: (key: string) => this.#topics.get(key.slice(TOPIC_KEYS.length)) };
    this.#part = new GroupPart(this.rows, 'p', own as never, this.leases, () => undefined);
    for (const name of TOPICS) this.#resize(name, 4);
    for (let at = 0; at < LEASES; at++) this.#grant(at);
  }

  get group(): ConsumerGroup | undefined {
    return this.#part.get('g');
  }

  happen(event: Event): void {
    const before = this.#copy();
    if (event.kind === 'wait') this.#stampMs += event.forMs;
    else if (event.kind === 'resize') this.#resize(event.topic, event.count);
    else if (event.kind === 'end') this.#end(event.member);
    else {
      const command = this.#command(event);
      if (command !== undefined) this.#apply(command);
    }
    this.rows.step();
    this.#check(before, event);
    this.rows.step();
  }

  /** Everybody releases what is to be released, and nothing else happens. */
  settle(): void {
    this.#apply({ kind: Kind.groupRefresh, group: 'g' });
    for (const member of this.group?.members.keys() ?? []) {
      const { revoked } = this.group!.assignmentOf(member);
      const released = revoked.map(({ topic: of, number, generation }) => ({
        topic: of,
        number,
        generation,
      }));
      this.#apply({ kind: Kind.groupRelease, group: 'g', member, released });
    }
  }

  /** A command as it comes out of the log; one that is refused must have changed nothing. */
  #apply(command: GroupCommand): void {
    const writer = new ByteWriter(64);
    writeGroupCommand(writer, command);
    const parsed = this.#part.parse(command.kind, new ByteReader(writer.finish()));
    expect(parsed).toEqual(command);
    this.rows.step();
    const before = new Map(this.rows.stored);
    const applying = { stampMs: this.#stampMs, revision: 1, nextRevision: () => 1 };
    const outcome = this.#part.apply(command.kind, parsed, applying);
    this.rows.step();
    if (isRefusal(outcome)) expect(this.rows.stored).toEqual(before);
  }

  #command(event: Event): GroupCommand | undefined {
    const group = 'g';
    switch (event.kind) {
      case 'join': {
        const { lease, topics, strategy, instance } = event;
        return {
          kind: Kind.groupJoin,
          group,
          lease: BigInt(lease + 1),
          topics,
          strategy: STRATEGIES[strategy]!,
          instanceId: instance === 0 ? '' : `i${instance}`,
          clientName: 'ä',
          rebalanceTimeoutMs: TIMEOUT_MS,
        };
      }
      case 'release': {
        const member = this.#member(event.member);
        const { owned, revoked } = this.group?.assignmentOf(member) ?? { owned: [], revoked: [] };
        const partitions = [...revoked, ...owned];
        const released = event.places.flatMap((at) => {
          const { topic: of, number, generation } = partitions[at] ?? {};
          if (of === undefined) return [];
          return [{ topic: of, number: number!, generation: generation! - (event.isStale ? 1 : 0) }];
        });
        return { kind: Kind.groupRelease, group, member, released };
      }
      case 'leave':
        return { kind: Kind.groupLeave, group, member: this.#member(event.member) };
      case 'touch':
        return { kind: Kind.groupTouch, group, topic: event.topic };
      case 'refresh':
        return { kind: Kind.groupRefresh, group };
      case 'expel':
        return { kind: Kind.groupExpel, group };
      case 'delete':
        return { kind: Kind.groupDelete, group };
    }
    return undefined;
  }

  #member(at: number): string {
    return [...(this.group?.members.keys() ?? [])][at] ?? 'nobody';
  }

  /** One that ends is granted anew at once. */
  #end(at: number): void {
    const lease = BigInt(at + 1);
    const { groups } = this.leases.get(lease)!;
    this.#part.endLease(lease, [...groups], this.#stampMs);
    this.leases.remove(lease);
    this.#grant(at);
  }

  #grant(at: number): void {
    expect(this.leases.grant(BigInt(at + 1), 10_000, '', this.#stampMs)).toMatchObject({
      lease: BigInt(at + 1),
    });
  }

  /** 0: there is no such topic. */
  #resize(name: string, count: number): void {
    if (count === 0) this.#topics.delete(name);
    else {
      const partitions = Array.from({ length: count }, () => ({}));
      const value = toBinary(TopicSchema, create(TopicSchema, { name, partitions }));
      this.#topics.set(name, { value, modRevision: this.#revision++ });
    }
  }

  #copy(): ConsumerGroup | undefined {
    const { group } = this;
    return group && ConsumerGroup.decode(Buffer.from(group.encode()));
  }

  #check(before: ConsumerGroup | undefined, event: Event): void {
    const { group } = this;
    if (group === undefined) {
      this.#seen.clear();
      if (before !== undefined) expect([event.kind, before.members.size]).toEqual(['delete', 0]);
      return;
    }
    expect(Buffer.from(ConsumerGroup.decode(group.encode()).encode()).equals(group.encode())).toBe(true);
    this.#checkOwners(group);
    this.#checkGenerations(group, before);
    this.#checkMembers(group, before);
    if (before !== undefined) checkKept(group, before, event);
  }

  #checkOwners(group: ConsumerGroup): void {
    expect(new Set(group.partitions.map(nameOf)).size).toBe(group.partitions.length);
    for (const { owner, target, revokedAtMs, topic: of } of group.partitions) {
      if (owner === undefined) expect(revokedAtMs).toBeUndefined();
      else expect(group.members.has(owner)).toBe(true);
      if (target !== undefined) expect(group.members.get(target)!.topics.has(of)).toBe(true);
      expect(owner !== target).toBe(revokedAtMs !== undefined);
    }
  }

  /** Whoever gets a partition gets it in a greater generation than anybody before. */
  #checkGenerations(group: ConsumerGroup, before: ConsumerGroup | undefined): void {
    expect(group.generation).toBeGreaterThanOrEqual(before?.generation ?? 0);
    const known = new Map(before?.partitions.map((one) => [nameOf(one), one]));
    for (const one of group.partitions) {
      const { owner, generation } = one;
      if (owner === undefined) continue;
      expect(generation).toBeLessThanOrEqual(group.generation);
      const last = known.get(nameOf(one));
      if (last?.owner === owner && last.generation === generation) continue;
      expect(generation).toBeGreaterThan(this.#seen.get(nameOf(one)) ?? 0);
      this.#seen.set(nameOf(one), generation);
    }
  }

  #checkMembers(group: ConsumerGroup, before: ConsumerGroup | undefined): void {
    for (const { id, lease, version } of group.members.values()) {
      expect([...this.leases.get(lease)!.groups]).toEqual(['g']);
      const had = before?.members.get(id);
      if (had === undefined) continue;
      expect(version).toBeGreaterThanOrEqual(had.version);
      if (version === had.version) expect(given(group, id)).toEqual(given(before!, id));
    }
    const leases = new Set([...group.members.values()].map(({ lease }) => lease));
    const instances = [...group.members.values()].map(({ instanceId }) => instanceId).filter(Boolean);
    expect(leases.size).toBe(group.members.size);
    expect(new Set(instances).size).toBe(instances.length);
    for (let at = 1n; at <= LEASES; at++)
      expect(this.leases.get(at)!.groups.size).toBe(leases.has(at) ? 1 : 0);
  }
}

/** What a member is told. */
function given(group: ConsumerGroup, id: string) {
  const { owned, revoked } = group.assignmentOf(id);
  return [owned, revoked].map((list) => list.map((one) => `${nameOf(one)}@${one.generation}`));
}

/** Nothing is taken from a member that is still there, but what it was to release and has, or what is no more. */
function checkKept(group: ConsumerGroup, before: ConsumerGroup, event: Event): void {
  const now = new Map(group.partitions.map((one) => [nameOf(one), one]));
  for (const one of before.partitions) {
    const { owner, revokedAtMs } = one;
    const next = now.get(nameOf(one));
    const stays = event.kind === 'release' && (event.isStale || revokedAtMs === undefined);
    if (stays && owner !== undefined) expect(next).toEqual(one);
    if (owner === undefined || next === undefined || next.owner === owner) continue;
    if (group.members.has(owner)) expect([event.kind, revokedAtMs === undefined]).toEqual(['release', false]);
    else expect(['leave', 'end', 'expel', 'join']).toContain(event.kind);
  }
}

test('a partition has one owner, generations never go back, and what is refused changes nothing', () => {
  fc.assert(
    fc.property(events, (list) => {
      const world = new World();
      for (const event of list) world.happen(event);
    }),
    { numRuns: 500 },
  );
});

test('when all that is to be released is, everything that somebody wants has an owner', () => {
  fc.assert(
    fc.property(events, (list) => {
      const world = new World();
      for (const event of list) world.happen(event);
      world.settle();
      const { group } = world;
      for (const { owner, target, topic: of } of group?.partitions ?? []) {
        expect(owner).toBe(target);
        expect(group!.members.get(owner!)!.topics.has(of)).toBe(true);
      }
    }),
    { numRuns: 200 },
  );
});
