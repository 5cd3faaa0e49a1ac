/** Where consumer groups are, on one node: commits, lag, resets and deletions. */
import { beforeEach, describe, expect, test } from 'vitest';
import { BrokerRig, text } from './broker-rig.ts';
import { GroupCalls } from './group-calls.ts';
import { facts, refused } from './refusal.ts';

const ALL = Array.from({ length: 12 }, (_, number) => number);
const fenced = { code: 'FAILED_PRECONDITION', reason: 'GENERATION_FENCED', field: 'generation' };

let rig: BrokerRig;
let groups: GroupCalls;

beforeEach(async () => {
  rig = await BrokerRig.start();
  groups = new GroupCalls(rig);
  await rig.createTopic({ name: 't', partitions: 12 });
});

describe('offsets', () => {
  beforeEach(() => groups.fill(5));

  test('are those of the last commit, also after a crash', async () => {
    const partitions = [0, 1].map((partition) => ({ topic: 't', partition }));
    const read = async () => (await groups.fetchOffsets({ group: 'g', partitions })).results;
    expect((await read()).map(({ offset }) => offset)).toEqual([undefined, undefined]);
    const offsets = [{ topic: 't', partition: 0, offset: 3n, generation: 2n, metadata: 'ä' }];
    await groups.commit({ group: 'g', offsets });
    expect((await read())[0]).toMatchObject({ offset: 3n, generation: 2n, metadata: 'ä' });
    expect(await groups.commitOne(1, 2)).toBeUndefined();
    rig.node.crash('lose-all');
    await rig.restart();
    expect((await read())[0]).toMatchObject({ offset: 1n, generation: 2n, metadata: '' });
    expect(await groups.offset('other', 't')).toBeUndefined();
  });

  test('whoever reads them with a generation makes those before it commit no more', async () => {
    expect(await groups.commitOne(1, 3)).toBeUndefined();
    expect(await groups.claim(4n)).toMatchObject({ offset: 1n, generation: 4n });
    expect(await groups.commitOne(2, 3)).toMatchObject({ ...fenced, actual: '3', limit: '4..' });
    expect(facts((await groups.claim(3n)).error)).toMatchObject({ ...fenced, actual: '3', limit: '4..' });
    expect(await groups.commitOne(2, 4)).toBeUndefined();
    expect(await groups.commitOne(3, 5)).toBeUndefined();
    expect(await groups.commitOne(4, 4)).toMatchObject({ ...fenced, limit: '5..' });
    expect(await groups.offset('g', 't')).toBe(3n);
  });

  test('one commit that is refused does not hinder others', async () => {
    const offsets = [
      { topic: 't', partition: 0, offset: 9n },
      { topic: 't', partition: 0, offset: 5n },
      { topic: 'nowhere', partition: 0, offset: 0n },
    ];
    const { results } = await groups.commit({ group: 'g', offsets });
    expect(results.map(({ error }) => error?.reason)).toEqual([
      'OFFSET_OUT_OF_RANGE',
      undefined,
      'TOPIC_UNKNOWN',
    ]);
    expect(await groups.offset('g', 't')).toBe(5n);
  });

  test('lag is what can still be read', async () => {
    const settings = { retentionMs: 20_000n, segmentBytes: 1_048_576n };
    await rig.createTopic({ name: 'old', settings });
    for (let at = 0; at < 8; at++) await rig.append('old', ['x'.repeat(400_000)]);
    await groups.commit({ group: 'g', offsets: [{ topic: 'old', offset: 1n }] });
    const lag = async () => (await groups.describe('g')).partitions.find(({ topic }) => topic === 'old');
    expect(await lag()).toMatchObject({ offset: 1n, logEnd: 8n, lag: 7n });
    await rig.node.world.runFor(60_000);
    expect(await lag()).toMatchObject({ offset: 1n, logEnd: 8n, lag: 2n });
    await groups.commit({ group: 'g', offsets: [{ topic: 'old', offset: 8n }] });
    expect(await lag()).toMatchObject({ offset: 8n, lag: 0n });
  });

  test('a group is described with its members, and with all partitions of its topics', async () => {
    const a = await groups.member('g', ['t'], { clientName: 'worker', instanceId: 'i' });
    await groups.commitOne(2, a.assignment.generation);
    const { partitions, ...described } = await groups.describe('g');
    expect(described).toMatchObject({ generation: a.assignment.generation, strategy: 3 });
    expect(described.members).toMatchObject([
      { memberId: a.memberId, instanceId: 'i', clientName: 'worker', lease: a.lease, topics: ['t'] },
    ]);
    expect(described.members[0]!.partitions).toEqual(a.assignment.partitions);
    expect(partitions.map(({ partition }) => partition)).toEqual(ALL);
    expect(partitions[0]).toMatchObject({ memberId: a.memberId, offset: 2n, logEnd: 5n, lag: 3n });
    expect(partitions[1]).toMatchObject({ memberId: a.memberId, logEnd: 0n, lag: 0n });
    expect(partitions[1]!.offset).toBeUndefined();
    const missing = { code: 'NOT_FOUND', reason: 'GROUP_UNKNOWN', field: 'group', actual: 'none' };
    expect(await refused(groups.describe('none'))).toMatchObject(missing);
  });

  test('groups are listed by name, in parts', async () => {
    for (const group of ['c', 'a', 'B', 'b'])
      await groups.commit({ group, offsets: [{ topic: 't', offset: 0n }] });
    const names = async (init: { after?: string; limit?: number }) => {
      const { groups: listed, more } = await groups.list(init);
      return [listed.map(({ group }) => group).join(''), more];
    };
    expect(await names({})).toEqual(['Babc', false]);
    expect(await names({ limit: 2 })).toEqual(['Ba', true]);
    expect(await names({ after: 'a', limit: 2 })).toEqual(['bc', false]);
    expect(await names({ after: 'c' })).toEqual(['', false]);
    expect(await refused(groups.list({ limit: 1_001 }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      reason: 'COUNT_OUT_OF_RANGE',
      field: 'limit',
      actual: '1001',
      limit: '1000',
    });
  });
});

describe('a reset', () => {
  const target = (one: Parameters<GroupCalls['reset']>[0]['target']) => ({
    group: 'g',
    topic: 't',
    target: one,
  });
  const latest = target({ target: { case: 'latest', value: true } });
  const earliest = target({ target: { case: 'earliest', value: true } });
  const toOffset = (value: bigint) => target({ target: { case: 'offset', value } });
  const toTime = (value: bigint) => target({ target: { case: 'timeMs', value } });
  const first = async (init: Parameters<GroupCalls['reset']>[0]) => (await groups.reset(init)).results[0]!;

  beforeEach(async () => {
    for (const timeMs of [1_000n, 2_000n, 3_000n, 4_000n]) {
      const records = { records: [{ timeMs, value: text('x') }] as never };
      await rig.produce({ partitions: [{ topic: 't', content: { case: 'records', value: records } }] });
    }
  });

  test('to the beginning, the end, an offset, or a time', async () => {
    expect((await groups.reset(latest)).results.map(({ partition }) => partition)).toEqual(ALL);
    expect(await groups.offset('g', 't')).toBe(4n);
    expect(await first(earliest)).toMatchObject({ partition: 0, before: 4n, after: 0n });
    expect(await first(toOffset(3n))).toMatchObject({ before: 0n, after: 3n });
    expect(await first(toOffset(9n))).toMatchObject({ before: 3n, after: 4n });
    expect(await first(toTime(2_000n))).toMatchObject({ after: 1n });
    expect(await first(toTime(2_001n))).toMatchObject({ after: 2n });
    expect(await first(toTime(-1n))).toMatchObject({ after: 0n });
    expect(await first(toTime(4_001n))).toMatchObject({ after: 4n });
    expect(await groups.offset('g', 't')).toBe(4n);
  });

  test('to what is nearest of what is left', async () => {
    const settings = { retentionMs: 20_000n, segmentBytes: 1_048_576n };
    await rig.createTopic({ name: 'old', settings });
    for (let at = 0; at < 8; at++) await rig.append('old', ['x'.repeat(400_000)]);
    await rig.node.world.runFor(60_000);
    for (const one of [earliest, toOffset(2n), toTime(0n)])
      expect(await first({ ...one, topic: 'old' })).toMatchObject({ after: 6n });
  });

  test('of chosen partitions, each once and by number', async () => {
    const { results } = await groups.reset({ ...latest, partitions: [2, 0, 2] });
    expect(results.map(({ partition, after }) => [partition, after])).toEqual([
      [0, 4n],
      [2, 0n],
    ]);
    expect(await groups.offset('g', 't', 1)).toBeUndefined();
  });

  test('that is only tried changes nothing, not even that there is no such group', async () => {
    expect(await first({ ...latest, dryRun: true })).toMatchObject({ after: 4n });
    expect((await groups.list()).groups).toEqual([]);
    await groups.reset(toOffset(1n));
    expect(await first({ ...latest, dryRun: true })).toMatchObject({ before: 1n, after: 4n });
    expect(await groups.offset('g', 't')).toBe(1n);
  });

  test('is refused while there are members', async () => {
    const { memberId, assignment } = await groups.member('g', ['t']);
    await groups.commitOne(2, assignment.generation);
    for (const dryRun of [false, true])
      expect(await refused(groups.reset({ ...latest, dryRun }))).toEqual({
        code: 'FAILED_PRECONDITION',
        reason: 'GROUP_NOT_EMPTY',
        field: 'group',
        actual: '1',
        limit: undefined,
        outcome: 'NOT_APPLIED',
      });
    expect(await groups.offset('g', 't')).toBe(2n);
    await groups.leave({ group: 'g', memberId });
    expect(await first(earliest)).toMatchObject({ before: 2n, after: 0n });
    // A member of before stays fenced.
    expect(await groups.commitOne(3, assignment.generation - 1n)).toMatchObject(fenced);
  });

  test('of what there is not', async () => {
    const notFound = { code: 'NOT_FOUND', outcome: 'NOT_APPLIED' };
    expect(await refused(groups.reset({ ...latest, topic: 'nowhere' }))).toMatchObject({
      ...notFound,
      reason: 'TOPIC_UNKNOWN',
      field: 'topic',
      actual: 'nowhere',
    });
    expect(await refused(groups.reset({ ...latest, partitions: [0, 12] }))).toMatchObject({
      ...notFound,
      reason: 'PARTITION_UNKNOWN',
      actual: '12',
      limit: '0..11',
    });
    const noTarget = { reason: 'INVALID_FIELD', field: 'target' };
    expect(await refused(groups.reset({ group: 'g', topic: 't' }))).toMatchObject(noTarget);
    expect(await refused(groups.reset(toOffset(2n ** 53n)))).toMatchObject({
      reason: 'OFFSET_OUT_OF_RANGE',
      field: 'offset',
      actual: String(2n ** 53n),
    });
    expect(await groups.offset('g', 't')).toBeUndefined();
    expect((await groups.list()).groups).toEqual([]);
  });
});

describe('a deletion', () => {
  test('takes the offsets along, and is refused while there are members', async () => {
    await groups.fill(3);
    const { memberId, assignment } = await groups.member('g', ['t']);
    await groups.commitOne(2, assignment.generation);
    expect(await refused(groups.delete('g'))).toEqual({
      code: 'FAILED_PRECONDITION',
      reason: 'GROUP_NOT_EMPTY',
      field: 'group',
      actual: '1',
      limit: undefined,
      outcome: 'NOT_APPLIED',
    });
    expect(await groups.offset('g', 't')).toBe(2n);
    await groups.leave({ group: 'g', memberId });
    await groups.delete('g');
    expect((await groups.list()).groups).toEqual([]);
    expect(await groups.offset('g', 't')).toBeUndefined();
    const missing = { code: 'NOT_FOUND', reason: 'GROUP_UNKNOWN', field: 'group', actual: 'g' };
    expect(await refused(groups.delete('g'))).toMatchObject({ ...missing, outcome: 'NOT_APPLIED' });
  });

  test('leaves nothing that hinders a group of the name that comes later', async () => {
    await groups.fill(3);
    for (let round = 0; round < 3; round++) {
      const { memberId } = await groups.member('g', ['t']);
      await groups.leave({ group: 'g', memberId });
    }
    const last = await groups.member('g', ['t']);
    // It only reads, and never commits.
    expect((await groups.claim(last.assignment.generation)).error).toBeUndefined();
    await groups.leave({ group: 'g', memberId: last.memberId });
    await groups.delete('g');
    const { assignment } = await groups.member('g', ['t']);
    expect((await groups.claim(assignment.generation)).error).toBeUndefined();
    expect(await groups.commitOne(1, assignment.generation)).toBeUndefined();
  });
});
