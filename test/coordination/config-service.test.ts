/** What the service of the configuration answers and refuses, on a node's engine. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  CallSchema,
  Comparator,
  BatchRequestSchema,
  CompactRequestSchema,
  ConfigService,
  DeleteRequestSchema,
  DescribeRequestSchema,
  GetRequestSchema,
  ListRequestSchema,
  PutRequestSchema,
  SortBy,
  TransactRequestSchema,
  type KeySelectionSchema,
  type OperationSchema,
  type TransactionSchema,
} from '@holdfast/proto/config/v1/config';
import { Outcome } from '@holdfast/proto/error/v1/error';
import { beforeEach, describe, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { configService } from '../../node/services/config-service.ts';
import type { CallContext, Handlers } from '../../node/services/handler.ts';
import { SimulatedNode, type NodeSettings } from '../simulation/simulated-node.ts';
import { openAccess } from '../../node/services/access.ts';

type Service = Handlers<typeof ConfigService>;
type Selection = MessageInitShape<typeof KeySelectionSchema>;
type Operations = MessageInitShape<typeof OperationSchema>[];

let node: SimulatedNode;
let service: Service;
let signal: AbortSignal;

async function begin(settings: NodeSettings = {}): Promise<void> {
  node = new SimulatedNode('configuration', settings);
  signal = new AbortController().signal;
  const { configuration } = await node.run(node.start());
  const stopping = new AbortController().signal;
  const options = { configuration, clock: node.clock, stopping, observe: () => undefined };
  service = configService({
    ...options,
    watch: () => undefined,
    leased: (lease, use) => ({ use, lease, spans: () => [] }),
  }).handlers as Service;
}

beforeEach(() => begin());

function context(): CallContext {
  return {
    deadlineMs: node.clock.monotonicMs() + 20_000,
    isRouted: false,
    signal,
    principal: 'test',
    access: openAccess(),
    grant: openAccess(),
    peer: () => '',
    requestId: '',
    traceparent: undefined,
    budget: {
      tryTake: () => true,
      give: () => undefined,
      refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full' }),
    },
  };
}

const bytes = (text: string) => Buffer.from(text, 'latin1') as Uint8Array<ArrayBuffer>;
const oneKey = (key: string): Selection => ({ selection: { case: 'key', value: bytes(key) } });
const prefix = (text: string): Selection => ({ selection: { case: 'prefix', value: bytes(text) } });
const range = (start: string, end: string | undefined): Selection => ({
  selection: { case: 'range', value: { start: bytes(start), ...(end !== undefined && { end: bytes(end) }) } },
});

type PutInit = Omit<MessageInitShape<typeof PutRequestSchema>, 'key' | 'value' | '$typeName'>;

const putInit = (key: string, value: string, more: PutInit = {}) => ({
  key: bytes(key),
  value: bytes(value),
  ...more,
});
const put = (key: string, value: string, more: PutInit = {}) =>
  service.put(context(), create(PutRequestSchema, putInit(key, value, more)));
const get = (key: string, revision = 0n) =>
  service.get(context(), create(GetRequestSchema, { key: bytes(key), options: { revision } }));
const list = (init: MessageInitShape<typeof ListRequestSchema>) =>
  service.list(context(), create(ListRequestSchema, init));
const remove = (init: MessageInitShape<typeof DeleteRequestSchema>) =>
  service.delete(context(), create(DeleteRequestSchema, init));
const transact = (transaction: MessageInitShape<typeof TransactionSchema>) =>
  service.transact(context(), create(TransactRequestSchema, { transaction }));
const compact = (revision: number) =>
  service.compact(context(), create(CompactRequestSchema, { revision: BigInt(revision) }));
const status = () => service.describe(context(), create(DescribeRequestSchema));

const run = <T>(work: Promise<T>) => node.run(work);
const text = (value: Uint8Array | undefined) =>
  value === undefined ? undefined : Buffer.from(value).toString('latin1');
const keysOf = (entries: readonly { readonly key: Uint8Array }[]) => entries.map(({ key }) => text(key));

/** What a call is refused with; it has changed nothing. */
async function refusal(call: () => Promise<unknown>): Promise<HoldfastError> {
  const before = node.engine!.coordination.revision;
  const error: unknown = await run(
    Promise.resolve()
      .then(call)
      .then(
        () => undefined,
        (caught: unknown) => caught,
      ),
  );
  expect(error).toBeInstanceOf(HoldfastError);
  expect(node.engine!.coordination.revision).toBe(before);
  return error as HoldfastError;
}

