import { connect, type ConfigWatch, type HoldfastError, type WatchItem } from '@holdfast/client';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Change, FakeTree, FakeWatchStream } from './fake-tree.ts';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';

async function setUp(endpoints = 'a:1,b:1,c:1') {
  const clock = new FakeClock();
  const transport = new FakeTransport();
  const tree = new FakeTree();
  const streams: FakeWatchStream[] = [];
  const control = { opens: true };
  transport.onStream = (endpoint, events) => {
    const stream = new FakeWatchStream(endpoint, tree, events);
    streams.push(stream);
    void Promise.resolve().then(() => (control.opens ? stream.open() : stream.break()));
    return stream;
  };
  const hf = await connect({ endpoints, clock, transport, random: fixedRandom });
  return { clock, transport, tree, streams, control, hf, config: hf.config };
}

/** Reads a watch to its end. */
function reading(watch: ConfigWatch) {
  const seen: { items: WatchItem[]; error?: HoldfastError; isOver: boolean } = { items: [], isOver: false };
  void (async () => {
    try {
      for await (const item of watch) seen.items.push(item);
    } catch (error) {
      seen.error = error as HoldfastError;
    }
    seen.isOver = true;
  })();
  return seen;
}

function changesOf(items: readonly WatchItem[]): string[] {
  return items.flatMap((item) =>
    item.type === 'changes'
      ? item.events.map(({ type, key, revision }) => `${revision} ${type} ${String(key)}`)
      : [],
  );
}

test('a watch begins with what comes after now, or with the revision that is asked for', async () => {
  const { clock, tree, streams, config } = await setUp();
  tree.put('a1', 'x');
  const now = reading(config.watch({ prefix: 'a' }));
  const past = reading(config.watch({ prefix: 'a' }, { from: 1 }));
  await clock.endTurn();
  streams[0]!.settle();
  tree.put('b1', 'x');
  tree.change([
    { type: 'put', key: 'a1', value: 'y' },
    { type: 'delete', key: 'a2', value: '' },
  ]);
  streams[0]!.settle();
  await clock.endTurn();
  expect(streams).toHaveLength(1);
  expect(changesOf(now.items)).toEqual(['4 put a1', '4 delete a2']);
  expect(changesOf(past.items)).toEqual(['2 put a1', '4 put a1', '4 delete a2']);
  expect(now.items[0]).toMatchObject({ type: 'changes', revision: 4n });
});

test('what is asked for goes to the node as it is', async () => {
  const { clock, streams, config } = await setUp();
  config.watch('k', { from: 7n, previous: true, puts: false, progress: true });
  await clock.endTurn();
  expect(streams[0]!.requests).toMatchObject([
    {
      case: 'create',
      value: {
        selection: { selection: { case: 'key', value: new Uint8Array(Buffer.from('k')) } },
        startRevision: 7n,
        withPrevious: true,
        withoutPuts: true,
        withoutDeletes: false,
        fragment: true,
        progress: true,
      },
    },
  ]);
});

test('after a break a watch goes on at another node where it was, also in the middle of a revision', async () => {
  const { clock, tree, streams, config } = await setUp();
  const seen = reading(config.watch({ prefix: '' }));
  await clock.endTurn();
  streams[0]!.settle();
  tree.change(['x', 'y', 'z'].map((key) => ({ type: 'put', key, value: '' })));
  streams[0]!.step(true);
  streams[0]!.step(true);
  streams[0]!.break();
  await clock.pass(100);
  expect(streams).toHaveLength(2);
  expect(streams[1]!.endpoint).not.toBe(streams[0]!.endpoint);
  streams[1]!.settle();
  await clock.endTurn();
  expect(changesOf(seen.items)).toEqual(['2 put x', '2 put y', '2 put z']);
  expect(seen.items).toHaveLength(1);
});

test('a silence is noticed at whatever fraction of a millisecond the last word came', async () => {
  const { clock, streams, config } = await setUp();
  // Two heartbeats later less the same is less than two heartbeats, as numbers go.
  let fraction = 0.1;
  while (1_000 + fraction + 2_000 - (1_000 + fraction) >= 2_000) fraction += 0.1;
  reading(config.watch('a'));
  await clock.endTurn();
  streams[0]!.heartbeatMs = 1_000;
  clock.jump(fraction);
  streams[0]!.settle();
  await clock.pass(1_999);
  expect(streams).toHaveLength(1);
  await clock.pass(150);
  expect(streams).toHaveLength(2);
});

test('a node that says nothing for two heartbeats is left for another one', async () => {
  const { clock, tree, streams, config } = await setUp();
  const seen = reading(config.watch('k'));
  await clock.endTurn();
  streams[0]!.heartbeatMs = 1_000;
  streams[0]!.settle();
  await clock.pass(900);
  streams[0]!.heartbeat();
  await clock.pass(1_900);
  expect(streams).toHaveLength(1);
  await clock.pass(150);
  expect(streams).toHaveLength(2);
  expect(streams[0]!.isOver).toBe(true);
  tree.put('k', '1');
  streams[1]!.settle();
  await clock.endTurn();
  expect(changesOf(seen.items)).toEqual(['2 put k']);
});

