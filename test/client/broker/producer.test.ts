import { keyHash } from '@holdfast/client/key-hash';
import type { ProducerRecord, RecordLocation } from '@holdfast/client/broker/producer-options';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { brokerWorld, NODES, watch } from './broker-world.ts';
import type { Fate } from './fake-broker.ts';

const FATES: Fate[] = ['lost', 'unanswered', 'late', 'doubtful', 'unsure', 'overloaded'];

type World = Awaited<ReturnType<typeof brokerWorld>>;
type Seen = ReturnType<typeof watch<RecordLocation>>;

/** That nothing was lost, kept twice or in another order, as far as the producer has said what became of it. */
function check({ broker }: World, sent: readonly { value: string; seen: Seen }[]): void {
  const at = new Map<string, { partition: number; offset: number }>();
  const order = new Map(sent.map(({ value }, index) => [value, index]));
  for (const [partition, held] of broker.topics.get('t')!.partitions.entries()) {
    let last = -1;
    for (const { offset, value } of held.records) {
      expect(at.has(value), `${value} is kept twice`).toBe(false);
      at.set(value, { partition, offset });
      expect(order.get(value)!, `${value} comes too late`).toBeGreaterThan(last);
      last = order.get(value)!;
    }
  }
  for (const { value, seen } of sent) {
    expect(seen.settled, `${value} was answered`).toBe(true);
    const kept = at.get(value);
    if (seen.value !== undefined)
      expect([seen.value.partition, seen.value.offset]).toEqual([
        kept?.partition,
        BigInt(kept?.offset ?? -1),
      ]);
    else if (seen.error!.outcome === 'NOT_APPLIED') expect(kept, `${value} was not kept`).toBe(undefined);
    else expect(seen.error!.outcome).toBe('UNKNOWN');
  }
}

test('what is sent in one turn travels in one request, and each record learns its offset', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 1);
  const producer = hf.producer('t');
  const first = watch(producer.send({ value: 'first' }));
  await clock.pass(20);
  expect(first.value).toEqual({ topic: 't', partition: 0, offset: 0n });
  const seen = Array.from({ length: 100 }, (_, i) => watch(producer.send({ key: `k${i}`, value: `v${i}` })));
  await clock.pass(5);
  expect(broker.requests.length).toBe(2);
  expect(seen.map(({ value }) => value?.offset)).toEqual(seen.map((_, i) => BigInt(i + 1)));
  expect(broker.partition('t', 0).records.map(({ value }) => value)).toEqual([
    'first',
    ...seen.map((_, i) => `v${i}`),
  ]);
});

test('a key has its partition by its hash; without one a batch sticks to one partition and the next goes on', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 3);
  const producer = hf.producer('t');
  const keyed = Array.from({ length: 30 }, (_, i) => watch(producer.send({ key: `key ${i}`, value: i })));
  await clock.pass(20);
  for (const [i, { value }] of keyed.entries())
    expect(value!.partition).toBe(keyHash(Buffer.from(`key ${i}`)) % 3);
  const used = [];
  for (let turn = 0; turn < 6; turn += 1) {
    const seen = Array.from({ length: 10 }, () => watch(producer.send({ value: 'x' })));
    await clock.pass(10);
    expect(new Set(seen.map(({ value }) => value!.partition)).size).toBe(1);
    used.push(seen[0]!.value!.partition);
  }
  expect(new Set(used).size).toBe(3);
  const custom = hf.producer({ topic: 't', partitioner: (_topic, key) => key!.length });
  const chosen = watch(custom.send({ key: 'kk', value: 'x' }));
  await clock.pass(10);
  expect(chosen.value!.partition).toBe(2);
});

test('each node gets the batches of the partitions that it leads', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 6);
  const producer = hf.producer('t');
  const seen = Array.from({ length: 60 }, (_, i) =>
    watch(producer.send({ partition: i % 6, value: `${i}` })),
  );
  await clock.pass(20);
  expect(seen.every(({ value }) => value !== undefined)).toBe(true);
  expect(broker.requests.map(({ partitions }) => partitions.length)).toEqual([2, 2, 2]);
});

