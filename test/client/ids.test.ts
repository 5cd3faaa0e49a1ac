import { connect, type HoldfastError } from '@holdfast/client';
import { composeId, describeId } from '@holdfast/client/ids/id-layout';
import { MAX_AGE_MS } from '@holdfast/client/ids/id-stock';
import { HoldfastError as Failure } from '@holdfast/client/error';
import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';

type Client = Awaited<ReturnType<typeof connect>>;

let clock: FakeClock;
let transport: FakeTransport;
let hf: Client;
/** How long a node takes. */
let delayMs: number;
/** How the next fetches end; none left: with IDs. */
let failures: HoldfastError[];
/** How many were asked for, by fetch. */
let counts: number[];
let ms: number;

beforeEach(async () => {
  clock = new FakeClock();
  transport = new FakeTransport();
  [delayMs, failures, counts, ms] = [1, [], [], 1_000];
  transport.onUnary = async (method, request) => {
    if (method !== 'Next') throw new Error(method);
    const { count } = request as { count: number };
    counts.push(count);
    await new Promise<void>((resolve) => void clock.setTimer(delayMs, resolve));
    const failure = failures.shift();
    if (failure !== undefined) throw failure;
    return { blocks: blocksOf(count), worker: 3 };
  };
  hf = await connect({ endpoints: 'a:1,b:1', clock, transport, random: fixedRandom });
});

/** Blocks of a millisecond each, as a node makes them: at most 4,096. */
function blocksOf(count: number) {
  const blocks = [];
  for (let left = count; left > 0; left -= 4_096)
    blocks.push({ first: composeId(ms++, 3, 0), count: Math.min(4_096, left) });
  return blocks;
}

async function settled<T>(promise: Promise<T>, passMs = 10): Promise<T> {
  const seen = promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  await clock.pass(passMs);
  const result = await seen;
  if ('error' in result) throw result.error;
  return result.value;
}

function refused(reason: string): HoldfastError {
  return new Failure({ reason, message: 'no' });
}

describe('one at a time', () => {
  test('IDs come from a stock, in order, and none twice', async () => {
    let last = await settled(hf.ids.next());
    expect(counts).toEqual([16]);
    for (let at = 1; at < 8; at += 1) {
      const id = await hf.ids.next();
      expect(id).toBe(last + 1n);
      last = id;
    }
    expect(counts).toEqual([16, 16]); // half is used
    await clock.pass(10);
    for (let at = 8; at < 16; at += 1) expect(hf.ids.tryNext()).toBe((last += 1n));
    expect(hf.ids.tryNext()).toBe(composeId(1_001, 3, 0)); // of those fetched ahead
  });

  test('without a stock there is none at once, and some are fetched', async () => {
    expect(hf.ids.tryNext()).toBeUndefined();
    expect(hf.ids.tryNext()).toBeUndefined();
    expect(counts).toEqual([16]);
    await clock.pass(10);
    expect(hf.ids.tryNext()).toBe(composeId(1_000, 3, 0));
  });

  test('those that are a second old are not used, and nothing is fetched while nobody asks', async () => {
    const first = await settled(hf.ids.next());
    await clock.pass(MAX_AGE_MS - 20);
    expect(hf.ids.tryNext()).toBe(first + 1n);
    await clock.pass(20);
    expect(hf.ids.tryNext()).toBeUndefined();
    await clock.pass(10);
    expect(hf.ids.tryNext()).toBe(composeId(1_001, 3, 0));
    const fetches = counts.length;
    await clock.pass(3_600_000);
    expect(counts.length).toBe(fetches);
    expect(clock.pendingTimers).toBe(0);
  });

  test('what was fetched ahead ages from when it was asked for', async () => {
    await settled(hf.ids.next());
    for (let at = 0; at < 8; at += 1) hf.ids.tryNext();
    expect(counts.length).toBe(2);
    await clock.pass(MAX_AGE_MS + 1);
    expect(hf.ids.tryNext()).toBeUndefined();
  });

  test('who waits longer than a second for an answer gets an ID all the same', async () => {
    delayMs = 1_400;
    expect(await settled(hf.ids.next(), 1_500)).toBe(composeId(1_000, 3, 0));
    expect(hf.ids.tryNext()).toBeUndefined(); // the rest is too old
  });
});

describe('many at once', () => {
  test('callers share a fetch, and are served in their order', async () => {
    const calls = Array.from({ length: 10_000 }, () => hf.ids.next());
    const ids = await settled(Promise.all(calls));
    expect(counts).toEqual([16, 9_984]);
    expect(new Set(ids).size).toBe(10_000);
    expect(ids).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)));
  });

  test('more than one fetch can bring are brought by several', async () => {
    const calls = Array.from({ length: 150_000 }, () => hf.ids.next());
    const ids = await settled(Promise.all(calls));
    expect(counts).toEqual([16, 65_536, 65_536, 18_912]);
    expect(new Set(ids).size).toBe(150_000);
  });

  test('the faster IDs are used, the more are fetched at a time; and fewer again later', async () => {
    const given = new Set<bigint>();
    const use = async (perMs: number, forMs: number) => {
      let missed = 0;
      for (let at = 0; at < forMs; at += 1) {
        for (let left = perMs; left > 0; left -= 1) {
          const id = hf.ids.tryNext();
          if (id === undefined) missed += 1;
          else given.add(id);
        }
        await clock.pass(1);
      }
      return missed;
    };
    await use(1_000, 200);
    expect(await use(1_000, 500)).toBe(0); // a million a second
    expect(counts.at(-1)).toBe(65_536);
    const fetches = counts.length;
    expect(fetches).toBeLessThan(30);
    await use(1, 12_000);
    expect(counts.length - fetches).toBeLessThan(40);
    expect(counts.at(-1)).toBeLessThanOrEqual(2_048);
    expect(given.size).toBeGreaterThan(600_000);
  });

  test('a block of its own is asked for whole', async () => {
    const ids = await settled(hf.ids.nextMany(10_000));
    expect(counts).toEqual([10_000]);
    expect(ids.length).toBe(10_000);
    expect(ids[4_096]).toBe(composeId(1_001, 3, 0));
    for (const count of [0, -1, 1.5, 65_537, NaN])
      await expect(hf.ids.nextMany(count)).rejects.toMatchObject({
        reason: 'COUNT_OUT_OF_RANGE',
        field: 'count',
        actual: String(count),
      });
    expect(counts.length).toBe(1);
  });
});

