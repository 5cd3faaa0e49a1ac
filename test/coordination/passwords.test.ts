import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LoginThrottle, MAX_GAP_MS, MAX_GAP_OF_PAIR_MS } from '../../node/coordination/login-throttle.ts';
import {
  HASH_COST,
  isPassword,
  nobodysRecord,
  passwordRecord,
} from '../../node/coordination/password-record.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { scrypt, type HashCost } from '../../node/runtime/scrypt.ts';

const random = new SeededRandom('passwords');
/** So that the test takes no time: what is right of one cost is right of another. */
const CHEAP: HashCost = { log2n: 4, r: 1, p: 1 };

test('a record is of its password alone, and says what it costs', async () => {
  const words = fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text));
  await fc.assert(
    fc.asyncProperty(words, words, async (password, other) => {
      const record = await passwordRecord(password, scrypt, random, CHEAP);
      expect(await isPassword(password, record, scrypt)).toBe(true);
      expect(await isPassword(other, record, scrypt)).toBe(other.equals(password));
      const again = await passwordRecord(password, scrypt, random, CHEAP);
      expect(Buffer.from(again).equals(record)).toBe(false);
    }),
    { numRuns: 50 },
  );
});

test('scrypt is that of RFC 7914', async () => {
  const key = await scrypt(Buffer.from('password'), Buffer.from('NaCl'), { log2n: 10, r: 8, p: 16 }, 64);
  expect(Buffer.from(key).toString('hex')).toBe(
    'fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640',
  );
});

test('what is checked for nobody costs as much as what is checked for somebody, and is no password', async () => {
  const costs: HashCost[] = [];
  const counting: typeof scrypt = (password, salt, cost, bytes) => {
    costs.push(cost);
    return scrypt(password, salt, cost, bytes);
  };
  const somebody = await passwordRecord(Buffer.from('right'), counting, random);
  expect(await isPassword(Buffer.from('wrong'), somebody, counting)).toBe(false);
  expect(await isPassword(Buffer.from('wrong'), nobodysRecord(random), counting)).toBe(false);
  expect(costs).toEqual([HASH_COST, HASH_COST, HASH_COST]);
});

test('attempts after failures keep their distance, and nobody waits for longer than is said', () => {
  const names = fc.constantFrom('a', 'b', 'c');
  const steps = fc.array(fc.tuple(names, names, fc.integer({ min: 0, max: 3_000 }), fc.boolean()), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(steps, (attempts) => {
      const throttle = new LoginThrottle();
      const failures = new Map<string, number>();
      let nowMs = 0;
      for (const [user, peer, laterMs, fails] of attempts) {
        nowMs += laterMs;
        let waitMs = throttle.place(user, peer, nowMs, Infinity);
        const ofPair = failures.get(`${user} ${peer}`) ?? 0;
        if (waitMs === undefined) {
          expect(ofPair).toBeGreaterThanOrEqual(5);
          const laterMs = throttle.waitMs(user, peer, nowMs);
          expect(laterMs).toBeLessThanOrEqual(MAX_GAP_OF_PAIR_MS);
          nowMs += laterMs;
          waitMs = throttle.place(user, peer, nowMs, Infinity)!;
        }
        // One at a time: each waits for its own place alone.
        expect(waitMs).toBeLessThanOrEqual(MAX_GAP_MS);
        if ((failures.get(`u${user}`) ?? 0) < 5 && (failures.get(`p${peer}`) ?? 0) < 20)
          expect(waitMs).toBe(0);
        nowMs += waitMs;
        throttle.judged(user, peer, nowMs, !fails);
        if (!fails) continue;
        for (const one of [`u${user}`, `p${peer}`, `${user} ${peer}`])
          failures.set(one, (failures.get(one) ?? 0) + 1);
      }
    }),
  );
});

/** An attempt that takes no time and is wrong. */
function fail(throttle: LoginThrottle, user: string, peer: string, nowMs = 0): void {
  throttle.place(user, peer, nowMs, Infinity);
  throttle.judged(user, peer, nowMs, false);
}

test('places for attempts at once are one behind the other, and beyond a bound there are none', () => {
  const throttle = new LoginThrottle();
  for (let times = 0; times < 20; times++) fail(throttle, 'a', `p${times}`);
  const first = throttle.waitMs('a', 'new', 0);
  const waits = Array.from({ length: 5 }, (_, at) => throttle.place('a', `q${at}`, 0, first + 7_000));
  expect(waits).toEqual([first, first + 5_000, undefined, undefined, undefined]);
  expect(throttle.waitMs('a', 'new', 0)).toBe(first + 10_000);
  expect(throttle.place('b', 'q', 0, 0)).toBe(0);
});

test('attempts at once that nobody has judged yet keep a distance', () => {
  const throttle = new LoginThrottle();
  const waits = Array.from({ length: 250 }, () => throttle.place('a', 'p', 0, 10_000));
  expect(waits.slice(0, 6)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(waits.slice(6, 9)).toEqual([100, 200, 300]);
  expect(waits.filter((ms) => ms !== undefined).length).toBeLessThan(110);
  for (let times = 0; times < 106; times++) throttle.judged('a', 'p', 10_000, true);
  expect(throttle.place('a', 'p', 20_000, 0)).toBe(0); // all were right: nothing stays
});

test('who goes on guessing from one address leaves places to others', () => {
  const throttle = new LoginThrottle();
  const guesses: number[] = [];
  const takeAll = (nowMs: number) => {
    for (let loops = 0; loops < 20; loops++) {
      const waitMs = throttle.place('root', 'guesser', nowMs, 10_000);
      if (waitMs !== undefined) guesses.push(nowMs + waitMs);
    }
    for (const atMs of guesses.filter((at) => at <= nowMs)) {
      throttle.judged('root', 'guesser', atMs, false);
      guesses.splice(guesses.indexOf(atMs), 1);
    }
  };
  let served = 0;
  let isRefused = false;
  for (let nowMs = 0; nowMs < 300_000; nowMs += 50) {
    takeAll(nowMs);
    if (nowMs % 10_000 !== 5_000) continue;
    const wasRefused = isRefused;
    isRefused = throttle.place('root', 'owner', nowMs, 10_000) === undefined;
    expect(isRefused && wasRefused).toBe(false);
    if (isRefused) continue;
    throttle.judged('root', 'owner', nowMs, true);
    served++;
  }
  expect(served).toBeGreaterThanOrEqual(20); // of 30
});

test('remembers a bounded number', () => {
  const throttle = new LoginThrottle();
  for (let times = 0; times < 20; times++) fail(throttle, 'a', 'p');
  for (let number = 0; number < 10_001; number++) fail(throttle, `other ${number}`, `q${number}`);
  expect(throttle.place('a', 'p', 0, 0)).toBe(0);
});