const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ send: fc.integer({ min: 1, max: 12 }), key: fc.nat(5) }) },
  { weight: 6, arbitrary: fc.record({ pass: fc.integer({ min: 0, max: 300 }) }) },
  { weight: 2, arbitrary: fc.record({ move: fc.nat(2), to: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ stop: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ start: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ outage: fc.integer({ min: 1_000, max: 2_500 }) }) },
);

/** All nodes are away for some time, and those that were up come back. */
async function outage({ clock, broker }: World, ms: number): Promise<void> {
  const up = NODES.filter((node) => !broker.down.has(node));
  for (const node of up) broker.stop(node);
  await clock.pass(ms);
  for (const node of up) broker.down.delete(node);
}

async function play(
  seed: number,
  steps: readonly object[],
  fates: readonly (Fate | undefined)[],
  options: { idempotent?: boolean | undefined } = {},
  withoutStreams = false,
): Promise<void> {
  const world = await brokerWorld(seed);
  const { clock, broker, hf } = world;
  if (withoutStreams) for (const node of NODES) broker.withoutStreams.add(node);
  broker.createTopic('t', 3);
  let at = 0;
  broker.fate = () => fates[at++] ?? 'done';
  const producer = hf.producer({ topic: 't', deliveryTimeout: '2s', batchBytes: 1_024, ...options });
  const sent: { value: string; seen: Seen }[] = [];
  for (const one of steps as { [name: string]: number }[]) {
    if (one['send'] !== undefined)
      for (let i = 0; i < one['send']; i += 1) {
        const value = `${sent.length}`;
        const padded = value + ' '.repeat(i * 30);
        const record: ProducerRecord = { key: `key ${one['key']}`, value: padded };
        sent.push({ value: padded, seen: watch(producer.send(record)) });
      }
    if (one['pass'] !== undefined) await clock.pass(one['pass']);
    if (one['outage'] !== undefined) await outage(world, one['outage']);
    if (one['move'] !== undefined) broker.partition('t', one['move']).leader = NODES[one['to']!];
    if (one['stop'] !== undefined) broker.stop(NODES[one['stop']]!);
    if (one['start'] !== undefined) broker.down.delete(NODES[one['start']]!);
  }
  await clock.pass(10_000);
  check(world, sent);
  // It works again as soon as the nodes do.
  broker.down.clear();
  broker.fate = () => 'done';
  for (let partition = 0; partition < 3; partition += 1) {
    broker.partition('t', partition).leader ??= NODES[partition];
    const value = `last ${partition}`;
    sent.push({ value, seen: watch(producer.send({ partition, value })) });
  }
  await clock.pass(10_000);
  expect(sent.slice(-3).map(({ seen }) => seen.error)).toEqual([undefined, undefined, undefined]);
  check(world, sent);
  const closing = watch(producer.close());
  await clock.pass(10);
  expect(closing.settled).toBe(true);
}

const fates = fc.array(fc.option(fc.constantFrom(...FATES), { nil: undefined, freq: 2 }), { maxLength: 40 });

test('a batch behind one that is given up is not sent again under another sequence if it may be kept', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf } = world;
  broker.createTopic('t', 1);
  const producer = hf.producer({ topic: 't', deliveryTimeout: '2s' });
  const values = ['first', 'second', 'third', 'fourth'];
  const sent: { value: string; seen: Seen }[] = [];
  const send = (value: string) => sent.push({ value, seen: watch(producer.send({ value })) });
  send(values[0]!);
  await clock.pass(20);
  send(values[1]!);
  broker.fate = () => 'unsure';
  await clock.pass(600);
  send(values[2]!);
  await clock.pass(1_100);
  await outage(world, 400);
  broker.fate = () => 'done';
  send(values[3]!);
  await clock.pass(3_000);
  expect(sent.map(({ seen }) => seen.error?.outcome)).toEqual([undefined, 'UNKNOWN', 'UNKNOWN', undefined]);
  expect(
    broker
      .partition('t', 0)
      .records.map(({ value }) => value)
      .at(-1),
  ).toBe('fourth');
  check(world, sent);
});

