import type { Consumer, ConsumerMessage, HoldfastError } from '@holdfast/client';
import { RecordBatchWriter } from '@holdfast/client/broker/record-writer';
import { expect, test } from 'vitest';
import { brokerWorld, fill, NODES, watch } from './broker-world.ts';

/** Reads until the consumer ends. */
function read(consumer: Consumer, values: string[] = []) {
  const loop = (async () => {
    for await (const message of consumer) values.push(message.text());
  })();
  return { values, loop: watch(loop) };
}

const named = (partition: number, from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `t/${partition}/${from + i}`);

test('all partitions are read from the first record on, each in order', async () => {
  const { clock, broker, hf, counted } = await brokerWorld();
  broker.createTopic('t', 3);
  for (let partition = 0; partition < 3; partition += 1) fill(broker, 't', partition, 50);
  const consumer = hf.consumer({ topics: 't', from: 'earliest' });
  const { values, loop } = read(consumer);
  await clock.pass(200);
  for (let partition = 0; partition < 3; partition += 1)
    expect(values.filter((value) => value.startsWith(`t/${partition}`))).toEqual(named(partition, 0, 50));
  fill(broker, 't', 1, 3);
  await clock.pass(20);
  expect(values.slice(-3)).toEqual(named(1, 50, 53));
  const closing = watch(consumer.close());
  await clock.pass(20);
  expect([closing.settled, loop.settled, loop.error]).toEqual([true, true, undefined]);
  await hf.close();
  expect(counted.pending.size).toBe(0);
});

test('without a group it begins behind the last record, and misses none of a partition that is added', async () => {
  const { clock, broker, hf } = await brokerWorld();
  const topic = broker.createTopic('t', 1);
  fill(broker, 't', 0, 10);
  const { values } = read(hf.consumer({ topics: 't' }));
  await clock.pass(200);
  fill(broker, 't', 0, 2);
  await clock.pass(50);
  expect(values).toEqual(named(0, 10, 12));
  topic.partitions.push(Object.assign(broker.createTopic('other', 1).partitions[0]!));
  fill(broker, 't', 1, 5);
  await clock.pass(15_000);
  expect(values.slice(2)).toEqual(named(1, 0, 5));
});

test('a message says what was sent', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 1);
  const headers: [string, string][] = [
    ['a', '1'],
    ['a', '2'],
  ];
  void hf.producer('t').send({ key: 'key', value: { x: 1 }, headers, timeMs: 123 });
  void hf.producer('t').send({ value: null, timeMs: 124 });
  const consumer = hf.consumer({
    topics: 't',
    from: 'earliest',
    decode: (bytes) => bytes && (JSON.parse(Buffer.from(bytes).toString()) as { x: number }),
  });
  const first = watch(consumer.next());
  await clock.pass(100);
  const message = first.value!.value!;
  expect(message).toMatchObject({ topic: 't', partition: 0, offset: 0n, timeMs: 123 });
  expect([message.keyText(), message.value?.x, message.json()]).toEqual(['key', 1, { x: 1 }]);
  expect(message.headers.map(([name, value]) => [name, Buffer.from(value).toString()])).toEqual(headers);
  const second = watch(consumer.next());
  await clock.pass(10);
  expect(second.value!.value!).toMatchObject({
    offset: 1n,
    key: undefined,
    bytes: undefined,
    value: undefined,
  });
});

test('what compaction has left is given in order, also where it has left nothing', async () => {
  const { clock, broker, hf, groups } = await brokerWorld();
  const [partition] = broker.createTopic('t', 1).partitions;
  const put = (base: number, deltas: readonly number[], lastDelta: number) => {
    const writer = new RecordBatchWriter();
    for (const delta of deltas) writer.append(1, Buffer.from('k'), `${base + delta}`, [], delta);
    partition!.log.push({ base, batch: writer.finish({ lastDelta }), atMs: 1, lastDelta });
  };
  put(0, [2, 5], 9);
  put(30, [0, 1], 4);
  partition!.logEnd = 60;
  const consumer = hf.consumer({ topics: 't', group: 'g' });
  const { values } = read(consumer);
  await clock.pass(3_000);
  expect(values).toEqual(['2', '5', '30', '31']);
  expect(groups.offset('t', 0)).toBe(60);
});

