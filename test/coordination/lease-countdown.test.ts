import { expect, test } from 'vitest';
import fc from 'fast-check';
import { LeaseCountdown, TICK_MS } from '../../node/coordination/lease-countdown.ts';

const CHECKPOINT_MS = 10_000;

type Step =
  | {
      readonly do: 'add';
      readonly lease: bigint;
      readonly ttlMs: number;
      readonly leftMs: number | undefined;
    }
  | { readonly do: 'keep'; readonly lease: bigint; readonly sinceTickMs: number }
  | { readonly do: 'remove'; readonly lease: bigint }
  | { readonly do: 'put back'; readonly lease: bigint }
  | { readonly do: 'sink'; readonly lease: bigint }
  | { readonly do: 'pass'; readonly ticks: number; readonly ms: number; readonly limit: number };

const lease = fc.bigInt(1n, 4n);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('add' as const),
    lease,
    ttlMs: fc.integer({ min: 1_000, max: 30_000 }),
    leftMs: fc.option(fc.integer({ min: 0, max: 20_000 }), { nil: undefined }),
  }),
  fc.record({ do: fc.constant('keep' as const), lease, sinceTickMs: fc.integer({ min: 0, max: 5_000 }) }),
  fc.record({ do: fc.constant('remove' as const), lease }),
  fc.record({ do: fc.constant('put back' as const), lease }),
  fc.record({ do: fc.constant('sink' as const), lease }),
  fc.record({
    do: fc.constant('pass' as const),
    ticks: fc.integer({ min: 1, max: 40 }),
    ms: fc.constantFrom(TICK_MS, TICK_MS, TICK_MS + 7, 3 * TICK_MS, 60_000),
    limit: fc.constantFrom(1, 2, 100),
  }),
);

interface Naive {
  ttlMs: number;
  endsMs: number;
  isAnchored: boolean;
  isEnding: boolean;
}

/** Every lease is looked at whenever anything is asked. */
class NaiveCountdown {
  readonly leases = new Map<bigint, Naive>();
  nowMs = 1_000;

  add(id: bigint, ttlMs: number, endsMs: number | undefined): void {
    if (this.leases.has(id)) return;
    const isAnchored = endsMs !== undefined;
    this.leases.set(id, { ttlMs, endsMs: endsMs ?? this.nowMs + ttlMs, isAnchored, isEnding: false });
  }

  keep(id: bigint, sinceTickMs: number): string {
    const found = this.leases.get(id);
    if (found === undefined) return 'unknown';
    if (found.isEnding) return 'ending';
    found.endsMs = this.nowMs + sinceTickMs + found.ttlMs;
    const was = found.isAnchored;
    found.isAnchored = false;
    return was ? 'anchored' : 'afloat';
  }

  pass(ms: number): void {
    if (ms <= 5 * TICK_MS) this.nowMs += Math.min(ms, 2 * TICK_MS);
  }
}

test('leases end when their time has been counted and not before, as by looking at all of them', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let monotonicMs = 5_000;
      const countdown = new LeaseCountdown(CHECKPOINT_MS, 1_000, monotonicMs);
      const naive = new NaiveCountdown();
      for (const one of steps) {
        if (one.do === 'add') {
          const endsMs = one.leftMs === undefined ? undefined : naive.nowMs + one.leftMs;
          countdown.add(one.lease, { ttlMs: one.ttlMs, endsMs }, monotonicMs);
          naive.add(one.lease, one.ttlMs, endsMs);
        } else if (one.do === 'keep') {
          const { sinceTickMs } = one;
          expect(countdown.keep(one.lease, monotonicMs + sinceTickMs)).toBe(
            naive.keep(one.lease, sinceTickMs),
          );
        } else if (one.do === 'remove') {
          countdown.remove(one.lease);
          naive.leases.delete(one.lease);
        } else if (one.do === 'put back') {
          countdown.putBack([one.lease]);
          const found = naive.leases.get(one.lease);
          if (found?.isEnding === true) found.isEnding = false;
          else if (found !== undefined) found.isAnchored = false;
        } else if (one.do === 'sink') {
          countdown.noteAnchored(one.lease);
          const found = naive.leases.get(one.lease);
          if (found !== undefined) found.isAnchored = true;
        } else if (one.do === 'pass') {
          for (let left = one.ticks; left > 0; left--) {
            countdown.tick((monotonicMs += one.ms));
            naive.pass(one.ms);
            const { ended, late } = countdown.takeDue(one.limit);
            for (const id of ended) {
              const found = naive.leases.get(id)!;
              expect(found.endsMs).toBeLessThanOrEqual(naive.nowMs);
              expect(found.isEnding).toBe(false);
              found.isEnding = true;
            }
            for (const { lease: id, endsMs } of late) {
              const found = naive.leases.get(id)!;
              expect(endsMs).toBe(found.endsMs);
              expect(found.isAnchored).toBe(false);
              expect(naive.nowMs).toBeGreaterThanOrEqual(endsMs - found.ttlMs + 0.4 * CHECKPOINT_MS);
              found.isAnchored = true;
            }
          }
          expect(countdown.nowMs).toBe(naive.nowMs);
          countdown.tick((monotonicMs += TICK_MS));
          naive.pass(TICK_MS);
          for (const id of settle(countdown)) naive.leases.get(id)!.isEnding = true;
          for (const [id, found] of naive.leases) {
            // Whoever is over by more than a slot of the wheel has been found.
            if (found.endsMs <= naive.nowMs - TICK_MS) expect([id, found.isEnding]).toEqual([id, true]);
            const lateMs = found.endsMs - found.ttlMs + 0.4 * CHECKPOINT_MS;
            if (lateMs <= naive.nowMs - TICK_MS && lateMs < found.endsMs) found.isAnchored = true;
          }
        }
        for (const [id, found] of naive.leases)
          expect(countdown.remainingMs(id, monotonicMs)).toBe(Math.max(0, found.endsMs - naive.nowMs));
        expect(countdown.size).toBe(naive.leases.size);
      }

      function settle(counted: LeaseCountdown): bigint[] {
        const { ended, late } = counted.takeDue(1_000);
        for (const { lease: id } of late) naive.leases.get(id)!.isAnchored = true;
        return [...ended];
      }
    }),
    { numRuns: 1_000 },
  );
});

test('who slept ends nothing', () => {
  const countdown = new LeaseCountdown(CHECKPOINT_MS, 0, 0);
  countdown.add(1n, { ttlMs: 1_000, endsMs: undefined }, 0);
  countdown.tick(200);
  countdown.tick(3_600_200);
  expect(countdown.takeDue(10).ended).toEqual([]);
  expect(countdown.remainingMs(1n, 3_600_200)).toBe(800);
  for (let at = 1; at <= 5; at++) countdown.tick(3_600_200 + at * 200);
  expect(countdown.takeDue(10).ended).toEqual([1n]);
});

test('a lease that is kept alive in good time is never anchored', () => {
  const countdown = new LeaseCountdown(CHECKPOINT_MS, 0, 0);
  countdown.add(1n, { ttlMs: 10_000, endsMs: undefined }, 0);
  for (let at = 1; at < 1_000; at++) {
    countdown.tick(at * 200);
    expect(countdown.takeDue(10)).toEqual({ ended: [], late: [] });
    if (at % 17 === 0) expect(countdown.keep(1n, at * 200)).toBe('afloat');
  }
});
