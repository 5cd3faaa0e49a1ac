/** Calls follow the leaders that nodes name, among three nodes and two partitions. */
import { create, toBinary } from '@bufbuild/protobuf';
import { connect, HoldfastError } from '@holdfast/client';
import { keyHash } from '@holdfast/client/key-hash';
import { DescribeKeyspaceResponseSchema, KeyspaceSchema } from '@holdfast/proto/kv/v1/keyspace';
import {
  PipelineResponseSchema,
  type PipelineCall,
  type PipelineRequest,
  type PipelineResult,
} from '@holdfast/proto/kv/v1/kv';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FakeKv } from './fake-kv.ts';
import { FakeClock, FakeTransport, fixedRandom, type FakeStream } from './fake-ports.ts';

const NODES = ['a:1', 'b:2', 'c:3'];
const HALF = 0x8000_0000;

const partitionOf = (key: string) => (keyHash(Buffer.from(key)) < HALF ? 0 : 1);
const names = Array.from({ length: 40 }, (_, i) => `k${i}`);
/** Keys of the first and the second partition. */
const KEYS = [0, 1].map((partition) => names.filter((name) => partitionOf(name) === partition));

function twoPartitions(name: string) {
  const partitions = [
    { group: 1n, firstHash: 0, lastHash: HALF - 1 },
    { group: 2n, firstHash: HALF, lastHash: 0xffff_ffff },
  ];
  return create(DescribeKeyspaceResponseSchema, { keyspace: create(KeyspaceSchema, { name, partitions }) });
}

class Cluster {
  readonly clock = new FakeClock();
  readonly transport = new FakeTransport();
  readonly kv = new FakeKv();
  /** Who leads each partition, and whom each node names when it does not. */
  readonly leaders = ['a:1', 'a:1'];
  hint: (endpoint: string, partition: number) => string | undefined = (_, partition) =>
    this.leaders[partition];
  /** What nodes say that do not lead. */
  refusal: () => string = () => 'NOT_LEADER';
  /** Each call as it arrived: endpoint and key. */
  readonly seen: string[] = [];
  /** Writes in the order of their first arrival, by endpoint and key. */
  readonly order = new Map<string, string[]>();
  readonly #arrived = new Set<bigint>();

  async connect(options: Parameters<typeof connect>[0] = {}) {
    this.transport.onUnary = (method, request) =>
      method === 'DescribeKeyspace'
        ? Promise.resolve(twoPartitions((request as { name: string }).name))
        : new Promise(() => undefined);
    const { clock, transport } = this;
    return connect({ endpoints: NODES, clock, transport, random: fixedRandom, ...options });
  }

  /** All streams that stand answer what they have received. */
  serve(): void {
    for (const stream of this.transport.streams) {
      for (const request of stream.received.splice(0)) {
        const results = request.calls.map((call) => this.#answer(stream.endpoint, request, call));
        stream.events.onMessage(
          toBinary(PipelineResponseSchema, create(PipelineResponseSchema, { results })),
        );
      }
    }
  }

  /** Serves, and lets no time pass but what calls wait for at the least. */
  async settle(ms = 0): Promise<void> {
    for (let round = 0; round < 4; round++) {
      await this.clock.pass(0);
      this.serve();
    }
    if (ms > 0) await this.clock.pass(ms);
  }

  streamTo(endpoint: string): FakeStream {
    return this.transport.streams.findLast((stream) => stream.endpoint === endpoint)!;
  }

  /** What arrived since the last time. */
  take(): string[] {
    return this.seen.splice(0);
  }

  #answer(endpoint: string, request: PipelineRequest, call: PipelineCall): PipelineResult {
    const { operation } = call;
    const key = Buffer.from(operation.value!.key).toString();
    this.seen.push(`${endpoint} ${key}`);
    if (call.sequence > 0n && !this.#arrived.has(call.sequence)) {
      this.#arrived.add(call.sequence);
      const place = `${endpoint} ${key}`;
      this.order.set(place, [...(this.order.get(place) ?? []), String(call.sequence)]);
    }
    const partition = partitionOf(key);
    if (this.leaders[partition] === endpoint) return this.kv.pipelineCall(request, call);
    const leader = this.hint(endpoint, partition) ?? '';
    const error = { reason: this.refusal(), code: 14, message: 'not here', outcome: 1, leader };
    const value = { field: '', actual: '', limit: '', retryAfterMs: leader === '' ? 100 : 0, ...error };
    return {
      $typeName: 'holdfast.kv.v1.PipelineResult',
      id: call.id,
      result: { case: 'error', value: { $typeName: 'holdfast.error.v1.Error', ...value } as never },
    };
  }
}

