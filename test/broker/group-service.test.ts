/** Consumer groups on one node: who has which partition, through joins, releases, ends of leases and crashes. */
import { beforeEach, describe, expect, test } from 'vitest';
import { BrokerRig } from './broker-rig.ts';
import { GroupCalls, numbers } from './group-calls.ts';
import { facts, refused } from './refusal.ts';

const ALL = Array.from({ length: 12 }, (_, number) => number);

let rig: BrokerRig;
let groups: GroupCalls;

beforeEach(async () => {
  rig = await BrokerRig.start();
  groups = new GroupCalls(rig);
  await rig.createTopic({ name: 't', partitions: 12 });
});

const unknownMember = (actual: string) => ({
  code: 'NOT_FOUND',
  reason: 'GROUP_MEMBER_UNKNOWN',
  field: 'member_id',
  actual,
  limit: undefined,
  outcome: 'NOT_APPLIED',
});
const fencedMember = (actual: string) => ({
  ...unknownMember(actual),
  code: 'FAILED_PRECONDITION',
  reason: 'GROUP_MEMBER_FENCED',
});
/** A commit that comes too late. */
const fenced = { code: 'FAILED_PRECONDITION', reason: 'GENERATION_FENCED', field: 'generation' };

describe('members', () => {
  test('one has all partitions; a second gets half of them as they are released, the rest stays', async () => {
    const a = await groups.member('g', ['t']);
    expect(numbers(a.assignment.partitions)).toEqual(ALL);
    expect(a.assignment.revoked).toEqual([]);
    const first = a.assignment.generation;
    expect(a.assignment.partitions.every(({ generation }) => generation === first)).toBe(true);

    const b = await groups.member('g', ['t']);
    expect(b.assignment.partitions).toEqual([]);
    expect(b.assignment.generation).toBeGreaterThan(first);
    const { partitions: kept, revoked, version } = await groups.assignment('g', a.memberId);
    expect(version).toBeGreaterThan(a.assignment.version);
    expect([kept.length, revoked.length]).toEqual([6, 6]);
    expect(kept.every(({ generation }) => generation === first)).toBe(true);

    const [one, ...others] = revoked;
    expect((await groups.assignment('g', a.memberId, [one!])).revoked).toEqual(others);
    expect(numbers((await groups.assignment('g', b.memberId)).partitions)).toEqual([one!.partition]);
    expect((await groups.assignment('g', a.memberId, others)).revoked).toEqual([]);
    const got = await groups.assignment('g', b.memberId);
    expect(numbers(got.partitions)).toEqual(numbers(revoked));
    expect(got.partitions.every(({ generation }) => generation > first)).toBe(true);
    expect((await groups.assignment('g', a.memberId)).partitions).toEqual(kept);
  });

  test('what is not to be released, or is of another generation, stays', async () => {
    const a = await groups.member('g', ['t']);
    const b = await groups.member('g', ['t']);
    const before = await groups.assignment('g', a.memberId);
    const older = before.revoked.map((one) => ({ ...one, generation: one.generation - 1n }));
    const foreign = { topic: 'other', partition: 0, generation: 1n };
    const released = [...before.partitions, ...older, foreign] as typeof before.partitions;
    expect(await groups.assignment('g', a.memberId, released)).toEqual(before);
    expect((await groups.assignment('g', b.memberId, before.revoked)).partitions).toEqual([]);
    expect(await groups.assignment('g', a.memberId)).toEqual(before);
  });

  test('who waits is told of another assignment at once, and of the known one when the time is over', async () => {
    const { clock } = rig.node;
    const a = await groups.member('g', ['t']);
    const { version: knownVersion } = a.assignment;
    const waiting = { group: 'g', memberId: a.memberId, knownVersion, waitMs: 10_000 };
    const begunMs = clock.monotonicMs();
    expect((await groups.sync(waiting)).assignment).toEqual(a.assignment);
    expect(clock.monotonicMs() - begunMs).toBeGreaterThanOrEqual(10_000);
    const syncing = groups.syncing(waiting);
    const joinedMs = clock.monotonicMs();
    await groups.member('g', ['t']);
    const { assignment } = await rig.run(syncing);
    expect(assignment!.revoked).toHaveLength(6);
    expect(clock.monotonicMs() - joinedMs).toBeLessThan(1_000);
  });

  test('the same lease again is the same member, with what it subscribes to now', async () => {
    await rig.createTopic({ name: 'u', partitions: 2 });
    const { lease, memberId, assignment } = await groups.member('g', ['t']);
    const again = await groups.join({ group: 'g', lease, topics: ['t'] });
    expect(again).toMatchObject({ memberId, assignment: { version: assignment.version } });
    const other = await groups.join({ group: 'g', lease, topics: ['u'] });
    expect(other.memberId).toBe(memberId);
    expect(other.assignment!.generation).toBeGreaterThan(assignment.generation);
    expect(other.assignment!.partitions.map(({ topic }) => topic)).toEqual(['u', 'u']);
    expect((await groups.describe('g')).members).toHaveLength(1);
  });

  test('at the end of its lease another one has what it had, and late commits are refused', async () => {
    const short = await groups.lease(3_000);
    const gone = await groups.join({ group: 'g', lease: short, topics: ['t'] });
    const b = await groups.member('g', ['t']);
    await groups.fill(2);
    expect(await groups.commitOne(1, gone.assignment!.generation)).toBeUndefined();
    await rig.node.world.runFor(8_000);
    const { partitions } = await groups.assignment('g', b.memberId);
    expect(numbers(partitions)).toEqual(ALL);
    expect(await groups.claim(partitions[0]!.generation)).toMatchObject({ offset: 1n });
    const { generation } = gone.assignment!;
    expect(await groups.commitOne(2, generation)).toMatchObject({ ...fenced, actual: String(generation) });
    expect(await groups.offset('g', 't')).toBe(1n);
    const { memberId } = gone;
    expect(await refused(groups.sync({ group: 'g', memberId }))).toEqual(unknownMember(memberId));
  });

  test('one that leaves is gone at once; leaving again, or from nowhere, is nothing', async () => {
    const a = await groups.member('g', ['t']);
    const b = await groups.member('g', ['t']);
    await groups.leave({ group: 'g', memberId: a.memberId });
    const after = await groups.assignment('g', b.memberId);
    expect(numbers(after.partitions)).toEqual(ALL);
    await groups.leave({ group: 'g', memberId: a.memberId });
    await groups.leave({ group: 'nowhere', memberId: a.memberId });
    expect(await groups.assignment('g', b.memberId)).toEqual(after);
    expect((await groups.list()).groups.map(({ group }) => group)).toEqual(['g']);
    const call = groups.sync({ group: 'g', memberId: a.memberId });
    expect(await refused(call)).toEqual(unknownMember(a.memberId));
    await groups.leave({ group: 'g', memberId: b.memberId });
    expect((await groups.list()).groups).toMatchObject([{ group: 'g', members: 0 }]);
  });

  test('one that keeps what it is to release longer than it said is taken out', async () => {
    const slow = await groups.member('g', ['t'], { rebalanceTimeoutMs: 5_000n });
    const b = await groups.member('g', ['t']);
    await rig.node.world.runFor(4_000);
    expect((await groups.assignment('g', slow.memberId)).revoked).toHaveLength(6);
    await rig.node.world.runFor(4_000);
    const call = groups.sync({ group: 'g', memberId: slow.memberId });
    expect(await refused(call)).toEqual(unknownMember(slow.memberId));
    const { partitions } = await groups.assignment('g', b.memberId);
    expect(numbers(partitions)).toEqual(ALL);
    expect(partitions.every(({ generation }) => generation > slow.assignment.generation)).toBe(true);
  });

  test('one that has released in time stays', async () => {
    const a = await groups.member('g', ['t'], { rebalanceTimeoutMs: 5_000n });
    await groups.member('g', ['t']);
    const { revoked } = await groups.assignment('g', a.memberId);
    await groups.assignment('g', a.memberId, revoked);
    await rig.node.world.runFor(12_000);
    expect((await groups.assignment('g', a.memberId)).partitions).toHaveLength(6);
  });

  test('more partitions, and topics that come and go, are shared anew', async () => {
    const a = await groups.member('g', ['t', 'later']);
    expect(numbers(a.assignment.partitions)).toEqual(ALL);
    await rig.alterTopic({ name: 't', partitions: 14 });
    await rig.createTopic({ name: 'later' });
    await rig.node.world.runFor(3_000);
    const more = await groups.assignment('g', a.memberId);
    expect(more.partitions.map(({ topic, partition }) => `${topic}/${partition}`)).toEqual([
      'later/0',
      ...[...ALL, 12, 13].map((number) => `t/${number}`),
    ]);
    // Those that were there are not interrupted.
    expect(more.partitions.filter(({ generation }) => generation === a.assignment.generation)).toHaveLength(
      12,
    );
    await rig.deleteTopic('t');
    await rig.node.world.runFor(3_000);
    const less = await groups.assignment('g', a.memberId);
    expect(less.partitions.map(({ topic }) => topic)).toEqual(['later']);
    expect(less.version).toBeGreaterThan(more.version);
  });

  test('all is as before after a crash', async () => {
    const a = await groups.member('g', ['t'], { instanceId: 'i' });
    const b = await groups.member('g', ['t']);
    await groups.fill(1);
    await groups.commitOne(1, a.assignment.generation);
    const before = await groups.describe('g');
    rig.node.crash('lose-all');
    await rig.restart();
    expect(await groups.describe('g')).toEqual(before);
    const { revoked } = await groups.assignment('g', a.memberId);
    await groups.assignment('g', a.memberId, revoked);
    expect(numbers((await groups.assignment('g', b.memberId)).partitions)).toEqual(numbers(revoked));
  });
});

