/** What the broker refuses on one node: code, reason, field, value and limit, and that nothing was changed. */
import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { batchOf, text } from './broker-rig.ts';
import { facts, refused } from './refusal.ts';
import {
  LIMIT,
  begun,
  committed,
  everything,
  fetched,
  invalid,
  produced,
  unchanged,
} from './refused-input.ts';

const BATCH_HEADER = 60;
const noTopic = { code: 'NOT_FOUND', reason: 'TOPIC_UNKNOWN', field: 'topic', actual: 'nowhere' };
const noPartition = { code: 'NOT_FOUND', reason: 'PARTITION_UNKNOWN', field: 'partition', actual: '2' };

/** A batch of one record that has this many bytes. */
function sized(bytes: number): Buffer<ArrayBuffer> {
  const spare = batchOf(['x'.repeat(500)]).length - 500;
  const batch = batchOf(['x'.repeat(bytes - spare)]);
  expect(batch.length).toBe(bytes);
  return batch;
}

function resealed(batch: Buffer): Buffer {
  batch.writeUInt32BE(crc32(batch.subarray(12)), 8);
  return batch;
}

test('unknown topic', async () => {
  const world = await begun();
  const { rig } = world;
  const expected = { ...noTopic, limit: undefined, outcome: 'NOT_APPLIED' };
  expect(await produced(world, batchOf(['a']), { topic: 'nowhere' })).toEqual(expected);
  expect(await fetched(world, { topic: 'nowhere' })).toMatchObject(noTopic);
  expect(await committed(world, { topic: 'nowhere' })).toEqual(expected);
  const { results } = await rig.findOffsets({ partitions: [{ topic: 'nowhere' }] });
  expect(facts(results[0]!.error)).toMatchObject(noTopic);
  const byName = { ...expected, field: 'name' };
  expect(await unchanged(world, () => refused(rig.describeTopic('nowhere')))).toEqual(byName);
  expect(await unchanged(world, () => refused(rig.alterTopic({ name: 'nowhere' })))).toEqual(byName);
  expect(await unchanged(world, () => refused(rig.deleteTopic('nowhere')))).toEqual(byName);
});

test('a partition behind the last one', async () => {
  const world = await begun();
  const expected = { ...noPartition, limit: '0..1', outcome: 'NOT_APPLIED' };
  expect(await produced(world, batchOf(['a']), { partition: 2 })).toEqual(expected);
  expect(await fetched(world, { partition: 2 })).toMatchObject({ ...noPartition, limit: '0..1' });
  expect(await committed(world, { partition: 2 })).toEqual(expected);
  const { results } = await world.rig.findOffsets({ partitions: [{ topic: 't', partition: 2 }] });
  expect(facts(results[0]!.error)).toMatchObject({ ...noPartition, limit: '0..1' });
});

test('an unknown partition does not hinder the others of a request', async () => {
  const { rig } = await begun();
  const content = { case: 'batch' as const, value: batchOf(['a']) };
  const partitions = [0, 2, 1].map((partition) => ({ topic: 't', partition, content }));
  const { results } = await rig.produce({ partitions });
  expect(results.map(({ baseOffset }) => baseOffset)).toEqual([1n, undefined, 0n]);
  expect(facts(results[1]!.error)).toMatchObject(noPartition);
  expect(await rig.values('t', 0, 1)).toEqual(['a']);
});

test('an offset above the end of the log', async () => {
  const world = await begun();
  expect(await fetched(world, { offset: 2 })).toEqual({
    code: 'OUT_OF_RANGE',
    reason: 'OFFSET_OUT_OF_RANGE',
    field: 'offset',
    actual: '2',
    limit: '0..1',
    outcome: undefined,
    bounds: [0n, 1n],
  });
  const { results } = await world.rig.fetch({ partitions: [{ topic: 't', offset: 1n }] });
  expect(results[0]).toMatchObject({ nextOffset: 1n, logEnd: 1n });
  expect(results[0]!.error).toBeUndefined();
});

test('an offset below the start of the log', async () => {
  const world = await begun();
  const { rig } = world;
  await rig.createTopic({ name: 'old', settings: { retentionMs: 20_000n, segmentBytes: 1_048_576n } });
  for (let at = 0; at < 8; at++) await rig.append('old', ['x'.repeat(400_000)]);
  await rig.node.world.runFor(60_000);
  expect(await fetched(world, { topic: 'old', offset: 5 })).toMatchObject({
    code: 'OUT_OF_RANGE',
    reason: 'OFFSET_OUT_OF_RANGE',
    field: 'offset',
    actual: '5',
    limit: '6..8',
    bounds: [6n, 8n],
  });
  expect(await rig.values('old', 6)).toHaveLength(2);
});

