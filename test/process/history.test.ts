import { expect, it } from 'vitest';
import { Entry, HoldfastError } from '@holdfast/client';
import { History, valueOf } from './history.ts';

// The judge of the kill test, on histories that are known to be good or bad.

const version = (number: bigint) => Promise.resolve({ version: number });
const fails = <T>(outcome: 'UNKNOWN' | 'NOT_APPLIED'): Promise<T> =>
  Promise.reject(new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone', outcome }));
const found = (text: string, number: bigint) =>
  new Entry(Buffer.from('k'), Buffer.from(text), number, undefined);
const [A, B, C] = ['a', 'b', 'c'].map((name) => valueOf(name, 10)) as [string, string, string];

/** `A` acknowledged as version 1, `B` unknown, `C` refused; then the key holds this. */
async function judged(entry: Entry | undefined): Promise<string[]> {
  const history = new History();
  await history.write('k', A, version(1n));
  await history.write('k', B, fails('UNKNOWN'));
  await history.write('k', C, fails('NOT_APPLIED'));
  history.check('k', entry, history.promises(['k']).get('k')!);
  return history.violations;
}

it.each([
  ['the acknowledged write', found(A, 1n)],
  ['the unknown one over it', found(B, 2n)],
])('accepts %s', async (_, entry) => expect(await judged(entry)).toEqual([]));

it.each([
  ['nothing', undefined, 'gone'],
  ['what was said to be not applied', found(C, 2n), 'not applied'],
  ['what was never written', found(valueOf('x', 10), 2n), 'never written'],
  ['half a value', found(A.slice(0, 5), 1n), 'never written'],
  ['another version', found(A, 2n), 'acknowledged with version 1'],
  ['an unknown write below an acknowledged one', found(B, 0n), 'hides version 1'],
])('refuses %s', async (_, entry, why) => {
  expect(await judged(entry)).toEqual([expect.stringContaining(why)]);
});

it('refuses two winners of one condition, and an error without an outcome', async () => {
  const history = new History();
  await history.write('k', A, version(2n), 1n);
  await history.write('k', B, version(3n), 1n);
  const error = new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone' });
  await history.write('k', C, Promise.reject(error));
  expect(history.violations).toEqual([
    expect.stringContaining('two conditional writes'),
    expect.stringContaining('without an outcome'),
  ]);
});

it.each([
  [1n, 'refused'],
  [2n, 'accepted'],
  [3n, 'accepted'],
  [4n, 'refused'],
])('a counter of 2 acknowledged and 1 unknown increments that holds %s is %s', async (value, verdict) => {
  const history = new History();
  await history.increment('k', Promise.resolve(1n));
  await history.increment('k', Promise.resolve(2n));
  await history.increment('k', fails('UNKNOWN'));
  await history.increment('k', fails('NOT_APPLIED'));
  history.check('k', found(String(value), 9n), history.promises(['k']).get('k')!);
  expect(history.violations).toHaveLength(verdict === 'accepted' ? 0 : 1);
});

it('refuses two increments with one result', async () => {
  const history = new History();
  await history.increment('k', Promise.resolve(1n));
  await history.increment('k', Promise.resolve(1n));
  expect(history.violations).toEqual([expect.stringContaining('two increments answered 1')]);
});
