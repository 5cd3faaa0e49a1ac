/** Worker numbers: leased, moved ahead of use, given up and taken over, through clocks that are set and nodes that die. */
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { describeId, WORKERS } from '../../client/ids/id-layout.ts';
import { LEASED_MS } from '../../node/ids/worker-lease.ts';
import { type Fate, idMs, type Maker, WorkerCluster } from './worker-cluster.ts';

let cluster: WorkerCluster;
beforeEach(() => {
  cluster = new WorkerCluster('workers');
});

async function refusal(maker: Maker, timeoutMs?: number): Promise<HoldfastError> {
  const error: unknown = await cluster.settle(maker.next(1, timeoutMs).catch((caught: unknown) => caught));
  expect(error).toBeInstanceOf(HoldfastError);
  expect((error as HoldfastError).message).toMatch(/Nothing was given out/);
  return error as HoldfastError;
}

test('each member has a number of its own, and one write serves a second', async () => {
  const makers = [1, 2, 3].map((member) => cluster.start(member));
  for (const maker of makers) await cluster.make(maker);
  expect(makers.map(({ worker }) => worker)).toEqual([0, 1, 2]);
  const before = cluster.writes;
  for (let at = 0; at < 900; at++) {
    await cluster.make(makers[0]!, 10);
    await cluster.world.runFor(1);
  }
  expect(cluster.writes).toBe(before);
  await cluster.world.runFor(600);
  await cluster.make(makers[0]!);
  await cluster.world.runFor(10);
  expect(cluster.writes).toBe(before + 1);
});

test('nothing is written while nobody asks', async () => {
  const maker = cluster.start(1);
  await cluster.make(maker);
  await cluster.world.runFor(3_600_000);
  expect(cluster.writes).toBe(1);
  await cluster.make(maker, 100);
  expect(cluster.writes).toBe(2);
});

test('IDs are given out only below the stored high-water, which is ahead of use', async () => {
  const maker = cluster.start(1);
  for (let at = 0; at < 200; at++) {
    const ids = await cluster.make(maker, 1_000);
    const { highWaterMs, member } = cluster.records().get(0)!;
    expect(member).toBe(1);
    expect(describeId(ids.at(-1)!).timeMs - Date.UTC(2020, 0, 1)).toBeLessThan(highWaterMs);
    expect(highWaterMs - idMs(maker.clock)).toBeLessThanOrEqual(LEASED_MS);
    await cluster.world.runFor(at % 50);
  }
});

test('a clock set back by ten seconds repeats nothing, and another number goes on at once', async () => {
  const maker = cluster.start(1);
  const before = await cluster.make(maker, 5_000);
  maker.clock.jump(-10_000);
  const sentMs = cluster.world.nowMs();
  const after = await cluster.make(maker, 5_000);
  expect(cluster.world.nowMs() - sentMs).toBeLessThan(50);
  expect(maker.worker).toBe(1);
  expect(describeId(after[0]!).timeMs).toBeLessThan(describeId(before[0]!).timeMs);
  expect(cluster.records().get(0)!.member).toBe(0);
  maker.clock.jump(10_000);
  await cluster.make(maker, 5_000);
  expect(maker.worker).toBe(1);
});

test('a clock set back a little is waited for, with the same number', async () => {
  const maker = cluster.start(1);
  await cluster.make(maker, 1);
  maker.clock.jump(-300);
  const sentMs = cluster.world.nowMs();
  await cluster.make(maker, 1);
  expect(cluster.world.nowMs() - sentMs).toBeGreaterThanOrEqual(299);
  expect(maker.worker).toBe(0);
});

test('a clock set back is refused where all other numbers are taken, until it has come that far', async () => {
  for (let member = 2; member <= WORKERS; member++) await cluster.make(cluster.start(member));
  const maker = cluster.start(1);
  await cluster.make(maker);
  await cluster.world.runFor(1_000);
  await cluster.make(maker);
  maker.clock.jump(-10_000);
  const error = await refusal(maker);
  expect(error).toMatchObject({ reason: 'CLOCK_BEHIND', code: 'UNAVAILABLE', retryAfterMs: 1_000 });
  expect(Number(error.actual)).toBeGreaterThan(9_900);
  await cluster.world.runFor(9_600);
  await cluster.make(maker);
  expect(maker.worker).toBe(0);
  expect(await refusal(cluster.start(WORKERS + 1))).toMatchObject({
    reason: 'ID_WORKER_UNAVAILABLE',
    message: expect.stringContaining('all 1024 worker numbers are taken') as string,
  });
});

