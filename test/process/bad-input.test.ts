/**
 * Requests that make no sense, over gRPC, a pipeline and HTTP: each is refused with a clear
 * error, and afterwards the data is what it was.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { HoldfastError } from '@holdfast/client';
import { KeyspaceMode, KeyspaceService } from '@holdfast/proto/kv/v1/keyspace';
import { Comparator, Consistency, KvService, type MutationSchema } from '@holdfast/proto/kv/v1/kv';
import { GrpcCaller } from './grpc-caller.ts';
import { RealNode } from './real-node.ts';

const KiB = 1_024;
const MiB = KiB * KiB;
const MAX_INT64 = 2n ** 63n - 1n;

let node: RealNode;
let grpc: GrpcCaller;
let before: unknown;
let refusals = 0;

beforeAll(async () => {
  node = await RealNode.start();
  grpc = new GrpcCaller(node.grpc);
  await grpc.call(KeyspaceService.method.createKeyspace, { name: 'scratch' });
  for (const [key, value] of [
    ['text', 'abc'],
    ['full', String(MAX_INT64)],
    ['a', '1'],
    ['b', '2'],
  ] as const)
    await put(key, value);
});
beforeEach(async () => (before = await state()));
afterEach(async () => expect(await state(), 'the data has changed').toEqual(before));
afterAll(async () => {
  grpc?.[Symbol.dispose]();
  await node?.[Symbol.asyncDispose]();
  console.log(`${refusals} refusals of bad requests checked, over gRPC, pipelines and HTTP`);
});

/** Everything there is, but for the keyspace that is made for what is accepted. */
async function state(): Promise<unknown> {
  const { keyspaces } = await grpc.call(KeyspaceService.method.listKeyspaces, {});
  const parts = await grpc.stream(KvService.method.scan, { keyspace: 'default' });
  const entries = parts.flatMap((part) => part.entries);
  return { names: keyspaces.map(({ name, id }) => `${name} ${id}`), entries };
}

function put(key: string, value: string, keyspace = 'default') {
  return grpc.call(KvService.method.put, { keyspace, key: utf8(key), value: utf8(value) });
}

function utf8(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(text));
}

interface Expected {
  readonly reason: string;
  readonly code?: string;
  readonly field?: string;
  readonly actual?: string;
  readonly limit?: string;
}

/** The message says what is wrong, what became of the data, and ends with the reason. */
function expectRefusal(error: HoldfastError, expected: Expected, isRead = false): void {
  refusals++;
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', ...expected });
  expect(error.message).toMatch(new RegExp(`Nothing was \\w+.*\\[${expected.reason}\\]$`, 's'));
  expect(error.outcome).toBeOneOf(isRead ? ['NOT_APPLIED', undefined] : ['NOT_APPLIED']);
  const shown = [expected.actual, expected.limit].filter((fact) => /^[1-9]\d*$/.test(fact ?? ''));
  for (const fact of shown) expect(error.message.replaceAll(',', '')).toContain(fact);
}

async function expectHttp(
  status: number,
  expected: Partial<Expected>,
  path: string,
  init: RequestInit = {},
): Promise<void> {
  refusals++;
  const response = await fetch(`${node.url}/v1/${path}`, init);
  const text = await response.text();
  expect(response.status, text).toBe(status);
  const { error } = JSON.parse(text) as { error: HoldfastError };
  expect(error).toMatchObject(expected);
  expect(error.message).toMatch(/Nothing was \w+/);
}

/** A mutation that is refused in each of the ways to send one. */
async function expectMutationRefused(
  mutation: MessageInitShape<typeof MutationSchema>,
  expected: Expected,
): Promise<void> {
  const keyspace = 'default';
  expectRefusal(
    await grpc.refusal(KvService.method.batchWrite, { keyspace, mutations: [mutation] }),
    expected,
  );
  const pipelined = { id: 1, operation: { case: 'mutation' as const, value: mutation } };
  const refusal = await grpc.pipelineRefusal({ keyspace, calls: [pipelined] });
  // A pipeline reads numbers beyond 2^53 only well enough to refuse them.
  const isExact = Number.isSafeInteger(Number(expected.actual ?? 0));
  expectRefusal(refusal, isExact ? expected : without(expected, 'actual'));
}