test('it begins in the middle of a batch, at an offset or at a time', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 2);
  fill(broker, 't', 0, 10);
  fill(broker, 't', 1, 10);
  const offsets = [{ topic: 't', partition: 0, offset: 5 }];
  const { values } = read(hf.consumer({ topics: 't', from: { offsets } }));
  await clock.pass(200);
  expect(values).toEqual(named(0, 5, 10));
  const later = read(hf.consumer({ topics: 't', from: new Date(999) }));
  await clock.pass(200);
  expect(later.values.length).toBe(20);
});

test('records that are gone are passed over, or end it', async () => {
  const { clock, broker, hf } = await brokerWorld();
  const [partition] = broker.createTopic('t', 1).partitions;
  fill(broker, 't', 0, 30);
  partition!.logStart = 14;
  partition!.log = partition!.log.slice(2);
  const errors: HoldfastError[] = [];
  const from = { offsets: [{ topic: 't', partition: 0, offset: 3 }] };
  const first = read(hf.consumer({ topics: 't', from, onError: (error) => errors.push(error) }));
  const latest = read(hf.consumer({ topics: 't', from, onOutOfRange: 'latest' }));
  const strict = read(hf.consumer({ topics: 't', from, onOutOfRange: 'error' }));
  await clock.pass(200);
  expect(first.values).toEqual(named(0, 14, 30));
  expect(errors.map(({ reason }) => reason)).toEqual(['OFFSET_OUT_OF_RANGE']);
  expect(latest.values).toEqual([]);
  expect(strict.loop.error).toMatchObject({ reason: 'OFFSET_OUT_OF_RANGE' });
});

test('a reader that does not read is fetched no more for than it has room', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 4);
  for (let partition = 0; partition < 4; partition += 1) fill(broker, 't', partition, 2_000);
  const options = { maxBufferedBytes: 20_000, fetchBytes: 4_000, from: 'earliest' as const };
  const consumer = hf.consumer({ topics: 't', ...options });
  const first = watch(consumer.next());
  await clock.pass(10_000);
  const before = broker.fetches.length;
  expect(first.value!.value!.partition).toBeDefined();
  await clock.pass(60_000);
  expect(broker.fetches.length).toBe(before);
  expect(before).toBeLessThanOrEqual(12);
  const { values } = read(consumer);
  await clock.pass(20_000);
  expect(values.length).toBe(7_999);
});

test('leaders that move and nodes that go away are followed, and nothing is missed or given twice', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 3);
  const { values } = read(hf.consumer({ topics: 't', from: 'earliest' }));
  for (let round = 0; round < 12; round += 1) {
    for (let partition = 0; partition < 3; partition += 1) {
      fill(broker, 't', partition, 10);
      broker.partition('t', partition).leader = NODES[(partition + round) % 3];
    }
    const node = NODES[round % 3]!;
    if (round % 4 === 1) broker.stop(node);
    await clock.pass(700);
    broker.down.delete(node);
    await clock.pass(300);
  }
  await clock.pass(5_000);
  for (let partition = 0; partition < 3; partition += 1)
    expect(values.filter((value) => value.startsWith(`t/${partition}`))).toEqual(named(partition, 0, 120));
});

test('paused partitions are not given, and go on where they were', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 2);
  const consumer = hf.consumer({ topics: 't', from: 'earliest' });
  const { values } = read(consumer);
  await clock.pass(100);
  fill(broker, 't', 0, 10);
  await clock.pass(50);
  consumer.pause([{ topic: 't', partition: 0 }]);
  fill(broker, 't', 0, 10);
  fill(broker, 't', 1, 10);
  await clock.pass(5_000);
  expect(values).toEqual([...named(0, 0, 10), ...named(1, 0, 10)]);
  consumer.resume();
  await clock.pass(50);
  expect(values.slice(20)).toEqual(named(0, 10, 20));
  expect(consumer.seek({ topic: 't', partition: 1, offset: 8 })).toBe(true);
  await clock.pass(50);
  expect(values.slice(30)).toEqual(named(1, 8, 10));
  expect(consumer.seek({ topic: 't', partition: 9, offset: 8 })).toBe(false);
});