test('a restart begins above what may have been given out, without waiting for it', async () => {
  const first = await cluster.make(cluster.start(1), 60_000);
  const again = cluster.start(1);
  const sentMs = cluster.world.nowMs();
  const [id] = await cluster.make(again);
  expect(cluster.world.nowMs() - sentMs).toBeLessThan(50);
  expect(again.worker).toBe(1);
  expect(id).toBeGreaterThan(first.at(-1)!);
  await cluster.world.runFor(5_000);
  const third = cluster.start(1);
  await cluster.make(third);
  expect(third.worker).toBe(1);
  expect([...cluster.records().values()].map(({ member }) => member)).toEqual([0, 1]);
});

test('a restart with the clock set back by ten seconds repeats nothing', async () => {
  await cluster.make(cluster.start(1), 60_000);
  for (let at = 0; at < 5; at++) await cluster.make(cluster.start(1, -10_000), 60_000);
});

test('the number of a member that is gone is taken over above its high-water, that of others is not', async () => {
  const makers = Array.from({ length: WORKERS }, (_, at) => cluster.start(at + 1));
  for (const maker of makers) await cluster.make(maker);
  const newcomer = cluster.start(2_000);
  expect(await refusal(newcomer)).toMatchObject({ reason: 'ID_WORKER_UNAVAILABLE' });
  cluster.gone.add(500);
  const stale = makers[499]!;
  await cluster.world.runFor(1_500);
  await cluster.make(stale); // it does not know that it is gone, and has just had its time extended
  await cluster.world.runFor(20);
  const { highWaterMs } = cluster.records().get(499)!;
  newcomer.clock.jump(3_000);
  const error = await refusal(newcomer);
  expect(error.message).toMatch(/takes over the worker number of a node that is gone/);
  for (let at = 0; at < 10; at++) {
    await cluster.make(stale);
    await cluster.world.runFor(200);
  }
  await cluster.world.runFor(1_500);
  expect(await refusal(stale)).toMatchObject({ reason: 'ID_WORKER_UNAVAILABLE' });
  const [id] = await cluster.make(newcomer);
  expect(newcomer.worker).toBe(499);
  expect(describeId(id!).timeMs - Date.UTC(2020, 0, 1)).toBeGreaterThanOrEqual(highWaterMs);
});

test('a number that was given up is taken at once', async () => {
  cluster.occupy(1);
  const before = cluster.start(1);
  await cluster.make(before);
  const { process } = cluster.records().get(0)!;
  cluster.release(0);
  cluster.gone.add(1);
  await cluster.world.runFor(4_000);
  const sentMs = cluster.world.nowMs();
  const newcomer = cluster.start(2);
  await cluster.make(newcomer);
  expect(cluster.world.nowMs() - sentMs).toBeLessThan(50);
  expect(cluster.records().get(0)!.process).not.toBe(process);
});

test('without a majority a node goes on until its high-water, then says why; and goes on afterwards', async () => {
  const maker = cluster.start(1);
  await cluster.make(maker);
  const { highWaterMs } = cluster.records().get(0)!;
  cluster.isLed = false;
  maker.unled = new HoldfastError({ reason: 'NO_LEADER', message: 'nobody leads group 0' });
  while (idMs(maker.clock) < highWaterMs - 10) {
    await cluster.make(maker, 1_000);
    await cluster.world.runFor(7);
  }
  await cluster.world.runFor(20);
  const sentMs = cluster.world.nowMs();
  const error = await refusal(maker);
  expect(cluster.world.nowMs()).toBe(sentMs); // it knows
  expect(error).toMatchObject({ reason: 'ID_WORKER_UNAVAILABLE', code: 'UNAVAILABLE' });
  expect(error.message).toMatch(/used up.*nobody leads group 0/);
  maker.unled = undefined;
  expect((await refusal(maker)).message).toMatch(/used up/);
  expect(cluster.world.nowMs() - sentMs).toBeLessThanOrEqual(2_000);
  const fresh = cluster.start(2);
  expect((await refusal(fresh, 1_000)).message).toMatch(/has not given it a worker number yet/);
  cluster.isLed = true;
  await cluster.world.runFor(1_500);
  await cluster.make(maker);
  await cluster.make(fresh);
  expect(maker.ids.refused.get('ID_WORKER_UNAVAILABLE')).toBe(2);
});

