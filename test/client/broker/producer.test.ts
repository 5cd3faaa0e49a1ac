import { keyHash } from '@holdfast/client/key-hash';
import type { ProducerRecord, RecordLocation } from '@holdfast/client/broker/producer-options';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { brokerWorld, NODES, watch } from './broker-world.ts';
import type { Fate } from './fake-broker.ts';

const FATES: Fate[] = ['lost', 'unanswered', 'late', 'doubtful', 'overloaded'];

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
  { weight: 1, arbitrary: fc.constant({ long: true as const }) },
);

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
        const record: ProducerRecord = { key: `key ${one['key']}`, value: value + ' '.repeat(i * 30) };
        sent.push({ value: String(record.value), seen: watch(producer.send(record)) });
      }
    if (one['pass'] !== undefined) await clock.pass(one['pass']);
    if (one['long'] !== undefined) await clock.pass(3_000);
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