test('a batch that arrives after it was given up is refused, for its epoch is over', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf } = world;
  broker.createTopic('t', 1);
  broker.lateMs = 4_000;
  const producer = hf.producer({ topic: 't', deliveryTimeout: '2s' });
  const sent = [{ value: 'first', seen: watch(producer.send({ value: 'first' })) }];
  await clock.pass(20);
  broker.fate = () => 'late';
  sent.push({ value: 'second', seen: watch(producer.send({ value: 'second' })) });
  await clock.pass(2);
  broker.fate = () => 'lost';
  await clock.pass(2_500);
  expect(sent[1]!.seen.error).toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'UNKNOWN' });
  broker.fate = () => 'done';
  sent.push({ value: 'third', seen: watch(producer.send({ value: 'third' })) });
  await clock.pass(1_400);
  expect(sent[2]!.seen.value?.offset).toBe(1n);
  await clock.pass(10_000);
  expect(broker.partition('t', 0).records.map(({ value }) => value)).toEqual(['first', 'third']);
  check(world, sent);
});

test('behind a batch that is refused for good the others are kept, each once', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf } = world;
  const topic = broker.createTopic('t', 1);
  const producer = hf.producer({ topic: 't', batchBytes: 1_024 });
  const values = Array.from({ length: 20 }, (_, i) => `${i}`.padEnd(i === 7 ? 3_000 : 10));
  const sent = [{ value: 'first', seen: watch(producer.send({ value: 'first' })) }];
  await clock.pass(20);
  topic.maxBatchBytes = 2_000;
  for (const value of values) {
    sent.push({ value, seen: watch(producer.send({ value })) });
    await clock.endTurn();
  }
  await clock.pass(1_000);
  const refused = sent.filter(({ seen }) => seen.error !== undefined);
  expect(refused.map(({ value }) => value.trim())).toEqual(['7']);
  expect(refused[0]!.seen.error).toMatchObject({ reason: 'BATCH_TOO_LARGE', outcome: 'NOT_APPLIED' });
  check(world, sent);
});

test('a leader that lost what it confirmed alone is gone on with, in order', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf } = world;
  broker.createTopic('t', 1);
  const producer = hf.producer({ topic: 't', acks: 'leader' });
  for (const value of ['first', 'second']) {
    const seen = watch(producer.send({ value }));
    await clock.pass(20);
    expect(seen.settled).toBe(true);
  }
  const partition = broker.partition('t', 0);
  partition.log.pop();
  partition.logEnd -= 1;
  const [state] = partition.producers.values();
  state!.next -= 1n;
  state!.recent.pop();
  const third = watch(producer.send({ value: 'third' }));
  await clock.pass(1_000);
  expect(third.error).toBe(undefined);
  expect(partition.records.map(({ value }) => value)).toEqual(['first', 'third']);
});

test('a producer whose name was taken ends, and what it had not been told of may be kept', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 1);
  const first = hf.producer({ topic: 't', name: 'one' });
  const kept = watch(first.send({ value: 'first' }));
  await clock.pass(20);
  const second = hf.producer({ topic: 't', name: 'one' });
  const taken = watch(second.send({ value: 'second' }));
  await clock.pass(20);
  const fenced = watch(first.send({ value: 'third' }));
  await clock.pass(20);
  const later = watch(first.send({ value: 'fourth' }));
  await clock.pass(20);
  expect([kept.error, taken.error]).toEqual([undefined, undefined]);
  expect(fenced.error).toMatchObject({ reason: 'PRODUCER_FENCED', outcome: 'NOT_APPLIED' });
  expect(later.error).toMatchObject({ reason: 'PRODUCER_FENCED', outcome: 'NOT_APPLIED' });
  expect(broker.partition('t', 0).records.map(({ value }) => value)).toEqual(['first', 'second']);
});