describe('static members', () => {
  test('one that comes back has what it had; nobody else is touched, and the one before is fenced', async () => {
    const a = await groups.member('g', ['t'], { instanceId: 'one' });
    const b = await groups.member('g', ['t'], { instanceId: 'two' });
    const { revoked } = await groups.assignment('g', a.memberId);
    await groups.assignment('g', a.memberId, revoked);
    const [before, other] = [
      await groups.assignment('g', a.memberId),
      await groups.assignment('g', b.memberId),
    ];
    const back = await groups.member('g', ['t'], { instanceId: 'one' });
    expect(back.memberId).not.toBe(a.memberId);
    expect(numbers(back.assignment.partitions)).toEqual(numbers(before.partitions));
    for (const { generation } of back.assignment.partitions)
      expect(generation).toBeGreaterThan(before.generation);
    expect(await groups.assignment('g', b.memberId)).toEqual({
      ...other,
      generation: back.assignment.generation,
    });
    const sync = { group: 'g', memberId: a.memberId };
    expect(await refused(groups.sync(sync))).toEqual(fencedMember(a.memberId));
    expect(await refused(groups.sync({ ...sync, released: before.partitions }))).toEqual(
      fencedMember(a.memberId),
    );
    await groups.fill(2);
    await groups.claim(back.assignment.partitions[0]!.generation);
    expect(await groups.commitOne(1, before.partitions[0]!.generation)).toMatchObject(fenced);
  });

  test('one that is fenced takes nothing away when its lease ends or it leaves', async () => {
    const lease = await groups.lease(3_000);
    const a = await groups.join({ group: 'g', lease, topics: ['t'], instanceId: 'one' });
    const back = await groups.member('g', ['t'], { instanceId: 'one' });
    await groups.leave({ group: 'g', memberId: a.memberId });
    await rig.node.world.runFor(8_000);
    expect(await groups.assignment('g', back.memberId)).toEqual(back.assignment);
  });

  test('what one that came back releases is given on in a greater generation', async () => {
    await groups.member('g', ['t'], { instanceId: 'one' });
    const b = await groups.member('g', ['t']);
    const back = await groups.member('g', ['t'], { instanceId: 'one' });
    const { revoked } = back.assignment;
    expect(revoked).toHaveLength(6);
    const after = await groups.assignment('g', back.memberId, revoked);
    const given = await groups.assignment('g', b.memberId);
    expect(numbers(given.partitions)).toEqual(numbers(revoked));
    for (const [at, { generation }] of given.partitions.entries())
      expect(generation).toBeGreaterThan(revoked[at]!.generation);
    expect(given.generation).toBeGreaterThanOrEqual(given.partitions[0]!.generation);
    expect(numbers(after.partitions)).toEqual(numbers(back.assignment.partitions));
    // What it says late of what it has given back changes nothing.
    const { partition, generation } = given.partitions[0]!;
    await groups.fill(1, partition);
    await groups.claim(generation, partition);
    expect(await groups.commitOne(1, revoked[0]!.generation, partition)).toMatchObject(fenced);
  });
});