function without(expected: Expected, fact: keyof Expected): Expected {
  return Object.fromEntries(
    Object.entries(expected).filter(([name]) => name !== fact),
  ) as unknown as Expected;
}

function putOf(key: string, value: Uint8Array<ArrayBuffer>, ttlMs?: bigint) {
  const fields = ttlMs === undefined ? { value } : { value, ttlMs };
  return { key: utf8(key), operation: { case: 'put' as const, value: fields } };
}

describe('keys and values', () => {
  it('an empty key', async () => {
    const expected = { reason: 'KEY_EMPTY', field: 'key', actual: '0', limit: '1..4096' };
    const value = utf8('x');
    await expectMutationRefused(putOf('', value), expected);
    const key = utf8('');
    expectRefusal(await grpc.refusal(KvService.method.put, { keyspace: 'default', key, value }), expected);
    expectRefusal(await grpc.refusal(KvService.method.get, { keyspace: 'default', key }), expected, true);
    expectRefusal(await grpc.refusal(KvService.method.delete, { keyspace: 'default', key }), expected);
    await expectHttp(400, { reason: 'KEY_EMPTY' }, 'kv/default/', { method: 'PUT', body: 'x' });
  });

  it('a key over the limit by a byte', async () => {
    const expected = { reason: 'KEY_TOO_LARGE', field: 'key', actual: '4097', limit: '4096' };
    const long = 'k'.repeat(4_097);
    await expectMutationRefused(putOf(long, utf8('x')), expected);
    const request = { keyspace: 'default', key: utf8(long), value: utf8('x') };
    expectRefusal(await grpc.refusal(KvService.method.create, request), expected);
    await expectHttp(400, expected, `kv/default/${long}`, { method: 'PUT', body: 'x' });
    await put('k'.repeat(4_096), 'x', 'scratch');
    const path = `${node.url}/v1/kv/scratch/${'k'.repeat(4_096)}`;
    expect(await (await fetch(path)).text()).toBe('x');
  });

  it('a value over the limit by a byte', async () => {
    const expected = {
      reason: 'VALUE_TOO_LARGE',
      field: 'value',
      actual: String(MiB + 1),
      limit: String(MiB),
    };
    const value = new Uint8Array(MiB + 1);
    await expectMutationRefused(putOf('a', value), expected);
    expectRefusal(
      await grpc.refusal(KvService.method.put, { keyspace: 'default', key: utf8('a'), value }),
      expected,
    );
    await expectHttp(400, expected, 'kv/default/a', { method: 'PUT', body: value });
    const fitting = { keyspace: 'scratch', key: utf8('large'), value: value.subarray(1) };
    await grpc.call(KvService.method.put, fitting);
    const url = `${node.url}/v1/kv/scratch/large`;
    expect((await (await fetch(url)).arrayBuffer()).byteLength).toBe(MiB);
    expect((await fetch(url, { method: 'PUT', body: fitting.value })).status).toBe(200);
  });

  it.each([
    ['negative', -1n],
    ['zero', 0n],
    ['a millisecond beyond ten years', 315_360_000_001n],
    ['the greatest number there is', MAX_INT64],
    ['the least', -(2n ** 63n)],
  ])('a time to live that is %s', async (_, ttlMs) => {
    const expected = {
      reason: 'TTL_OUT_OF_RANGE',
      field: 'ttl_ms',
      actual: String(ttlMs),
      limit: '1..315360000000',
    };
    await expectMutationRefused(putOf('a', utf8('x'), ttlMs), expected);
    const request = { keyspace: 'default', key: utf8('a'), ttlMs };
    expectRefusal(await grpc.refusal(KvService.method.increment, request), expected);
    const status = { method: 'PUT', body: 'x' };
    await expectHttp(400, {}, `kv/default/a?ttl=${ttlMs}ms`, status);
  });
});

