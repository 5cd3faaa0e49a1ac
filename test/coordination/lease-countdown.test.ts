import { expect, test } from 'vitest';
import fc from 'fast-check';
import { LeaseCountdown, type StoredLease, TICK_MS } from '../../node/coordination/lease-countdown.ts';

const CHECKPOINT_MS = 10_000;
/** After which a lease is anchored: one that was granted or kept alive, and one that was taken over. */
const SLACK_MS = 0.4 * CHECKPOINT_MS;
const TAKEN_OVER_SLACK_MS = 0.15 * CHECKPOINT_MS;

type Step =
  | {
      readonly do: 'add';
      readonly lease: bigint;
      readonly ttlMs: number;
      readonly leftMs: number | undefined;
      readonly isTakenOver: boolean;
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
    isTakenOver: fc.boolean(),
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
  slackMs: number;
  endsMs: number;
  isAnchored: boolean;
  isEnding: boolean;
}

/** Every lease is looked at whenever anything is asked. */
class NaiveCountdown {
  readonly leases = new Map<bigint, Naive>();
  nowMs = 1_000;

  add(id: bigint, ttlMs: number, endsMs: number | undefined, slackMs: number): void {
    if (this.leases.has(id)) return;
    const isAnchored = endsMs !== undefined;
    const endsAtMs = endsMs ?? this.nowMs + ttlMs;
    this.leases.set(id, { ttlMs, slackMs, endsMs: endsAtMs, isAnchored, isEnding: false });
  }

  keep(id: bigint, sinceTickMs: number): string {
    const found = this.leases.get(id);
    if (found === undefined) return 'unknown';
    if (found.isEnding) return 'ending';
    found.endsMs = this.nowMs + sinceTickMs + found.ttlMs;
    found.slackMs = SLACK_MS;
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
          const stored = { ttlMs: one.ttlMs, endsMs };
          if (one.isTakenOver) countdown.takeOver(one.lease, stored, monotonicMs);
          else countdown.add(one.lease, stored, monotonicMs);
          naive.add(one.lease, one.ttlMs, endsMs, one.isTakenOver ? TAKEN_OVER_SLACK_MS : SLACK_MS);
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
              expect(naive.nowMs).toBeGreaterThanOrEqual(endsMs - found.ttlMs + found.slackMs);
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
            const lateMs = found.endsMs - found.ttlMs + found.slackMs;
            if (lateMs <= naive.nowMs - TICK_MS && lateMs < found.endsMs) found.isAnchored = true;
          }
        }
        for (const [id, found] of naive.leases) {
          const left = Math.max(0, found.endsMs - naive.nowMs);
          expect(countdown.remainingMs(id, monotonicMs)).toBe(Math.min(found.ttlMs, left));
        }
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

/** A lease as it is stored, counted by one leader after the other. */
class CountedByMany {
  stored: StoredLease;
  #leaseTimeMs = 0;
  #monotonicMs = 0;

  constructor(ttlMs: number) {
    this.stored = { ttlMs, endsMs: undefined };
  }

  /** What it has left when a leader has counted for so many ticks; it was granted by the first one. */
  lead(ticks: number, isFirst: boolean): number {
    const countdown = new LeaseCountdown(CHECKPOINT_MS, this.#leaseTimeMs, this.#monotonicMs);
    if (isFirst) countdown.add(1n, this.stored, this.#monotonicMs);
    else countdown.takeOver(1n, this.stored, this.#monotonicMs);
    for (let left = ticks; left > 0; left--) {
      countdown.tick((this.#monotonicMs += TICK_MS));
      const { late } = countdown.takeDue(10);
      if (late.length > 0) this.stored = { ...this.stored, endsMs: late[0]!.endsMs };
      const isDue = countdown.nowMs - this.#leaseTimeMs >= CHECKPOINT_MS / 5;
      if (late.length > 0 || (countdown.anchored > 0 && isDue)) this.#leaseTimeMs = countdown.nowMs;
    }
    return countdown.remainingMs(1n, this.#monotonicMs)!;
  }
}

test('three changes of leader lengthen what a lease has left by at most one checkpoint interval', () => {
  const ttlMs = 3_600_000;
  const terms = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(terms, (ticks) => {
      const lease = new CountedByMany(ttlMs);
      let ledMs = 0;
      let leftMs = ttlMs;
      for (const [at, count] of ticks.entries()) {
        leftMs = lease.lead(count, at === 0);
        ledMs += count * TICK_MS;
      }
      expect(leftMs).toBeGreaterThanOrEqual(ttlMs - ledMs);
      expect(leftMs).toBeLessThanOrEqual(ttlMs - ledMs + CHECKPOINT_MS);
    }),
    { numRuns: 5_000 },
  );
});

test('no lease is said to have more than its whole time, however late the next tick is', () => {
  const countdown = new LeaseCountdown(CHECKPOINT_MS, 0, 0);
  for (const sinceTickMs of [0, TICK_MS, 600, 4 * TICK_MS]) {
    countdown.add(BigInt(sinceTickMs), { ttlMs: 10_000, endsMs: undefined }, sinceTickMs);
    expect(countdown.remainingMs(BigInt(sinceTickMs), sinceTickMs)).toBe(10_000);
    countdown.keep(0n, sinceTickMs);
    expect(countdown.remainingMs(0n, sinceTickMs)).toBe(10_000);
  }
});
