import { beforeEach, describe, expect, test } from 'vitest';
import { create } from '@bufbuild/protobuf';
import { CreateKeyspaceRequestSchema } from '@holdfast/proto/kv/v1/keyspace';
import { Comparator, Consistency } from '@holdfast/proto/kv/v1/kv';
import { KvRig, bytes, text } from './kv-rig.ts';

let rig: KvRig;
beforeEach(async () => {
  rig = await KvRig.start();
});

const client = (sequence: bigint, ackedBelow = 0n, open = true, id = 7) => ({
  sequence: { clientId: new Uint8Array(16).fill(id), sequence, ackedBelow, open },
});

/** Names of two keys in one partition, and of one in another. */
function keysByPartition(): { same: [string, string]; other: string } {
  const keyspace = rig.engine.keyspaces.get('default');
  const partition = (key: string) => keyspace.partitionOf(bytes(key)).group;
  const names = Array.from({ length: 100 }, (_, i) => `k${i}`);
  const same = names.filter((name) => partition(name) === partition('k0')).slice(0, 2) as [string, string];
  return { same, other: names.find((name) => partition(name) !== partition('k0'))! };
}

describe('single keys', () => {
  test('put and get; a later put has a greater version', async () => {
    const first = await rig.put({ key: bytes('a'), value: bytes('1') });
    const second = await rig.put({ key: bytes('a'), value: bytes('2') });
    expect(second.version).toBeGreaterThan(first.version);
    const { entry } = await rig.get({ key: bytes('a') });
    expect([text(entry?.value), entry?.version]).toEqual(['2', second.version]);
    expect((await rig.get({ key: bytes('b') })).entry).toBeUndefined();
  });

  test('an empty value is a value', async () => {
    await rig.put({ key: bytes('a'), value: bytes('') });
    expect((await rig.get({ key: bytes('a') })).entry?.value).toHaveLength(0);
  });

  test('create-only refuses what exists, and says its version', async () => {
    const { version } = await rig.create({ key: bytes('a'), value: bytes('1') });
    await expect(rig.create({ key: bytes('a'), value: bytes('2') })).rejects.toMatchObject({
      reason: 'KEY_EXISTS',
      outcome: 'NOT_APPLIED',
      current: { version },
    });
    expect(text((await rig.get({ key: bytes('a') })).entry?.value)).toBe('1');
  });

  test('compare-and-set by version and by value', async () => {
    const { version } = await rig.put({ key: bytes('a'), value: bytes('1') });
    await rig.compareAndSet({
      key: bytes('a'),
      expected: { case: 'expectedVersion', value: version },
      value: bytes('2'),
    });
    await expect(
      rig.compareAndSet({
        key: bytes('a'),
        expected: { case: 'expectedVersion', value: version },
        value: bytes('3'),
      }),
    ).rejects.toMatchObject({ reason: 'VERSION_MISMATCH' });
    await rig.compareAndSet({
      key: bytes('a'),
      expected: { case: 'expectedValue', value: bytes('2') },
      value: bytes('4'),
    });
    await expect(
      rig.compareAndSet({
        key: bytes('a'),
        expected: { case: 'expectedValue', value: bytes('2') },
        value: bytes('5'),
      }),
    ).rejects.toMatchObject({ reason: 'VALUE_MISMATCH' });
    await expect(
      rig.compareAndSet({
        key: bytes('none'),
        expected: { case: 'expectedValue', value: bytes('') },
        value: bytes('5'),
      }),
    ).rejects.toMatchObject({ reason: 'VALUE_MISMATCH', current: undefined });
    expect(text((await rig.get({ key: bytes('a') })).entry?.value)).toBe('4');
  });

  test('a version is never used twice for a key, not even after a delete', async () => {
    const { version } = await rig.put({ key: bytes('a'), value: bytes('1') });
    expect((await rig.delete({ key: bytes('a') })).existed).toBe(true);
    expect((await rig.delete({ key: bytes('a') })).existed).toBe(false);
    const again = await rig.put({ key: bytes('a'), value: bytes('1') });
    expect(again.version).toBeGreaterThan(version);
    await expect(rig.delete({ key: bytes('a'), expectedVersion: version })).rejects.toMatchObject({
      reason: 'VERSION_MISMATCH',
    });
    expect((await rig.delete({ key: bytes('a'), expectedVersion: again.version })).existed).toBe(true);
  });

  test('increment counts, keeps the time to live, and refuses what is no counter or overflows', async () => {
    expect((await rig.increment({ key: bytes('n') })).value).toBe(1n);
    expect((await rig.increment({ key: bytes('n'), delta: -5n })).value).toBe(-4n);
    await rig.put({ key: bytes('n'), value: bytes('9223372036854775807'), ttlMs: 60_000n });
    await expect(rig.increment({ key: bytes('n') })).rejects.toMatchObject({
      reason: 'COUNTER_OVERFLOW',
      outcome: 'NOT_APPLIED',
    });
    await rig.increment({ key: bytes('n'), delta: -1n });
    expect((await rig.get({ key: bytes('n') })).entry?.expiresAtMs).toBeDefined();
    for (const value of ['', ' 1', '1.5', '01', '-0', 'x', '9223372036854775808']) {
      await rig.put({ key: bytes('n'), value: bytes(value) });
      await expect(rig.increment({ key: bytes('n') }), value).rejects.toMatchObject({
        reason: 'NOT_A_COUNTER',
      });
    }
  });

  test('all read options are taken, unknown ones refused', async () => {
    await rig.put({ key: bytes('a'), value: bytes('1') });
    const options = { consistency: Consistency.BOUNDED_STALE, maxStalenessMs: 1_000n };
    expect(text((await rig.get({ key: bytes('a'), options })).entry?.value)).toBe('1');
    await expect(
      rig.get({ key: bytes('a'), options: { consistency: 9 as Consistency } }),
    ).rejects.toMatchObject({ reason: 'INVALID_FIELD', field: 'options.consistency' });
    await expect(rig.get({ key: bytes('a'), options: { maxStalenessMs: 0n } })).rejects.toMatchObject({
      field: 'options.max_staleness_ms',
    });
  });
});

