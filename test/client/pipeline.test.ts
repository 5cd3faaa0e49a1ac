import { connect, HoldfastError } from '@holdfast/client';
import { REASONS } from '@holdfast/client/reasons';
import { expect, test } from 'vitest';
import { FakeKv } from './fake-kv.ts';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';

async function setUp(options: Parameters<typeof connect>[0] = {}) {
  const clock = new FakeClock();
  const transport = new FakeTransport();
  const hf = await connect({ endpoints: 'a:1', clock, transport, random: fixedRandom, ...options });
  return { clock, transport, hf, kv: hf.keyspace('default'), node: new FakeKv() };
}

/** What became of a promise so far. */
function watch<T>(promise: Promise<T>) {
  const seen: { value?: T; error?: HoldfastError } = {};
  promise.then(
    (value) => (seen.value = value),
    (error: HoldfastError) => (seen.error = error),
  );
  return seen;
}

test('calls of one turn travel in one message, in the order made', async () => {
  const { clock, transport, kv, node } = await setUp();
  const puts = Array.from({ length: 100 }, (_, i) => kv.put(`k${i}`, `v${i}`));
  const read = kv.get('k99');
  expect(transport.streams).toHaveLength(0);
  await clock.endTurn();
  expect(transport.stream.received).toHaveLength(1);
  const [message] = transport.stream.received;
  expect(message!.keyspace).toBe('default');
  expect(message!.calls.map((call) => call.sequence)).toEqual([
    ...Array.from({ length: 100 }, (_, i) => BigInt(i + 1)),
    0n,
  ]);
  expect(message!.calls[0]!.timeoutMs).toBe(5_000);
  expect(message!.ackedBelow).toBe(1n);
  transport.stream.answer(node);
  await Promise.all(puts);
  expect((await read)?.text()).toBe('v99');
});

test('a message has at most 4,096 calls and about 1 MiB', async () => {
  const { clock, transport, kv } = await setUp();
  for (let i = 0; i < 5_000; i += 1) void kv.get(`k${i}`).catch(() => undefined);
  await clock.endTurn();
  expect(transport.stream.received.map((message) => message.calls.length)).toEqual([4_096, 904]);
  transport.stream.received.length = 0;
  for (let i = 0; i < 5; i += 1) void kv.put(`k${i}`, new Uint8Array(400_000)).catch(() => undefined);
  await clock.endTurn();
  expect(transport.stream.received.map((message) => message.calls.length)).toEqual([2, 2, 1]);
});

test('when the stream says stop, calls wait until it drains', async () => {
  const { clock, transport, kv, node } = await setUp();
  const first = kv.put('a', '1');
  await clock.endTurn();
  transport.stream.room = false;
  const second = kv.put('b', '2');
  await clock.endTurn();
  const third = kv.put('c', '3');
  await clock.endTurn();
  expect(transport.stream.received.flatMap((message) => message.calls)).toHaveLength(2);
  transport.stream.room = true;
  transport.stream.events.onDrain();
  expect(transport.stream.received.flatMap((message) => message.calls)).toHaveLength(3);
  transport.stream.answer(node);
  await Promise.all([first, second, third]);
});

test('more bytes than maxInFlightBytes are refused early', async () => {
  const { clock, kv } = await setUp({ maxInFlightBytes: 10_000 });
  const taken = watch(kv.put('a', new Uint8Array(9_000)));
  const refused = watch(kv.put('b', new Uint8Array(9_000)));
  await clock.endTurn();
  expect(taken.error).toBeUndefined();
  expect(refused.error).toMatchObject({ reason: 'OVERLOADED', outcome: 'NOT_APPLIED' });
});

test('a call settles by its deadline, at the latest 50 ms after, without a timer of its own', async () => {
  const { clock, kv } = await setUp();
  const before = clock.timersMade;
  const calls = Array.from({ length: 1_000 }, () => watch(kv.put('a', '1', { timeout: 110 })));
  const read = watch(kv.get('a', { timeout: '200ms' }));
  await clock.endTurn();
  expect(clock.timersMade - before).toBeLessThan(10);
  await clock.pass(109);
  expect(calls.every((call) => call.error === undefined)).toBe(true);
  await clock.pass(51);
  for (const call of calls)
    expect(call.error).toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'UNKNOWN' });
  expect(read.error).toBeUndefined();
  await clock.pass(90);
  expect(read.error?.reason).toBe('DEADLINE_EXCEEDED');
  expect(read.error?.outcome).toBeUndefined();
});

test('a write that was never sent is known not to be applied', async () => {
  const { clock, transport, kv } = await setUp();
  transport.opens = () => false;
  const call = watch(kv.put('a', '1', { timeout: 1_000 }));
  await clock.endTurn();
  await clock.pass(1_050);
  expect(call.error?.outcome).toBe('NOT_APPLIED');
  expect(['UNAVAILABLE', 'DEADLINE_EXCEEDED']).toContain(call.error?.reason);
});