describe('batches', () => {
  const mutations = (count: number) => Array.from({ length: count }, (_, i) => putOf(`${i}`, utf8('x')));

  it('an operation too many', async () => {
    const expected = { reason: 'BATCH_TOO_LARGE', actual: '4097', limit: '4096' };
    const { batchWrite, batchGet, transact } = KvService.method;
    const keyspace = 'default';
    const keys = Array.from({ length: 4_097 }, () => utf8('a'));
    const thenOperations = keys.map((value) => ({ operation: { case: 'get' as const, value } }));
    expectRefusal(await grpc.refusal(batchWrite, { keyspace, mutations: mutations(4_097) }), expected);
    expectRefusal(await grpc.refusal(batchGet, { keyspace, keys }), expected, true);
    expectRefusal(await grpc.refusal(transact, { keyspace, thenOperations }), expected);
    const calls = mutations(4_097).map((value, id) => ({
      id,
      operation: { case: 'mutation' as const, value },
    }));
    const answers = await grpc.pipeline({ keyspace, calls });
    expect(new Set(answers.map(({ id }) => id)).size).toBe(4_097);
    for (const { result } of answers)
      expect(result).toMatchObject({ case: 'error', value: { reason: 'BATCH_TOO_LARGE', outcome: 1 } });
    const fitting = { keyspace: 'scratch', mutations: mutations(4_096) };
    const { results } = await grpc.call(batchWrite, fitting);
    expect(results.filter(({ result }) => result.case === 'applied')).toHaveLength(4_096);
  });

  it('a byte too many', async () => {
    const expected = { reason: 'BATCH_TOO_LARGE', actual: String(8 * MiB + 1), limit: String(8 * MiB) };
    const overhead = 17; // of a key of one byte
    const parts = (bytes: number) =>
      Array.from({ length: 9 }, (_, i) =>
        putOf(
          `${i}`,
          new Uint8Array((i < 8 ? MiB - 2 * overhead : bytes - 8 * MiB + 8 * overhead) - overhead),
        ),
      );
    const total = 8 * MiB + 8 * overhead;
    const { batchWrite } = KvService.method;
    expectRefusal(
      await grpc.refusal(batchWrite, { keyspace: 'default', mutations: parts(total + 1) }),
      expected,
    );
    const { results } = await grpc.call(batchWrite, { keyspace: 'scratch', mutations: parts(total) });
    expect(results.filter(({ result }) => result.case === 'applied')).toHaveLength(9);
  });

  it('an empty one', async () => {
    const expected = { reason: 'BATCH_EMPTY', actual: '0' };
    const { batchWrite, batchGet, transact } = KvService.method;
    expectRefusal(await grpc.refusal(batchWrite, { keyspace: 'default' }), expected);
    expectRefusal(await grpc.refusal(batchGet, { keyspace: 'default' }), expected, true);
    expectRefusal(await grpc.refusal(transact, { keyspace: 'default' }), expected);
    expect(await grpc.pipeline({ keyspace: 'default' })).toEqual([]);
  });

  it('one bad operation among good ones', async () => {
    const mixed = [putOf('a', utf8('changed')), putOf('', utf8('x'))];
    const error = await grpc.refusal(KvService.method.batchWrite, { keyspace: 'default', mutations: mixed });
    expectRefusal(error, { reason: 'KEY_EMPTY' });
  });

  it('a mutation that says not what to do, and a key written twice in a transaction', async () => {
    await expectMutationRefused({ key: utf8('a') }, { reason: 'OPERATION_MISSING' });
    const twice = [putOf('a', utf8('x')), putOf('a', utf8('y'))];
    const thenOperations = twice.map((value) => ({ operation: { case: 'mutation' as const, value } }));
    const request = { keyspace: 'default', thenOperations };
    expectRefusal(await grpc.refusal(KvService.method.transact, request), { reason: 'DUPLICATE_KEY' });
  });
});

describe('scans', () => {
  it('an end before the start', async () => {
    const range = { start: utf8('b'), end: utf8('a') };
    const selection = { case: 'range' as const, value: range };
    const expected = { reason: 'RANGE_INVERTED', field: 'range.end' };
    expectRefusal(
      await grpc.refusal(KvService.method.scan, { keyspace: 'default', selection }),
      expected,
      true,
    );
    await expectHttp(400, expected, 'kv/default?start=b&end=a');
  });

  it.each([
    ['noise', Uint8Array.of(0xff, 0x00, 0x13)],
    ['of another scan', Uint8Array.of(1, 0x7a)],
    ['of an unknown format', Uint8Array.of(2, 0x61)],
  ])('a continuation that is %s', async (_, continuation) => {
    const selection = { case: 'range' as const, value: { start: utf8('a'), end: utf8('b') } };
    const request = { keyspace: 'default', selection, continuation };
    const expected = { reason: 'CONTINUATION_INVALID', field: 'continuation' };
    expectRefusal(await grpc.refusal(KvService.method.scan, request), expected, true);
    const text = Buffer.from(continuation).toString('base64url');
    await expectHttp(400, expected, `kv/default?start=a&end=b&continuation=${text}`);
  });
});