async function setUp(options: Parameters<typeof connect>[0] = {}) {
  const cluster = new Cluster();
  const hf = await cluster.connect(options);
  return { cluster, hf, kv: hf.keyspace('default') };
}

function watch<T>(promise: Promise<T>) {
  const seen: { value?: T; error?: HoldfastError } = {};
  promise.then(
    (value) => (seen.value = value),
    (error: HoldfastError) => (seen.error = error),
  );
  return seen;
}

test('a refused call goes to the leader at once, and later calls of its partition straight there', async () => {
  const { cluster, kv } = await setUp();
  const [[first, second], [other]] = KEYS as [string[], string[]];
  cluster.leaders[0] = 'b:2';
  const put = watch(kv.put(first!, '1'));
  await cluster.settle();
  expect(put.value?.version).toBe(1n);
  expect(cluster.take()).toEqual([`a:1 ${first}`, `b:2 ${first}`]);
  const calls = [kv.put(first!, '2'), kv.get(second!), kv.put(other!, '3')];
  await cluster.settle();
  await Promise.all(calls);
  expect(cluster.take().sort()).toEqual([`a:1 ${other}`, `b:2 ${first}`, `b:2 ${second}`].sort());
});

test('reads learn it as well, as soon as the table of partitions is there', async () => {
  const { cluster, kv } = await setUp();
  cluster.leaders[0] = 'c:3';
  for (let i = 0; i < 2; i++) {
    const read = watch(kv.get(KEYS[0]![0]!));
    await cluster.settle();
    expect(read).toEqual({ value: undefined });
  }
  cluster.take();
  const reads = KEYS[0]!.map((key) => kv.get(key));
  await cluster.settle();
  await Promise.all(reads);
  expect(cluster.take()).toEqual(KEYS[0]!.map((key) => `c:3 ${key}`));
});

test('a leader that has moved is followed, and one that names nobody is asked again after a pause', async () => {
  const { cluster, kv } = await setUp();
  const key = KEYS[0]![0]!;
  cluster.leaders[0] = 'b:2';
  watch(kv.put(key, '1'));
  await cluster.settle();
  cluster.leaders[0] = 'nobody';
  cluster.hint = () => undefined;
  const waiting = watch(kv.put(key, '2'));
  await cluster.settle();
  expect(cluster.take().slice(-1)).toEqual([`b:2 ${key}`]);
  await cluster.clock.pass(99);
  await cluster.settle();
  expect(cluster.take()).toEqual([]);
  cluster.leaders[0] = 'c:3';
  cluster.hint = () => 'c:3';
  await cluster.clock.pass(1);
  await cluster.settle();
  // Nobody is known to lead: the first of all is asked.
  expect(cluster.take()).toEqual([`a:1 ${key}`, `c:3 ${key}`]);
  expect(waiting.value?.version).toBe(2n);
});

test('a broken stream forgets whatever its node led, for as long as nobody names it again', async () => {
  const { cluster, kv } = await setUp();
  const key = KEYS[0]![0]!;
  cluster.leaders[0] = 'b:2';
  watch(kv.put(key, '1'));
  await cluster.settle();
  cluster.take();
  cluster.streamTo('b:2').break();
  cluster.leaders[0] = 'c:3';
  const moved = watch(kv.put(key, '2'));
  await cluster.settle();
  expect(cluster.take()).toEqual([`a:1 ${key}`, `c:3 ${key}`]);
  expect(moved.value?.version).toBe(2n);
  // It is back, and leads again: who names it vouches for it.
  cluster.leaders[0] = 'b:2';
  const back = watch(kv.put(key, '3'));
  await cluster.settle();
  expect(cluster.take()).toEqual([`c:3 ${key}`, `b:2 ${key}`]);
  expect(back.value?.version).toBe(3n);
});

test('calls on their way to a node that breaks go on elsewhere, with their sequence', async () => {
  const { cluster, kv } = await setUp();
  const key = KEYS[0]![0]!;
  cluster.leaders[0] = 'b:2';
  watch(kv.increment(key));
  await cluster.settle();
  const lost = watch(kv.increment(key));
  await cluster.clock.endTurn();
  const stream = cluster.streamTo('b:2');
  cluster.kv.message(stream.received[0]!); // Applied, and never answered.
  stream.break();
  cluster.leaders[0] = 'c:3';
  await cluster.settle(100);
  await cluster.settle();
  expect(lost.value).toBe(2n);
});

