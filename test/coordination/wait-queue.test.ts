import { expect, test } from 'vitest';
import fc from 'fast-check';
import {
  HoldMode,
  MAX_REQUESTS,
  MAX_SAID_BYTES,
  WaitQueue,
  type Answer,
  type Ask,
  type Place,
} from '../../node/coordination/wait-queue.ts';
import { NaiveQueue, type NaivePlace } from './naive-queue.ts';

type Step =
  | ({ readonly do: 'ask' } & Ask)
  | { readonly do: 'release'; readonly session: bigint; readonly request: string; readonly back: number }
  | {
      readonly do: 'give up';
      readonly session: bigint;
      readonly request: string;
      readonly attempt: number | undefined;
    }
  | { readonly do: 'end'; readonly session: bigint };

const session = fc.bigInt(1n, 5n);
const request = fc.constantFrom('a', 'b');
const attempt = fc.integer({ min: 1, max: 3 });

function steps(modes: readonly HoldMode[], permits: readonly number[]): fc.Arbitrary<Step[]> {
  const ask = fc.record({
    do: fc.constant('ask' as const),
    session,
    request,
    attempt,
    mode: fc.constantFrom(...modes),
    permits: fc.constantFrom(...permits),
    mayWait: fc.oneof(
      { weight: 4, arbitrary: fc.constant(true) },
      { weight: 1, arbitrary: fc.constant(false) },
    ),
  });
  const release = fc.record({
    do: fc.constant('release' as const),
    session,
    request,
    back: fc.integer({ min: 0, max: 3 }),
  });
  const giveUp = fc.record({
    do: fc.constant('give up' as const),
    session,
    request,
    attempt: fc.option(attempt, { nil: undefined }),
  });
  const end = fc.record({ do: fc.constant('end' as const), session });
  return fc.array(
    fc.oneof(
      { weight: 5, arbitrary: ask },
      { weight: 3, arbitrary: release },
      { weight: 2, arbitrary: giveUp },
      { weight: 1, arbitrary: end },
    ),
    { maxLength: 60 },
  );
}

function said(answer: Answer): string {
  if ('refused' in answer) return answer.refused;
  return answer.state === 'held' ? `held ${answer.token} ${answer.holds}` : 'waiting';
}

function shown(places: readonly (Place | NaivePlace)[]): string[] {
  return places.map(
    (place) =>
      `${place.session} ${place.mode} ${place.token} ${[...place.requests]
        .map(([name, attempts]) => `${name}:${[...attempts].join('/')}`)
        .join(' ')}`,
  );
}

function play(all: readonly Step[]): void {
  let queue = new WaitQueue();
  const naive = new NaiveQueue();
  let revision = 10;
  let naiveRevision = 10;
  const next = () => ++revision;
  const naiveNext = () => ++naiveRevision;
  for (const step of all) {
    if (step.do === 'ask') {
      expect(said(queue.ask(step, next))).toBe(naive.ask(step, naiveNext));
    } else if (step.do === 'release') {
      const held = naive.places.find((place) => place.session === step.session);
      const token = Math.max(0, (held?.token ?? 11) - step.back); // often not the right one
      expect(queue.release(step.session, token, step.request)).toBe(
        naive.release(step.session, token, step.request),
      );
    } else if (step.do === 'give up') {
      expect(queue.giveUp(step.session, step.request, step.attempt)).toBe(
        naive.giveUp(step.session, step.request, step.attempt),
      );
    } else {
      queue.end(step.session);
      naive.end(step.session);
    }
    expect(queue.serve(next).map((place) => place.session)).toEqual(naive.serve(naiveNext));
    expect(shown(queue.holders)).toEqual(shown(naive.holders));
    expect(shown(queue.waiters)).toEqual(shown(naive.waiters));
    checkInvariants(queue);
    const copy = WaitQueue.decode(queue.encode());
    expect(Buffer.from(copy.encode())).toEqual(Buffer.from(queue.encode()));
    queue = copy; // what was stored goes on as what was not
  }
}