test('a full buffer makes records wait, in order, and takes them when it has room', async () => {
  const world = await brokerWorld();
  const { clock, broker, hf } = world;
  broker.createTopic('t', 2);
  const producer = hf.producer({ topic: 't', maxBufferedBytes: 5_000, batchBytes: 2_000 });
  await clock.pass(10);
  const sent: { value: string; seen: Seen }[] = [];
  for (let i = 0; i < 200; i += 1) {
    const value = `${i}`.padEnd(100);
    sent.push({ value, seen: watch(producer.send({ key: `${i % 7}`, value })) });
  }
  expect(producer.isFull).toBe(true);
  const drained = watch(producer.drained());
  await clock.pass(3);
  expect(drained.settled).toBe(false);
  await clock.pass(1_000);
  expect([drained.settled, producer.isFull]).toEqual([true, false]);
  expect(sent.filter(({ seen }) => seen.error !== undefined)).toEqual([]);
  for (const { partitions } of broker.requests)
    for (const { content } of partitions)
      expect((content.value as Uint8Array).length).toBeLessThanOrEqual(2_000);
  check(world, sent);
});

test('what cannot be sent is refused at once, and nothing of it is kept', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 1, 2_000);
  const producer = hf.producer('t');
  const cases: [string, ProducerRecord][] = [
    ['RECORD_TOO_LARGE', { value: 'x'.repeat(2_000) }],
    ['RECORD_TOO_LARGE', { value: 'x'.repeat(2_000 - 60 - 6 + 1) }],
    ['PARTITION_UNKNOWN', { partition: 1, value: 'x' }],
    ['TOPIC_UNKNOWN', { topic: 'other', value: 'x' }],
    ['INVALID_FIELD', { value: 'x', timeMs: -1 }],
    ['INVALID_FIELD', { value: '\ud800' }],
    ['INVALID_FIELD', { value: 'x', headers: { name: 3 as never } }],
  ];
  for (const [reason, record] of cases) {
    const seen = watch(producer.send(record));
    await clock.pass(2_000);
    expect(seen.error, reason).toMatchObject({ reason, outcome: 'NOT_APPLIED' });
  }
  const fits = watch(producer.send({ value: 'x'.repeat(2_000 - 60 - 6) }));
  await clock.pass(20);
  expect(fits.value?.offset).toBe(0n);
  expect(broker.partition('t', 0).log[0]!.batch.length).toBe(2_000);
  const nowhere = watch(hf.producer().send({ value: 'x' }));
  await clock.pass(1);
  expect(nowhere.error).toMatchObject({ reason: 'INVALID_FIELD', field: 'topic' });
});

test('a topic that was altered takes what it refused before', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 1, 2_000);
  const producer = hf.producer('t');
  watch(producer.send({ value: 'x' }));
  await clock.pass(2_000);
  const topic = broker.topics.get('t')!;
  topic.maxBatchBytes = 10_000;
  const large = watch(producer.send({ value: 'y'.repeat(5_000) }));
  const behind = watch(producer.send({ value: 'z' }));
  await clock.pass(100);
  expect([large.value?.offset, behind.value?.offset]).toEqual([1n, 2n]);
  // What was looked at a moment ago is believed.
  await expect(producer.send({ value: 'y'.repeat(20_000) })).rejects.toMatchObject({
    reason: 'RECORD_TOO_LARGE',
  });
});

test('a record that was never sent in time is not kept', async () => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 1);
  const producer = hf.producer({ topic: 't', deliveryTimeout: '1s' });
  const first = watch(producer.send({ value: 'first' }));
  await clock.pass(20);
  for (const node of NODES) broker.stop(node);
  const second = watch(producer.send({ value: 'second' }));
  await clock.pass(1_200);
  expect(first.value).toBeDefined();
  expect(second.error).toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'NOT_APPLIED' });
});

