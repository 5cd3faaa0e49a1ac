import { connect, type HeldLock, type HoldfastError } from '@holdfast/client';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';
import { carry, type Fate, FakeSessions } from './fake-sessions.ts';

const LOST: Fate = { there: Infinity, back: 0 };

function world() {
  const clock = new FakeClock();
  return { clock, node: new FakeSessions(clock) };
}

let clients = 0;

async function join({ clock, node }: ReturnType<typeof world>, fates: Fate[] = []) {
  const transport = new FakeTransport();
  carry(transport, clock, node, fates);
  clients += 1;
  const random = { ...fixedRandom, bytes: (length: number) => new Uint8Array(length).fill(clients) };
  const hf = await connect({ endpoints: 'a:1,b:1', clock, transport, random });
  return { hf, lock: hf.lock, transport, fates };
}

async function setUp(fates: Fate[] = []) {
  const shared = world();
  return { ...shared, ...(await join(shared, fates)) };
}

function watch<T>(promise: Promise<T>) {
  const seen: { value?: T; error?: HoldfastError; isOver: boolean } = { isOver: false };
  promise.then(
    (value) => Object.assign(seen, { value, isOver: true }),
    (error: HoldfastError) => Object.assign(seen, { error, isOver: true }),
  );
  return seen;
}

function reasonOf(signal: AbortSignal): string | undefined {
  return (signal.reason as HoldfastError | undefined)?.reason;
}

test('different locks share one session, so that a lock is one call', async () => {
  const { clock, node, lock } = await setUp();
  const held = ['a', 'b', 'c'].map((name) => watch(lock.acquire(name)));
  await clock.pass(20);
  expect(node.calls).toEqual(['Grant', 'Acquire', 'Acquire', 'Acquire']);
  expect(held.map(({ value }) => value?.isHeld)).toEqual([true, true, true]);
  expect(held[0]!.value).toMatchObject({ name: 'a', holds: 1 });
  expect(held[0]!.value!.fence).toEqual({ name: 'a', token: held[0]!.value!.token });
  const released = held.map(({ value }) => watch(value!.release()));
  await clock.pass(20);
  expect(released.every(({ isOver, error }) => isOver && error === undefined)).toBe(true);
  expect(node.places).toBe(0);
  expect(node.liveLeases).toBe(1);
  expect(held[0]!.value!.isHeld).toBe(false);
  expect(held[0]!.value!.signal.aborted).toBe(false);
});