function checkInvariants({ holders, waiters, permits, isFree }: WaitQueue): void {
  const exclusive = holders.filter(({ mode }) => mode === HoldMode.exclusive).length;
  expect(exclusive === 0 || holders.length === 1).toBe(true);
  if (permits > 0) expect(holders.length).toBeLessThanOrEqual(permits);
  expect(isFree).toBe(holders.length + waiters.length === 0);
  if (waiters.length > 0) expect(holders.length).toBeGreaterThan(0);
}

test('locks are given as by a list that is looked through each time', () => {
  fc.assert(
    fc.property(steps([HoldMode.exclusive, HoldMode.shared], [0]), (all) => play(all)),
    { numRuns: 1_500 },
  );
});

test('so are semaphores, beside those who take them for something else', () => {
  fc.assert(
    fc.property(steps([HoldMode.semaphore], [2, 2, 2, 3]), (all) => play(all)),
    { numRuns: 700 },
  );
  fc.assert(
    fc.property(steps([HoldMode.semaphore, HoldMode.shared], [1, 2]), (all) => play(all)),
    { numRuns: 300 },
  );
});

const ask = (who: number, more: Partial<Ask> = {}): Ask => ({
  session: BigInt(who),
  request: 'r',
  attempt: 1,
  mode: HoldMode.exclusive,
  permits: 0,
  mayWait: true,
  ...more,
});

test('a stale release never frees a newer holder', () => {
  const queue = new WaitQueue();
  let revision = 0;
  const next = () => ++revision;
  expect(queue.ask(ask(1), next)).toEqual({ state: 'held', token: 1, holds: 1 });
  queue.ask(ask(2), next);
  queue.end(1n);
  expect(queue.serve(next).map(({ session: who, token }) => [who, token])).toEqual([[2n, 2]]);
  expect(queue.release(1n, 1, 'r')).toBeUndefined();
  expect(queue.release(2n, 1, 'r')).toBeUndefined();
  expect(queue.release(1n, 2, 'r')).toBeUndefined();
  expect(queue.release(2n, 2, 'other')).toBeUndefined();
  expect(queue.holders.map((place) => place.session)).toEqual([2n]);
  expect(queue.release(2n, 2, 'r')).toBe(0);
  expect(queue.isFree).toBe(true);
});

test('who left takes back only what no later attempt has taken over', () => {
  const queue = new WaitQueue();
  let revision = 0;
  const next = () => ++revision;
  queue.ask(ask(1, { attempt: 7 }), next);
  expect(queue.ask(ask(1, { attempt: 8 }), next)).toEqual({ state: 'held', token: 1, holds: 1 });
  expect(queue.giveUp(1n, 'r', 7)).toBeUndefined();
  expect(queue.place(1n)?.token).toBe(1);
  expect(queue.giveUp(1n, 'r', 7)).toBeUndefined();
  expect(queue.giveUp(1n, 'r', 8)).toBe(0);
  expect(queue.isFree).toBe(true);
});

test('the requests of a session and what candidates say are bounded', () => {
  const queue = new WaitQueue();
  const next = () => 5;
  for (let at = 0; at < MAX_REQUESTS; at++) queue.ask(ask(1, { request: `r${at}` }), next);
  expect(queue.ask(ask(1, { request: 'one more' }), next)).toMatchObject({ refused: 'LOCK_QUEUE_FULL' });
  expect(queue.ask(ask(1, { request: 'r3' }), next)).toEqual({
    state: 'held',
    token: 5,
    holds: MAX_REQUESTS,
  });
  queue.ask(ask(2, { said: Buffer.alloc(MAX_SAID_BYTES - 10) }), next);
  expect(queue.hasRoomFor(3n, Buffer.alloc(10))).toBe(true);
  expect(queue.hasRoomFor(3n, Buffer.alloc(11))).toBe(false);
  expect(queue.hasRoomFor(2n, Buffer.alloc(MAX_SAID_BYTES))).toBe(true);
  queue.end(2n);
  expect(queue.hasRoomFor(3n, Buffer.alloc(MAX_SAID_BYTES))).toBe(true);
});