const putOf = (key: string, value = ''): Operations[number] => ({
  operation: { case: 'put', value: putInit(key, value) },
});
const deleteOf = (selection: Selection): Operations[number] => ({
  operation: { case: 'delete', value: { selection } },
});
const nested = (transaction: MessageInitShape<typeof TransactionSchema>): Operations[number] => ({
  operation: { case: 'transaction', value: transaction },
});

describe('keys', () => {
  test('are written, read now and as they were, and deleted', async () => {
    const first = await run(put('a', 'one'));
    const second = await run(put('a', 'two', { returnPrevious: true }));
    expect(second.revision).toBe(first.revision + 1n);
    expect(second.previous).toMatchObject({ version: 1n, modRevision: first.revision });
    const { entry } = await run(get('a'));
    expect(entry).toMatchObject({
      version: 2n,
      createRevision: first.revision,
      modRevision: second.revision,
      lease: 0n,
    });
    expect(text((await run(get('a', first.revision))).entry?.value)).toBe('one');
    const deleted = await run(remove({ selection: oneKey('a'), returnPrevious: true }));
    expect(deleted).toMatchObject({ deleted: 1n, revision: second.revision + 1n });
    expect(text(deleted.previous[0]?.value)).toBe('two');
    expect((await run(get('a'))).entry).toBe(undefined);
    const again = await run(remove({ selection: oneKey('a') }));
    expect(again).toMatchObject({ deleted: 0n, revision: deleted.revision });
  });

  test('are compared with what the writer has seen', async () => {
    const { revision } = await run(put('a', 'one', { ifModRevision: 0n }));
    expect(await refusal(() => put('a', 'two', { ifModRevision: 0n }))).toMatchObject({
      reason: 'REVISION_MISMATCH',
      field: 'if_mod_revision',
      outcome: 'NOT_APPLIED',
      current: { version: revision },
    });
    await run(put('a', 'two', { ifModRevision: revision }));
    expect(await refusal(() => remove({ selection: oneKey('a'), ifModRevision: revision }))).toMatchObject({
      reason: 'REVISION_MISMATCH',
    });
    expect(await refusal(() => put('b', '', { keepValue: true }))).toMatchObject({ reason: 'KEY_UNKNOWN' });
    await run(put('a', '', { keepValue: true, returnPrevious: true }));
    expect(text((await run(get('a'))).entry?.value)).toBe('two');
  });

  test.each([
    ['an empty key', () => put('', 'x'), 'KEY_EMPTY', 'key'],
    ['a long key', () => put('x'.repeat(4_097), 'x'), 'KEY_TOO_LARGE', 'key'],
    ['a long value', () => put('a', 'x'.repeat(1_048_577)), 'VALUE_TOO_LARGE', 'value'],
    ["a key of the cluster's own", () => put('/holdfast/members', 'x'), 'KEY_RESERVED', 'key'],
    ['a lease that there is not', () => put('a', 'x', { lease: 7n }), 'LEASE_UNKNOWN', 'lease'],
    ['a lease that cannot be', () => put('a', 'x', { lease: 2n ** 63n }), 'INVALID_FIELD', 'lease'],
    ['a value beside keep_value', () => put('a', 'x', { keepValue: true }), 'INVALID_FIELD', 'keep_value'],
    [
      'a lease beside keep_lease',
      () => put('a', 'x', { keepLease: true, lease: 1n }),
      'INVALID_FIELD',
      'keep_lease',
    ],
    [
      'an inverted range',
      () => list({ selection: range('b', 'a') }),
      'RANGE_INVERTED',
      'selection.range.end',
    ],
    ['an empty range', () => list({ selection: range('a', 'a') }), 'RANGE_INVERTED', 'selection.range.end'],
    ['no selection', () => list({}), 'INVALID_FIELD', 'selection'],
    [
      'a deletion of what is the cluster’s own',
      () => remove({ selection: prefix('/holdfast/') }),
      'KEY_RESERVED',
      'selection.prefix',
    ],
    [
      'a condition on a prefix',
      () => remove({ selection: prefix('a'), ifModRevision: 1n }),
      'INVALID_FIELD',
      'if_mod_revision',
    ],
    ['a future revision', () => get('a', 9_999n), 'REVISION_FUTURE', 'revision'],
    [
      'an order that there is not',
      () => list({ selection: prefix(''), sortBy: 9 as SortBy }),
      'INVALID_FIELD',
      'sort_by',
    ],
  ])('%s is refused', async (_what, call, reason, field) => {
    expect(await refusal(call)).toMatchObject({ reason, field });
  });
});