test('an offset that no log can have', async () => {
  const world = await begun();
  const offset = 2n ** 53n;
  const call = world.rig.fetch({ partitions: [{ topic: 't', offset }] });
  expect(await refused(call)).toMatchObject({ ...invalid, reason: 'INVALID_FIELD', field: 'offset' });
});

test('a batch at the limit of its topic is taken, one of a byte more is not', async () => {
  const world = await begun();
  expect(await produced(world, sized(LIMIT + 1))).toEqual({
    ...invalid,
    reason: 'BATCH_TOO_LARGE',
    field: 'batch',
    actual: String(LIMIT + 1),
    limit: String(LIMIT),
  });
  const { results } = await world.rig.produce({
    partitions: [{ topic: 't', content: { case: 'batch', value: sized(LIMIT) } }],
  });
  expect(results[0]).toMatchObject({ baseOffset: 1n });
});

test('a record at the limit of its topic is taken, one of a byte more is not', async () => {
  const world = await begun();
  const { rig } = world;
  const spare = batchOf(['x'.repeat(500)]).length - 500;
  const send = async (...sizes: number[]) => {
    const records = sizes.map((bytes) => ({ timeMs: 1_000n, value: text('x'.repeat(bytes)) }));
    const content = { case: 'records' as const, value: { records: records as never } };
    return (await rig.produce({ partitions: [{ topic: 't', content }] })).results[0]!;
  };
  const over = await unchanged(world, async () => facts((await send(LIMIT - spare + 1)).error));
  expect(over).toEqual({
    ...invalid,
    reason: 'RECORD_TOO_LARGE',
    field: 'records',
    actual: String(LIMIT + 1),
    limit: String(LIMIT),
  });
  const among = await unchanged(world, async () => facts((await send(1, LIMIT - spare + 1)).error));
  expect(among).toMatchObject({ reason: 'RECORD_TOO_LARGE', actual: String(LIMIT + 1) });
  const together = await unchanged(world, async () => facts((await send(500, 500)).error));
  expect(together).toMatchObject({ reason: 'BATCH_TOO_LARGE', field: 'records', limit: String(LIMIT) });
  expect(await send(LIMIT - spare)).toMatchObject({ baseOffset: 1n });
  expect((await rig.values('t', 1))[0]).toHaveLength(LIMIT - spare);
});

test('any byte of a batch that is another one than was sent', async () => {
  const world = await begun();
  const sound = batchOf(['abc']);
  const before = await everything(world);
  const seen = new Set<string>();
  for (let at = 0; at < sound.length; at++) {
    const flipped = Buffer.from(sound);
    flipped[at]! ^= 0x10;
    const content = { case: 'batch' as const, value: flipped };
    const { results } = await world.rig.produce({ partitions: [{ topic: 't', content }] });
    const { code, reason, field } = facts(results[0]!.error);
    expect([code, field], `byte ${at}`).toEqual(['INVALID_ARGUMENT', 'batch']);
    seen.add(reason);
  }
  expect([...seen].sort()).toEqual(['BATCH_CORRUPT', 'COMPRESSION_UNKNOWN']);
  expect(await everything(world)).toEqual(before);
});

test('a checksum that does not hold', async () => {
  const world = await begun();
  const batch = batchOf(['a']);
  batch[BATCH_HEADER + 2]! ^= 1;
  expect(await produced(world, batch)).toEqual({
    ...invalid,
    reason: 'BATCH_CORRUPT',
    field: 'batch',
    actual: String(batch.readUInt32BE(8)),
    limit: undefined,
  });
});

test('a compression that nobody knows', async () => {
  const world = await begun();
  const batch = batchOf(['a']);
  batch[5] = 3;
  expect(await produced(world, resealed(batch))).toEqual({
    ...invalid,
    reason: 'COMPRESSION_UNKNOWN',
    field: 'batch',
    actual: '3',
    limit: '0..2',
  });
});

test.each([
  ['no records', 12, 0],
  ['fewer records than it says', 12, 2],
  ['a distance to the last record that is not that of its number', 16, 1],
  ['reserved bits', 4, 0x0100_0001],
  ['a producer beyond 53 bits', 20, 0x20_0000],
  ['a sequence beyond 53 bits', 32, 0x20_0000],
  ['a time before 1970', 40, 0xffff_ffff],
  ['other bytes before compression than it has', 56, 1],
])('a sealed batch with %s', async (_, at, value) => {
  const world = await begun();
  const batch = batchOf(['a']);
  batch.writeUInt32BE(value, at);
  expect(await produced(world, resealed(batch))).toMatchObject({ ...invalid, reason: 'BATCH_CORRUPT' });
});

