import type { Consumer, ConsumerOptions } from '@holdfast/client';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { brokerWorld, fill, watch } from './broker-world.ts';

type World = Awaited<ReturnType<typeof brokerWorld>>;

interface Given {
  readonly member: number;
  readonly partition: number;
  readonly offset: number;
}

/** A member that notes what it is given and what it is told. */
class Member {
  readonly consumer: Consumer;
  readonly number: number;
  readonly lost: string[] = [];
  readonly revoked: string[] = [];
  /** Of each partition, the last offset since it got it. */
  readonly last = new Map<number, number>();
  readonly loop: { settled: boolean; error?: unknown };
  workMs = 0;
  unfinished: bigint[] = [];

  constructor(
    world: World,
    number: number,
    hf: World['hf'],
    given: Given[],
    options: Partial<ConsumerOptions> = {},
  ) {
    this.number = number;
    this.consumer = hf.consumer({
      topics: 't',
      group: 'g',
      sessionTimeout: 5_000,
      onAssigned: (partitions) => {
        for (const { partition } of partitions) this.last.delete(partition);
      },
      onRevoked: (partitions) => this.revoked.push(...partitions.map(({ partition }) => `${partition}`)),
      onLost: (partitions) => {
        this.lost.push(...partitions.map(({ partition }) => `${partition}`));
        this.unfinished.push(...partitions.flatMap(({ unfinished }) => unfinished));
      },
      ...options,
    });
    this.loop = watch(this.#read(world, given));
  }

  async #read({ clock }: World, given: Given[]): Promise<void> {
    for await (const { partition, at } of this.consumer) {
      expect(at, 'offsets grow').toBeGreaterThan(this.last.get(partition) ?? -1);
      this.last.set(partition, at);
      given.push({ member: this.number, partition, offset: at });
      if (this.workMs > 0) await new Promise<void>((resolve) => void clock.setTimer(this.workMs, resolve));
    }
  }
}

const ends = ({ broker }: World, partitions: number) =>
  Array.from({ length: partitions }, (_, partition) => broker.partition('t', partition).logEnd);

test('a member begins where the group is, and close stores how far it came', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, join, sessions } = world;
  broker.createTopic('t', 2);
  fill(broker, 't', 0, 20);
  const given: Given[] = [];
  const first = new Member(world, 0, hf, given, { commitInterval: 600_000 });
  await clock.pass(300);
  expect([given.length, groups.offset('t', 0)]).toEqual([20, undefined]);
  const closing = watch(first.consumer.close());
  await clock.pass(100);
  expect([closing.settled, first.loop.settled]).toEqual([true, true]);
  expect([groups.offset('t', 0), groups.offset('t', 1), groups.members.size]).toEqual([20, 0, 0]);
  expect(sessions.liveLeases).toBe(0);
  fill(broker, 't', 0, 5);
  const second = new Member(world, 1, (await join(1)).hf, given);
  await clock.pass(300);
  expect(given.slice(20).map(({ offset }) => offset)).toEqual([20, 21, 22, 23, 24]);
  expect(second.lost).toEqual([]);
});

test('closing the client ends the loop, stores and leaves', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, counted } = world;
  broker.createTopic('t', 1);
  fill(broker, 't', 0, 20);
  const member = new Member(world, 0, hf, [], { commitInterval: 600_000 });
  await clock.pass(300);
  const closing = watch(hf.close());
  await clock.pass(100);
  expect([closing.settled, member.loop.settled, member.loop.error]).toEqual([true, true, undefined]);
  expect([groups.offset('t', 0), groups.members.size, counted.pending.size]).toEqual([20, 0, 0]);
});

test('leaving the loop does not count the message in hand', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups } = world;
  broker.createTopic('t', 1);
  fill(broker, 't', 0, 20);
  const loop = watch(
    (async () => {
      for await (const { at } of hf.consumer({ topics: 't', group: 'g' })) if (at === 9) break;
    })(),
  );
  await clock.pass(300);
  expect([loop.settled, loop.error, groups.offset('t', 0), groups.members.size]).toEqual([
    true,
    undefined,
    9,
    0,
  ]);
});