test('after a broken stream writes are sent again with their sequence and applied once', async () => {
  const { clock, transport, kv, node } = await setUp();
  const sum = watch(kv.increment('n'));
  await clock.endTurn();
  const broken = transport.stream;
  const lost = broken.received[0]!;
  node.message(lost); // Applied, but the answer never comes.
  broken.break();
  await clock.pass(100);
  const again = transport.stream.received[0]!;
  expect(transport.stream).not.toBe(broken);
  expect(again.calls[0]).toMatchObject({ sequence: lost.calls[0]!.sequence, open: lost.calls[0]!.open });
  transport.stream.answer(node);
  await clock.endTurn();
  expect(sum.value).toBe(1n);
});

test('a refusal after a lost attempt leaves the outcome unknown', async () => {
  const { clock, transport, kv } = await setUp();
  const call = watch(kv.put('a', '1'));
  await clock.endTurn();
  transport.stream.break();
  await clock.pass(100);
  transport.stream.refuse({ code: 8, reason: 'DISK_LOW', outcome: 1 });
  await clock.endTurn();
  expect(call.error).toMatchObject({ reason: 'DISK_LOW', outcome: 'UNKNOWN' });
});

test.each(Object.entries(REASONS))('%s is retried as its line in the table says', async (reason, info) => {
  const { clock, transport, kv, node } = await setUp();
  const warmUp = kv.put('warm', '1');
  await clock.endTurn();
  transport.stream.answer(node);
  await warmUp;
  const call = watch(kv.put('a', '1'));
  await clock.endTurn();
  transport.stream.refuse({ code: info.code, reason, outcome: info.retry === 'with-sequence' ? 2 : 1 });
  await clock.pass(200);
  // CLIENT_EXPIRED on the only attempt is the one case that reopens instead of retrying.
  const again = info.retry !== 'never' || reason === 'CLIENT_EXPIRED';
  expect(transport.stream.received).toHaveLength(again ? 1 : 0);
  if (again) expect(call.error).toBeUndefined();
  else expect(call.error).toMatchObject({ reason, outcome: 'NOT_APPLIED' });
});

test('retry_after_ms is respected', async () => {
  const { clock, transport, kv } = await setUp();
  void kv.put('a', '1').catch(() => undefined);
  await clock.endTurn();
  transport.stream.refuse({ code: 8, reason: 'OVERLOADED', outcome: 1, retryAfterMs: 700 });
  await clock.pass(690);
  expect(transport.stream.received).toHaveLength(0);
  await clock.pass(20);
  expect(transport.stream.received).toHaveLength(1);
});

test('writes are opening until their partition has answered one', async () => {
  const { clock, transport, kv, node } = await setUp();
  const open = async () => {
    const call = kv.put('a', '1');
    await clock.endTurn();
    const flag = transport.stream.received[0]!.calls[0]!.open;
    transport.stream.answer(node);
    await call;
    return flag;
  };
  expect([await open(), await open()]).toEqual([true, false]);
  expect(transport.unaries.map(({ method }) => method)).toEqual(['DescribeKeyspace']);
});

test('CLIENT_EXPIRED: sent once, so it is sent again as opening; a second time it ends unknown', async () => {
  const { clock, transport, kv } = await setUp();
  const call = watch(kv.put('a', '1'));
  await clock.endTurn();
  transport.stream.refuse({ code: 9, reason: 'CLIENT_EXPIRED', outcome: 2 });
  await clock.pass(100);
  expect(transport.stream.received[0]!.calls[0]).toMatchObject({ sequence: 1n, open: true });
  transport.stream.refuse({ code: 9, reason: 'CLIENT_EXPIRED', outcome: 2 });
  await clock.endTurn();
  expect(call.error).toMatchObject({ reason: 'CLIENT_EXPIRED', outcome: 'UNKNOWN' });
});

test('acked_below follows the lowest unanswered sequence', async () => {
  const { clock, transport, kv } = await setUp();
  const acked: bigint[] = [];
  const send = async (timeout: number) => {
    const call = watch(kv.put('a', '1', { timeout }));
    await clock.endTurn();
    acked.push(transport.stream.received.at(-1)!.ackedBelow);
    return call;
  };
  await send(5_000);
  await send(100);
  await clock.pass(150); // The second is given up, the first still waits.
  await send(5_000);
  transport.stream.answer(new FakeKv());
  await clock.endTurn();
  await send(5_000);
  expect(acked).toEqual([1n, 1n, 1n, 4n]);
});

test('a signal ends the call: unknown once it was sent', async () => {
  const { clock, kv } = await setUp();
  const controller = new AbortController();
  const sent = watch(kv.put('a', '1', { signal: controller.signal }));
  await clock.endTurn();
  const queued = watch(kv.put('b', '1', { signal: controller.signal }));
  controller.abort();
  const late = watch(kv.put('c', '1', { signal: controller.signal }));
  await clock.endTurn();
  expect(sent.error).toMatchObject({ reason: 'CANCELLED', outcome: 'UNKNOWN' });
  expect(queued.error).toMatchObject({ reason: 'CANCELLED', outcome: 'NOT_APPLIED' });
  expect(late.error).toMatchObject({ reason: 'CANCELLED', outcome: 'NOT_APPLIED' });
});

