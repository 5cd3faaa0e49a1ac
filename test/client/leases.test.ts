import { connect, type HoldfastError } from '@holdfast/client';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';
import { carry, type Fate, FakeSessions } from './fake-sessions.ts';

async function setUp(fates: Fate[] = []) {
  const clock = new FakeClock();
  const transport = new FakeTransport();
  const node = new FakeSessions(clock);
  carry(transport, clock, node, fates);
  const hf = await connect({ endpoints: 'a:1,b:1', clock, transport, random: fixedRandom });
  return { clock, transport, node, hf };
}

function watch<T>(promise: Promise<T>) {
  const seen: { value?: T; error?: HoldfastError } = {};
  promise.then(
    (value) => (seen.value = value),
    (error: HoldfastError) => (seen.error = error),
  );
  return seen;
}

const LOST: Fate = { there: Infinity, back: 0 };

test('a lease is kept alive as long as the client lives, and its signal fires when it is closed', async () => {
  const { clock, node, hf } = await setUp();
  const granting = watch(hf.leases.grant({ ttl: '5s', name: 'me' }));
  await clock.pass(10);
  const lease = granting.value!;
  await clock.pass(60_000);
  expect(node.isLive(lease.id)).toBe(true);
  expect([lease.isAlive, lease.signal.aborted]).toEqual([true, false]);
  const kept = node.calls.filter((method) => method === 'KeepAlive').length;
  expect(kept).toBeGreaterThan(30);
  expect(kept).toBeLessThan(40);
  const closing = hf.close();
  await clock.pass(10);
  await closing;
  expect((lease.signal.reason as HoldfastError).reason).toBe('CLIENT_CLOSED');
});

test('one call keeps all leases alive that are due', async () => {
  const { clock, transport, node, hf } = await setUp();
  for (let i = 0; i < 50; i += 1) {
    void hf.leases.grant({ ttl: 10_000 });
    await clock.pass(20);
  }
  transport.unaries.length = 0;
  node.calls = [];
  await clock.pass(20_000);
  expect(node.liveLeases).toBe(50);
  const sizes = transport.unaries.map(({ request }) => (request as { leases: bigint[] }).leases.length);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThanOrEqual(250);
  expect(sizes.length).toBeLessThan(20);
});

test('a lease that nobody keeps alive ends by the clock of the client before it ends in the cluster', async () => {
  const { clock, node, hf } = await setUp();
  const granting = watch(hf.leases.grant({ ttl: 2_000, keepAlive: false }));
  await clock.pass(3);
  const lease = granting.value!;
  await clock.pass(1_500);
  expect(lease.isAlive).toBe(true);
  void lease.keepAliveOnce();
  await clock.pass(1_800);
  expect(lease.isAlive).toBe(true);
  await clock.pass(60);
  expect(lease.isAlive).toBe(false);
  expect((lease.signal.reason as HoldfastError).reason).toBe('LEASE_LOST');
  expect(node.isLive(lease.id)).toBe(true);
});

test('a cut-off client is told before the cluster ends the lease, counted from the last answered request', async () => {
  const fates: Fate[] = [{ there: 100, back: 1_000 }];
  const { clock, node, hf } = await setUp(fates);
  const granting = watch(hf.leases.grant({ ttl: 10_000 }));
  await clock.pass(1_100);
  const lease = granting.value!;
  fates.push(...Array.from({ length: 1_000 }, () => LOST));
  // Sent at 0: 10 s less 5 % and 50 ms.
  await clock.pass(9_450 - 1_100 - 1);
  expect(lease.signal.aborted).toBe(false);
  await clock.pass(2);
  expect((lease.signal.reason as HoldfastError).reason).toBe('LEASE_LOST');
  expect(node.isLive(lease.id)).toBe(true);
});