describe('time to live', () => {
  test('a value is absent at once when its time is up, and removed later', async () => {
    await rig.put({ key: bytes('a'), value: bytes('1'), ttlMs: 2_000n });
    await rig.put({ key: bytes('b'), value: bytes('1') });
    await rig.node.world.runFor(1_900);
    expect((await rig.get({ key: bytes('a') })).entry).toBeDefined();
    await rig.node.world.runFor(100);
    expect((await rig.get({ key: bytes('a') })).entry).toBeUndefined();
    expect((await rig.scan({})).flatMap(({ entries }) => entries.map(({ key }) => text(key)))).toEqual(['b']);
    await rig.create({ key: bytes('a'), value: bytes('2') });
    await rig.node.world.runFor(5_000);
    expect(text((await rig.get({ key: bytes('a') })).entry?.value)).toBe('2');
  });

  test('the rows of expired values go away', async () => {
    await rig.put({ key: bytes('a0'), value: bytes('1'), ttlMs: 1n });
    for (let i = 0; i < 50; i++) await rig.put({ key: bytes(`a${i}`), value: bytes('1'), ttlMs: 500n });
    await rig.node.world.runFor(10_000);
    const before = rig.node.medium.rows.size;
    for (let i = 0; i < 50; i++) await rig.put({ key: bytes(`a${i}`), value: bytes('1'), ttlMs: 500n });
    await rig.node.world.runFor(10_000);
    expect(rig.node.medium.rows.size).toBeLessThanOrEqual(before + 1); // a counter of versions
  });

  test('a put without a time to live ends the old one; a longer one replaces it', async () => {
    await rig.put({ key: bytes('a'), value: bytes('1'), ttlMs: 1_000n });
    await rig.put({ key: bytes('a'), value: bytes('2') });
    await rig.put({ key: bytes('b'), value: bytes('1'), ttlMs: 1_000n });
    await rig.put({ key: bytes('b'), value: bytes('2'), ttlMs: 60_000n });
    await rig.node.world.runFor(5_000);
    expect((await rig.get({ key: bytes('a') })).entry).toBeDefined();
    expect((await rig.get({ key: bytes('b') })).entry).toBeDefined();
  });

  test('a clock that goes back expires nothing early and brings nothing back', async () => {
    await rig.put({ key: bytes('a'), value: bytes('1'), ttlMs: 1_000n });
    await rig.node.world.runFor(1_500);
    expect((await rig.get({ key: bytes('a') })).entry).toBeUndefined();
    rig.node.clock.jump(-60_000);
    expect((await rig.get({ key: bytes('a') })).entry).toBeUndefined();
    await rig.put({ key: bytes('b'), value: bytes('1'), ttlMs: 1_000n });
    expect((await rig.get({ key: bytes('b') })).entry).toBeDefined();
  });

  test('survives a restart', async () => {
    await rig.put({ key: bytes('a'), value: bytes('1'), ttlMs: 3_000n });
    rig.node.crash('lose-all');
    await rig.restart();
    expect((await rig.get({ key: bytes('a') })).entry).toBeDefined();
    await rig.node.world.runFor(3_000);
    expect((await rig.get({ key: bytes('a') })).entry).toBeUndefined();
  });
});