describe('keyspaces', () => {
  it('one that is not known', async () => {
    const expected = { reason: 'KEYSPACE_UNKNOWN', code: 'NOT_FOUND', field: 'keyspace' };
    const request = { keyspace: 'nowhere', key: utf8('a') };
    const { method } = KvService;
    expectRefusal(await grpc.refusal(method.get, request), expected, true);
    expectRefusal(await grpc.refusal(method.put, request), expected);
    expectRefusal(await grpc.refusal(method.scan, { keyspace: 'nowhere' }), expected, true);
    const calls = [{ id: 1, operation: { case: 'mutation' as const, value: putOf('a', utf8('x')) } }];
    expectRefusal(await grpc.pipelineRefusal({ keyspace: 'nowhere', calls }), expected);
    const { dropKeyspace } = KeyspaceService.method;
    expectRefusal(await grpc.refusal(dropKeyspace, { name: 'nowhere' }), { ...expected, field: 'name' });
    await expectHttp(404, { reason: 'KEYSPACE_UNKNOWN' }, 'kv/nowhere/a', { method: 'PUT', body: 'x' });
  });

  it.each([
    ['upper case', 'Default'],
    ['with a slash', 'a/b'],
    ['empty', ''],
    ['of 65 characters', 'x'.repeat(65)],
    ['with a zero byte', 'a\0b'],
  ])('a name that is %s', async (_, name) => {
    const expected = { reason: 'KEYSPACE_NAME_INVALID', actual: name, limit: '[a-z0-9._-]{1,64}' };
    const created = await grpc.refusal(KeyspaceService.method.createKeyspace, { name });
    expectRefusal(created, name === '' ? without(expected, 'actual') : expected);
    const { put: putMethod } = KvService.method;
    const written = await grpc.refusal(putMethod, { keyspace: name, key: utf8('a'), value: utf8('x') });
    expect(written.reason).toBeOneOf(['KEYSPACE_NAME_INVALID', 'KEYSPACE_UNKNOWN']);
    expect([written.outcome, written.field]).toEqual(['NOT_APPLIED', 'keyspace']);
    await expectHttp(
      400,
      { reason: 'KEYSPACE_NAME_INVALID' },
      `keyspaces/${encodeURIComponent(name) || '%20'}`,
      {
        method: 'PUT',
      },
    );
  });

  it('one that exists, and one with settings out of range', async () => {
    const { createKeyspace } = KeyspaceService.method;
    const exists = { reason: 'KEYSPACE_EXISTS', code: 'ALREADY_EXISTS' };
    expectRefusal(await grpc.refusal(createKeyspace, { name: 'default' }), exists);
    for (const [field, settings] of [
      ['partitions', { partitions: 3 }],
      ['partitions', { partitions: 2_048 }],
      ['max_key_bytes', { maxKeyBytes: 0 }],
      ['max_key_bytes', { maxKeyBytes: 65_537 }],
      ['max_value_bytes', { maxValueBytes: 4 * MiB + 1 }],
    ] as const) {
      const error = await grpc.refusal(createKeyspace, { name: 'new', ...settings });
      expectRefusal(error, { reason: 'INVALID_FIELD', field, actual: String(Object.values(settings)[0]) });
    }
  });
});