describe('failures', () => {
  test('a node without a worker number, or behind its clock, is left for another one', async () => {
    failures = [refused('ID_WORKER_UNAVAILABLE'), refused('CLOCK_BEHIND')];
    expect(await settled(hf.ids.next(), 500)).toBe(composeId(1_000, 3, 0));
    expect(transport.unaries.map(({ endpoint }) => endpoint)).toEqual(['a:1', 'b:1', 'a:1']);
  });

  test('a node that is silent is not waited for to the end', async () => {
    const answer = transport.onUnary;
    transport.onUnary = (method, request, endpoint, options) => {
      if (endpoint !== 'a:1') return answer(method, request, endpoint, options);
      return new Promise((_, reject) => {
        const late = () => reject(new Failure({ reason: 'DEADLINE_EXCEEDED', message: 'late' }));
        clock.setTimer(options.timeoutMs, late);
      });
    };
    expect(await settled(hf.ids.next(), 2_000)).toBe(composeId(1_000, 3, 0));
  });

  test('all who wait hear of a fetch that came to nothing, and the next call tries again', async () => {
    failures = [refused('ID_INVALID')];
    const calls = [hf.ids.next(), hf.ids.next()];
    const outcomes = Promise.allSettled(calls);
    await clock.pass(10);
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { reason: 'ID_INVALID' } });
    expect(await settled(hf.ids.next())).toBe(composeId(1_000, 3, 0));
  });

  test('an answer of another length is not used', async () => {
    transport.onUnary = async () => ({ blocks: [{ first: 5n, count: 3 }], worker: 3 });
    await expect(settled(hf.ids.next())).rejects.toMatchObject({ reason: 'INTERNAL' });
  });

  test('nothing is given out by a client that is closed', async () => {
    await settled(hf.ids.next());
    const waiting = hf.ids.nextMany(5);
    const outcome = Promise.allSettled([waiting]);
    const closing = hf.close({ timeout: 0 });
    await clock.pass(10);
    await closing;
    expect((await outcome)[0]).toMatchObject({ reason: { reason: 'CLIENT_CLOSED' } });
    expect(hf.ids.tryNext()).toBeUndefined();
    await expect(hf.ids.next()).rejects.toMatchObject({ reason: 'CLIENT_CLOSED' });
    await expect(hf.ids.nextMany(2)).rejects.toMatchObject({ reason: 'CLIENT_CLOSED' });
  });
});

test('an ID is taken apart without asking anybody', () => {
  const id = composeId(1_234, 56, 789);
  expect(hf.ids.describe(id)).toEqual({
    id,
    timeMs: Date.UTC(2020, 0, 1) + 1_234,
    worker: 56,
    sequence: 789,
  });
  for (const wrong of [0n, -1n, 2n ** 63n, 7 as unknown as bigint])
    expect(() => describeId(wrong)).toThrow(expect.objectContaining({ reason: 'ID_INVALID' }));
  expect(transport.unaries).toEqual([]);
});

describe('sequences', () => {
  test('carry an identity, and give the first number', async () => {
    const requests: { name: string; count: number; sequence: { sequence: bigint } }[] = [];
    transport.onUnary = async (method, request) => {
      expect(method).toBe('NextInSequence');
      requests.push(request as never);
      if (requests.length === 1) throw refused('UNAVAILABLE');
      return { first: 41n, count: 2 };
    };
    expect(await settled(hf.sequence('invoice').next(2), 500)).toBe(41n);
    expect(requests).toMatchObject([
      { name: 'invoice', count: 2, sequence: { sequence: 1n } },
      { name: 'invoice', count: 2, sequence: { sequence: 1n } },
    ]);
  });

  test('names and counts are checked before anything is sent', async () => {
    for (const name of ['', 'A', 'a/b', 'x'.repeat(65)])
      expect(() => hf.sequence(name)).toThrow(expect.objectContaining({ reason: 'SEQUENCE_NAME_INVALID' }));
    for (const count of [0, -1, 0.5, 1_000_001])
      await expect(hf.sequence('a').next(count)).rejects.toMatchObject({ reason: 'COUNT_OUT_OF_RANGE' });
    expect(transport.unaries).toEqual([]);
  });

  test('are listed in parts', async () => {
    transport.onUnary = async (_, request) =>
      (request as { after: string }).after === ''
        ? { sequences: [{ name: 'a', last: 1n }], more: true }
        : { sequences: [{ name: 'b', last: 2n }], more: false };
    expect(await settled(hf.sequences())).toEqual([
      { name: 'a', last: 1n },
      { name: 'b', last: 2n },
    ]);
  });
});