describe('a write that is sent again', () => {
  test('is applied once and answered alike, also after a restart', async () => {
    const first = await rig.increment({ key: bytes('n'), options: client(1n) });
    const again = await rig.increment({ key: bytes('n'), options: client(1n) });
    expect(again).toEqual(first);
    rig.node.crash('lose-all');
    await rig.restart();
    expect(await rig.increment({ key: bytes('n'), options: client(1n) })).toEqual(first);
    await rig.node.world.runFor(3_000); // into the store
    rig.node.crash('lose-all');
    await rig.restart();
    expect(await rig.increment({ key: bytes('n'), options: client(1n) })).toEqual(first);
    expect((await rig.increment({ key: bytes('n'), options: client(2n, 2n) })).value).toBe(2n);
  });

  test('that was refused stays refused, whatever has changed since', async () => {
    await rig.put({ key: bytes('a'), value: bytes('1') });
    const create = () => rig.create({ key: bytes('a'), value: bytes('2'), options: client(1n) });
    await expect(create()).rejects.toMatchObject({ reason: 'KEY_EXISTS', current: { version: 1n } });
    await rig.delete({ key: bytes('a') });
    await rig.node.world.runFor(3_000);
    rig.node.crash('lose-all');
    await rig.restart();
    await expect(create()).rejects.toMatchObject({
      reason: 'KEY_EXISTS',
      outcome: 'NOT_APPLIED',
      current: { version: 1n },
    });
    expect((await rig.get({ key: bytes('a') })).entry).toBeUndefined();
  });

  test('is stale once the client has said that it was answered', async () => {
    await rig.increment({ key: bytes('n'), options: client(1n) });
    await rig.increment({ key: bytes('n'), options: client(2n, 2n) });
    await expect(rig.increment({ key: bytes('n'), options: client(1n) })).rejects.toMatchObject({
      reason: 'SEQUENCE_STALE',
      outcome: 'UNKNOWN',
    });
    expect((await rig.increment({ key: bytes('n'), options: client(3n, 3n) })).value).toBe(3n);
  });

  test('of an unknown client that is not opening is refused as unknown', async () => {
    await expect(rig.increment({ key: bytes('n'), options: client(5n, 5n, false) })).rejects.toMatchObject({
      reason: 'CLIENT_EXPIRED',
      outcome: 'UNKNOWN',
    });
    expect((await rig.get({ key: bytes('n') })).entry).toBeUndefined();
  });

  test('a client is forgotten after 15 minutes, not before', async () => {
    await rig.increment({ key: bytes('n'), options: client(1n) });
    await rig.node.world.runFor(14 * 60_000);
    expect((await rig.increment({ key: bytes('n'), options: client(2n, 2n, false) })).value).toBe(2n);
    await rig.node.world.runFor(18 * 60_000);
    await expect(rig.increment({ key: bytes('n'), options: client(3n, 3n, false) })).rejects.toMatchObject({
      reason: 'CLIENT_EXPIRED',
    });
  });

  test('a transaction too, unless its result is too large to keep', async () => {
    const { same } = keysByPartition();
    await rig.put({ key: bytes(same[0]), value: bytes('x'.repeat(5_000)) });
    const small = {
      thenOperations: [
        {
          operation: {
            case: 'mutation',
            value: { key: bytes(same[1]), operation: { case: 'increment', value: {} } },
          },
        },
      ],
    } as never;
    const first = await rig.transact({ ...(small as object), options: client(1n) });
    expect(await rig.transact({ ...(small as object), options: client(1n) })).toEqual(first);
    expect(text((await rig.get({ key: bytes(same[1]) })).entry?.value)).toBe('1');
    const large = { thenOperations: [{ operation: { case: 'get', value: bytes(same[0]) } }] } as never;
    await rig.transact({ ...(large as object), options: client(2n) });
    await expect(rig.transact({ ...(large as object), options: client(2n) })).rejects.toMatchObject({
      reason: 'RESULT_NOT_KEPT',
    });
  });
});