describe('lists', () => {
  beforeEach(async () => {
    for (const key of ['b/2', 'a', 'b/1', 'c', 'b/3']) await run(put(key, `of ${key}`));
    await run(put('b/2', 'again'));
  });

  test('are in order, limited, counted, without values, of prefixes and ranges', async () => {
    const all = await run(list({ selection: prefix('') }));
    expect(keysOf(all.entries)).toEqual(['a', 'b/1', 'b/2', 'b/3', 'c']);
    expect(all).toMatchObject({ more: false, count: 5n });
    const some = await run(list({ selection: prefix('b/'), limit: 2, keysOnly: true }));
    expect(keysOf(some.entries)).toEqual(['b/1', 'b/2']);
    expect([some.more, some.count]).toEqual([true, undefined]);
    expect(some.entries[0]!.value.byteLength).toBe(0);
    const exact = await run(list({ selection: prefix('b/'), limit: 3 }));
    expect(exact).toMatchObject({ more: false, count: 3n });
    const down = await run(list({ selection: range('a\0', 'c'), descending: true }));
    expect(keysOf(down.entries)).toEqual(['b/3', 'b/2', 'b/1']);
    const counted = await run(list({ selection: range('b/2', undefined), countOnly: true }));
    expect(counted).toMatchObject({ entries: [], count: 3n });
  });

  test('are sorted by what they are asked for', async () => {
    const by = async (sortBy: SortBy, descending = false) =>
      keysOf((await run(list({ selection: prefix('b/'), sortBy, descending }))).entries);
    expect(await by(SortBy.CREATE_REVISION)).toEqual(['b/2', 'b/1', 'b/3']);
    expect(await by(SortBy.MOD_REVISION, true)).toEqual(['b/2', 'b/3', 'b/1']);
    expect(await by(SortBy.VERSION, true)).toEqual(['b/2', 'b/3', 'b/1']);
    expect(await by(SortBy.VALUE)).toEqual(['b/2', 'b/1', 'b/3']);
  });

  test('do not show what is the cluster’s own', async () => {
    expect(node.engine!.coordination.get('/holdfast/bootstrapped')).not.toBe(undefined);
    expect(keysOf((await run(list({ selection: range('/', '0') }))).entries)).toEqual([]);
  });

  test('of many keys go on at one revision, whatever is written meanwhile', async () => {
    const writes = Array.from({ length: 5_000 }, (_, at) => ({
      call: { case: 'put' as const, value: putInit(`many/${String(at).padStart(5, '0')}`, 'v') },
    }));
    await run(service.batch(context(), create(BatchRequestSchema, { calls: writes.slice(0, 4_096) })));
    await run(service.batch(context(), create(BatchRequestSchema, { calls: writes.slice(4_096) })));
    const counting = list({ selection: prefix('many/'), countOnly: true });
    const writing = put('many/99999', 'later');
    const down = list({ selection: prefix('many/'), descending: true, keysOnly: true });
    expect((await run(counting)).count).toBe(5_000n);
    await run(writing);
    const { entries } = await run(down);
    expect([text(entries[0]!.key), text(entries.at(-1)!.key)]).toEqual(['many/04999', 'many/00000']);
  });
});