test('callers of one lock in one client exclude each other, first come, first served', async () => {
  const { clock, node, lock } = await setUp();
  const order: number[] = [];
  let inside = 0;
  const runs = Array.from({ length: 20 }, (_, i) =>
    watch(
      lock.run('a', async () => {
        inside += 1;
        expect(inside).toBe(1);
        order.push(i);
        await new Promise<void>((resolve) => clock.setTimer(5, resolve));
        inside -= 1;
        return i;
      }),
    ),
  );
  await clock.pass(1_000);
  expect(runs.map(({ value }) => value)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(node.places).toBe(0);
});

test('a lock that another holds: at once, in time, by its signal', async () => {
  const shared = world();
  const { clock, node } = shared;
  const { lock: first } = await join(shared);
  const { lock: second } = await join(shared);
  const held = watch(first.acquire('a'));
  await clock.pass(20);
  const controller = new AbortController();
  const tried = watch(second.tryAcquire('a'));
  const refused = watch(second.acquire('a', { wait: 0 }));
  const late = watch(second.acquire('a', { wait: '2s' }));
  const aborted = watch(second.acquire('a', { signal: controller.signal }));
  const waiting = watch(second.acquire('a'));
  await clock.pass(1_000);
  controller.abort();
  await clock.pass(1_100);
  expect(tried).toEqual({ isOver: true, value: undefined });
  expect(refused.error?.reason).toBe('LOCK_HELD');
  expect(late.error?.reason).toBe('LOCK_TIMED_OUT');
  expect(aborted.error?.reason).toBe('CANCELLED');
  expect(waiting.isOver).toBe(false);
  await clock.pass(20);
  expect(node.queue('a')).toHaveLength(2);
  void held.value!.release();
  await clock.pass(20);
  expect(waiting.value?.isHeld).toBe(true);
});

test('a wait without end goes on behind the longest call', async () => {
  const shared = world();
  const { clock } = shared;
  const { lock: first } = await join(shared);
  const { lock: second } = await join(shared);
  const held = watch(first.acquire('a'));
  await clock.pass(20);
  const waiting = watch(second.acquire('a'));
  await clock.pass(900_000);
  expect(waiting.isOver).toBe(false);
  void held.value!.release();
  await clock.pass(20);
  expect(waiting.value?.isHeld).toBe(true);
});

test('a cut-off holder is told before the cluster gives its lock away', async () => {
  const shared = world();
  const { clock, node } = shared;
  const { lock: first, fates } = await join(shared);
  const { lock: second } = await join(shared);
  const held = watch(first.acquire('a', { ttl: 4_000 }));
  await clock.pass(20);
  const waiting = watch(second.acquire('a'));
  await clock.pass(20);
  fates.push(...Array.from({ length: 1_000 }, () => LOST));
  while (!held.value!.signal.aborted) await clock.pass(10);
  expect(waiting.isOver).toBe(false);
  expect(node.queue('a')).toHaveLength(2);
  expect(reasonOf(held.value!.signal)).toBe('LOCK_LOST');
  expect(held.value!.isHeld).toBe(false);
  await clock.pass(1_000);
  expect(waiting.value?.token).toBeGreaterThan(held.value!.token);
  fates.length = 0;
  await clock.pass(10_000);
  const again = watch(first.tryAcquire('b', { ttl: 4_000 }));
  await clock.pass(20);
  expect(again.value?.isHeld).toBe(true);
});

test('work under a lock is given up when the lock is lost', async () => {
  const { clock, node, lock } = await setUp();
  let seen: HeldLock | undefined;
  const running = watch(
    lock.run('a', (held) => {
      seen = held;
      return new Promise<void>(() => undefined);
    }),
  );
  await clock.pass(20);
  for (const { session } of node.queue('a')) node.end(session);
  await clock.pass(4_000);
  expect(running.error?.reason).toBe('LOCK_LOST');
  expect(seen!.signal.aborted).toBe(true);
});

test('work that ends when this process has stood still for too long is not taken for done', async () => {
  const { clock, lock } = await setUp();
  const running = watch(
    lock.run('a', () => {
      clock.jump(11_000);
    }),
  );
  await clock.pass(50);
  await clock.pass(50);
  expect(running.error?.reason).toBe('LOCK_LOST');
});

test('an error of the work releases the lock and comes through', async () => {
  const { clock, node, lock } = await setUp();
  const running = watch(
    lock.run('a', () => {
      throw new Error('mine');
    }),
  );
  await clock.pass(50);
  expect(running.error?.message).toBe('mine');
  expect(node.places).toBe(0);
});

test('a session of the caller takes again what it holds', async () => {
  const { clock, node, hf, lock } = await setUp();
  const granting = watch(hf.session({ name: 'me' }));
  await clock.pass(10);
  const session = granting.value!;
  const held = watch(lock.acquire('a', { session }));
  await clock.pass(10);
  expect(held.value?.isHeld).toBe(true);
  node.end(session.id);
  await clock.pass(4_000);
  expect(reasonOf(held.value!.signal)).toBe('LOCK_LOST');
  const late = watch(lock.acquire('b', { session }));
  await clock.pass(10);
  expect(late.error?.reason).toBe('LOCK_LOST');
});

test('a shared session that has ended is replaced, also while a caller waits', async () => {
  const shared = world();
  const { clock, node } = shared;
  const { lock: first } = await join(shared);
  const { lock: second } = await join(shared);
  const held = watch(first.acquire('a'));
  await clock.pass(20);
  const waiting = watch(second.acquire('a'));
  await clock.pass(20);
  node.end(node.queue('a')[1]!.session);
  await clock.pass(50);
  expect(waiting.isOver).toBe(false);
  void held.value!.release();
  await clock.pass(50);
  expect(waiting.value?.isHeld).toBe(true);
});

test('a release whose answer is lost is asked for again, and finds it done', async () => {
  const { clock, node, lock, fates } = await setUp();
  const held = watch(lock.acquire('a'));
  await clock.pass(20);
  fates.push({ there: 1, back: Infinity, breaks: 20 });
  const released = watch(held.value!.release());
  await clock.pass(200);
  expect(released).toMatchObject({ isOver: true });
  expect(released.error).toBeUndefined();
  expect(node.calls.filter((method) => method === 'Release')).toHaveLength(2);
});

test('closing the client frees its locks, and their signals fire', async () => {
  const { clock, node, hf, lock } = await setUp();
  const held = watch(lock.acquire('a'));
  await clock.pass(20);
  const closing = watch(hf.close());
  await clock.pass(100);
  expect(closing.isOver).toBe(true);
  expect(reasonOf(held.value!.signal)).toBe('CLIENT_CLOSED');
  expect([node.places, node.liveLeases]).toEqual([0, 0]);
  const late = watch(lock.acquire('b'));
  await clock.endTurn();
  expect(late.error?.reason).toBe('CLIENT_CLOSED');
});

test('what is not allowed is refused before anything is sent', async () => {
  const { clock, transport, lock } = await setUp();
  const refused = [
    lock.acquire('a', { permits: 0 }),
    lock.acquire('a', { mode: 'semaphore' }),
    lock.acquire('a', { mode: 'shared', permits: 3 }),
    lock.acquire('a', { wait: -1 }),
    lock.acquire('a', { ttl: 10 }),
  ].map((call) => watch(call));
  await clock.endTurn();
  expect(refused.map(({ error }) => error?.reason)).toEqual([
    'INVALID_FIELD',
    'INVALID_FIELD',
    'INVALID_FIELD',
    'INVALID_FIELD',
    'TTL_OUT_OF_RANGE',
  ]);
  expect(transport.unaries).toEqual([]);
});

const ms = fc.integer({ min: 1, max: 300 });
const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ there: ms, back: ms }) },
  fc.record({ there: ms, back: fc.constant(Infinity), breaks: ms }),
  fc.record({ there: fc.constant(Infinity), back: fc.constant(0), breaks: ms }),
  // It arrives when another attempt was answered, or the caller has long gone.
  fc.record({ there: fc.integer({ min: 300, max: 4_000 }), back: ms, breaks: ms }),
);

