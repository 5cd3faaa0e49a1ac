/** Keys by etcd's API: what etcd guarantees of ranges, writes and compactions, in its words. */
import { create } from '@bufbuild/protobuf';
import {
  RangeRequest_SortOrder as SortOrder,
  RangeRequest_SortTarget as SortTarget,
  type RangeRequest,
} from '@holdfast/proto/etcd/rpc';
import type { KeyValue } from '@holdfast/proto/etcd/kv';
import { ConfigService } from '@holdfast/proto/config/v1/config';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { PermissionKind } from '../../node/coordination/auth-permission.ts';
import { etcdId } from '../../node/services/etcd/etcd-header.ts';
import { EVERYTHING, EtcdRig, ask, bytes, kv, lease, op, shortKey, text } from './etcd-rig.ts';

const INVALID = 'INVALID_ARGUMENT etcdserver:';
const COMPACTED = 'OUT_OF_RANGE etcdserver: mvcc: required revision has been compacted';
const FUTURE = 'OUT_OF_RANGE etcdserver: mvcc: required revision is a future revision';

let etcd: EtcdRig;

beforeEach(async () => {
  etcd = await EtcdRig.open();
});

describe('headers', () => {
  test('name the cluster, the member and the term, always by the same numbers', async () => {
    const { identity, coordination } = etcd.rig.engine;
    const { header } = await etcd.call(kv.range, ask.range('k'));
    expect(header!.memberId).toBe(etcdId(identity.node_id));
    expect(header!.clusterId).not.toBe(0n);
    expect(header!.raftTerm).toBe(BigInt(coordination.term));
    const { header: next } = await etcd.call(kv.put, ask.put('k'));
    expect({ ...next, revision: 0n }).toEqual({ ...header, revision: 0n });
  });

  test('have the revision of the change, or of what was read', async () => {
    const first = await etcd.put('k', '1');
    expect(await etcd.put('k', '2')).toBe(first + 1n);
    expect((await etcd.call(kv.range, ask.range('k'))).header!.revision).toBe(first + 1n);
    expect((await etcd.call(kv.range, ask.range('k', '', { revision: first }))).header!.revision).toBe(
      first + 1n,
    );
    expect((await etcd.call(kv.deleteRange, ask.delete('none'))).header!.revision).toBe(first + 1n);
    expect((await etcd.call(kv.deleteRange, ask.delete('k'))).header!.revision).toBe(first + 2n);
  });
});

describe('Put', () => {
  test('answers with what there was, if that is asked for', async () => {
    const first = await etcd.put('k', '1');
    expect((await etcd.call(kv.put, ask.put('k', '2'))).prevKv).toBeUndefined();
    const { prevKv } = await etcd.call(kv.put, ask.put('k', '3', { prevKv: true }));
    expect(shortKey(prevKv!, first)).toBe('k=2 0 1 2');
    expect((await etcd.call(kv.put, ask.put('new', '', { prevKv: true }))).prevKv).toBeUndefined();
  });

  test('leaves value or lease as they are, if that is asked for', async () => {
    const { ID } = await etcd.call(lease.leaseGrant, { TTL: 100n });
    await etcd.put('k', '1', { lease: ID });
    await etcd.put('k', '2', { ignoreLease: true });
    await etcd.put('k', '', { ignoreValue: true, ignoreLease: true });
    const { kvs } = await etcd.call(kv.range, ask.range('k'));
    expect([text(kvs[0]!.value), kvs[0]!.lease, kvs[0]!.version]).toEqual(['2', ID, 3n]);
    await etcd.put('k', '', { ignoreValue: true });
    expect((await etcd.call(kv.range, ask.range('k'))).kvs[0]).toMatchObject({ lease: 0n, version: 4n });
  });

  test.each([
    ['no key', ask.put(''), `${INVALID} key is not provided`],
    ['a value to ignore', ask.put('k', 'v', { ignoreValue: true }), `${INVALID} value is provided`],
    [
      'a lease to ignore',
      ask.put('k', 'v', { ignoreLease: true, lease: 1n }),
      `${INVALID} lease is provided`,
    ],
    ['no value to keep', ask.put('k', '', { ignoreValue: true }), `${INVALID} key not found`],
    ['no lease to keep', ask.put('k', 'v', { ignoreLease: true }), `${INVALID} key not found`],
    ['no such lease', ask.put('k', 'v', { lease: 9n }), 'NOT_FOUND etcdserver: requested lease not found'],
    ['a lease below 0', ask.put('k', 'v', { lease: -9n }), 'NOT_FOUND etcdserver: requested lease not found'],
    ['a value that is too large', ask.put('k', 'v'.repeat(1_048_577)), `${INVALID} request is too large`],
    ['a key that is too large', ask.put('k'.repeat(4_097)), `${INVALID} request is too large`],
  ])('refuses %s, and changes nothing', async (_, request, said) => {
    const { revision } = etcd.rig.engine.coordination;
    expect(await etcd.told(kv.put, request)).toBe(said);
    expect(etcd.rig.engine.coordination.revision).toBe(revision);
  });
});