test('only what is acknowledged is stored with manual commits, and with automatic ones what is given', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups } = world;
  broker.createTopic('t', 1);
  fill(broker, 't', 0, 20);
  const consumer = hf.consumer({ topics: 't', group: 'g', commit: 'manual' });
  const loop = (async () => {
    for await (const message of consumer) {
      if (message.at < 5 || message.at > 7) message.ack();
      if (message.at === 15) await consumer.commit();
    }
  })();
  await clock.pass(300);
  expect(groups.offset('t', 0)).toBe(5);
  const closing = watch(consumer.close({ timeout: '1s' }));
  await clock.pass(1_100);
  expect(closing.settled).toBe(true);
  await loop;
  expect(groups.offset('t', 0)).toBe(5);
  const automatic = hf.consumer({ topics: 't', group: 'g', commit: 'auto' });
  const next = watch(automatic.next());
  await clock.pass(300);
  expect(next.value!.value!.at).toBe(5);
  await Promise.all([automatic.close(), clock.pass(100)]);
  expect(groups.offset('t', 0)).toBe(6);
});

test('a second member takes its share; what stays is not interrupted, and nothing is given twice', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, join } = world;
  broker.createTopic('t', 12);
  const given: Given[] = [];
  const first = new Member(world, 0, hf, given);
  await clock.pass(500);
  const stays = () => new Set([...groups.owners].filter(([, id]) => id === 'm1').map(([name]) => name));
  let second: Member | undefined;
  for (let round = 0; round < 60; round += 1) {
    for (let partition = 0; partition < 12; partition += 1) fill(broker, 't', partition, 1);
    if (round === 20) second = new Member(world, 1, (await join(1)).hf, given);
    const before = given.length;
    await clock.pass(10);
    // Whatever stays comes within the time of a fetch.
    const kept = given.slice(before).filter(({ member }) => member === 0);
    expect(kept.length).toBeGreaterThanOrEqual(6);
  }
  await clock.pass(1_000);
  expect(stays().size).toBe(6);
  expect([first.lost, second!.lost]).toEqual([[], []]);
  expect(first.revoked.length).toBe(6);
  expect(given.length).toBe(720);
  expect(new Set(given.map(({ partition, offset }) => `${partition}/${offset}`)).size).toBe(720);
});

test('a message in hand is finished and stored before its partition moves', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, join } = world;
  broker.createTopic('t', 2);
  const given: Given[] = [];
  const first = new Member(world, 0, hf, given);
  await clock.pass(300);
  first.workMs = 3_000;
  fill(broker, 't', 1, 5);
  await clock.pass(100);
  expect(given.length).toBe(1);
  new Member(world, 1, (await join(1)).hf, given);
  await clock.pass(2_000);
  expect([given.length, groups.owners.get('t/1')]).toEqual([1, 'm1']);
  await clock.pass(2_000);
  expect(groups.owners.get('t/1')).toBe('m2');
  expect(given.map(({ member, offset }) => [member, offset])).toEqual([
    [0, 0],
    [1, 1],
    [1, 2],
    [1, 3],
    [1, 4],
  ]);
});

test('one that takes too long over a message loses it, and is told', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, join } = world;
  broker.createTopic('t', 2);
  const given: Given[] = [];
  const first = new Member(world, 0, hf, given, { rebalanceTimeout: 1_000 });
  await clock.pass(300);
  first.workMs = 5_000;
  fill(broker, 't', 1, 2);
  await clock.pass(100);
  new Member(world, 1, (await join(1)).hf, given);
  await clock.pass(1_500);
  expect(groups.owners.get('t/1')).toBe('m2');
  expect([first.lost, first.unfinished]).toEqual([['1'], [0n]]);
  expect(given.map(({ member, offset }) => [member, offset])).toEqual([
    [0, 0],
    [1, 0],
    [1, 1],
  ]);
  await clock.pass(10_000);
  expect(first.loop.settled).toBe(false);
  expect(groups.offset('t', 1)).toBe(2);
});

