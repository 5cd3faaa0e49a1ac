/** Topics, appends and fetches on one node, through crashes; what is refused, and how. */
import { expect, test } from 'vitest';
import { crc32 } from 'node:zlib';
import { BrokerRig, batchOf, text } from './broker-rig.ts';

test('what was appended is read in order, also after a crash that loses what was not synced', async () => {
  const rig = await BrokerRig.start();
  await rig.createTopic({ name: 'orders', partitions: 3 });
  expect((await rig.append('orders', ['a', 'b'])).baseOffset).toBe(0n);
  expect((await rig.append('orders', ['c'])).baseOffset).toBe(2n);
  expect(await rig.values('orders')).toEqual(['a', 'b', 'c']);
  expect(await rig.values('orders', 1)).toEqual(['b', 'c']);
  rig.node.crash('lose-all');
  await rig.restart();
  expect(await rig.values('orders')).toEqual(['a', 'b', 'c']);
  expect((await rig.append('orders', ['d'])).baseOffset).toBe(3n);
  await rig.node.world.runFor(3_000);
  rig.node.crash('lose-all');
  await rig.restart();
  expect(await rig.values('orders')).toEqual(['a', 'b', 'c', 'd']);
  expect(rig.engine.log.segmentCount).toBeLessThanOrEqual(2);
});

test('the bytes of a batch are those that were sent', async () => {
  const rig = await BrokerRig.start();
  await rig.createTopic({ name: 'bytes' });
  const batch = batchOf(['one', 'two']);
  await rig.produce({ partitions: [{ topic: 'bytes', content: { case: 'batch', value: batch } }] });
  for (let round = 0; round < 2; round++) {
    const { results } = await rig.fetch({ partitions: [{ topic: 'bytes', partition: 0 }] });
    expect(Buffer.from(results[0]!.batches[0]!.batch).equals(batch)).toBe(true);
    await rig.node.world.runFor(3_000);
    rig.node.crash('lose-all');
    await rig.restart();
  }
});

test('a batch of a producer is kept once, and older epochs are fenced', async () => {
  const rig = await BrokerRig.start();
  await rig.createTopic({ name: 'once' });
  const { producerId } = await rig.initProducer('orders');
  const stamp = (sequence: number, epoch = 0) => ({ producerId: Number(producerId), epoch, sequence });
  expect((await rig.append('once', ['a', 'b'], stamp(0))).baseOffset).toBe(0n);
  expect((await rig.append('once', ['c'], stamp(2))).baseOffset).toBe(2n);
  const again = await rig.append('once', ['a', 'b'], stamp(0));
  expect(again).toMatchObject({ baseOffset: 0n, duplicate: true });
  const gap = await rig.append('once', ['x'], stamp(4));
  expect(gap.error).toMatchObject({ reason: 'SEQUENCE_GAP', outcome: 1 });
  rig.node.crash('lose-all');
  await rig.restart();
  expect(await rig.append('once', ['c'], stamp(2))).toMatchObject({ baseOffset: 2n, duplicate: true });
  const renamed = await rig.initProducer('orders');
  expect(renamed).toMatchObject({ producerId, epoch: 1 });
  expect((await rig.append('once', ['d'], stamp(0, 1))).baseOffset).toBe(3n);
  expect((await rig.append('once', ['e'], stamp(3))).error?.reason).toBe('PRODUCER_FENCED');
  expect(await rig.values('once')).toEqual(['a', 'b', 'c', 'd']);
});

test('whoever waits gets what comes, and nothing when nothing does', async () => {
  const rig = await BrokerRig.start();
  await rig.createTopic({ name: 'wait' });
  const waiting = rig.broker.fetch(rig.context(), {
    partitions: [{ topic: 'wait', partition: 0, offset: 0n }],
    waitMs: 30_000,
    maxBytes: 0,
    format: 2,
  } as never);
  await rig.node.world.runFor(1_000);
  await rig.append('wait', ['late']);
  const { results } = await rig.run(waiting);
  expect(
    results[0]!.records.map(({ value }) => text('').toString() + Buffer.from(value!).toString()),
  ).toEqual(['late']);
  const before = rig.node.clock.monotonicMs();
  const { results: none } = await rig.fetch({ partitions: [{ topic: 'wait', offset: 1n }], waitMs: 500 });
  expect(none[0]).toMatchObject({ nextOffset: 1n, logStart: 0n, logEnd: 1n });
  expect(rig.node.clock.monotonicMs() - before).toBeGreaterThan(499);
});

test('a deleted topic leaves neither rows nor files, and one of its name begins empty', async () => {
  const rig = await BrokerRig.start();
  await rig.createTopic({ name: 'gone' });
  await rig.append('gone', ['a']);
  await rig.node.world.runFor(3_000);
  const before = await rig.node.run(rig.node.disk.list('topics'));
  expect(before.length).toBeGreaterThan(0);
  await rig.deleteTopic('gone');
  await rig.node.world.runFor(3_000);
  expect(await rig.node.run(rig.node.disk.list('topics'))).toEqual([]);
  await rig.createTopic({ name: 'gone' });
  expect(await rig.values('gone')).toEqual([]);
  rig.node.crash('lose-all');
  await rig.restart();
  expect(await rig.values('gone')).toEqual([]);
});

test('partitions are added and settings changed live; partitions are never taken away', async () => {
  const rig = await BrokerRig.start();
  await rig.createTopic({ name: 'grow', partitions: 2 });
  const { topic } = await rig.alterTopic({ name: 'grow', partitions: 4, settings: { retentionMs: 5_000n } });
  expect(topic!.partitions).toHaveLength(4);
  expect(topic!.settings!.retentionMs).toBe(5_000n);
  expect((await rig.append('grow', ['a'], undefined, 3)).baseOffset).toBe(0n);
  await expect(rig.alterTopic({ name: 'grow', partitions: 1 })).rejects.toMatchObject({
    reason: 'INVALID_FIELD',
    field: 'partitions',
  });
});

