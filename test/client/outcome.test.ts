import { create } from '@bufbuild/protobuf';
import { connect, HoldfastError } from '@holdfast/client';
import { errorToMessage } from '@holdfast/client/error-mapping';
import { REASONS } from '@holdfast/client/reasons';
import {
  type BatchWriteRequest,
  BatchWriteResponseSchema,
  type TransactRequest,
  TransactResponseSchema,
} from '@holdfast/proto/kv/v1/kv';
import { describe, expect, test } from 'vitest';
import { onePartition } from './fake-kv.ts';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';

// What a client says became of a write, over all paths: pipeline, its unary fallback, transact.

async function setUp() {
  const clock = new FakeClock();
  const transport = new FakeTransport();
  const hf = await connect({ endpoints: 'a:1', clock, transport, random: fixedRandom });
  return { clock, transport, kv: hf.keyspace('default') };
}

function watch<T>(promise: Promise<T>) {
  const seen: { value?: T; error?: HoldfastError } = {};
  promise.then(
    (value) => (seen.value = value),
    (error: HoldfastError) => (seen.error = error),
  );
  return seen;
}

const lostAnswer = () => new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone' });
const refusal = (reason: string) =>
  new HoldfastError({
    reason,
    message: 'no',
    outcome: reason === 'CLIENT_EXPIRED' ? 'UNKNOWN' : 'NOT_APPLIED',
  });

type Step = HoldfastError | 'applied';
type Writes = BatchWriteRequest | TransactRequest;

/** Answers unary writes step by step; `inner`: errors travel inside an OK answer. */
function script(transport: FakeTransport, steps: Step[], inner = false) {
  const seen: { sequence: bigint; open: boolean }[] = [];
  transport.onUnary = (method, request) => {
    if (method === 'DescribeKeyspace') return Promise.resolve(onePartition('default'));
    const { sequence, open } = (request as Writes).options!.sequence!;
    seen.push({ sequence, open });
    const step = steps.shift()!;
    if (step !== 'applied' && (!inner || step.reason === 'UNAVAILABLE')) return Promise.reject(step);
    if (method === 'Transact') return Promise.resolve(create(TransactResponseSchema, { succeeded: true }));
    const result =
      step === 'applied'
        ? { case: 'applied' as const, value: { version: 1n } }
        : { case: 'error' as const, value: errorToMessage(step) };
    return Promise.resolve(create(BatchWriteResponseSchema, { results: [{ result }] }));
  };
  return seen;
}

const transaction = {
  // oxlint-disable-next-line unicorn/no-thenable -- a list, not a function
  then: [{ put: 'a', value: '1' }],
};

/** Two writes: the answer to the second finds the partition table there. */
async function warmUp({ clock, transport, kv }: Awaited<ReturnType<typeof setUp>>) {
  script(transport, ['applied', 'applied']);
  for (let i = 0; i < 2; i += 1) {
    void kv.transact(transaction);
    await clock.pass(100);
  }
}

/** Makes the client see that its node has no pipeline. */
async function withoutPipeline({ clock, transport, kv }: Awaited<ReturnType<typeof setUp>>) {
  transport.onUnary = () => Promise.resolve({});
  void kv.get('a');
  await clock.endTurn();
  transport.stream.events.onEnd(new HoldfastError({ reason: 'UNIMPLEMENTED', message: 'no such method' }));
  await clock.endTurn();
}

const DECIDED = [
  'VERSION_MISMATCH',
  'VALUE_MISMATCH',
  'KEY_EXISTS',
  'NOT_A_COUNTER',
  'COUNTER_OVERFLOW',
  'FENCED',
  'REVISION_MISMATCH',
  'KEY_UNKNOWN',
  'LEASE_UNKNOWN',
  'LEASE_EXISTS',
  'LEASE_FULL',
  'LEASES_TOO_MANY',
  'SESSION_EXPIRED',
  'LOCK_HELD',
  'LOCK_NOT_HELD',
  'LOCK_MODE_MISMATCH',
  'LOCK_QUEUE_FULL',
  'NOT_ELECTED',
  'SEQUENCE_EXHAUSTED',
  'AUTH_NOT_ENABLED',
  'AUTH_ROOT_MISSING',
  'AUTH_PROTECTED',
  'AUTH_FULL',
  'USER_UNKNOWN',
  'USER_EXISTS',
  'ROLE_UNKNOWN',
  'ROLE_EXISTS',
  'ROLE_NOT_GRANTED',
  'PERMISSION_NOT_GRANTED',
];
const FINAL = Object.entries(REASONS).filter(([, { retry }]) => retry === 'never');