test('an endpoint that failed is avoided for two seconds', async () => {
  const { clock, transport, kv, node } = await setUp({ endpoints: ['a:1', 'b:2'] });
  transport.opens = (endpoint) => endpoint !== 'a:1';
  const call = watch(kv.put('a', '1'));
  await clock.endTurn();
  await clock.pass(100);
  expect(transport.streams.map(({ endpoint }) => endpoint)).toEqual(['a:1', 'b:2']);
  transport.stream.answer(node);
  await clock.endTurn();
  expect(call.value?.version).toBe(1n);
  transport.opens = () => true;
  await clock.pass(2_000);
  const back = watch(kv.get('a'));
  await clock.endTurn();
  transport.stream.answer(node);
  await clock.endTurn();
  expect(transport.stream.endpoint).toBe('a:1');
  expect(back.value?.text()).toBe('1');
});

test('a node without Pipeline is asked by unary calls', async () => {
  const { clock, transport, kv } = await setUp();
  transport.onUnary = () => Promise.resolve({});
  const read = watch(kv.get('a'));
  await clock.endTurn();
  transport.stream.events.onEnd(new HoldfastError({ reason: 'UNIMPLEMENTED', message: 'no such method' }));
  await clock.endTurn();
  expect(transport.unaries.map(({ method }) => method)).toEqual(['Get']);
  expect(read).toEqual({ value: undefined });
});

test('close waits for calls under way, refuses new ones, and leaves nothing behind', async () => {
  const { clock, transport, hf, kv, node } = await setUp();
  const under = watch(kv.put('a', '1'));
  await clock.endTurn();
  const closed = watch(hf.close());
  const late = watch(kv.get('a'));
  await clock.endTurn();
  expect(late.error?.reason).toBe('CLIENT_CLOSED');
  expect(transport.closed).toBe(false);
  transport.stream.answer(node);
  await clock.endTurn();
  expect(under.value?.version).toBe(1n);
  expect(closed).toEqual({ value: undefined });
  expect(transport.closed).toBe(true);
  expect(clock.pendingTimers).toBe(0);
});

test('close ends what is not answered in time with CLIENT_CLOSED', async () => {
  const { clock, transport, hf, kv } = await setUp();
  const sent = watch(kv.put('a', '1', { timeout: '1m' }));
  await clock.endTurn();
  transport.stream.room = false;
  const status = watch(hf.status({ timeout: '1m' }));
  void hf.close({ timeout: '1s' });
  await clock.pass(1_100);
  expect(sent.error).toMatchObject({ reason: 'CLIENT_CLOSED', outcome: 'UNKNOWN' });
  expect(status.error?.reason).toBe('CLIENT_CLOSED');
  expect(clock.pendingTimers).toBe(0);
});

test('unary calls settle by their deadline and are retried when that is safe', async () => {
  const { clock, transport, hf } = await setUp();
  const hung = watch(hf.status({ timeout: 100 }));
  await clock.pass(150);
  expect(hung.error?.reason).toBe('DEADLINE_EXCEEDED');
  let attempts = 0;
  transport.onUnary = () => {
    attempts += 1;
    return attempts < 3
      ? Promise.reject(new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone' }))
      : Promise.resolve({ clusterId: 'c' });
  };
  const retried = watch(hf.status());
  await clock.pass(500);
  expect(retried.value?.clusterId).toBe('c');
  attempts = 0;
  const created = watch(hf.keyspaces.create('new'));
  await clock.pass(500);
  expect(attempts).toBe(1);
  expect(created.error).toMatchObject({ reason: 'UNAVAILABLE', outcome: 'UNKNOWN' });
});

test('bad arguments reject and send nothing', async () => {
  const { clock, transport, kv } = await setUp();
  const bad = [
    kv.put('k', 'v', { ttl: 0 }),
    kv.put('k', 'v', { ifVersion: 1n, ifAbsent: true }),
    kv.put('\ud800', 'v'),
    kv.put('k', 1n as never),
    kv.put('k', new Uint8Array(4_194_305)),
    kv.put(new Uint8Array(65_537), 'v'),
    kv.get('k', { timeout: 0 }),
    kv.increment('k', 1n << 63n),
  ];
  const reasons = await Promise.all(bad.map((call) => call.then(String, (e: HoldfastError) => e.reason)));
  expect(reasons).toEqual([
    'TTL_OUT_OF_RANGE',
    'INVALID_FIELD',
    'INVALID_FIELD',
    'INVALID_FIELD',
    'VALUE_TOO_LARGE',
    'KEY_TOO_LARGE',
    'INVALID_FIELD',
    'INVALID_FIELD',
  ]);
  await clock.endTurn();
  expect(transport.streams).toHaveLength(0);
});