test('old segments go by age and by bytes, never the one that is written, and what is left is read', async () => {
  const rig = await BrokerRig.start();
  const settings = { retentionMs: 20_000n, segmentBytes: 1_048_576n };
  await rig.createTopic({ name: 'old', settings });
  const big = 'x'.repeat(400_000);
  for (let at = 0; at < 8; at++) await rig.append('old', [`${at}${big}`]);
  await rig.node.world.runFor(60_000);
  const { partitions } = await rig.describeTopic('old');
  expect(partitions[0]!).toMatchObject({ logStart: 6n, logEnd: 8n, segments: 1 });
  expect((await rig.values('old', 6)).map((value) => value[0])).toEqual(['6', '7']);
  const { results } = await rig.fetch({ partitions: [{ topic: 'old', offset: 2n }] });
  expect(results[0]).toMatchObject({ logStart: 6n, logEnd: 8n });
  expect(results[0]!.error!.reason).toBe('OFFSET_OUT_OF_RANGE');
  rig.node.crash('lose-all');
  await rig.restart();
  expect((await rig.values('old', 6)).map((value) => value[0])).toEqual(['6', '7']);
});

test('of each key the newest record stays in a compacted topic, at its offset', async () => {
  const rig = await BrokerRig.start();
  const settings = { cleanupPolicy: 2, segmentBytes: 1_048_576n, deleteRetentionMs: 0n };
  await rig.createTopic({ name: 'compact', settings });
  const filling = 'x'.repeat(300_000);
  for (let at = 0; at < 12; at++) {
    const value = batchOf([`${at}${filling}`], undefined, { key: text(`k${at % 2}`) });
    await rig.produce({ partitions: [{ topic: 'compact', content: { case: 'batch', value } }] });
  }
  await rig.node.world.runFor(30_000);
  const left = (await rig.values('compact')).map((value) => Number.parseInt(value, 10));
  expect(left.slice(-3)).toEqual([9, 10, 11]);
  expect(left.length).toBeLessThan(7);
  rig.node.crash('lose-all');
  await rig.restart();
  expect((await rig.values('compact')).map((value) => Number.parseInt(value, 10))).toEqual(left);
  expect((await rig.append('compact', ['next'])).baseOffset).toBe(12n);
});

test('bad input is refused with a reason and changes nothing', async () => {
  const rig = await BrokerRig.start();
  await rig.createTopic({ name: 'bad', settings: { maxBatchBytes: 1_024 } });
  const reason = async (batch: Buffer, topic = 'bad', partition = 0) => {
    const value = batch as Buffer<ArrayBuffer>;
    const { results } = await rig.produce({
      partitions: [{ topic, partition, content: { case: 'batch', value } }],
    });
    return results[0]!.error?.reason;
  };
  const sized = (bytes: number) => batchOf(['x'.repeat(bytes)]);
  const empty = sized(500).length - 500;
  const fitting = 1_024 - empty;
  expect(sized(fitting).length).toBe(1_024);
  expect(await reason(sized(fitting))).toBeUndefined();
  expect(await reason(sized(fitting + 1))).toBe('BATCH_TOO_LARGE');
  const flipped = batchOf(['a']);
  flipped[62]! ^= 1;
  expect(await reason(flipped)).toBe('BATCH_CORRUPT');
  const packed = batchOf(['a']);
  packed[5] = 9;
  packed.writeUInt32BE(crc32(packed.subarray(12)), 8);
  expect(await reason(packed)).toBe('COMPRESSION_UNKNOWN');
  const counted = batchOf(['a', 'b']);
  counted.writeUInt32BE(3, 12);
  counted.writeUInt32BE(crc32(counted.subarray(12)), 8);
  expect(await reason(counted)).toBe('BATCH_CORRUPT');
  expect(await reason(Buffer.alloc(10))).toBe('BATCH_CORRUPT');
  expect(await reason(batchOf(['a']), 'nowhere')).toBe('TOPIC_UNKNOWN');
  expect(await reason(batchOf(['a']), 'bad', 1)).toBe('PARTITION_UNKNOWN');
  expect(await reason(batchOf(['a']), 'Bad!')).toBe('TOPIC_NAME_INVALID');
  expect(await rig.values('bad')).toHaveLength(1);
  const create = (init: Parameters<BrokerRig['createTopic']>[0]) => rig.createTopic(init);
  await expect(create({ name: 'A b' })).rejects.toMatchObject({ reason: 'TOPIC_NAME_INVALID' });
  await expect(create({ name: 'bad' })).rejects.toMatchObject({ reason: 'TOPIC_EXISTS' });
  await expect(create({ name: 'p', partitions: 0 })).rejects.toMatchObject({ field: 'partitions' });
  await expect(create({ name: 'p', partitions: 1_025 })).rejects.toMatchObject({ field: 'partitions' });
  await expect(create({ name: 'p', replication: 2 })).rejects.toMatchObject({
    field: 'replication',
    limit: '1..1',
  });
  await expect(create({ name: 'p', settings: { maxBatchBytes: 5_000_000 } })).rejects.toMatchObject({
    field: 'settings.max_batch_bytes',
  });
  const { results } = await rig.fetch({ partitions: [{ topic: 'bad', offset: 2n }] });
  expect(results[0]!.error).toMatchObject({ reason: 'OFFSET_OUT_OF_RANGE', actual: '2', limit: '0..1' });
  await expect(rig.fetch({ partitions: [] })).rejects.toMatchObject({ field: 'partitions' });
});