test('what was asked for before a seek or a pause, and comes after it, is not given', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 1);
  fill(broker, 't', 0, 21);
  const consumer = hf.consumer({ topics: 't', from: 'earliest' });
  const { values } = read(consumer);
  await clock.pass(300);
  expect(values).toEqual(named(0, 0, 21));
  // A fetch waits at the node; its answer is on the way when the reader turns back.
  fill(broker, 't', 0, 7);
  await clock.endTurn();
  consumer.seek({ topic: 't', partition: 0, offset: 5 });
  await clock.pass(300);
  expect(values.slice(21)).toEqual(named(0, 5, 28));
  fill(broker, 't', 0, 7);
  await clock.endTurn();
  consumer.pause();
  consumer.resume();
  await clock.pass(300);
  expect(values.slice(44)).toEqual(named(0, 28, 35));
});

test('a batch that cannot be read ends it, after what stands before', async () => {
  const { clock, broker, hf } = await brokerWorld();
  const [partition] = broker.createTopic('t', 1).partitions;
  fill(broker, 't', 0, 7);
  fill(broker, 't', 0, 7);
  partition!.log[1]!.batch[70]! ^= 1;
  const { values, loop } = read(hf.consumer({ topics: 't', from: 'earliest' }));
  await clock.pass(200);
  expect(loop.error).toMatchObject({ reason: 'RECORDS_UNREADABLE', actual: '7' });
  expect(values).toEqual(named(0, 0, 7));
});

test('a topic that does not exist ends a consumer without a group', async () => {
  const { clock, hf } = await brokerWorld();
  const { loop } = read(hf.consumer({ topics: 'none' }));
  await clock.pass(200);
  expect(loop.error).toMatchObject({ reason: 'TOPIC_UNKNOWN' });
});

test('handlers run at the same time, those of one key in order, and what is stored has no gap', async () => {
  const { clock, broker, hf, groups } = await brokerWorld();
  broker.createTopic('t', 2);
  for (let round = 0; round < 10; round += 1)
    for (const key of ['a', 'b', 'c']) for (const partition of [0, 1]) fill(broker, 't', partition, 1, key);
  const consumer = hf.consumer({ topics: 't', group: 'g', commitInterval: 50 });
  const done: ConsumerMessage[] = [];
  const running = new Map<string, number>();
  let most = 0;
  let all = 0;
  const run = watch(
    consumer.run(
      async (message) => {
        const lane = `${message.partition} ${message.keyText()}`;
        running.set(lane, (running.get(lane) ?? 0) + 1);
        all += 1;
        most = Math.max(most, all);
        expect(running.get(lane)).toBe(1);
        const ms = 20 + ((Number(message.offset) * 37) % 60);
        await new Promise<void>((resolve) => void clock.setTimer(ms, resolve));
        for (const partition of [0, 1]) {
          const stored = groups.offset('t', partition) ?? 0;
          const offsets = done.filter((one) => one.partition === partition).map(({ at }) => at);
          for (let offset = 0; offset < stored; offset += 1) expect(offsets).toContain(offset);
        }
        running.set(lane, 0);
        all -= 1;
        done.push(message);
      },
      { parallelism: 5, byKey: true },
    ),
  );
  await clock.pass(2_000);
  expect(done.length).toBe(60);
  expect(most).toBe(5);
  for (const key of ['a', 'b', 'c'])
    for (const partition of [0, 1]) {
      const offsets = done.filter((one) => one.keyText() === key && one.partition === partition);
      expect(offsets.map(({ at }) => at)).toEqual(offsets.map(({ at }) => at).toSorted((a, b) => a - b));
    }
  expect([groups.offset('t', 0), groups.offset('t', 1)]).toEqual([30, 30]);
  const closing = watch(consumer.close());
  await clock.pass(100);
  expect([closing.settled, run.settled, run.error]).toEqual([true, true, undefined]);
});

test('a handler that fails ends the run; what was done before is stored, and the rest is given again', async () => {
  const { clock, broker, hf, groups, join } = await brokerWorld();
  broker.createTopic('t', 1);
  fill(broker, 't', 0, 20);
  const run = watch(
    hf.consumer({ topics: 't', group: 'g' }).run((message) => {
      if (message.at === 12) throw new Error('no');
    }),
  );
  await clock.pass(500);
  expect(run.error?.message).toBe('no');
  expect(groups.offset('t', 0)).toBe(12);
  const { values } = read((await join(1)).hf.consumer({ topics: 't', group: 'g' }));
  await clock.pass(500);
  expect(values).toEqual(named(0, 12, 20));
});