/** Range by its definition, over all keys. */
function naiveRange(
  all: readonly KeyValue[],
  request: RangeRequest,
): { kvs: KeyValue[]; more: boolean; count: bigint } {
  const [start, end] = [text(request.key), text(request.rangeEnd)];
  const selected = all.filter(({ key }) => {
    if (end === '') return text(key) === start;
    return text(key) >= start && (end === EVERYTHING || text(key) < end);
  });
  const count = BigInt(selected.length);
  if (request.countOnly) return { kvs: [], more: false, count };
  const within = (revision: bigint, least: bigint, most: bigint) =>
    (least === 0n || revision >= least) && (most === 0n || revision <= most);
  const filtered = selected.filter(
    ({ modRevision, createRevision }) =>
      within(modRevision, request.minModRevision, request.maxModRevision) &&
      within(createRevision, request.minCreateRevision, request.maxCreateRevision),
  );
  const by = {
    [SortTarget.KEY]: ({ key }: KeyValue) => text(key),
    [SortTarget.VERSION]: ({ version }: KeyValue) => version,
    [SortTarget.CREATE]: ({ createRevision }: KeyValue) => createRevision,
    [SortTarget.MOD]: ({ modRevision }: KeyValue) => modRevision,
    [SortTarget.VALUE]: ({ value }: KeyValue) => text(value),
  }[request.sortTarget];
  const sign = request.sortOrder === SortOrder.DESCEND ? -1 : 1;
  filtered.sort((a, b) => (by(a) < by(b) ? -sign : by(a) > by(b) ? sign : 0));
  const limit = Number(request.limit);
  const shown = limit > 0 ? filtered.slice(0, limit) : filtered;
  const kvs = request.keysOnly ? shown.map((one) => ({ ...one, value: new Uint8Array(0) })) : shown;
  return { kvs, more: shown.length < filtered.length, count };
}