describe('who may not join', () => {
  test('a lease that has ended, or never was', async () => {
    const lease = await groups.lease(1_000);
    await rig.node.world.runFor(8_000);
    for (const one of [lease, 99n])
      expect(await refused(groups.join({ group: 'g', lease: one, topics: ['t'] }))).toMatchObject({
        reason: 'SESSION_EXPIRED',
        field: 'lease',
        actual: String(one),
        outcome: 'NOT_APPLIED',
      });
    expect((await groups.list()).groups).toEqual([]);
  });

  test('one more than a group can have; one that comes back is not one more', async () => {
    const grant = () => groups.member('g', ['t']);
    await groups.member('g', ['t'], { instanceId: 'i' });
    for (let at = 1; at < 1_000; at++) await grant();
    expect(await refused(grant())).toEqual({
      code: 'RESOURCE_EXHAUSTED',
      reason: 'GROUP_FULL',
      field: 'group',
      actual: '1000',
      limit: '1000',
      outcome: 'NOT_APPLIED',
    });
    const back = await groups.member('g', ['t'], { instanceId: 'i' });
    expect(back.assignment.partitions).toHaveLength(1);
    expect((await groups.describe('g')).members).toHaveLength(1_000);
  });

  test('who shares in another way than the members, while there are any', async () => {
    const a = await groups.member('g', ['t'], { strategy: 1 });
    const call = groups.member('g', ['t'], { strategy: 2 });
    expect(await refused(call)).toEqual({
      code: 'FAILED_PRECONDITION',
      reason: 'GROUP_STRATEGY_MISMATCH',
      field: 'strategy',
      actual: 'round-robin',
      limit: 'range',
      outcome: 'NOT_APPLIED',
    });
    expect(await groups.assignment('g', a.memberId)).toEqual(a.assignment);
    await groups.leave({ group: 'g', memberId: a.memberId });
    await groups.member('g', ['t'], { strategy: 2 });
    expect(await groups.describe('g')).toMatchObject({ strategy: 2 });
  });
});