test('calls on their way to a node that hangs go on elsewhere, long before their deadline', async () => {
  const { cluster, kv } = await setUp();
  const key = KEYS[0]![0]!;
  cluster.leaders[0] = 'b:2';
  watch(kv.increment(key));
  await cluster.settle();
  const held = watch(kv.increment(key, 1, { timeout: 60_000 }));
  await cluster.clock.endTurn();
  cluster.kv.message(cluster.streamTo('b:2').received.splice(0)[0]!); // Applied, and never answered.
  cluster.leaders[0] = 'c:3';
  const startedMs = cluster.clock.monotonicMs();
  while (held.value === undefined && cluster.clock.monotonicMs() - startedMs < 10_000) {
    await cluster.clock.pass(50);
    cluster.serve();
  }
  expect(held.value).toBe(2n);
  expect(cluster.clock.monotonicMs() - startedMs).toBeGreaterThan(1_000);
  expect(cluster.clock.monotonicMs() - startedMs).toBeLessThan(2_500);
});

test('a node that answers something is not taken for one that hangs, however long one call takes', async () => {
  const { cluster, kv } = await setUp();
  const [slow, quick] = KEYS[0] as [string, string];
  watch(kv.put(quick, '0'));
  await cluster.settle();
  const held = watch(kv.put(slow, '1', { timeout: 60_000 }));
  await cluster.clock.endTurn();
  const [request] = cluster.streamTo('a:1').received.splice(0);
  for (let ms = 0; ms < 5_000; ms += 100) {
    watch(kv.put(quick, String(ms)));
    await cluster.clock.pass(100);
    cluster.serve();
  }
  expect([held.value, held.error]).toEqual([undefined, undefined]);
  cluster.streamTo('a:1').received.push(request!);
  await cluster.settle();
  expect(held.error).toBeUndefined();
  expect(cluster.seen.filter((call) => call === `a:1 ${slow}`)).toHaveLength(1);
});

test('nodes that name each other are asked less and less often, and the call ends by its deadline', async () => {
  const { cluster, kv } = await setUp();
  const key = KEYS[0]![0]!;
  cluster.leaders[0] = 'nobody';
  cluster.hint = (endpoint) => (endpoint === 'a:1' ? 'b:2' : 'a:1');
  const call = watch(kv.put(key, '1', { timeout: 2_000 }));
  await cluster.settle();
  expect(cluster.take()).toEqual([`a:1 ${key}`, `b:2 ${key}`, `a:1 ${key}`]);
  for (let ms = 0; ms < 2_100; ms += 5) {
    await cluster.clock.pass(5);
    cluster.serve();
  }
  const asked = cluster.take().length;
  expect(asked).toBeGreaterThan(10);
  expect(asked).toBeLessThan(40);
  expect(call.error).toMatchObject({ reason: 'NOT_LEADER', outcome: 'NOT_APPLIED' });
});

test('where nobody has led for long each node is asked once, and the call ends with what they say', async () => {
  const { cluster, kv } = await setUp();
  const key = KEYS[0]![0]!;
  cluster.leaders[0] = 'nobody';
  cluster.hint = () => undefined;
  cluster.refusal = () => 'NO_LEADER';
  const call = watch(kv.put(key, '1', { timeout: 5_000 }));
  for (let ms = 0; ms < 1_000; ms += 5) {
    await cluster.clock.pass(5);
    cluster.serve();
  }
  expect(cluster.take()).toEqual([`a:1 ${key}`, `b:2 ${key}`, `c:3 ${key}`]);
  expect(call.error).toMatchObject({ reason: 'NO_LEADER', outcome: 'NOT_APPLIED' });
});

test('what only starts may know more, and what refuses for another reason shows that somebody leads', async () => {
  const { cluster, kv } = await setUp();
  const key = KEYS[0]![0]!;
  cluster.leaders[0] = 'nobody';
  cluster.hint = () => undefined;
  const said = ['NO_LEADER', 'STARTING', 'NO_LEADER', 'OVERLOADED', 'NO_LEADER', 'NO_LEADER'];
  cluster.refusal = () => said.shift() ?? 'DISK_LOW';
  const call = watch(kv.put(key, '1', { timeout: 8_000 }));
  for (let ms = 0; ms < 8_000 && call.error === undefined; ms += 5) {
    await cluster.clock.pass(5);
    cluster.serve();
  }
  expect(said).toEqual([]);
  expect(call.error).toMatchObject({ reason: 'DISK_LOW', outcome: 'NOT_APPLIED' });
});

