/**
 * What topics and groups do by themselves or are told to while they live, on three real nodes, each
 * through the end of the leader that does it: retention, compaction, settings, resets, static members.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Consumer, ConsumerMessage, Holdfast, TopicPartition } from '@holdfast/client';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const MIB = 1024 * 1024;
/** Nodes look every 5 s; a change of leader takes about 2. */
const UPKEEP_MS = 40_000;

let cluster: RealCluster;
let client: Holdfast;

beforeAll(async () => {
  cluster = await RealCluster.start();
  client = await cluster.connect();
}, 120_000);

/** A test that failed leaves nothing to the next one. */
beforeEach(async () => {
  for (const { name, isRunning } of cluster.nodes) if (!isRunning) await cluster.restart(name);
}, 60_000);

afterAll(async () => cluster[Symbol.asyncDispose]());

/** Kills whoever leads a partition; resolves with its name when it has ended. */
async function killLeader(topic: string, partition = 0): Promise<string> {
  let name: string | undefined;
  await until(
    async () => {
      const { partitions } = await client.topics.describe(topic);
      name = cluster.nodes.find(({ grpc }) => grpc === partitions[partition]!.leader)?.name;
      return name !== undefined;
    },
    30_000,
    () => `${topic} has no leader`,
  );
  await cluster.node(name!).kill();
  return name!;
}

/** What each node by itself has of a partition. */
async function logs(topic: string): Promise<{ start: bigint; end: bigint; bytes: number }[]> {
  return Promise.all(
    cluster.nodes.map(async ({ grpc }) => {
      const one = await cluster.connect({ endpoints: [grpc] });
      try {
        const { partitions } = await one.topics.describe(topic);
        const { start, end, bytes } = partitions[0]!.log ?? { start: -1n, end: -1n, bytes: 0 };
        return { start, end, bytes };
      } finally {
        await one.close();
      }
    }),
  );
}

async function fill(topic: string, from: number, count: number, bytes: number): Promise<void> {
  const producer = client.producer({ topic });
  const filling = 'x'.repeat(bytes);
  for (let at = from; at < from + count; at++) {
    if (producer.isFull) await producer.drained();
    producer.send({ key: `k${at % 7}`, value: `${at} ${filling}` }).catch(() => undefined);
    if (at % 50 === 49) await producer.flush();
  }
  await producer.flush();
  await producer.close();
}

/** All records from the first one up to where the log ends now. */
async function readAll(topic: string): Promise<{ offset: bigint; key: string; number: number }[]> {
  const [{ start, end } = { start: 0n, end: 0n }] = await client.topics.offsets(topic);
  const records: { offset: bigint; key: string; number: number }[] = [];
  if (start === end) return records;
  const consumer = client.consumer({ topics: topic, from: 'earliest' });
  for await (const message of consumer) {
    records.push({
      offset: message.offset,
      key: message.keyText() ?? '',
      number: Number.parseInt(message.text(), 10),
    });
    if (message.offset === end - 1n) break;
  }
  return records;
}

test('retention by bytes, set live, goes on under the next leader and is the same on all replicas', async () => {
  const topic = 'old';
  await client.topics.create(topic, { partitions: 1, segmentBytes: MIB });
  await fill(topic, 0, 80, 100_000);
  expect((await client.topics.offsets(topic))[0]).toMatchObject({ start: 0n, end: 80n });
  await client.topics.alter(topic, { retentionBytes: 3 * MIB });
  const killed = await killLeader(topic);
  await until(
    async () => (await client.topics.offsets(topic))[0]!.start > 0n,
    UPKEEP_MS,
    () => 'nothing was removed',
  );
  await cluster.restart(killed);
  let seen = '';
  await until(
    async () => {
      const all = await logs(topic);
      seen = all.map((one) => `${one.start}..${one.end} of ${one.bytes}`).join(', ');
      return all.every((one) => one.start === all[0]!.start && one.start > 0n && one.bytes < 5 * MIB);
    },
    UPKEEP_MS,
    () => `the nodes have ${seen}`,
  );
  const records = await readAll(topic);
  expect(records[0]!.offset).toBe((await client.topics.offsets(topic))[0]!.start);
  expect(records.map(({ number }) => number)).toEqual(records.map(({ offset }) => Number(offset)));
  // What may stay does: less than a file more would be too little.
  expect(records.length * 100_000).toBeGreaterThanOrEqual(3 * MIB - 100_000);
  console.log(`retention: kept ${records.length} of 80 records; nodes have ${seen}`);
}, 180_000);