test.each([
  ['no compression', 0],
  ['gzip', 1],
  ['zstd', 2],
])(
  'sealed records that nobody can read, %s: what is before them is given, and they are kept',
  async (_, how) => {
    const { rig } = await begun();
    await rig.append('t', ['second']);
    const batch = batchOf(['abc', 'def']);
    batch[5] = how;
    batch.fill(0xff, BATCH_HEADER + 6);
    const content = { case: 'batch' as const, value: resealed(batch) as Buffer<ArrayBuffer> };
    const { results } = await rig.produce({ partitions: [{ topic: 't', content }] });
    expect(results[0]).toMatchObject({ baseOffset: 2n });
    await rig.append('t', ['third']);
    const read = async (offset: bigint, format: number) =>
      (await rig.fetch({ partitions: [{ topic: 't', offset }], format })).results[0]!;
    const before = await read(0n, 2);
    expect(before.records.map(({ offset }) => offset)).toEqual([0n, 1n]);
    expect(before).toMatchObject({ nextOffset: 2n, logEnd: 5n });
    for (const offset of [2n, 3n]) {
      const { error, records } = await read(offset, 2);
      expect([error!.reason, records]).toEqual(['RECORDS_UNREADABLE', []]);
    }
    expect(Buffer.from((await read(2n, 1)).batches[0]!.batch).equals(batch)).toBe(true);
    expect(await rig.values('t', 4)).toEqual(['third']);
  },
);

test('a request without content, without records, of times that there are not', async () => {
  const world = await begun();
  const of = (content: unknown) =>
    unchanged(world, async () => {
      const { results } = await world.rig.produce({ partitions: [{ topic: 't', content } as never] });
      return facts(results[0]!.error);
    });
  const field = { ...invalid, reason: 'INVALID_FIELD' };
  expect(await of({ case: undefined })).toMatchObject({ ...field, field: 'content' });
  const records = (...list: unknown[]) => of({ case: 'records', value: { records: list } });
  expect(await records()).toEqual({ ...field, field: 'records', actual: '0', limit: '1..' });
  for (const timeMs of [-1n, 2n ** 53n])
    expect(await records({ timeMs })).toEqual({
      ...field,
      field: 'time_ms',
      actual: String(timeMs),
      limit: '0..2^53-1',
    });
});

test('no partitions, too many, one twice, unknown acks', async () => {
  const world = await begun();
  const { rig } = world;
  const content = { case: 'batch' as const, value: batchOf(['a']) };
  const one = { topic: 't', content };
  const of = (call: () => Promise<unknown>) => unchanged(world, () => refused(call()));
  const field = { ...invalid, reason: 'INVALID_FIELD', field: 'partitions' };
  const many = Array.from({ length: 1_025 }, (_, partition) => ({ topic: 't', partition, content }));
  for (const call of [rig.produce, rig.fetch, rig.findOffsets] as ((init: {
    partitions: never[];
  }) => Promise<unknown>)[]) {
    const partitions = (list: unknown[]) => of(() => call({ partitions: list as never[] }));
    expect(await partitions([])).toEqual({ ...field, actual: '0', limit: '1..1024' });
    expect(await partitions(many)).toEqual({ ...field, actual: '1025', limit: '1..1024' });
    expect(await partitions([one, one])).toEqual({ ...field, actual: 't/0', limit: undefined });
  }
  const acks = of(() => rig.produce({ partitions: [one], acks: 3 as never }));
  expect(await acks).toMatchObject({ ...invalid, field: 'acks', actual: '3', limit: 'MAJORITY, LEADER' });
});

test('a fetch that waits too long, wants too much, or in another format', async () => {
  const world = await begun();
  const of = (init: object) => refused(world.rig.fetch({ partitions: [{ topic: 't' }], ...init }));
  const field = { ...invalid, reason: 'INVALID_FIELD' };
  expect(await of({ waitMs: 60_001 })).toEqual({
    ...field,
    field: 'wait_ms',
    actual: '60001',
    limit: '0..60000',
  });
  expect(await of({ maxBytes: 8_388_609 })).toEqual({
    ...field,
    field: 'max_bytes',
    actual: '8388609',
    limit: '0..8388608',
  });
  expect(await of({ format: 3 })).toMatchObject({ ...field, field: 'format' });
});