describe('Range', () => {
  test('shows what its definition says', async () => {
    const keys = ['a', 'a/1', 'a/2', 'b', 'b/1', 'c', 'd', 'd\u00ff', 'e'];
    const first = (await etcd.put('a', '5')) - 1n;
    const written = fc.sample(fc.tuple(fc.constantFrom(...keys), fc.constantFrom('1', '2', '3')), {
      numRuns: 30,
      seed: 7,
    });
    for (const [key, value] of written) await etcd.put(key, value);
    const all = (await etcd.call(kv.range, ask.range(EVERYTHING, EVERYTHING))).kvs;
    expect(all.length).toBeGreaterThan(5);
    const bound = fc.oneof(
      fc.constant(0n),
      fc.bigInt(1n, 30n).map((after) => first + after),
    );
    const requests = fc.record({
      key: fc.constantFrom(EVERYTHING, 'a', 'a/', 'b', 'c', 'z'),
      rangeEnd: fc.constantFrom('', EVERYTHING, 'a0', 'b', 'd', 'zz'),
      limit: fc.constantFrom(-1n, 0n, 0n, 1n, 2n, 5n, 1_000n, 1n << 62n),
      sortOrder: fc.constantFrom(SortOrder.NONE, SortOrder.ASCEND, SortOrder.DESCEND),
      sortTarget: fc.constantFrom(...[0, 1, 2, 3, 4].map((target) => target as SortTarget)),
      serializable: fc.boolean(),
      keysOnly: fc.boolean(),
      countOnly: fc.boolean(),
      minModRevision: bound,
      maxModRevision: bound,
      minCreateRevision: bound,
      maxCreateRevision: bound,
    });
    await fc.assert(
      fc.asyncProperty(requests, async ({ key, rangeEnd, ...more }) => {
        const request = ask.range(key, rangeEnd, more);
        const { kvs, more: others, count } = await etcd.call(kv.range, request);
        const expected = naiveRange(all, request);
        expect(kvs.map((one) => shortKey(one, first))).toEqual(
          expected.kvs.map((one) => shortKey(one, first)),
        );
        expect([others, count]).toEqual([expected.more, expected.count]);
        // A transaction shows the same.
        const { responses } = await etcd.call(kv.txn, { success: [op.range(key, rangeEnd, more)] });
        expect(responses[0]!.response.value).toMatchObject({ more: others, count });
        const listed = (responses[0]!.response.value as { kvs: KeyValue[] }).kvs;
        expect(listed.map((one) => shortKey(one, first))).toEqual(kvs.map((one) => shortKey(one, first)));
      }),
      { numRuns: 300 },
    );
  });

  test('shows what there was at a revision that is not compacted', async () => {
    const first = await etcd.put('k', '1');
    await etcd.put('l', '1');
    await etcd.put('k', '2');
    await etcd.call(kv.deleteRange, ask.delete('k'));
    const at = (revision: bigint) => etcd.values('k', 'm', { revision });
    expect(await at(first)).toEqual(['k=1']);
    expect(await at(first + 1n)).toEqual(['k=1', 'l=1']);
    expect(await at(first + 2n)).toEqual(['k=2', 'l=1']);
    expect(await at(first + 3n)).toEqual(['l=1']);
    expect(await at(-5n)).toEqual(['l=1']);
    expect(await etcd.told(kv.range, ask.range('k', '', { revision: first + 4n }))).toBe(FUTURE);
    expect(await etcd.told(kv.range, ask.range('m', 'k', { revision: first + 4n }))).toBe(FUTURE);
    await etcd.call(kv.compact, { revision: first + 2n });
    expect(await at(first + 2n)).toEqual(['k=2', 'l=1']);
    for (const serializable of [false, true])
      expect(await etcd.told(kv.range, ask.range('k', '', { revision: first + 1n, serializable }))).toBe(
        COMPACTED,
      );
  });

  test('refuses what is no range', async () => {
    expect(await etcd.told(kv.range, ask.range(''))).toBe(`${INVALID} key is not provided`);
    expect(await etcd.told(kv.range, ask.range('k', '', { sortTarget: 9 as SortTarget }))).toBe(
      `${INVALID} invalid sort option`,
    );
  });

  test('is refused when it does not fit into one answer, and not when it is read in parts', async () => {
    const value = 'v'.repeat(1_000_000);
    for (let key = 0; key < 20; key++) await etcd.put(`big/${String(key).padStart(2, '0')}`, value);
    expect(await etcd.told(kv.range, ask.range('big/', 'big0'))).toMatch(
      /^RESOURCE_EXHAUSTED .*Read it in parts/,
    );
    expect((await etcd.call(kv.range, ask.range('big/', 'big0', { keysOnly: true }))).kvs).toHaveLength(20);
    const found: string[] = [];
    for (let from = 'big/'; ;) {
      const { kvs, more, count } = await etcd.call(kv.range, ask.range(from, 'big0', { limit: 18n }));
      expect(count).toBe(BigInt(20 - found.length));
      found.push(...kvs.map(({ key }) => text(key)));
      if (!more) break;
      from = `${found.at(-1)!}\0`;
    }
    expect(new Set(found).size).toBe(20);
  });
});