const script = fc.array(
  fc.record({
    name: fc.constantFrom('a', 'a', 'b'),
    client: fc.integer({ min: 0, max: 1 }),
    startsMs: fc.integer({ min: 0, max: 600 }),
    /** After its start; 0: never. */
    abortsMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1_500 })),
    holdsMs: fc.integer({ min: 0, max: 400 }),
  }),
  { minLength: 1, maxLength: 8 },
);

test('aborted at any moment, over any network: nobody holds beside another, and nothing stays behind', async () => {
  let got = 0;
  let aborted = 0;
  await fc.assert(
    fc.asyncProperty(script, fc.array(fate, { maxLength: 30 }), async (tasks, drawn) => {
      const shared = world();
      const { clock, node } = shared;
      const fates = [...drawn];
      const parts = [await join(shared, fates), await join(shared, fates)];
      const holders = new Map<string, HeldLock>();
      const ended: boolean[] = [];
      for (const [index, { name, client, startsMs, abortsMs, holdsMs }] of tasks.entries()) {
        const controller = new AbortController();
        clock.setTimer(startsMs, () => {
          if (abortsMs > 0) clock.setTimer(abortsMs, () => controller.abort());
          const { signal } = controller;
          parts[client]!.lock.acquire(name, { signal }).then(
            (held) => {
              got += 1;
              const other = holders.get(name);
              if (other !== undefined) {
                expect(other.isHeld && held.isHeld).toBe(false);
                expect(other.token).toBeLessThan(held.token);
              }
              holders.set(name, held);
              clock.setTimer(holdsMs, () => {
                held.release().then(
                  () => (ended[index] = true),
                  () => (ended[index] = true),
                );
              });
            },
            (error: HoldfastError) => {
              if (error.reason === 'CANCELLED') aborted += 1;
              ended[index] = true;
            },
          );
        });
      }
      await clock.pass(40_000);
      expect(ended.filter(Boolean)).toHaveLength(tasks.length);
      expect(node.places).toBe(0);
    }),
    { numRuns: 300 },
  );
  expect(got).toBeGreaterThan(100);
  expect(aborted).toBeGreaterThan(100);
}, 120_000);