describe('counters and comparisons', () => {
  const increment = (key: string, delta?: bigint) => ({
    key: utf8(key),
    operation: { case: 'increment' as const, value: delta === undefined ? {} : { delta } },
  });
  /** Refused when applied, so a batch has it as the result of the one operation. */
  async function expectApplyRefused(
    mutation: MessageInitShape<typeof MutationSchema>,
    expected: Expected,
  ): Promise<void> {
    const calls = [{ id: 1, operation: { case: 'mutation' as const, value: mutation } }];
    expectRefusal(await grpc.pipelineRefusal({ keyspace: 'default', calls }), expected);
    const request = { keyspace: 'default', mutations: [mutation] };
    const { results } = await grpc.call(KvService.method.batchWrite, request);
    expect(results[0]!.result).toMatchObject({
      case: 'error',
      value: { ...without(expected, 'code'), outcome: 1 },
    });
  }

  it('an increment of what is no number', async () => {
    const expected = { reason: 'NOT_A_COUNTER', code: 'FAILED_PRECONDITION' };
    await expectApplyRefused(increment('text'), expected);
    const request = { keyspace: 'default', key: utf8('text') };
    expectRefusal(await grpc.refusal(KvService.method.increment, request), expected);
    await expectHttp(409, expected, 'kv/default/text?increment=1', { method: 'POST' });
  });

  it('an increment beyond 64 bits', async () => {
    const actual = String(MAX_INT64 + 1n);
    const expected = { reason: 'COUNTER_OVERFLOW', code: 'OUT_OF_RANGE', actual };
    await expectApplyRefused(increment('full', 1n), expected);
    const request = { keyspace: 'default', key: utf8('full'), delta: 1n };
    expectRefusal(await grpc.refusal(KvService.method.increment, request), expected);
    await expectHttp(400, { reason: 'COUNTER_OVERFLOW' }, 'kv/default/full?increment=1', { method: 'POST' });
    const tooMuch = `kv/default/a?increment=${MAX_INT64 + 1n}`;
    await expectHttp(400, { reason: 'INVALID_FIELD', field: 'increment' }, tooMuch, { method: 'POST' });
  });

  it('a compare-and-set without a comparison', async () => {
    const expected = { reason: 'COMPARISON_MISSING', field: 'expected' };
    const value = { value: utf8('x') };
    await expectMutationRefused({ key: utf8('a'), operation: { case: 'compareAndSet', value } }, expected);
    const request = { keyspace: 'default', key: utf8('a'), ...value };
    expectRefusal(await grpc.refusal(KvService.method.compareAndSet, request), expected);
    const zero = { ...request, expected: { case: 'expectedVersion' as const, value: 0n } };
    const error = await grpc.refusal(KvService.method.compareAndSet, zero);
    expectRefusal(error, { reason: 'INVALID_FIELD', field: 'expected_version', actual: '0' });
    const comparisons = [{ key: utf8('a') }];
    const transact = await grpc.refusal(KvService.method.transact, { keyspace: 'default', comparisons });
    expectRefusal(transact, { reason: 'COMPARISON_MISSING', field: 'comparisons.target' });
    const headers = { 'If-Match': '""' };
    const refused = { reason: 'INVALID_FIELD', field: 'If-Match' };
    await expectHttp(400, refused, 'kv/default/a', { method: 'PUT', body: 'x', headers });
  });

  it('numbers that no enum has', async () => {
    const { method } = KvService;
    const options = { consistency: 99 as Consistency };
    const read = { reason: 'INVALID_FIELD', field: 'options.consistency', actual: '99' };
    const key = utf8('a');
    expectRefusal(await grpc.refusal(method.get, { keyspace: 'default', key, options }), read, true);
    expectRefusal(await grpc.refusal(method.scan, { keyspace: 'default', options }), read, true);
    const calls = [{ id: 1, operation: { case: 'get' as const, value: { key, options } } }];
    expectRefusal(await grpc.pipelineRefusal({ keyspace: 'default', calls }), read, true);
    const comparison = { key, comparator: 99 as Comparator, target: { case: 'version' as const, value: 1n } };
    const transact = await grpc.refusal(method.transact, { keyspace: 'default', comparisons: [comparison] });
    expectRefusal(transact, { reason: 'INVALID_FIELD', field: 'comparisons.comparator', actual: '99' });
    const created = { name: 'new', mode: 99 as KeyspaceMode };
    const mode = await grpc.refusal(KeyspaceService.method.createKeyspace, created);
    expectRefusal(mode, { reason: 'INVALID_FIELD', field: 'mode', actual: '99' });
    const quorum = { name: 'new', mode: KeyspaceMode.QUORUM };
    const unserved = await grpc.refusal(KeyspaceService.method.createKeyspace, quorum);
    expectRefusal(unserved, { reason: 'MODE_UNSUPPORTED', code: 'UNIMPLEMENTED', field: 'mode' });
  });
});