describe.each(FINAL)('%s after a lost attempt', (reason, info) => {
  const outcome = DECIDED.includes(reason) ? 'NOT_APPLIED' : 'UNKNOWN';

  test('by the pipeline', async () => {
    const { clock, transport, kv } = await setUp();
    const call = watch(kv.put('a', '1'));
    await clock.endTurn();
    transport.stream.break();
    await clock.pass(100);
    transport.stream.refuse({ code: info.code, reason, outcome: 1 });
    await clock.endTurn();
    expect(call.error).toMatchObject({ reason, outcome });
  });

  test.each([true, false])('by the unary fallback, inside an answer: %s', async (inner) => {
    const parts = await setUp();
    await withoutPipeline(parts);
    script(parts.transport, [lostAnswer(), refusal(reason)], inner);
    const call = watch(parts.kv.put('a', '1'));
    await parts.clock.pass(500);
    expect(call.error).toMatchObject({ reason, outcome });
  });

  test('by transact', async () => {
    const { clock, transport, kv } = await setUp();
    script(transport, [lostAnswer(), refusal(reason)]);
    const call = watch(kv.transact(transaction));
    await clock.pass(500);
    expect(call.error).toMatchObject({ reason, outcome });
  });
});

test('the unary fallback repeats what an answer refuses as safe, with one sequence', async () => {
  const parts = await setUp();
  await withoutPipeline(parts);
  const seen = script(
    parts.transport,
    [refusal('OVERLOADED'), lostAnswer(), refusal('SHUTTING_DOWN'), 'applied'],
    true,
  );
  const call = watch(parts.kv.put('a', '1'));
  await parts.clock.pass(2_000);
  expect(call.value?.version).toBe(1n);
  expect(seen).toEqual(Array.from({ length: 4 }, () => ({ sequence: 1n, open: true })));
});

test('the unary fallback: a safe refusal at the end of the time does not hide a lost attempt', async () => {
  const parts = await setUp();
  await withoutPipeline(parts);
  const overloaded = Array.from({ length: 20 }, () => refusal('OVERLOADED'));
  script(parts.transport, [lostAnswer(), ...overloaded], true);
  const call = watch(parts.kv.put('a', '1', { timeout: 300 }));
  await parts.clock.pass(400);
  expect(call.error?.outcome).toBe('UNKNOWN');
});

test('the unary fallback: an answer without a result leaves the outcome unknown', async () => {
  const parts = await setUp();
  await withoutPipeline(parts);
  parts.transport.onUnary = () => Promise.resolve(create(BatchWriteResponseSchema, {}));
  const call = watch(parts.kv.put('a', '1'));
  await parts.clock.pass(100);
  expect(call.error).toMatchObject({ reason: 'INTERNAL', outcome: 'UNKNOWN' });
});

test('an attempt lost by a pipeline is not forgotten by the unary fallback', async () => {
  const { clock, transport, kv } = await setUp();
  const call = watch(kv.put('a', '1'));
  await clock.endTurn();
  transport.stream.break();
  script(transport, [refusal('DISK_LOW')], true);
  await clock.pass(100);
  transport.stream.events.onEnd(new HoldfastError({ reason: 'UNIMPLEMENTED', message: 'no such method' }));
  await clock.pass(100);
  expect(call.error).toMatchObject({ reason: 'DISK_LOW', outcome: 'UNKNOWN' });
});

describe('a client that the node has forgotten opens again', () => {
  test('by transact', async () => {
    const parts = await setUp();
    await warmUp(parts);
    const seen = script(parts.transport, ['applied', refusal('CLIENT_EXPIRED'), 'applied', 'applied']);
    for (let i = 0; i < 3; i += 1) {
      const call = watch(parts.kv.transact(transaction));
      await parts.clock.pass(100);
      expect(call.value?.succeeded).toBe(true);
    }
    expect(seen).toEqual([
      { sequence: 3n, open: false },
      { sequence: 4n, open: false },
      { sequence: 4n, open: true },
      { sequence: 5n, open: true }, // What was known of the partitions has been dropped.
    ]);
  });

  test('by the unary fallback', async () => {
    const parts = await setUp();
    await withoutPipeline(parts);
    const seen = script(parts.transport, ['applied', 'applied', refusal('CLIENT_EXPIRED'), 'applied'], true);
    for (let i = 0; i < 3; i += 1) {
      const call = watch(parts.kv.put('a', '1'));
      await parts.clock.pass(100);
      expect(call.value?.version).toBe(1n);
    }
    expect(seen.map(({ open }) => open)).toEqual([true, false, false, true]);
  });

  test('but not a write of which an attempt was lost; only the next one', async () => {
    const parts = await setUp();
    await warmUp(parts);
    const seen = script(parts.transport, [lostAnswer(), refusal('CLIENT_EXPIRED'), 'applied']);
    const first = watch(parts.kv.transact(transaction));
    await parts.clock.pass(500);
    expect(first.error).toMatchObject({ reason: 'CLIENT_EXPIRED', outcome: 'UNKNOWN' });
    const next = watch(parts.kv.transact(transaction));
    await parts.clock.pass(500);
    expect(next.value?.succeeded).toBe(true);
    expect(seen.map(({ open }) => open)).toEqual([false, false, true]);
  });
});