describe('fencing', () => {
  const fence = (token: bigint) => ({ fence: { lock: 'nightly', token } });

  test('a lower token than one accepted is refused, for ever', async () => {
    await rig.put({ key: bytes('a'), value: bytes('5'), options: fence(5n) });
    await rig.put({ key: bytes('a'), value: bytes('7'), options: fence(7n) });
    await rig.put({ key: bytes('a'), value: bytes('7 again'), options: fence(7n) });
    await expect(
      rig.put({ key: bytes('a'), value: bytes('5 late'), options: fence(5n) }),
    ).rejects.toMatchObject({ reason: 'FENCED', outcome: 'NOT_APPLIED' });
    rig.node.crash('lose-all');
    await rig.restart();
    await expect(rig.delete({ key: bytes('a'), options: fence(6n) })).rejects.toMatchObject({
      reason: 'FENCED',
    });
    expect(text((await rig.get({ key: bytes('a') })).entry?.value)).toBe('7 again');
  });
});

describe('transactions', () => {
  const put = (key: string, value: string) => ({
    operation: {
      case: 'mutation' as const,
      value: { key: bytes(key), operation: { case: 'put' as const, value: { value: bytes(value) } } },
    },
  });
  const get = (key: string) => ({ operation: { case: 'get' as const, value: bytes(key) } });

  test('compare, then or else, in order, reading their own writes', async () => {
    const { same } = keysByPartition();
    const [a, b] = same;
    const comparisons = [{ key: bytes(a), target: { case: 'exists' as const, value: false } }];
    const first = await rig.transact({
      comparisons,
      thenOperations: [put(a, '1'), get(a), put(b, '2')],
      elseOperations: [get(b)],
    });
    expect(first.succeeded).toBe(true);
    const [wrote, read] = first.results;
    expect(read?.result).toMatchObject({
      case: 'get',
      value: { entry: { version: (wrote!.result.value as { version: bigint }).version } },
    });
    const second = await rig.transact({
      comparisons,
      thenOperations: [put(a, 'no')],
      elseOperations: [get(b)],
    });
    expect(second.succeeded).toBe(false);
    expect(second.results[0]?.result).toMatchObject({ case: 'get' });
    expect(text((await rig.get({ key: bytes(a) })).entry?.value)).toBe('1');
  });

  test.each([
    [Comparator.EQUAL, 'b', true],
    [Comparator.NOT_EQUAL, 'b', false],
    [Comparator.LESS, 'c', true],
    [Comparator.LESS, 'b', false],
    [Comparator.GREATER, 'a', true],
    [Comparator.UNSPECIFIED, 'b', true],
  ])('comparator %i with value %s: %s', async (comparator, value, succeeded) => {
    await rig.put({ key: bytes('a'), value: bytes('b') });
    const result = await rig.transact({
      comparisons: [{ key: bytes('a'), comparator, target: { case: 'value', value: bytes(value) } }],
      thenOperations: [get('a')],
      elseOperations: [get('a')],
    });
    expect(result.succeeded).toBe(succeeded);
  });

  test('an operation that fails refuses all of it', async () => {
    const { same } = keysByPartition();
    const [a, b] = same;
    await rig.put({ key: bytes(b), value: bytes('not a number') });
    const increment = {
      operation: {
        case: 'mutation' as const,
        value: { key: bytes(b), operation: { case: 'increment' as const, value: {} } },
      },
    };
    await expect(rig.transact({ thenOperations: [put(a, '1'), increment] })).rejects.toMatchObject({
      reason: 'NOT_A_COUNTER',
      outcome: 'NOT_APPLIED',
    });
    expect((await rig.get({ key: bytes(a) })).entry).toBeUndefined();
  });

  test('keys of two partitions, a key written twice, and conditional operations are refused', async () => {
    const { same, other } = keysByPartition();
    await expect(
      rig.transact({ thenOperations: [put(same[0], '1'), put(other, '1')] }),
    ).rejects.toMatchObject({ reason: 'CROSS_PARTITION' });
    await expect(
      rig.transact({ thenOperations: [put(same[0], '1'), put(same[0], '2')] }),
    ).rejects.toMatchObject({ reason: 'DUPLICATE_KEY' });
    const conditional = {
      operation: {
        case: 'mutation' as const,
        value: { key: bytes('a'), operation: { case: 'create' as const, value: {} } },
      },
    };
    await expect(rig.transact({ thenOperations: [conditional] })).rejects.toMatchObject({
      reason: 'INVALID_FIELD',
    });
  });

  test('a keyspace of one partition takes any keys', async () => {
    await rig.run(
      rig.keyspaces.createKeyspace(
        rig.context(),
        create(CreateKeyspaceRequestSchema, { name: 'one', partitions: 1 }),
      ),
    );
    const keys = Array.from({ length: 20 }, (_, i) => put(`k${i}`, 'v'));
    expect((await rig.transact({ keyspace: 'one', thenOperations: keys })).results).toHaveLength(20);
  });
});