describe('transactions', () => {
  test('compare, then do one of two things at one revision', async () => {
    await run(put('a', 'one'));
    const compare = (value: string) =>
      transact({
        comparisons: [
          {
            selection: oneKey('a'),
            comparator: Comparator.EQUAL,
            target: { case: 'value', value: bytes(value) },
          },
        ],
        thenOperations: [
          putOf('b', 'then'),
          deleteOf(oneKey('a')),
          nested({ thenOperations: [putOf('c', 'x')] }),
        ],
        elseOperations: [{ operation: { case: 'list', value: { selection: prefix('') } } }],
      });
    const other = await run(compare('two'));
    expect(other.succeeded).toBe(false);
    expect(other.results[0]?.result).toMatchObject({ case: 'list', value: { count: 1n } });
    const done = await run(compare('one'));
    expect(done.succeeded).toBe(true);
    const entries = (await run(list({ selection: prefix('') }))).entries;
    expect(entries.map(({ modRevision }) => modRevision)).toEqual([done.revision, done.revision]);
    expect(keysOf(entries)).toEqual(['b', 'c']);
  });

  test.each<[string, MessageInitShape<typeof TransactionSchema>, string, string]>([
    [
      'a key written twice',
      { thenOperations: [putOf('a'), putOf('a')] },
      'DUPLICATE_KEY',
      'transaction.then_operations[1]',
    ],
    [
      'a key written and deleted by a prefix',
      { elseOperations: [putOf('a/1'), deleteOf(prefix('a/'))] },
      'DUPLICATE_KEY',
      'transaction.else_operations[1]',
    ],
    [
      'a key written by a transaction within and after it',
      { thenOperations: [nested({ elseOperations: [putOf('a')] }), putOf('a')] },
      'DUPLICATE_KEY',
      'transaction.then_operations[1]',
    ],
    [
      'too many operations',
      { thenOperations: Array.from({ length: 1_025 }, (_, at) => putOf(`k${at}`)) },
      'BATCH_TOO_LARGE',
      'transaction',
    ],
    [
      'nothing to do',
      { thenOperations: [{ operation: { case: undefined } }] },
      'OPERATION_MISSING',
      'transaction.then_operations[0]',
    ],
    [
      'nothing to compare',
      { comparisons: [{ selection: oneKey('a') }] },
      'COMPARISON_MISSING',
      'transaction.comparisons[0]',
    ],
    [
      'an empty key within',
      { thenOperations: [nested({ thenOperations: [putOf('')] })] },
      'KEY_EMPTY',
      'transaction.then_operations[0].transaction.then_operations[0].put.key',
    ],
  ])('%s is refused', async (_what, transaction, reason, field) => {
    expect(await refusal(() => transact(transaction))).toMatchObject({
      reason,
      field,
      outcome: 'NOT_APPLIED',
    });
  });

  test('the two ways of one transaction may write the same key', async () => {
    const way = nested({ thenOperations: [putOf('a', '1')], elseOperations: [putOf('a', '2')] });
    expect((await run(transact({ thenOperations: [way] }))).succeeded).toBe(true);
  });

  test('too deep is refused', async () => {
    let transaction: MessageInitShape<typeof TransactionSchema> = { thenOperations: [putOf('a')] };
    for (let depth = 1; depth < 9; depth++) transaction = { thenOperations: [nested(transaction)] };
    expect(await refusal(() => transact(transaction))).toMatchObject({ reason: 'TRANSACTION_TOO_DEEP' });
  });
});