describe('bad input', () => {
  const long = 'ä'.repeat(64) + 'x';
  const join = (init: object) => groups.member('g', ['t'], init);
  const sync = (init: object) => groups.sync({ group: 'g', memberId: 'm', ...init });
  const released = { topic: 't', partition: 0, generation: 1n };
  const topics = Array.from({ length: 257 }, (_, at) => `t${at}`);
  const many = Array.from({ length: 1_025 }, () => released);

  test.each<[string, string, () => Promise<unknown>, string | undefined, string | undefined]>([
    ['join', 'instance_id', () => join({ instanceId: long }), '129', '0..128'],
    ['join', 'client_name', () => join({ clientName: long }), '129', '0..128'],
    ['join', 'strategy', () => join({ strategy: 4 }), '4', undefined],
    ['join', 'rebalance_timeout_ms', () => join({ rebalanceTimeoutMs: 999n }), '999', '1000..3600000'],
    [
      'join',
      'rebalance_timeout_ms',
      () => join({ rebalanceTimeoutMs: 3_600_001n }),
      '3600001',
      '1000..3600000',
    ],
    ['join', 'topics', () => groups.member('g', []), '0', '1..256'],
    ['join', 'topics', () => groups.member('g', topics), '257', '1..256'],
    ['join', 'lease', () => groups.join({ group: 'g', topics: ['t'] }), '0', `1..${2n ** 63n - 1n}`],
    ['sync', 'wait_ms', () => sync({ waitMs: 60_001 }), '60001', '0..60000'],
    ['sync', 'released', () => sync({ released: many }), '1025', '0..1024'],
    [
      'sync',
      'generation',
      () => sync({ released: [{ ...released, generation: 2n ** 53n }] }),
      String(2n ** 53n),
      '0..2^53-1',
    ],
    ['fetch', 'partitions', () => groups.fetchOffsets({ group: 'g' }), '0', '1..1024'],
    ['fetch', 'partitions', () => groups.fetchOffsets({ group: 'g', partitions: many }), '1025', '1..1024'],
    ['commit', 'offsets', () => groups.commit({ group: 'g' }), '0', '1..1024'],
    ['commit', 'offsets', () => groups.commit({ group: 'g', offsets: many as never }), '1025', '1..1024'],
  ])('%s: %s', async (_, field, call, actual, limit) => {
    expect(await refused(call())).toEqual({
      code: 'INVALID_ARGUMENT',
      reason: 'INVALID_FIELD',
      field,
      actual,
      limit,
      outcome: 'NOT_APPLIED',
    });
    expect((await groups.list()).groups).toEqual([]);
  });

  test.each(['', 'a b', 'x'.repeat(129), 'ä'])('a group named %j', async (group) => {
    const calls = [
      () => groups.join({ group, lease: 1n, topics: ['t'] }),
      () => groups.sync({ group }),
      () => groups.leave({ group }),
      () => groups.fetchOffsets({ group, partitions: [{ topic: 't' }] }),
      () => groups.commit({ group, offsets: [{ topic: 't' }] }),
      () => groups.describe(group),
      () => groups.reset({ group, topic: 't', target: { target: { case: 'latest', value: true } } }),
      () => groups.delete(group),
    ];
    for (const call of calls)
      expect(await refused(call())).toEqual({
        code: 'INVALID_ARGUMENT',
        reason: 'INVALID_FIELD',
        field: 'group',
        actual: group || undefined,
        limit: '[a-zA-Z0-9._-]{1,128}',
        outcome: 'NOT_APPLIED',
      });
    expect((await groups.list()).groups).toEqual([]);
  });

  test('names that no topic can have', async () => {
    const bad = { code: 'INVALID_ARGUMENT', reason: 'TOPIC_NAME_INVALID', outcome: 'NOT_APPLIED' };
    const inReset = { group: 'g', topic: 'T', target: { target: { case: 'latest', value: true } } } as const;
    expect(await refused(groups.member('g', ['t', 'T']))).toMatchObject({
      ...bad,
      field: 'topics',
      actual: 'T',
    });
    expect(await refused(sync({ released: [{ ...released, topic: 'T' }] }))).toMatchObject({
      ...bad,
      field: 'released',
    });
    expect(await refused(groups.commit({ group: 'g', offsets: [{ topic: 'T' }] }))).toMatchObject(bad);
    expect(await refused(groups.reset(inReset))).toMatchObject({ ...bad, field: 'topic' });
    const { results } = await groups.fetchOffsets({ group: 'g', partitions: [{ topic: 'T' }] });
    expect(facts(results[0]!.error)).toMatchObject({ ...bad, field: 'topic' });
    expect((await groups.list()).groups).toEqual([]);
  });

  test('a generation that no group can have stops nobody', async () => {
    const { error } = await groups.claim(2n ** 53n);
    expect(facts(error)).toMatchObject({ reason: 'INVALID_FIELD', field: 'generation' });
    await groups.fill(1);
    expect(await groups.commitOne(1)).toBeUndefined();
  });
});