test('the name of a producer over its limit by one byte', async () => {
  const world = await begun();
  const { rig } = world;
  const { producerId } = await rig.initProducer('x'.repeat(256));
  expect(await unchanged(world, () => refused(rig.initProducer('ä'.repeat(128) + 'x')))).toEqual({
    ...invalid,
    reason: 'INVALID_FIELD',
    field: 'name',
    actual: '257',
    limit: '0..256',
  });
  expect(await rig.initProducer('y')).toMatchObject({ producerId: producerId + 1n, epoch: 0 });
});

test('a producer of an older epoch', async () => {
  const world = await begun();
  const { rig } = world;
  const producerId = Number((await rig.initProducer('orders')).producerId);
  await rig.append('t', ['a'], { producerId, epoch: 0, sequence: 0 });
  expect(await rig.initProducer('orders')).toMatchObject({ epoch: 1 });
  await rig.append('t', ['b'], { producerId, epoch: 1, sequence: 0 });
  // As its next batch, and as one that it sent before.
  for (const sequence of [1, 0])
    expect(await produced(world, batchOf(['x'], { producerId, epoch: 0, sequence }))).toEqual({
      code: 'FAILED_PRECONDITION',
      reason: 'PRODUCER_FENCED',
      field: 'producer_epoch',
      actual: '0',
      limit: undefined,
      outcome: 'NOT_APPLIED',
    });
  expect((await rig.append('t', ['c'], { producerId, epoch: 1, sequence: 1 })).baseOffset).toBe(3n);
});

test('a sequence that leaves a gap, as the first, as a later one, and of a new epoch', async () => {
  const world = await begun();
  const { rig } = world;
  const producerId = Number((await rig.initProducer('')).producerId);
  const gap = (sequence: number, epoch = 0) =>
    produced(world, batchOf(['x'], { producerId, epoch, sequence }));
  const expected = {
    code: 'FAILED_PRECONDITION',
    reason: 'SEQUENCE_GAP',
    field: 'sequence',
    outcome: 'NOT_APPLIED',
  };
  expect(await gap(1)).toEqual({ ...expected, actual: '1', limit: '0' });
  await rig.append('t', ['a', 'b'], { producerId, epoch: 0, sequence: 0 });
  expect(await gap(3)).toEqual({ ...expected, actual: '3', limit: '2' });
  expect(await gap(2, 1)).toEqual({ ...expected, actual: '2', limit: '0' });
  // The refused epoch is not in force.
  expect((await rig.append('t', ['c'], { producerId, epoch: 0, sequence: 2 })).baseOffset).toBe(3n);
});

test('a commit beyond the end of the log', async () => {
  const world = await begun();
  expect(await committed(world, { offset: 2 })).toEqual({
    code: 'OUT_OF_RANGE',
    reason: 'OFFSET_OUT_OF_RANGE',
    field: 'offset',
    actual: '2',
    limit: '0..1',
    outcome: 'NOT_APPLIED',
  });
  expect(await committed(world, { offset: 2 ** 53 })).toMatchObject({
    reason: 'OFFSET_OUT_OF_RANGE',
    field: 'offset',
    actual: String(2 ** 53),
  });
});

test('a commit of an older generation', async () => {
  const world = await begun();
  for (const generation of [4, 0])
    expect(await committed(world, { generation, offset: 0 })).toEqual({
      code: 'FAILED_PRECONDITION',
      reason: 'GENERATION_FENCED',
      field: 'generation',
      actual: String(generation),
      limit: '5..',
      outcome: 'NOT_APPLIED',
    });
});

test('a commit with a generation that no group can have', async () => {
  const world = await begun();
  expect(await committed(world, { generation: 2 ** 53 })).toMatchObject({
    ...invalid,
    reason: 'INVALID_FIELD',
    field: 'generation',
    actual: String(2 ** 53),
    limit: '0..2^53-1',
  });
});

test('a commit with metadata over the limit by one byte', async () => {
  const world = await begun();
  expect(await committed(world, { metadata: 'ä'.repeat(2_048) + 'x' })).toEqual({
    ...invalid,
    reason: 'INVALID_FIELD',
    field: 'metadata',
    actual: '4097',
    limit: '0..4096',
  });
});

test('a refused commit makes no group', async () => {
  const world = await begun();
  const { groups } = world;
  const bad = [
    { topic: 'nowhere' },
    { topic: 't', partition: 2 },
    { topic: 't', offset: 2n },
    { topic: 't', metadata: 'x'.repeat(4_097) },
  ];
  for (const one of bad)
    await unchanged(world, async () => {
      const { results } = await groups.commit({ group: 'new', offsets: [one] });
      return facts(results[0]!.error);
    });
  expect(await refused(groups.describe('new'))).toMatchObject({ reason: 'GROUP_UNKNOWN', actual: 'new' });
});