test('compaction keeps the newest of each key at its offset, through a change of leader', async () => {
  const topic = 'state';
  await client.topics.create(topic, { partitions: 1, segmentBytes: MIB, cleanupPolicy: 'compact' });
  await fill(topic, 0, 60, 100_000);
  const killed = await killLeader(topic);
  await fill(topic, 60, 60, 100_000);
  await cluster.restart(killed);
  let records: Awaited<ReturnType<typeof readAll>> = [];
  await until(
    async () => (records = await readAll(topic)).length < 60,
    UPKEEP_MS,
    () => `${records.length} records are left of 120`,
  );
  const newest = new Map(records.map(({ key, number }) => [key, number]));
  expect([...newest].sort()).toEqual(Array.from({ length: 7 }, (_, key) => [`k${key}`, newestOf(key)]));
  for (const { offset, number } of records) expect(offset).toBe(BigInt(number));
  await fill(topic, 120, 1, 100);
  expect((await readAll(topic)).at(-1)).toEqual({ offset: 120n, key: 'k1', number: 120 });
  console.log(`compaction: ${records.length} of 120 records left, 7 keys`);
}, 180_000);

function newestOf(key: number): number {
  return 119 - ((119 - key) % 7);
}

test('partitions and limits are changed while records come, and hold under the next leader', async () => {
  const topic = 'live';
  await client.topics.create(topic, { partitions: 2, maxBatchBytes: 4_096 });
  const producer = client.producer({ topic });
  await producer.send({ key: 'a', value: 'small' });
  await expect(producer.send({ partition: 0, value: 'x'.repeat(8_000) })).rejects.toMatchObject({
    reason: 'RECORD_TOO_LARGE',
  });
  await client.topics.alter(topic, { maxBatchBytes: 65_536, partitions: 5 });
  const killed = await killLeader(topic);
  const { topic: altered } = await client.topics.describe(topic);
  expect(altered).toMatchObject({ partitions: 5, settings: { maxBatchBytes: 65_536 } });
  const later = client.producer({ topic });
  for (let partition = 0; partition < 5; partition++) {
    const sent = await later.send({ partition, value: 'y'.repeat(8_000) });
    expect(sent).toMatchObject({ topic, partition });
  }
  await expect(client.topics.alter(topic, { partitions: 4 })).rejects.toMatchObject({
    reason: 'INVALID_FIELD',
    field: 'partitions',
  });
  await cluster.restart(killed);
  await Promise.all([producer.close(), later.close()]);
}, 120_000);

test('a reset while a node is down holds: earliest, offset, time, latest', async () => {
  const topic = 'reset';
  const group = 'resetters';
  await client.topics.create(topic, { partitions: 1 });
  await fill(topic, 0, 100, 10);
  const middle = new Date();
  await until(
    () => Promise.resolve(Date.now() > middle.getTime()),
    1_000,
    () => 'no time has passed',
  );
  await fill(topic, 100, 100, 10);
  expect(await first(topic, group)).toBe(0n);
  const killed = await killLeader(topic);
  const expected = [
    ['latest', 200n],
    [middle, 100n],
    ['earliest', 0n],
    [42n, 42n],
  ] as const;
  for (const [target, after] of expected) {
    const dry = await client.groups.reset(group, topic, target, { dryRun: true });
    expect(dry).toMatchObject([{ partition: 0, after }]);
    expect(await client.groups.reset(group, topic, target)).toEqual(dry);
    const { partitions } = await client.groups.describe(group);
    expect(partitions).toMatchObject([{ offset: after, lag: 200n - after }]);
  }
  await cluster.restart(killed);
  expect(await first(topic, group)).toBe(42n);
}, 120_000);

/** Offset of the first message that a member of a group is given; it says that it is done with it. */
async function first(topic: string, group: string): Promise<bigint> {
  const consumer = client.consumer({ topics: topic, group });
  const { value } = await consumer.next();
  await consumer.close();
  return (value as ConsumerMessage).offset;
}

/** A member that reads what comes, and keeps account of it. */
class Member {
  readonly consumer: Consumer;
  readonly revoked: number[] = [];
  readonly lost: number[] = [];
  /** By partition, when the last message came, and the longest time without one, in ms. */
  readonly last = new Map<number, number>();
  readonly silence = new Map<number, number>();
  readonly following: Promise<void>;

