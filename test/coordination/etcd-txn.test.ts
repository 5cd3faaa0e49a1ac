/** Transactions by etcd's API: what etcd guarantees of them, in its words. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  Compare_CompareResult as Result,
  Compare_CompareTarget as Target,
  type CompareSchema,
} from '@holdfast/proto/etcd/rpc';
import { beforeEach, describe, expect, test } from 'vitest';
import { EVERYTHING, EtcdRig, bytes, kv, op, shortKey, text } from './etcd-rig.ts';

const INVALID = 'INVALID_ARGUMENT etcdserver:';
const COMPACTED = 'OUT_OF_RANGE etcdserver: mvcc: required revision has been compacted';
const FUTURE = 'OUT_OF_RANGE etcdserver: mvcc: required revision is a future revision';

let etcd: EtcdRig;

beforeEach(async () => {
  etcd = await EtcdRig.open();
});

type Condition = MessageInitShape<typeof CompareSchema>;

describe('Txn', () => {
  const condition = (
    key: string,
    target: Target,
    result: Result,
    targetUnion: Condition['targetUnion'] & object,
    rangeEnd = '',
  ) => ({ key: bytes(key), rangeEnd: bytes(rangeEnd), target, result, targetUnion });

  test('does all of one branch at one revision, each operation seeing those before it', async () => {
    const first = await etcd.put('a', '1');
    const { header, succeeded, responses } = await etcd.call(kv.txn, {
      compare: [condition('a', Target.VERSION, Result.EQUAL, { case: 'version', value: 1n })],
      success: [
        op.put('b', '2', { prevKv: true }),
        op.range('a', 'c'),
        op.delete('a', '', { prevKv: true }),
        op.txn({ success: [op.put('c', '3'), op.range('a', 'd')] }),
      ],
      failure: [op.put('never')],
    });
    expect([succeeded, header!.revision]).toEqual([true, first + 1n]);
    const [put, range, deleted, nested] = responses.map(({ response }) => response);
    expect(put).toMatchObject({ case: 'responsePut', value: { header: { revision: first + 1n } } });
    expect(range!.value).toMatchObject({ header: { revision: first + 1n, clusterId: 0n }, count: 2n });
    expect(deleted!.value).toMatchObject({ deleted: 1n, prevKvs: [{ key: bytes('a') }] });
    if (nested?.case !== 'responseTxn') throw new Error('no transaction answered');
    expect(nested.value.header).toMatchObject({ revision: 0n, clusterId: 0n });
    const inner = nested.value.responses[1]!.response;
    if (inner.case !== 'responseRange') throw new Error('no range answered');
    expect(inner.value.kvs.map((one) => shortKey(one, first))).toEqual(['b=2 1 1 1', 'c=3 1 1 1']);
    expect(await etcd.values(EVERYTHING, EVERYTHING)).toEqual(['b=2', 'c=3']);
  });

  test('compares as etcd does, also what is not there and what no number can be', async () => {
    await etcd.put('a', '2');
    await etcd.put('b', '2');
    const results = [Result.EQUAL, Result.GREATER, Result.LESS, Result.NOT_EQUAL];
    const table = async (target: Target, values: Condition['targetUnion'][], key: string, rangeEnd = '') => {
      let row = '';
      for (const result of results)
        for (const value of values) {
          const compare = [condition(key, target, result, value!, rangeEnd)];
          row += (await etcd.call(kv.txn, { compare })).succeeded ? '1' : '0';
        }
      return row;
    };
    const numbers = [-1n, 0n, 1n, (1n << 63n) - 1n];
    const kinds = [
      [Target.VERSION, 'version'],
      [Target.CREATE, 'createRevision'],
      [Target.MOD, 'modRevision'],
      [Target.LEASE, 'lease'],
    ] as const;
    for (const [target, name] of kinds) {
      const values = numbers.map((value) => ({ case: name, value }) as Condition['targetUnion']);
      // 1 of version and some of the revisions; a lease is 0.
      const there = {
        [Target.VERSION]: '0010' + '1100' + '0001' + '1101',
        [Target.CREATE]: '0000' + '1110' + '0001' + '1111',
        [Target.MOD]: '0000' + '1110' + '0001' + '1111',
        [Target.LEASE]: '0100' + '1000' + '0011' + '1011',
      }[target];
      const absent = '0100' + '1000' + '0011' + '1011';
      expect([name, await table(target, values, 'a')]).toEqual([name, there]);
      expect([name, await table(target, values, 'a', 'c')]).toEqual([name, there]);
      expect([name, await table(target, values, 'none')]).toEqual([name, absent]);
      expect([name, await table(target, values, 'none', 'nonf')]).toEqual([name, absent]);
    }
    const values = ['', '2', '9'].map((value) => ({ case: 'value' as const, value: bytes(value) }));
    expect(await table(Target.VALUE, values, 'a')).toBe('010' + '100' + '001' + '101');
    expect(await table(Target.VALUE, values, 'a', 'c')).toBe('010' + '100' + '001' + '101');
    for (const rangeEnd of ['', 'nonf'])
      expect(await table(Target.VALUE, values, 'none', rangeEnd)).toBe('0'.repeat(12));
    const unsaid = { key: bytes('none'), target: Target.VERSION, result: Result.EQUAL };
    expect((await etcd.call(kv.txn, { compare: [unsaid] })).succeeded).toBe(true);
  });

  test('refuses to write a key twice on one path', async () => {
    const DUPLICATE = `${INVALID} duplicate key given in txn request`;
    const twice = (...success: ReturnType<typeof op.put>[]) => etcd.told(kv.txn, { success });
    expect(await twice(op.put('k'), op.put('k'))).toBe(DUPLICATE);
    expect(await twice(op.put('k'), op.delete('a', 'z'))).toBe(DUPLICATE);
    expect(await twice(op.delete('k'), op.put('k'))).toBe(DUPLICATE);
    expect(await twice(op.put('k'), op.txn({ failure: [op.put('k')] }))).toBe(DUPLICATE);
    expect(await twice(op.delete('k'), op.delete('a', 'z'))).toBeUndefined();
    expect(await twice(op.txn({ success: [op.put('k')], failure: [op.put('k')] }))).toBeUndefined();
  });

  test('refuses more operations than max_txn_ops, those around it included', async () => {
    const MANY = `${INVALID} too many operations in txn request`;
    const puts = (count: number) => Array.from({ length: count }, (_, at) => op.put(`m/${at}`));
    const compare = (count: number) =>
      Array.from({ length: count }, () =>
        condition('k', Target.VERSION, Result.EQUAL, { case: 'version', value: 0n }),
      );
    expect(
      await etcd.told(kv.txn, { compare: compare(128), success: puts(128), failure: puts(128) }),
    ).toBeUndefined();
    expect(await etcd.told(kv.txn, { success: puts(129) })).toBe(MANY);
    expect(await etcd.told(kv.txn, { failure: puts(129) })).toBe(MANY);
    expect(await etcd.told(kv.txn, { compare: compare(129) })).toBe(MANY);
    expect(await etcd.told(kv.txn, { success: [op.txn({ success: puts(127) })] })).toBeUndefined();
    expect(await etcd.told(kv.txn, { success: [op.txn({ success: puts(128) })] })).toBe(MANY);
    let deep = op.put('deep');
    for (let depth = 0; depth < 9; depth++) deep = op.txn({ success: [deep] });
    expect(await etcd.told(kv.txn, { success: [deep] })).toBe(MANY);
  });

  test('refuses what is too large together', async () => {
    const success = ['a', 'b'].map((key) => op.put(key, 'v'.repeat(800_000)));
    expect(await etcd.told(kv.txn, { success })).toBe(`${INVALID} request is too large`);
  });

  test.each([
    ['an empty operation', { success: [{}] }, `${INVALID} key not found`],
    ['an empty key', { failure: [op.put('')] }, `${INVALID} key is not provided`],
    ['an empty key that is compared', { compare: [{}] }, `${INVALID} key is not provided`],
    [
      'an unknown comparison',
      { compare: [{ key: bytes('k'), result: 9 as Result }] },
      `${INVALID} invalid comparison`,
    ],
  ])('refuses %s', async (_, request, said) => {
    expect(await etcd.told(kv.txn, request)).toBe(said);
  });

  test('does nothing at all when one of its operations cannot be done', async () => {
    const revision = await etcd.put('k', '1');
    const failing: [ReturnType<typeof op.put>, string][] = [
      [op.range('k', '', { revision: revision + 100n }), FUTURE],
      [op.put('l', '', { lease: 77n }), 'NOT_FOUND etcdserver: requested lease not found'],
      [op.put('l', '', { ignoreValue: true }), `${INVALID} key not found`],
    ];
    for (const [one, said] of failing)
      expect(await etcd.told(kv.txn, { success: [op.put('k', '2'), one] })).toBe(said);
    expect(await etcd.values('k', 'm')).toEqual(['k=1']);
    expect(etcd.rig.engine.coordination.revision).toBe(Number(revision));
  });

  test('reads former revisions', async () => {
    const first = await etcd.put('k', '1');
    await etcd.put('k', '2');
    const past = op.range('k', '', { revision: first });
    const { responses } = await etcd.call(kv.txn, {
      success: [op.put('k', '3'), past, op.txn({ success: [past, op.range('k')] })],
    });
    const value = ({ response }: (typeof responses)[number]): string[] => {
      if (response.case === 'responseTxn') return response.value.responses.flatMap(value);
      return response.case === 'responseRange' ? response.value.kvs.map((one) => text(one.value)) : [];
    };
    expect(responses.flatMap(value)).toEqual(['1', '1', '3']);
    await etcd.call(kv.compact, { revision: first + 1n });
    expect(await etcd.told(kv.txn, { success: [past] })).toBe(COMPACTED);
  });
});