test('a node that takes requests and is silent is given up, and the batch sent again', async () => {
  const { clock, broker, hf, transport } = await brokerWorld();
  broker.createTopic('t', 1);
  const open = transport.onStream;
  transport.onStream = (endpoint, events, method) => {
    const stream = open(endpoint, events, method);
    return endpoint === 'a:1' ? { ...stream, send: () => true } : stream;
  };
  const seen = watch(hf.producer('t').send({ value: 'first' }));
  await clock.pass(1_000);
  broker.partition('t', 0).leader = 'b:1';
  await clock.pass(5_000);
  expect(seen.value?.offset).toBe(0n);
});

test.each(['gzip', 'zstd'] as const)('batches compressed by %s are kept as they are', async (compression) => {
  const { clock, broker, hf } = await brokerWorld();
  broker.createTopic('t', 1);
  const producer = hf.producer({ topic: 't', compression });
  const seen = Array.from({ length: 50 }, () => watch(producer.send({ value: 'the same text' })));
  await clock.pass(20);
  expect(seen.every(({ value }) => value !== undefined)).toBe(true);
  const { log, records } = broker.partition('t', 0);
  expect([log.length, records.length]).toEqual([1, 50]);
  expect(log[0]!.batch.length).toBeLessThan(300);
});

test('a batch lingers until it is full or asked for, and close sends what is left', async () => {
  const { clock, broker, hf, counted } = await brokerWorld();
  broker.createTopic('t', 1);
  const producer = hf.producer({ topic: 't', linger: 500, batchBytes: 1_024 });
  const partition = broker.partition('t', 0);
  void producer.send({ value: 'a' });
  await clock.pass(400);
  void producer.send({ value: 'b' });
  expect(partition.log.length).toBe(0);
  await clock.pass(150);
  expect(partition.records.map(({ value }) => value)).toEqual(['a', 'b']);
  void producer.send({ value: 'c' });
  const flushed = watch(producer.flush());
  await clock.pass(10);
  expect([flushed.settled, partition.log.length]).toEqual([true, 2]);
  for (let i = 0; i < 20; i += 1) void producer.send({ value: 'x'.repeat(100) });
  await clock.pass(10);
  expect(partition.log.length).toBeGreaterThan(2);
  const last = watch(producer.send({ value: 'last' }));
  const closing = watch(hf.close());
  await clock.pass(20);
  expect([closing.settled, last.error, partition.records.at(-1)!.value]).toEqual([true, undefined, 'last']);
  expect(watch(producer.send({ value: 'x' }))).toBeDefined();
  const refused = watch(producer.send({ value: 'too late' }));
  await clock.pass(1);
  expect(refused.error).toMatchObject({ reason: 'CLIENT_CLOSED', outcome: 'NOT_APPLIED' });
  const nothing = [watch(producer.flush()), watch(producer.drained())];
  await clock.pass(1);
  expect(nothing.map(({ settled }) => settled)).toEqual([true, true]);
  expect(counted.pending.size).toBe(0);
});

const steps = fc.array(step, { maxLength: 40 });

test('nothing is lost, kept twice or reordered, whatever becomes of requests, leaders and nodes', async () => {
  const property = fc.asyncProperty(fc.nat(), steps, fates, (...given) => play(...given));
  await fc.assert(property, { numRuns: 300 });
});

test('nor is it by a producer without sequences, which sends nothing twice', async () => {
  // Without a sequence nothing can be done about what arrives late.
  const inTime = fates.map((list) => list.map((fate) => (fate === 'late' ? 'lost' : fate)));
  const property = fc.asyncProperty(fc.nat(), steps, inTime, (...given) =>
    play(...given, { idempotent: false }),
  );
  await fc.assert(property, { numRuns: 100 });
});

test('nor is it where nodes serve no streams', async () => {
  const property = fc.asyncProperty(fc.nat(), steps, fates, (...given) => play(...given, {}, true));
  await fc.assert(property, { numRuns: 100 });
});