describe('batches', () => {
  test('give each call a result of its own', async () => {
    const calls: MessageInitShape<typeof CallSchema>[] = [
      { call: { case: 'put', value: putInit('a', 'one') } },
      { call: { case: 'put', value: putInit('', 'one') } },
      { call: { case: 'delete', value: { selection: oneKey('b') } } },
      { call: { case: 'transact', value: { transaction: { thenOperations: [putOf('c', 'x')] } } } },
      { call: { case: 'get', value: { key: bytes('nothing') } } },
      { call: { case: undefined } },
    ];
    const { results } = await run(service.batch(context(), create(BatchRequestSchema, { calls })));
    expect(results.map(({ result }) => result.case)).toEqual([
      'put',
      'error',
      'delete',
      'transact',
      'get',
      'error',
    ]);
    expect(results[1]!.result.value).toMatchObject({ reason: 'KEY_EMPTY' });
    expect(results[5]!.result.value).toMatchObject({ reason: 'OPERATION_MISSING' });
  });

  test('are bounded in what they answer', async () => {
    for (let at = 0; at < 20; at++) await run(put(`large/${at}`, 'x'.repeat(1_048_576)));
    const calls = Array.from({ length: 20 }, (_, at) => ({
      call: { case: 'get' as const, value: { key: bytes(`large/${at}`) } },
    }));
    const { results } = await run(service.batch(context(), create(BatchRequestSchema, { calls })));
    const cases = results.map(({ result }) => result.case);
    expect(cases.filter((name) => name === 'get').length).toBe(14);
    expect(results.find(({ result }) => result.case === 'error')!.result.value).toMatchObject({
      reason: 'ANSWER_TOO_LARGE',
    });
    expect(await refusal(() => service.batch(context(), create(BatchRequestSchema)))).toMatchObject({
      reason: 'BATCH_EMPTY',
    });
    const listed = await run(list({ selection: prefix('large/') }));
    expect([listed.more, listed.count]).toEqual([true, undefined]);
    expect(listed.entries.length).toBe(14);
  });

  test('are bounded in what their writes answer, before anything is done', async () => {
    for (let at = 0; at < 20; at++) await run(put(`large/${at}`, 'x'.repeat(1_048_576)));
    const reading = (at: number): Operations[number] => ({
      operation: { case: 'list', value: { selection: oneKey(`large/${at}`) } },
    });
    const calls = Array.from({ length: 20 }, (_, at) => ({
      call:
        at === 19
          ? { case: 'put' as const, value: putInit('large/19', 'small', { returnPrevious: true }) }
          : {
              case: 'transact' as const,
              value: { transaction: { thenOperations: [reading(at), putOf(`seen/${at}`)] } },
            },
    }));
    const { results } = await run(service.batch(context(), create(BatchRequestSchema, { calls })));
    expect(results.map(({ result }) => result.case)).toEqual(
      Array.from({ length: 20 }, (_, at) => (at < 14 ? 'transact' : 'error')),
    );
    for (const { result } of results.slice(14))
      expect(result.value).toMatchObject({ reason: 'ANSWER_TOO_LARGE', outcome: Outcome.NOT_APPLIED });
    expect((await run(list({ selection: prefix('seen/'), countOnly: true }))).count).toBe(14n);
    expect((await run(get('large/19'))).entry!.value).toHaveLength(1_048_576);
  });

  test('hold what they answer against the budget of the caller, until it is known', async () => {
    for (let at = 0; at < 3; at++) await run(put(`large/${at}`, 'x'.repeat(1_000_000)));
    let held = 0;
    const budget: CallContext['budget'] = {
      tryTake: (taken) => {
        if (held + taken > 2_500_000) return false;
        held += taken;
        return true;
      },
      give: (given) => void (held -= given),
      refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full' }),
    };
    const calls = [0, 1, 2].map((at) => ({
      call: { case: 'put' as const, value: putInit(`large/${at}`, '', { returnPrevious: true }) },
    }));
    const { results } = await run(
      service.batch({ ...context(), budget }, create(BatchRequestSchema, { calls })),
    );
    expect(results.map(({ result }) => result.case)).toEqual(['put', 'put', 'error']);
    expect(results[2]!.result.value).toMatchObject({ reason: 'OVERLOADED' });
    expect(held).toBe(0);
  });

  test('a write that is sent again is applied once', async () => {
    const sequence = { clientId: Buffer.alloc(16, 7), sequence: 1n, ackedBelow: 1n, open: true };
    const first = await run(put('a', 'one', { sequence }));
    await run(put('a', 'two'));
    const again = await run(put('a', 'one', { sequence }));
    expect(again.revision).toBe(first.revision);
    expect(text((await run(get('a'))).entry?.value)).toBe('two');
  });
});