  constructor(owner: Holdfast, topic: string, group: string, instanceId?: string) {
    const numbers = (partitions: readonly TopicPartition[]) => partitions.map(({ partition }) => partition);
    this.consumer = owner.consumer({
      topics: topic,
      group,
      instanceId,
      sessionTimeout: '20s',
      onRevoked: (partitions) => this.revoked.push(...numbers(partitions)),
      onLost: (partitions) => this.lost.push(...numbers(partitions)),
    });
    this.following = this.#follow();
  }

  get partitions(): number[] {
    return this.consumer.assignment.map(({ partition }) => partition).sort((a, b) => a - b);
  }

  async #follow(): Promise<void> {
    for await (const { partition } of this.consumer) {
      const now = performance.now();
      const silence = now - (this.last.get(partition) ?? now);
      this.silence.set(partition, Math.max(silence, this.silence.get(partition) ?? 0));
      this.last.set(partition, now);
    }
  }
}

async function shared(members: readonly Member[], sizes: readonly number[]): Promise<void> {
  await until(
    () => Promise.resolve(members.every(({ partitions }, at) => partitions.length === sizes[at])),
    60_000,
    () => `they have ${members.map(({ partitions }) => partitions.join(' ')).join(' | ')}`,
  );
}

test('a static member that comes back through a change of leader gets what it had, and nothing moves', async () => {
  const topic = 'static';
  await client.topics.create(topic, { partitions: 6 });
  const owners = [await cluster.connect(), await cluster.connect({}, 1)];
  const members = owners.map((owner, at) => new Member(owner, topic, 'statics', `instance-${at}`));
  await shared(members, [3, 3]);
  const before = members.map(({ partitions }) => partitions);
  members[1]!.revoked.length = 0;
  await members[0]!.consumer.close();
  const leader = await cluster.leaderOf(0n);
  await cluster.node(leader).kill();
  const back = new Member(owners[0]!, topic, 'statics', 'instance-0');
  await shared([back, members[1]!], [3, 3]);
  expect([back.partitions, members[1]!.partitions]).toEqual(before);
  expect([...members[1]!.revoked, ...members[1]!.lost]).toEqual([]);
  await cluster.restart(leader);
  await Promise.all([back.consumer.close(), members[1]!.consumer.close()]);
}, 180_000);

test('a second member of 12 partitions: those that stay are read on without a pause', async () => {
  const topic = 'wide';
  await client.topics.create(topic, { partitions: 12 });
  const owners = [await cluster.connect(), await cluster.connect({}, 1)];
  const alone = new Member(owners[0]!, topic, 'pair');
  await shared([alone], [12]);
  const producer = client.producer({ topic });
  let isDone = false;
  const sending = (async () => {
    while (!isDone) {
      const sends = Array.from({ length: 12 }, (_, partition) => producer.send({ partition, value: 'tick' }));
      await Promise.all(sends);
    }
  })();
  const enough = (member: Member, count: number) =>
    until(
      () => Promise.resolve(member.last.size === count),
      30_000,
      () => `messages of ${member.last.size} partitions came`,
    );
  await enough(alone, 12);
  const { members: earlier } = await client.groups.describe('pair');
  alone.silence.clear();
  const second = new Member(owners[1]!, topic, 'pair');
  await shared([alone, second], [6, 6]);
  await enough(second, 6);
  const { members: now } = await client.groups.describe('pair');
  isDone = true;
  await sending;
  const stayed = alone.partitions;
  expect([...alone.revoked].sort((a, b) => a - b)).toEqual(second.partitions);
  expect(alone.lost).toEqual([]);
  // Never taken away, not even for a moment: the ownership is the one of before.
  const generations = (list: typeof now) =>
    new Map(
      list.flatMap(({ partitions }) => partitions.map((one) => [one.partition, one.generation] as const)),
    );
  const [owned, owns] = [generations(earlier), generations(now)];
  for (const partition of stayed) expect(owns.get(partition)).toBe(owned.get(partition));
  const silence = stayed.map((partition) => Math.round(alone.silence.get(partition)!));
  console.log(
    `6 partitions moved; longest time between messages of those that stayed: ${silence.join(' ')} ms`,
  );
  await Promise.all([alone.consumer.close(), second.consumer.close(), producer.close()]);
}, 120_000);