test('without a majority a clock that does not get on lengthens nothing', async () => {
  const maker = cluster.start(1);
  await cluster.make(maker);
  cluster.isLed = false;
  const sentMs = cluster.world.nowMs();
  let error: HoldfastError | undefined;
  while (error === undefined && cluster.world.nowMs() - sentMs < 20_000) {
    await cluster.world.runFor(100);
    maker.clock.jump(-100);
    maker.unled = new HoldfastError({ reason: 'NO_LEADER', message: 'nobody leads' });
    await cluster.make(maker).catch((caught: unknown) => (error = caught as HoldfastError));
  }
  expect(error).toMatchObject({ reason: 'ID_WORKER_UNAVAILABLE' });
  expect(cluster.world.nowMs() - sentMs).toBeLessThan(4_500);
});

test('a number that may have been given up makes no IDs until that is known', async () => {
  cluster.occupy(2);
  const maker = cluster.start(1);
  await cluster.make(maker);
  maker.clock.jump(-10_000);
  cluster.fate = () => 'unanswered';
  expect(await refusal(maker)).toMatchObject({ reason: 'CLOCK_BEHIND' });
  maker.clock.jump(10_000);
  cluster.fate = () => 'answered';
  const other = cluster.start(2);
  other.clock.jump(4_000);
  await cluster.make(other, 5_000);
  expect(other.worker).toBe(0);
  await cluster.make(maker);
  expect(maker.worker).toBe(1);
});

test('a clock outside the time that IDs have room for is refused, and changes nothing', async () => {
  const maker = cluster.start(1);
  for (const wall of [Date.UTC(2019, 11, 31), Date.UTC(2090, 0, 1)]) {
    maker.clock.jump(wall - maker.clock.wallMs());
    expect(await refusal(maker)).toMatchObject({ reason: 'ID_WORKER_UNAVAILABLE' });
  }
  expect(cluster.writes).toBe(0);
});

test('a clock that was years ahead for a moment costs one number and no time', async () => {
  const maker = cluster.start(1);
  await cluster.make(maker);
  maker.clock.jump(365 * 86_400_000);
  await cluster.make(maker);
  maker.clock.jump(-365 * 86_400_000);
  await cluster.make(maker);
  expect(maker.worker).toBe(1);
});

test('a copy of a data directory that runs as the same member repeats nothing', async () => {
  const one = cluster.start(1);
  const two = cluster.start(1);
  for (let at = 0; at < 200; at++) {
    await cluster.make(one, 50);
    await cluster.make(two, 50);
    await cluster.world.runFor(100);
  }
});

type Step = readonly [kind: string, member: number, amount: number];
const steps = fc.array(
  fc.tuple(
    fc.oneof(
      { weight: 10, arbitrary: fc.constant('make') },
      { weight: 4, arbitrary: fc.constant('pass') },
      { weight: 4, arbitrary: fc.constantFrom('nudge', 'nudge', 'jump', 'restart') },
      { weight: 1, arbitrary: fc.constantFrom('remove', 'remove', 'unled', 'led', 'led') },
    ),
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 0, max: 1_000 }),
  ),
  { minLength: 20, maxLength: 120 },
) satisfies fc.Arbitrary<Step[]>;
const fates = fc.array(
  fc.constantFrom<Fate>('answered', 'answered', 'answered', 'unanswered', 'late', 'lost'),
  {
    minLength: 1,
    maxLength: 30,
  },
);

test('whatever clocks, restarts, removals and lost answers do, no ID is given out twice', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fates, fc.nat(), async (plan, luck, seed) => {
      cluster = new WorkerCluster(seed);
      cluster.occupy(3);
      let at = 0;
      cluster.fate = () => luck[at++ % luck.length]!;
      let nextMember = 5;
      const makers = new Map([1, 2, 3, 4].map((place) => [place, cluster.start(place)]));
      for (const [kind, place, amount] of plan) {
        const maker = makers.get(place)!;
        if (kind === 'make')
          await cluster.make(maker, 1 + amount * 7, 3_000).catch((error: unknown) => {
            if (!(error instanceof HoldfastError)) throw error;
          });
        else if (kind === 'pass') await cluster.world.runFor(amount * 4);
        else if (kind === 'nudge') maker.clock.jump(amount - 500);
        else if (kind === 'jump') maker.clock.jump((amount - 500) * 25);
        else if (kind === 'restart') makers.set(place, cluster.start(maker.member, (amount - 500) * 4));
        else if (kind === 'remove') {
          // It goes on until it has to ask: nobody tells it.
          cluster.gone.add(maker.member);
          if (amount < 700) makers.set(place, cluster.start(nextMember++));
        } else cluster.isLed = kind === 'led';
      }
    }),
    { numRuns: 300 },
  );
});