test('when no leader is found in time the call says so, not that its time is over', async () => {
  const { cluster, kv } = await setUp();
  cluster.leaders[0] = 'nobody';
  cluster.hint = () => undefined;
  const call = watch(kv.put(KEYS[0]![0]!, '1', { timeout: 1_000 }));
  for (let ms = 0; ms < 1_100; ms += 5) {
    await cluster.clock.pass(5);
    cluster.serve();
  }
  expect(call.error).toMatchObject({ reason: 'NO_LEADER', outcome: 'NOT_APPLIED', code: 'UNAVAILABLE' });
  expect(call.error!.message).toMatch(
    /^no leader was found in time: not here Nothing was written. \[NO_LEADER\]$/,
  );
});

test('a unary call follows the leader as well', async () => {
  const { cluster, hf } = await setUp();
  let refusals = 0;
  cluster.transport.onUnary = () => {
    const { endpoint } = cluster.transport.unaries.at(-1)!;
    if (endpoint === 'c:3') return Promise.resolve({ keyspace: { name: 'new', partitions: [] } });
    refusals++;
    const leader = 'c:3';
    const message = 'not here';
    return Promise.reject(
      new HoldfastError({ reason: 'NOT_LEADER', message, outcome: 'NOT_APPLIED', leader }),
    );
  };
  const created = watch(hf.keyspaces.create('new'));
  await cluster.clock.pass(0);
  expect([created.error, refusals]).toEqual([undefined, 1]);
  expect(cluster.transport.unaries.map(({ endpoint }) => endpoint)).toEqual(['a:1', 'c:3']);
});

test('with leaders that come and go every call ends in time, writes are applied once and in order on each node', async () => {
  const steps = fc.array(
    fc.record({
      kind: fc.constantFrom('call', 'call', 'call', 'call', 'serve', 'serve', 'pass', 'lead', 'break'),
      number: fc.nat({ max: 11 }),
    }),
    { maxLength: 60 },
  );
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const { cluster, kv } = await setUp();
      cluster.hint = (_, partition) =>
        cluster.leaders[partition] === 'nobody' ? undefined : cluster.leaders[partition];
      const calls: { key: string; seen: { value?: bigint; error?: HoldfastError } }[] = [];
      for (const { kind, number } of all) {
        const key = names[number]!;
        if (kind === 'call') calls.push({ key, seen: watch(kv.increment(key)) });
        else if (kind === 'serve') {
          await cluster.clock.endTurn();
          cluster.serve();
        } else if (kind === 'pass') await cluster.clock.pass(number * 20);
        else if (kind === 'lead') cluster.leaders[number % 2] = [...NODES, 'nobody'][number >> 1] ?? 'a:1';
        else cluster.streamTo(NODES[number % 3]!)?.break();
      }
      cluster.leaders[0] = 'b:2';
      cluster.leaders[1] = 'c:3';
      for (let round = 0; round < 100; round++) {
        await cluster.clock.pass(60);
        cluster.serve();
      }
      await cluster.clock.endTurn();
      const counts = new Map<string, number>();
      for (const { key, seen } of calls) {
        expect(seen.error).toBeUndefined();
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      for (const [key, count] of counts)
        expect(Buffer.from(cluster.kv.rows.get(Buffer.from(key).toString('hex'))!.value).toString()).toBe(
          String(count),
        );
      expect(cluster.clock.pendingTimers).toBeLessThan(3);
    }),
    { numRuns: 60 },
  );
});

test('while leaders stand still, calls on one key reach its leader in the order they were made', async () => {
  const { cluster, kv } = await setUp();
  cluster.leaders[0] = 'b:2';
  cluster.leaders[1] = 'c:3';
  for (const [key] of KEYS as [string][]) watch(kv.increment(key));
  await cluster.settle();
  cluster.order.clear();
  const made = new Map<string, Promise<bigint>[]>();
  for (let turn = 0; turn < 10; turn++) {
    for (let i = 0; i < 20; i++) {
      const key = names[(i * 7 + turn) % 12]!;
      made.set(key, [...(made.get(key) ?? []), kv.increment(key)]);
    }
    if (turn % 3 === 0) cluster.serve();
    if (turn % 2 === 0) await cluster.clock.endTurn();
  }
  await cluster.settle();
  for (const [key, calls] of made) {
    const sums = await Promise.all(calls);
    const firstSum = sums[0]!;
    expect(sums).toEqual(sums.map((_, i) => firstSum + BigInt(i)));
    const endpoint = cluster.leaders[partitionOf(key)]!;
    const sequences = cluster.order.get(`${endpoint} ${key}`)!.map(Number);
    expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
    expect(sequences).toHaveLength(calls.length);
  }
});