test('one that is cut off gives everything up before others may have it, and its commits are refused', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, join, net } = world;
  broker.createTopic('t', 2);
  const given: Given[] = [];
  const first = new Member(world, 0, hf, given);
  await clock.pass(300);
  first.workMs = 20_000;
  fill(broker, 't', 0, 3);
  fill(broker, 't', 1, 3);
  await clock.pass(100);
  const second = new Member(world, 1, (await join(1)).hf, given);
  net.arrives = (_method, client) => client !== 0;
  await clock.pass(15_000);
  expect(first.lost.toSorted()).toEqual(['0', '1']);
  expect(first.unfinished.length).toBe(1);
  expect([...groups.owners.values()]).toEqual(['m2', 'm2']);
  net.arrives = () => true;
  await clock.pass(10_000);
  // It is a member again, under another lease.
  expect(new Set(groups.owners.values()).size).toBe(2);
  expect(given.filter(({ member }) => member === 1).length).toBe(6);
  expect([groups.offset('t', 0), groups.offset('t', 1)]).toEqual([3, 3]);
  expect(second.lost).toEqual([]);
});

test('a partition that nobody wants any more before it was given up goes on where it was', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, join } = world;
  broker.createTopic('t', 2);
  const given: Given[] = [];
  const first = new Member(world, 0, hf, given);
  await clock.pass(300);
  first.workMs = 2_000;
  fill(broker, 't', 1, 5);
  await clock.pass(100);
  const second = new Member(world, 1, (await join(1)).hf, given);
  await clock.pass(500);
  expect(groups.members.get('m1')!.revoked.size).toBe(1);
  await Promise.all([second.consumer.close(), clock.pass(100)]);
  expect(groups.members.get('m1')!.revoked.size).toBe(0);
  await clock.pass(15_000);
  expect(given.map(({ member, offset }) => [member, offset])).toEqual([0, 1, 2, 3, 4].map((at) => [0, at]));
  expect([first.lost, first.revoked, groups.offset('t', 1)]).toEqual([[], [], 5]);
});

test('what a member reads of the offsets is final', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, join } = world;
  broker.createTopic('t', 1);
  fill(broker, 't', 0, 5);
  const given: Given[] = [];
  const first = new Member(world, 0, hf, given);
  await clock.pass(1_500);
  const { generation } = groups.given[0]!;
  await Promise.all([first.consumer.close(), clock.pass(100)]);
  new Member(world, 1, (await join(1)).hf, given, { commitInterval: 600_000 });
  await clock.pass(300);
  // What the first one had said arrives now.
  await groups.handle('CommitOffsets', { offsets: [{ topic: 't', partition: 0, generation, offset: 1n }] });
  expect([groups.refusedCommits, groups.offset('t', 0)]).toEqual([1, 5]);
});

test('a commit that is refused for a later generation drops the partition', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups } = world;
  broker.createTopic('t', 2);
  const given: Given[] = [];
  const member = new Member(world, 0, hf, given);
  await clock.pass(300);
  broker.partition('t', 1).offsets.get('g')!.generation = 100n;
  fill(broker, 't', 0, 3);
  fill(broker, 't', 1, 3);
  await clock.pass(3_000);
  expect(member.lost).toEqual(['1']);
  expect([groups.offset('t', 0), groups.offset('t', 1)]).toEqual([3, undefined]);
  fill(broker, 't', 1, 3);
  fill(broker, 't', 0, 3);
  await clock.pass(3_000);
  expect(given.filter(({ partition }) => partition === 1).length).toBe(3);
  expect(groups.offset('t', 0)).toBe(6);
});

test('a static member that comes back has what it had', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, groups, join } = world;
  broker.createTopic('t', 4);
  const given: Given[] = [];
  new Member(world, 0, hf, given, { instanceId: 'one' });
  await clock.pass(300);
  const other = await join(1);
  const second = new Member(world, 1, other.hf, given, { instanceId: 'two' });
  await clock.pass(1_000);
  const before = [...groups.owners].filter(([, id]) => id === 'm2').map(([name]) => name);
  const moves = groups.given.length;
  await Promise.all([second.consumer.close(), clock.pass(100)]);
  await clock.pass(1_000);
  new Member(world, 2, (await join(2)).hf, given, { instanceId: 'two' });
  await clock.pass(1_000);
  expect([...groups.owners].filter(([, id]) => id === 'm3').map(([name]) => name)).toEqual(before);
  expect(groups.given.length).toBe(moves + 2);
});