test('DeleteRange says how many there were, and which, if that is asked for', async () => {
  const first = await etcd.put('d/1', '1');
  for (const key of ['d/2', 'd/3', 'e']) await etcd.put(key, key);
  const { deleted, prevKvs } = await etcd.call(kv.deleteRange, ask.delete('d/', 'd0', { prevKv: true }));
  expect(deleted).toBe(3n);
  expect(prevKvs.map((one) => shortKey(one, first))).toEqual([
    'd/1=1 0 0 1',
    'd/2=d/2 1 1 1',
    'd/3=d/3 2 2 1',
  ]);
  expect(await etcd.call(kv.deleteRange, ask.delete('d/', 'd0'))).toMatchObject({ deleted: 0n, prevKvs: [] });
  expect((await etcd.call(kv.deleteRange, ask.delete('z', 'a'))).deleted).toBe(0n);
  expect(await etcd.told(kv.deleteRange, ask.delete(''))).toBe(`${INVALID} key is not provided`);
  expect(await etcd.values('a', EVERYTHING)).toEqual(['e=e']);
});

test('DeleteRange of more keys than a transaction looks at is done in parts', async () => {
  const KEYS = 12_500;
  const key = (at: number) => `many/${String(at).padStart(5, '0')}`;
  for (let at = 0; at < KEYS; at += 125)
    await etcd.call(kv.txn, { success: Array.from({ length: 125 }, (_, more) => op.put(key(at + more))) });
  await etcd.put('many', 'before');
  await etcd.put('many0', 'behind');
  expect(await etcd.told(kv.deleteRange, ask.delete('many/', 'many0', { prevKv: true }))).toMatch(
    /RANGE_TOO_LARGE/,
  );
  expect((await etcd.call(kv.deleteRange, ask.delete('many/', 'many0'))).deleted).toBe(BigInt(KEYS));
  expect(await etcd.values('a', 'z')).toEqual(['many=before', 'many0=behind']);
  // Those that are gone are looked at as well, until they are forgotten.
  for (const at of [0, KEYS / 2, KEYS - 1]) await etcd.put(`${key(at)}+`);
  const { deleted, header } = await etcd.call(kv.deleteRange, ask.delete('many/', 'many0'));
  expect([deleted, header!.revision]).toEqual([3n, BigInt(etcd.rig.engine.coordination.revision)]);
  expect((await etcd.call(kv.deleteRange, ask.delete('many/', 'many0'))).deleted).toBe(0n);
});

test('Compact is refused for what is compacted, and for what has not been', async () => {
  const first = await etcd.put('k', '1');
  await etcd.put('k', '2');
  const { header } = await etcd.call(kv.compact, { revision: first + 1n, physical: true });
  expect(header!.revision).toBe(first + 1n);
  expect(await etcd.told(kv.compact, { revision: first + 1n })).toBe(COMPACTED);
  expect(await etcd.told(kv.compact, { revision: first })).toBe(COMPACTED);
  expect(await etcd.told(kv.compact, { revision: -1n })).toBe(COMPACTED);
  expect(await etcd.told(kv.compact, { revision: first + 2n })).toBe(FUTURE);
  expect(await etcd.told(kv.compact, { revision: (1n << 63n) - 1n })).toBe(FUTURE);
});