describe('batches and scans', () => {
  const names = Array.from({ length: 1_300 }, (_, i) => `user/${String(i).padStart(4, '0')}`);
  const fill = () =>
    rig.batchWrite({
      mutations: names.map((name) => ({
        key: bytes(name),
        operation: { case: 'put' as const, value: { value: bytes(name) } },
      })),
    });

  test('each mutation of a batch has its own result', async () => {
    await rig.put({ key: bytes('b'), value: bytes('x') });
    const { results } = await rig.batchWrite({
      mutations: [
        { key: bytes('a'), operation: { case: 'create', value: { value: bytes('1') } } },
        { key: bytes('b'), operation: { case: 'create', value: { value: bytes('1') } } },
        { key: bytes('c'), operation: { case: 'increment', value: {} } },
      ],
    });
    expect(results.map(({ result }) => result.case)).toEqual(['applied', 'error', 'applied']);
    expect(results[1]?.result.value).toMatchObject({ reason: 'KEY_EXISTS', currentVersion: 1n });
  });

  test('a scan gives all keys of all partitions in order, from overlay and store', async () => {
    await fill();
    await rig.node.world.runFor(3_000);
    await rig.put({ key: bytes('user/0007x'), value: bytes('new') });
    await rig.delete({ key: bytes('user/0008') });
    const messages = await rig.scan({ selection: { case: 'prefix', value: bytes('user/') } });
    const keys = messages.flatMap(({ entries }) => entries.map(({ key }) => text(key)!));
    const expected = [...names.filter((name) => name !== 'user/0008'), 'user/0007x'].sort();
    expect(keys).toEqual(expected);
    expect(messages.length).toBeGreaterThan(1);
  });

  test('a scan is continued by token, and limited', async () => {
    await fill();
    const found: string[] = [];
    let continuation: Uint8Array = new Uint8Array(0);
    do {
      const messages = await rig.scan({
        selection: { case: 'range', value: { start: bytes('user/0100'), end: bytes('user/0200') } },
        limit: 7,
        continuation,
      });
      expect(messages.flatMap(({ entries }) => entries).length).toBeLessThanOrEqual(7);
      found.push(...messages.flatMap(({ entries }) => entries.map(({ key }) => text(key)!)));
      continuation = messages.at(-1)!.continuation;
    } while (continuation.length > 0);
    expect(found).toEqual(names.slice(100, 200));
  });

  test('keys only leaves values out; an empty range and an empty keyspace give nothing', async () => {
    await rig.put({ key: bytes('a'), value: bytes('1') });
    const [message] = await rig.scan({ keysOnly: true });
    expect(message?.entries.map(({ key, value }) => [text(key), value.length])).toEqual([['a', 0]]);
    const [nothing] = await rig.scan({
      selection: { case: 'range', value: { start: bytes('b'), end: bytes('b') } },
    });
    expect(nothing?.entries).toEqual([]);
  });

  test('prefixes of bytes 255 and keys with zeros are found', async () => {
    for (const key of [Buffer.from([255]), Buffer.from([255, 255, 1]), Buffer.from([0]), Buffer.from([0, 0])])
      await rig.put({ key, value: bytes('v') });
    const [message] = await rig.scan({ selection: { case: 'prefix', value: Uint8Array.of(255) } });
    expect(message?.entries.map(({ key }) => [...key])).toEqual([[255], [255, 255, 1]]);
    const [zeros] = await rig.scan({ selection: { case: 'prefix', value: Uint8Array.of(0) } });
    expect(zeros?.entries.map(({ key }) => [...key])).toEqual([[0], [0, 0]]);
  });

  test('a batch of reads answers in the order asked', async () => {
    await fill();
    const { results } = await rig.batchGet({ keys: [bytes('user/0003'), bytes('none'), bytes('user/0003')] });
    expect(results.map(({ entry }) => text(entry?.value))).toEqual(['user/0003', undefined, 'user/0003']);
  });
});