test('a start behind the last record is stored, so that the next member misses nothing', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf, join, groups } = world;
  broker.createTopic('t', 1);
  fill(broker, 't', 0, 10);
  const given: Given[] = [];
  const first = new Member(world, 0, hf, given, { from: 'latest' });
  await clock.pass(300);
  await Promise.all([first.consumer.close(), clock.pass(100)]);
  expect(groups.offset('t', 0)).toBe(10);
  fill(broker, 't', 0, 2);
  new Member(world, 1, (await join(1)).hf, given, { from: 'latest' });
  await clock.pass(300);
  expect(given.map(({ offset }) => offset)).toEqual([10, 11]);
});

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ fill: fc.nat(3), count: fc.integer({ min: 1, max: 20 }) }) },
  { weight: 5, arbitrary: fc.record({ pass: fc.integer({ min: 0, max: 800 }) }) },
  { weight: 2, arbitrary: fc.constant({ join: true as const }) },
  { weight: 1, arbitrary: fc.record({ close: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ cut: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ move: fc.nat(3), to: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ work: fc.nat(5), ms: fc.integer({ min: 0, max: 300 }) }) },
);

async function play(seed: number, steps: readonly object[], isCutAllowed: boolean): Promise<void> {
  const world = await brokerWorld(seed);
  const { clock, broker, groups, join, net, hf } = world;
  broker.createTopic('t', 4);
  const given: Given[] = [];
  const members: Member[] = [];
  const cut = new Set<number>();
  net.arrives = (_method, client) => !cut.has(client);
  const add = async () => {
    const number = members.length;
    members.push(new Member(world, number, number === 0 ? hf : (await join(number)).hf, given));
  };
  await add();
  for (const one of steps as { [name: string]: number }[]) {
    const pick = (index: number) => members[index % members.length]!;
    if (one['fill'] !== undefined) fill(broker, 't', one['fill'], one['count']!);
    if (one['pass'] !== undefined) await clock.pass(one['pass']);
    if (one['join'] !== undefined && members.length < 6) await add();
    if (one['close'] !== undefined) void pick(one['close']).consumer.close();
    if (one['cut'] !== undefined && isCutAllowed) cut.add(pick(one['cut']).number);
    if (one['move'] !== undefined)
      broker.partition('t', one['move']).leader = ['a:1', 'b:1', 'c:1'][one['to']!];
    if (one['work'] !== undefined) pick(one['work']).workMs = one['ms']!;
    // One owner for a generation, and no commit of a lower one after a greater one.
    const owners = groups.given.map(({ partition, generation }) => `${partition}/${generation}`);
    expect(new Set(owners).size).toBe(owners.length);
  }
  for (const member of members) member.workMs = 0;
  await clock.pass(20_000);
  await add();
  await clock.pass(20_000);
  const names = given.map(({ partition, offset }) => `${partition}/${offset}`);
  for (const [partition, end] of ends(world, 4).entries()) {
    expect(groups.offset('t', partition) ?? 0, `all of ${partition} is stored`).toBe(end);
    for (let offset = 0; offset < end; offset += 1) expect(names).toContain(`${partition}/${offset}`);
    const generations = groups.commits.filter((one) => one.partition === partition);
    let last = { generation: 0n, offset: 0 };
    for (const commit of generations) {
      expect(commit.generation).toBeGreaterThanOrEqual(last.generation);
      expect(commit.offset).toBeGreaterThanOrEqual(last.offset);
      last = commit;
    }
  }
  if (cut.size === 0) expect(new Set(names).size, 'nothing is given twice').toBe(names.length);
  for (const member of members) expect(member.loop.error).toBe(undefined);
}

const steps = fc.array(step, { maxLength: 30 });

test('members come and go in order: every record is given once, in order', async () => {
  const property = fc.asyncProperty(fc.nat(), steps, (...asked) => play(...asked, false));
  await fc.assert(property, { numRuns: 60 });
});

test('members are cut off, too: every record is given, in order, and no older generation stores', async () => {
  const property = fc.asyncProperty(fc.nat(), steps, (...asked) => play(...asked, true));
  await fc.assert(property, { numRuns: 60 });
});