describe('the key space', () => {
  test('is that of holdfast.config.v1, at the same revisions', async () => {
    const { revision } = await etcd.call(ConfigService.method.put, { key: bytes('k'), value: bytes('ours') });
    const { kvs, header } = await etcd.call(kv.range, ask.range('k'));
    expect([text(kvs[0]!.value), kvs[0]!.modRevision, header!.revision]).toEqual([
      'ours',
      revision,
      revision,
    ]);
    const next = await etcd.put('k', "etcd's");
    const { entry } = await etcd.call(ConfigService.method.get, { key: bytes('k') });
    expect([text(entry!.value), entry!.modRevision, entry!.version]).toEqual(["etcd's", next, 2n]);
  });

  test("shows nothing of the cluster's own keys, and refuses whoever names one", async () => {
    await etcd.put('/holdfas', '1');
    await etcd.put('/holdfast0', '2');
    expect(etcd.rig.engine.coordination.get('/holdfast/members/table')).toBeDefined();
    for (const [from, to] of [
      [EVERYTHING, EVERYTHING],
      ['/', '0'],
      ['/holdfas', '/holdfasu'],
    ] as const) {
      const { kvs, count } = await etcd.call(kv.range, ask.range(from, to));
      expect(kvs.map(({ key }) => text(key))).toEqual(['/holdfas', '/holdfast0']);
      expect(count).toBe(2n);
    }
    expect(await etcd.values('/holdfast/', '/holdfast0')).toEqual([]);
    const REFUSED = "PERMISSION_DENIED etcdserver: keys under /holdfast/ are the cluster's own";
    const own = '/holdfast/members/table';
    expect(await etcd.told(kv.range, ask.range(own))).toBe(REFUSED);
    expect(await etcd.told(kv.put, ask.put(own))).toBe(REFUSED);
    expect(await etcd.told(kv.deleteRange, ask.delete(own))).toBe(REFUSED);
    for (const one of [op.put(own), op.range(own), op.delete(own)])
      expect(await etcd.told(kv.txn, { failure: [op.txn({ success: [one] })] })).toBe(REFUSED);
    expect(await etcd.told(kv.txn, { compare: [{ key: bytes(own) }] })).toBe(REFUSED);
    const { deleted } = await etcd.call(kv.deleteRange, ask.delete(EVERYTHING, EVERYTHING));
    expect(deleted).toBe(2n);
    expect(etcd.rig.engine.coordination.get(own)).toBeDefined();
  });
});

test('whoever may not do all of it does nothing of it', async () => {
  const { rig } = etcd;
  await etcd.put('a', '1');
  await etcd.put('d', '1');
  await rig.addRole('team', ['a', 'c'], ['d', '', PermissionKind.read], ['e', '', PermissionKind.write]);
  await rig.addUser('root', 'pw', 'root');
  await rig.addUser('alice', 'pw', 'team');
  await rig.run(rig.engine.auth.enable(rig.terms));
  etcd.token = await rig.login('alice', 'pw');
  const DENIED = 'PERMISSION_DENIED etcdserver: permission denied';
  expect(await etcd.values('a', 'c')).toEqual(['a=1']);
  expect(await etcd.told(kv.range, ask.range('a', 'd'))).toBe(DENIED);
  expect(await etcd.told(kv.put, ask.put('e', '1'))).toBeUndefined();
  expect(await etcd.told(kv.put, ask.put('e', '1', { prevKv: true }))).toBe(DENIED);
  expect(await etcd.told(kv.deleteRange, ask.delete('a', 'd'))).toBe(DENIED);
  const success = [op.put('a', '2'), op.txn({ failure: [op.put('d', '2')] })];
  expect(await etcd.told(kv.txn, { success })).toBe(DENIED);
  expect(await etcd.told(kv.txn, { compare: [{ key: bytes('e') }] })).toBe(DENIED);
  expect(await etcd.told(kv.compact, { revision: 2n })).toBe(DENIED);
  expect(await etcd.told(kv.range, ask.range('a'), 'forged')).toBe(
    'UNAUTHENTICATED etcdserver: invalid auth token',
  );
  etcd.token = undefined;
  expect(await etcd.told(kv.range, ask.range('a'))).toBe(`${INVALID} user name is empty`);
  expect(
    await etcd.told(kv.txn, {
      success: [create(kv.txn.input)].map((value) => ({ request: { case: 'requestTxn' as const, value } })),
    }),
  ).toBe(`${INVALID} user name is empty`);
});