test('a client that stood still itself gives the node time to be heard', async () => {
  const { clock, streams, config } = await setUp();
  reading(config.watch('k'));
  await clock.endTurn();
  streams[0]!.settle();
  clock.jump(60_000);
  await clock.pass(100);
  expect(streams).toHaveLength(1);
  streams[0]!.heartbeat();
  await clock.pass(2_900);
  expect(streams).toHaveLength(1);
});

test('after a compaction a watch says so, with the revision, and goes on behind it', async () => {
  const { clock, tree, streams, config } = await setUp();
  const seen = reading(config.watch({ prefix: 'k' }));
  await clock.endTurn();
  streams[0]!.settle();
  tree.put('k1', '');
  streams[0]!.settle();
  streams[0]!.break();
  for (let i = 0; i < 5; i += 1) tree.put('k2', '');
  tree.compactRevision = 6n;
  await clock.pass(100);
  streams[1]!.settle();
  await clock.endTurn();
  await clock.endTurn();
  streams[1]!.settle();
  await clock.endTurn();
  expect(seen.items.map(({ type, revision }) => [type, revision])).toEqual([
    ['changes', 2n],
    ['resync', 5n],
    ['changes', 6n],
    ['changes', 7n],
  ]);
});

test('a watch without changes moves on by the position of its stream, so that no compaction passes it', async () => {
  const { clock, tree, streams, config } = await setUp();
  const seen = reading(config.watch('k', { progress: true }));
  const silent = reading(config.watch('l'));
  await clock.endTurn();
  streams[0]!.settle();
  for (let i = 0; i < 5; i += 1) tree.put('other', '');
  await clock.pass(2_000);
  for (let i = 0; i < 5; i += 1) {
    streams[0]!.heartbeat();
    await clock.pass(2_000);
  }
  streams[0]!.settle();
  tree.compactRevision = 7n;
  streams[0]!.break();
  await clock.pass(100);
  streams[1]!.settle();
  await clock.endTurn();
  expect(seen.items).toEqual([{ type: 'progress', revision: 6n }]);
  expect(silent.items).toEqual([]);
});

test('a slow reader costs its bound; the watch goes on where it was when it has read', async () => {
  const { clock, tree, streams, config } = await setUp();
  const watch = config.watch({ prefix: 'k' }, { maxBufferedBytes: 2_000 });
  const other = reading(config.watch({ prefix: 'k' }));
  await clock.endTurn();
  streams[0]!.settle();
  for (let i = 0; i < 100; i += 1) tree.put('k', 'v');
  streams[0]!.settle();
  await clock.endTurn();
  expect(streams[0]!.watches.size).toBe(1);
  expect(changesOf(other.items)).toHaveLength(100);
  const revisions: bigint[] = [];
  while (revisions.length < 100) {
    const { value } = await watch.next();
    expect(value?.type).toBe('changes');
    if (value?.type !== 'changes') break;
    expect(value.events.length).toBeLessThan(15);
    revisions.push(...value.events.map(({ revision }) => revision));
    await clock.endTurn();
    streams[0]!.settle();
  }
  expect(revisions).toEqual(Array.from({ length: 100 }, (_, i) => BigInt(i + 2)));
});

test('a watch that the node ends for a passing reason is begun again, for another it fails', async () => {
  const { clock, tree, streams, config } = await setUp();
  const seen = reading(config.watch({ prefix: 'k' }));
  const wrong = reading(config.watch({ start: 'b', end: 'a' }));
  await clock.endTurn();
  const [slow, inverted] = [...streams[0]!.watches.keys()];
  streams[0]!.cancelWatch(inverted!, 'RANGE_INVERTED');
  streams[0]!.settle();
  streams[0]!.cancelWatch(slow!, 'WATCH_TOO_SLOW');
  await clock.pass(100);
  tree.put('k', '');
  streams.at(-1)!.settle();
  await clock.endTurn();
  expect(wrong.error?.reason).toBe('RANGE_INVERTED');
  expect(changesOf(seen.items)).toEqual(['2 put k']);
});