test('a lost answer is asked for again, at another node when one hangs', async () => {
  const fates: Fate[] = [{ there: 1, back: 1 }, { there: 1, back: Infinity }, LOST];
  const { clock, transport, node, hf } = await setUp(fates);
  const granting = watch(hf.leases.grant({ ttl: 10_000 }));
  await clock.pass(30_000);
  const lease = granting.value!;
  expect([lease.isAlive, node.isLive(lease.id)]).toEqual([true, true]);
  const asked = transport.unaries.map(({ endpoint }) => endpoint);
  expect(new Set(asked)).toEqual(new Set(['a:1', 'b:1']));
});

test('a lease that has ended in the cluster is told of as soon as the client hears', async () => {
  const { clock, node, hf } = await setUp();
  const granting = watch(hf.leases.grant({ ttl: 3_000 }));
  await clock.pass(10);
  const lease = granting.value!;
  node.end(lease.id);
  await clock.pass(1_100);
  expect((lease.signal.reason as HoldfastError).reason).toBe('LEASE_UNKNOWN');
  expect(watch(lease.keepAliveOnce()).value).toBeUndefined();
});

test('to revoke a lease ends it, once; one that is not there any more is no error', async () => {
  const { clock, node, hf } = await setUp();
  const granting = [watch(hf.leases.grant()), watch(hf.leases.grant())];
  await clock.pass(10);
  const [lease, other] = granting.map(({ value }) => value!);
  node.end(other!.id);
  const revoked = [lease!.revoke(), lease!.revoke(), other!.revoke()].map((call) => watch(call));
  await clock.pass(50);
  expect(revoked.map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
  expect(node.liveLeases).toBe(0);
  expect((lease!.signal.reason as HoldfastError).reason).toBe('CANCELLED');
  await clock.pass(20_000);
  expect(clock.pendingTimers).toBe(0);
});

test('a time to live out of range is refused', async () => {
  const { clock, transport, hf } = await setUp();
  const refused = [999, '25h' as const].map((ttl) => watch(hf.leases.grant({ ttl })));
  await clock.endTurn();
  for (const { error } of refused) expect(error).toMatchObject({ reason: 'TTL_OUT_OF_RANGE' });
  expect(transport.unaries).toEqual([]);
});

const ms = fc.integer({ min: 1, max: 900 });
const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ there: ms, back: ms }) },
  fc.constant(LOST),
  fc.record({ there: ms, back: fc.constant(Infinity) }),
  fc.record({ there: ms, back: fc.constant(Infinity), breaks: ms }),
  fc.record({ there: fc.constant(Infinity), back: fc.constant(0), breaks: ms }),
  // It arrives when the client has long given the attempt up.
  fc.record({ there: fc.integer({ min: 2_000, max: 6_000 }), back: ms }),
);

test('whatever is lost, late or paused: a lease that has ended in the cluster was given up before', async () => {
  let lost = 0;
  let kept = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fate, { maxLength: 40 }),
      fc.array(fc.record({ pass: fc.integer({ min: 1, max: 2_500 }), stall: fc.boolean() }), {
        maxLength: 30,
      }),
      fc.integer({ min: 1_000, max: 8_000 }),
      async (drawn, steps, ttl) => {
        const fates = [...drawn];
        const { clock, node, hf } = await setUp(fates);
        const granting = watch(hf.leases.grant({ ttl, timeout: 10_000 }));
        const check = () => {
          const lease = granting.value;
          if (lease !== undefined && !node.isLive(lease.id)) expect(lease.isAlive).toBe(false);
        };
        for (const { pass, stall } of steps) {
          // A stall of this process: no timer of the client runs, but the cluster goes on.
          if (stall) clock.jump(pass);
          else await clock.pass(pass);
          check();
        }
        await clock.pass(1);
        const lease = granting.value;
        if (lease === undefined) return;
        if (lease.signal.aborted) lost += 1;
        else kept += 1;
        // Then it is cut off for good.
        fates.length = 0;
        fates.push(...Array.from({ length: 1_000 }, () => LOST));
        while (node.isLive(lease.id)) {
          await clock.pass(20);
          check();
        }
        expect(lease.signal.aborted).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
  // Both must happen, or nothing was shown.
  expect(lost).toBeGreaterThan(20);
  expect(kept).toBeGreaterThan(20);
}, 60_000);