describe('keyspaces', () => {
  const make = (name: string, more = {}) =>
    rig.run(
      rig.keyspaces.createKeyspace(rig.context(), create(CreateKeyspaceRequestSchema, { name, ...more })),
    );

  test('are created, described, listed and dropped', async () => {
    const { keyspace } = await make('orders', { partitions: 4, maxValueBytes: 100 });
    expect(keyspace?.partitions).toHaveLength(4);
    await expect(make('orders')).rejects.toMatchObject({ reason: 'KEYSPACE_EXISTS' });
    await rig.put({ keyspace: 'orders', key: bytes('a'), value: bytes('1') });
    await expect(
      rig.put({ keyspace: 'orders', key: bytes('a'), value: bytes('x'.repeat(101)) }),
    ).rejects.toThrow(
      'value is 101 bytes, limit 100 (max_value_bytes of keyspace "orders"). Nothing was written. [VALUE_TOO_LARGE]',
    );
    const { keyspaces } = await rig.run(rig.keyspaces.listKeyspaces(rig.context(), {} as never));
    expect(keyspaces.map(({ name }) => name)).toEqual(['default', 'orders']);
    await rig.run(rig.keyspaces.dropKeyspace(rig.context(), { name: 'orders' } as never));
    await expect(rig.get({ keyspace: 'orders', key: bytes('a') })).rejects.toMatchObject({
      reason: 'KEYSPACE_UNKNOWN',
    });
  });

  test('versions are not used again by a keyspace of the same name', async () => {
    await make('orders', { partitions: 1 });
    let last = 0n;
    for (let i = 0; i < 5; i++)
      last = (await rig.put({ keyspace: 'orders', key: bytes('k'), value: bytes('v') })).version;
    expect(last).toBe(5n);
    for (let round = 0; round < 3; round++) {
      await rig.run(rig.keyspaces.dropKeyspace(rig.context(), { name: 'orders' } as never));
      await rig.node.world.runFor(10);
      await make('orders', { partitions: 1 });
      const { version } = await rig.put({ keyspace: 'orders', key: bytes('k'), value: bytes('other') });
      expect(version).toBeGreaterThan(last);
      last = version;
    }
  });

  test('a read that waits for log time ends when its keyspace is dropped', async () => {
    await make('orders', { partitions: 1 });
    await rig.put({ keyspace: 'orders', key: bytes('k'), value: bytes('v'), ttlMs: 100n });
    await rig.node.world.runFor(150);
    const dropped = rig.keyspaces.dropKeyspace(rig.context(), { name: 'orders' } as never);
    const read = rig
      .get({ keyspace: 'orders', key: bytes('k') })
      .catch((error: { reason: string }) => error.reason);
    await rig.run(dropped);
    const ended = await read;
    expect(typeof ended === 'string' ? ended : ended.entry).toSatisfy(
      (end: unknown) => end === undefined || end === 'KEYSPACE_UNKNOWN',
    );
  });

  test('a dropped one leaves no rows, and a new one of its name is empty, also across restarts', async () => {
    await make('orders', { partitions: 2 });
    for (let i = 0; i < 100; i++)
      await rig.put({ keyspace: 'orders', key: bytes(`k${i}`), value: bytes('v') });
    await rig.node.world.runFor(2_000);
    const before = rig.node.medium.rows.size;
    await rig.run(rig.keyspaces.dropKeyspace(rig.context(), { name: 'orders' } as never));
    rig.node.crash('lose-all');
    await rig.restart();
    await rig.node.world.runFor(5_000);
    expect(rig.node.medium.rows.size).toBeLessThan(before - 90);
    const { keyspace } = await make('orders', { partitions: 2 });
    expect(keyspace?.id).toBeGreaterThan(2n);
    expect((await rig.get({ keyspace: 'orders', key: bytes('k1') })).entry).toBeUndefined();
    await rig.run(rig.keyspaces.dropKeyspace(rig.context(), { name: 'default' } as never));
    rig.node.crash('lose-all');
    await rig.restart();
    expect(rig.engine.keyspaces.list().map(({ name }) => name)).toEqual(['orders']);
  });
});