test('leaving the loop, close, a signal and the end of the client end a watch', async () => {
  const { clock, tree, streams, hf, config } = await setUp();
  const controller = new AbortController();
  const aborted = reading(config.watch('k', { signal: controller.signal }));
  const closedWatch = config.watch('k');
  const closed = reading(closedWatch);
  const open = reading(config.watch('k'));
  const left = (async () => {
    for await (const item of config.watch('k')) return item;
    return undefined;
  })();
  await clock.endTurn();
  streams[0]!.settle();
  expect(streams[0]!.watches.size).toBe(4);
  tree.put('k', '');
  streams[0]!.settle();
  await expect(left).resolves.toMatchObject({ type: 'changes' });
  controller.abort();
  closedWatch.close();
  await clock.endTurn();
  expect(aborted.error?.reason).toBe('CANCELLED');
  expect(closed).toMatchObject({ isOver: true });
  expect(closed.error).toBeUndefined();
  expect(streams[0]!.watches.size).toBe(1);
  const closing = hf.close();
  await clock.pass(10);
  await closing;
  expect(open.error?.reason).toBe('CLIENT_CLOSED');
  expect(streams[0]!.isOver).toBe(true);
  expect(clock.pendingTimers).toBe(0);
});

test('started() tells when nothing is missed any more', async () => {
  const { clock, streams, config } = await setUp();
  const watch = config.watch('k');
  let isStarted = false;
  void watch.started().then(() => (isStarted = true));
  await clock.endTurn();
  expect(isStarted).toBe(false);
  streams[0]!.settle();
  await clock.endTurn();
  expect(isStarted).toBe(true);
  expect(watch.position).toBe(2n);
});

type Step =
  | { do: 'change'; keys: string[] }
  | { do: 'step'; fragments: boolean }
  | { do: 'break' | 'repeat' | 'compact' | 'read' | 'refuse' | 'closed' }
  | { do: 'pass'; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('change' as const),
      keys: fc.uniqueArray(fc.constantFrom('a1', 'a2', 'a3', 'b1'), { minLength: 1, maxLength: 3 }),
    }),
  },
  { weight: 10, arbitrary: fc.record({ do: fc.constant('step' as const), fragments: fc.boolean() }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom<'break' | 'repeat' | 'compact' | 'read' | 'refuse' | 'closed'>(
        'break',
        'repeat',
        'compact',
        'read',
        'read',
        'read',
        'refuse',
        'closed',
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 7_000 }) }),
  },
);

test('whatever breaks: each change once, in order, whole revisions; what is left out is told', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
      const { clock, tree, streams, control, hf, config } = await setUp();
      const watch = config.watch({ prefix: 'a' }, { from: 2n, maxBufferedBytes: 1_500 });
      const items: WatchItem[] = [];
      let reads = 0;
      const read = async () => {
        reads += 1;
        watch.next().then(
          ({ value, done }) => {
            reads -= 1;
            if (done !== true && value !== undefined) items.push(value);
          },
          (error: HoldfastError) => expect(error.reason).toBe('CLIENT_CLOSED'),
        );
        await clock.endTurn();
      };
      await clock.endTurn();
      for (const todo of steps) {
        const stream = streams.at(-1)!;
        if (todo.do === 'change')
          tree.change(todo.keys.map((key) => ({ type: key === 'a3' ? 'delete' : 'put', key, value: 'v' })));
        else if (todo.do === 'step') stream.step(todo.fragments);
        else if (todo.do === 'break') stream.break();
        else if (todo.do === 'repeat') stream.repeat();
        else if (todo.do === 'compact') tree.compactRevision = tree.revision - 1n;
        else if (todo.do === 'refuse') {
          for (const id of stream.watches.keys()) stream.cancelWatch(id, 'WATCH_TOO_SLOW');
        } else if (todo.do === 'closed') control.opens = !control.opens;
        else if (todo.do === 'pass') await clock.pass(todo.ms);
        else if (reads === 0) await read();
        await clock.endTurn();
      }
      control.opens = true;
      for (let round = 0; round < 400 && watch.position <= tree.revision; round += 1) {
        await clock.pass(1_200);
        for (const stream of streams) {
          stream.settle();
          stream.heartbeat();
        }
        if (reads === 0) await read();
        if (tree.next(watch.position, 'a').length === 0 && round > 20) break;
      }
      await clock.endTurn();
      for (let left = 0; left < 3 && reads === 0; left += 1) await read();
      expectTold(items, tree.changes, tree.revision);
      const closing = hf.close();
      await clock.pass(10);
      await closing;
      expect(clock.pendingTimers).toBe(0);
    }),
    { numRuns: 150 },
  );
}, 60_000);

/** The naive oracle: all changes of the prefix from revision 2 on, but for those that a resync says. */
function expectTold(items: readonly WatchItem[], changes: readonly Change[], revision: bigint): void {
  const expected: string[] = [];
  const told: string[] = [];
  let at = 1n;
  for (const item of items) {
    expect(item.revision).toBeGreaterThan(at);
    if (item.type === 'changes') {
      for (const change of changes)
        if (change.revision > at && change.revision <= item.revision && change.key.startsWith('a'))
          expected.push(`${change.revision} ${change.type} ${change.key}`);
    }
    told.push(...changesOf([item]));
    at = item.revision;
  }
  expect(told).toEqual(expected);
  const missing = changes.filter((change) => change.revision > at && change.key.startsWith('a'));
  expect(missing, `of ${revision}`).toEqual([]);
}