describe('history', () => {
  test('is forgotten before a revision, and only there', async () => {
    for (let at = 0; at < 10; at++) await run(put('a', String(at)));
    const now = node.engine!.coordination.revision;
    expect(await refusal(() => compact(now + 1))).toMatchObject({ reason: 'REVISION_FUTURE' });
    expect((await run(compact(now - 2))).revision).toBe(BigInt(now));
    expect(await refusal(() => compact(now - 2))).toMatchObject({ reason: 'REVISION_COMPACTED' });
    expect(await refusal(() => get('a', BigInt(now - 3)))).toMatchObject({
      reason: 'REVISION_COMPACTED',
      limit: String(now - 2),
    });
    expect(text((await run(get('a', BigInt(now - 2)))).entry?.value)).toBe('7');
  });

  test('is removed by and by, so that there is room again', async () => {
    for (let at = 0; at < 100; at++) await run(put('a', 'x'.repeat(1_000)));
    const before = (await run(status())).bytes;
    await run(compact(node.engine!.coordination.revision));
    await run(node.world.runFor(3_000));
    const after = await run(status());
    expect(before).toBeGreaterThan(100_000n);
    expect(after).toMatchObject({ keys: 1n });
    expect(after.bytes).toBeLessThan(3_000n);
  });

  test('longer than is wanted is forgotten by itself', async () => {
    await begin({ history: { ageMs: 0, revisions: 50 } });
    for (let at = 0; at < 200; at++) await run(put('a', String(at)));
    await run(node.world.runFor(3_000));
    const { revision, compactRevision } = await run(status());
    expect(compactRevision).toBe(revision - 50n);
  });

  test('older than is wanted is forgotten by itself', async () => {
    await begin({ history: { ageMs: 60_000, revisions: 0 } });
    await run(put('a', 'one'));
    const { revision } = await run(put('a', 'two'));
    await run(node.world.runFor(50_000));
    expect((await run(status())).compactRevision).toBe(0n);
    await run(put('a', 'three'));
    await run(node.world.runFor(15_000));
    expect((await run(status())).compactRevision).toBe(revision);
    expect(text((await run(get('a', revision))).entry?.value)).toBe('two');
  });
});

test('above the quota everything but what adds goes on, and writes come back by themselves', async () => {
  await begin({ quotaBytes: 100_000, history: { ageMs: 60_000, revisions: 0 } });
  let last = 0n;
  for (let at = 0; at < 80; at++) ({ revision: last } = await run(put(`k${at % 3}`, 'x'.repeat(1_000))));
  expect(await refusal(() => put('k1', 'x'.repeat(20_000)))).toMatchObject({
    reason: 'QUOTA_REACHED',
    limit: '100000',
    outcome: 'NOT_APPLIED',
  });
  expect((await run(get('k1'))).entry).not.toBe(undefined);
  expect((await run(remove({ selection: oneKey('k2') }))).deleted).toBe(1n);
  await run(node.world.runFor(70_000));
  expect((await run(put('k1', 'x'.repeat(20_000)))).revision).toBeGreaterThan(last);
  expect((await run(status())).bytes).toBeLessThan(30_000n);
});
