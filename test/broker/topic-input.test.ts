/** Names, numbers and settings that no topic can have: what they are refused with, and that nothing was changed. */
import { expect, test } from 'vitest';
import { batchOf } from './broker-rig.ts';
import { refused } from './refusal.ts';
import { begun, fetched, invalid, produced, unchanged } from './refused-input.ts';

test.each([
  ['empty', ''],
  ['of 65 characters', 'x'.repeat(65)],
  ['with a capital', 'Orders'],
  ['with a space', 'a b'],
  ['with a slash', 'a/b'],
  ['with a line end', 'a\n'],
  ['with a zero', 'a\0'],
  ['beyond ASCII', 'ä'],
])('the name of a topic %s', async (_, name) => {
  const world = await begun();
  const { rig } = world;
  const expected = {
    ...invalid,
    reason: 'TOPIC_NAME_INVALID',
    field: 'name',
    actual: name || undefined,
    limit: '[a-z0-9._-]{1,64}',
  };
  for (const call of [
    () => rig.createTopic({ name }),
    () => rig.alterTopic({ name }),
    () => rig.deleteTopic(name),
    () => rig.describeTopic(name),
  ])
    expect(await unchanged(world, () => refused(call()))).toEqual(expected);
  const inTopic = { ...expected, field: 'topic' };
  expect(await produced(world, batchOf(['a']), { topic: name })).toEqual(inTopic);
  expect(await fetched(world, { topic: name })).toMatchObject({
    reason: 'TOPIC_NAME_INVALID',
    field: 'topic',
  });
});

test.each(['.', '..', 'a..b', '-', '_', 'x'.repeat(64)])('the name %j is one as any other', async (name) => {
  const { rig } = await begun();
  await rig.createTopic({ name });
  await rig.append(name, ['a']);
  rig.node.crash('lose-all');
  await rig.restart();
  expect(await rig.values(name)).toEqual(['a']);
  await rig.deleteTopic(name);
  await rig.node.world.runFor(3_000);
  expect(await rig.values('t')).toEqual(['first']);
  expect(await refused(rig.describeTopic(name))).toMatchObject({ reason: 'TOPIC_UNKNOWN', actual: name });
});

test('no partitions, and more than there can be', async () => {
  const world = await begun();
  const field = { ...invalid, reason: 'INVALID_FIELD', field: 'partitions' };
  const create = (partitions: number) =>
    unchanged(world, () => refused(world.rig.createTopic({ name: 'n', partitions })));
  expect(await create(0)).toEqual({ ...field, actual: '0', limit: '1..1024' });
  expect(await create(1_025)).toEqual({ ...field, actual: '1025', limit: '1..1024' });
  const alter = (partitions: number) =>
    unchanged(world, () => refused(world.rig.alterTopic({ name: 't', partitions })));
  expect(await alter(0)).toEqual({ ...field, actual: '0', limit: '2..1024' });
  expect(await alter(1_025)).toEqual({ ...field, actual: '1025', limit: '2..1024' });
});

test('partitions are not taken away, and settings beside them not changed', async () => {
  const world = await begun();
  const alter = { name: 't', partitions: 1, settings: { retentionMs: 7n } };
  expect(await unchanged(world, () => refused(world.rig.alterTopic(alter)))).toEqual({
    ...invalid,
    reason: 'INVALID_FIELD',
    field: 'partitions',
    actual: '1',
    limit: '2..1024',
  });
});

test('a topic that exists', async () => {
  const world = await begun();
  expect(await unchanged(world, () => refused(world.rig.createTopic({ name: 't', partitions: 5 })))).toEqual({
    code: 'ALREADY_EXISTS',
    reason: 'TOPIC_EXISTS',
    field: 'name',
    actual: 't',
    limit: undefined,
    outcome: 'NOT_APPLIED',
  });
});

test('more copies than there are nodes, none, and more than any cluster keeps', async () => {
  const world = await begun();
  const create = (replication: number) =>
    unchanged(world, () => refused(world.rig.createTopic({ name: 'n', replication })));
  const field = { ...invalid, reason: 'INVALID_FIELD', field: 'replication' };
  expect(await create(2)).toEqual({ ...field, actual: '2', limit: '1..1' });
  expect(await create(0)).toEqual({ ...field, actual: '0', limit: '1..7' });
  expect(await create(8)).toEqual({ ...field, actual: '8', limit: '1..7' });
});

test.each([
  ['segment_bytes', 'segmentBytes', 1_048_575n, '1048576..1073741824'],
  ['segment_bytes', 'segmentBytes', 1_073_741_825n, '1048576..1073741824'],
  ['segment_ms', 'segmentMs', 59_999n, '60000..2^53-1'],
  ['retention_ms', 'retentionMs', 2n ** 53n, '0..2^53-1'],
  ['retention_bytes', 'retentionBytes', 2n ** 63n, '0..2^53-1'],
  ['max_batch_bytes', 'maxBatchBytes', 1_023, '1024..4194304'],
  ['max_batch_bytes', 'maxBatchBytes', 4_194_305, '1024..4194304'],
  ['delete_retention_ms', 'deleteRetentionMs', 2n ** 53n, '0..2^53-1'],
  ['min_dirty_percent', 'minDirtyPercent', 0, '1..99'],
  ['min_dirty_percent', 'minDirtyPercent', 100, '1..99'],
  ['cleanup_policy', 'cleanupPolicy', 4, 'DELETE, COMPACT, COMPACT_AND_DELETE'],
])('the setting %s as %s', async (name, member, value, limit) => {
  const world = await begun();
  const settings = { [member]: value };
  const actual = String(value);
  const expected = { ...invalid, reason: 'INVALID_FIELD', field: `settings.${name}`, actual, limit };
  const { rig } = world;
  expect(await unchanged(world, () => refused(rig.createTopic({ name: 'n', settings })))).toEqual(expected);
  expect(await unchanged(world, () => refused(rig.alterTopic({ name: 't', settings })))).toEqual(expected);
});
