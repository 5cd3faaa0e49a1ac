/** Histories known to be good and known to be bad. */
import { describe, expect, test } from 'vitest';
import { checkKvHistory, checkKvLinearizable } from './kv-checks.ts';
import type { KvOperation } from './kv-history.ts';
import { sample } from './kv-samples.ts';
import { requireLinearizable } from './linearizability.ts';

const { get, put, create, exists, set, setValue, mismatch, increment, noCounter, deleteVersion, notApplied } =
  sample;
const remove = sample.delete;

const GOOD: Record<string, readonly KvOperation[]> = {
  'nothing happened': [],
  'a read of a key that nobody wrote': [get([1, 2], 'a')],
  'a write and a later read': [put([1, 2], 'a', 'x', 7), get([3, 4], 'b', 'x', 7)],
  'a read during a write sees the old value': [
    put([1, 2], 'a', 'x', 1),
    put([3, 8], 'a', 'y', 2),
    get([4, 5], 'b', 'x', 1),
  ],
  'two reads during a write see the old value, then the new one': [
    put([1, 2], 'a', 'x', 1),
    put([3, 10], 'a', 'y', 2),
    get([4, 5], 'b', 'x', 1),
    get([6, 7], 'c', 'y', 2),
  ],
  'two writes at once take effect against the order of their calls': [
    put([1, 10], 'a', 'x', 2),
    put([2, 9], 'b', 'y', 1),
    get([11, 12], 'c', 'x', 2),
  ],
  'an unknown write appears late': [
    put([1, 2], 'a', 'x', 1),
    put([3], 'b', 'y'),
    get([4, 5], 'c', 'x', 1),
    get([6, 7], 'c', 'x', 1),
    get([8, 9], 'c', 'y', 3),
  ],
  'an unknown write never appears': [put([1, 2], 'a', 'x', 1), put([3], 'b', 'y'), get([4, 5], 'c', 'x', 1)],
  'an unknown write appears and is overwritten by another': [
    put([1], 'a', 'x'),
    put([2], 'b', 'y'),
    get([3, 4], 'c', 'y', 1),
    get([5, 6], 'c', 'x', 2),
  ],
  'a write that was not applied is not seen': [notApplied([1, 2], 'a', 'x'), get([3, 4], 'b')],
  'one of two compare-and-sets from one version': [
    put([1, 2], 'a', 'x', 1),
    set([3, 7], 'a', 1, 'y', 2),
    mismatch([4, 8], 'b', 1, 'z', 2),
    get([9, 10], 'c', 'y', 2),
  ],
  'the version of an unknown write, for a compare-and-set': [
    put([1], 'a', 'x'),
    get([2, 3], 'b', 'x', 4),
    set([5, 6], 'b', 4, 'y', 5),
  ],
  'a compare-and-set by value sees an unknown write that no get saw': [
    put([1], 'a', 'x'),
    setValue([2, 3], 'b', 'x', 'y', 2),
  ],
  'one of two creates': [create([1, 5], 'a', 'x', 1), exists([2, 6], 'b', 'y', 1), get([7, 8], 'c', 'x', 1)],
  'a create refused for an unknown write that nobody read': [put([1], 'a', 'x'), exists([2, 3], 'b', 'y', 1)],
  'a delete finds an unknown write that nobody read': [
    put([1], 'a', 'x'),
    remove([2, 3], 'b', true),
    get([4, 5], 'b'),
  ],
  'a create after an unknown delete': [
    put([1, 2], 'a', 'x', 1),
    remove([3], 'b'),
    create([4, 5], 'c', 'y', 3),
    get([6, 7], 'c', 'y', 3),
  ],
  'increments with one unknown that took effect': [
    increment([1, 2], 'a', 1n, 1n),
    increment([3], 'b', 5n),
    increment([4, 5], 'c', 1n, 7n),
    get([6, 7], 'c', '7'),
  ],
  'an increment of what is no counter': [put([1, 2], 'a', 'x', 1), noCounter([3, 4], 'b')],
  'several unknown writes have to work together': [
    put([1], 'a', '5'),
    increment([2], 'b', 1n),
    increment([3], 'c', 1n),
    get([4, 5], 'd', '7', 9),
  ],
  'deleted by version and written again': [
    put([1, 2], 'a', 'x', 1),
    deleteVersion([3, 4], 'a', 1),
    get([5, 6], 'b'),
    create([7, 8], 'b', 'y', 3),
  ],
  'calls and returns at one time overlap': [put([1, 5], 'a', 'x', 1), get([5, 6], 'b')],
};

/** With words of the explanation. */
const BAD: Record<string, readonly [readonly KvOperation[], RegExp]> = {
  'a stale read': [
    [put([1, 2], 'a', 'x', 1), put([3, 4], 'a', 'y', 2), get([5, 6], 'b', 'x', 1)],
    /second was called after the first had returned[^]*put "k" "y"[^]*get "k" → "x"/,
  ],
  'a stale read that tells no version': [
    [put([1, 2], 'a', 'x', 1), put([3, 4], 'a', 'y', 2), get([5, 6], 'b', 'x')],
    /2 of 3 operations fit[^]*leaves "y" of version 2[^]*none can:\n {2}\[5, 6\] b get "k" → "x" of version \?$/,
  ],
  'a lost write': [[put([1, 2], 'a', 'x', 1), get([3, 4], 'b')], /leaves "x" of version 1[^]*absent/],
  'a lost update: two read one value and both replace it': [
    [
      put([1, 2], 'a', '1', 1),
      setValue([3, 6], 'b', '1', '2', 2),
      setValue([4, 7], 'c', '1', '3', 3),
      get([8, 9], 'd', '3', 3),
    ],
    /setIfValue/,
  ],
  'a value that nobody wrote': [[put([1, 2], 'a', 'x', 1), get([3, 4], 'b', 'z', 2)], /nobody had written/],
  'a value before it was written': [[get([1, 2], 'b', 'x', 1), put([3, 4], 'a', 'x', 1)], /none can/],
  'split brain: two sides read each its own write': [
    [
      put([1, 4], 'a', 'x', 1),
      put([2, 5], 'b', 'y', 2),
      get([6, 9], 'a', 'x'),
      get([7, 10], 'b', 'y'),
      get([11, 12], 'a', 'x'),
    ],
    /none can/,
  ],
  'split brain: one version for two writes': [
    [put([1, 4], 'a', 'x', 1), put([2, 5], 'b', 'y', 1)],
    /one version was given to two writes/,
  ],
  'two compare-and-sets from one version both succeed': [
    [put([1, 2], 'a', 'x', 1), set([3, 7], 'a', 1, 'y', 2), set([4, 8], 'b', 1, 'z', 3)],
    /none can:[^]*setIfVersion "k" if version 1 "z"/,
  ],
  'reads of two clients go back': [
    [put([1, 2], 'a', 'x', 1), put([3, 12], 'a', 'y', 2), get([4, 5], 'b', 'y', 2), get([6, 7], 'c', 'x', 1)],
    /must come before it/,
  ],
  'an unknown write appears and disappears': [
    [put([1, 2], 'a', 'x', 1), put([3], 'b', 'y'), get([4, 5], 'c', 'y'), get([6, 7], 'c', 'x')],
    /unknown outcome|none can/,
  ],
  'an unknown write was applied twice': [
    [put([1], 'b', 'y'), get([2, 3], 'c', 'y', 2), put([4, 5], 'a', 'x', 3), get([6, 7], 'c', 'y', 4)],
    /more versions than writes/,
  ],
  'an unknown write is seen before its call': [
    [get([1, 2], 'a', 'x', 1), put([3], 'b', 'x')],
    /nobody had written/,
  ],
  'a write that was not applied is seen': [
    [notApplied([1, 2], 'a', 'x'), get([3, 4], 'b', 'x', 1)],
    /nobody had written/,
  ],
  'an increment is applied twice': [
    [increment([1, 2], 'a', 1n, 1n), increment([3, 4], 'b', 1n, 3n), get([5, 6], 'c', '3')],
    /counter 3/,
  ],
  'two increments with one sum': [
    [increment([1, 5], 'a', 1n, 1n), increment([2, 6], 'b', 1n, 1n)],
    /none can/,
  ],
  'an increment is lost': [
    [increment([1, 2], 'a', 1n, 1n), increment([3, 4], 'b', 1n, 2n), get([5, 6], 'c', '1')],
    /leaves "2"/,
  ],
  'an increment of a counter is refused': [
    [increment([1, 2], 'a', 1n, 1n), noCounter([3, 4], 'b')],
    /NOT_A_COUNTER/,
  ],
  'two creates both succeed': [[create([1, 5], 'a', 'x', 1), create([2, 6], 'b', 'y', 2)], /create/],
  'a create is refused for a key that is not there': [[exists([1, 2], 'a', 'x', 1)], /KEY_EXISTS/],
  'a deleted value is seen': [
    [put([1, 2], 'a', 'x', 1), remove([3, 4], 'a', true), get([5, 6], 'b', 'x', 1)],
    /leaves absent/,
  ],
  'a delete finds nothing where there is something': [
    [put([1, 2], 'a', 'x', 1), remove([3, 4], 'a', false)],
    /existed false/,
  ],
  'versions fall': [[put([1, 2], 'a', 'x', 5), put([3, 4], 'a', 'y', 4)], /must come before it/],
  'a value has another version than its write was given': [
    [put([1, 2], 'a', 'x', 5), get([3, 4], 'a', 'x', 6)],
    /nobody had written/,
  ],
  'one version has two values': [
    [put([1, 2], 'a', 'x', 5), put([3], 'b', 'y'), get([4, 5], 'a', 'y', 5)],
    /one version has two values/,
  ],
  'a compare-and-set fails though it names the version': [
    [put([1, 2], 'a', 'x', 1), mismatch([3, 4], 'b', 1, 'y', 1)],
    /VERSION_MISMATCH/,
  ],
};

test.each(Object.entries(GOOD))('good: %s', (_, operations) => {
  expect(checkKvLinearizable(operations)).toMatchObject({ verdict: 'ok' });
  expect(checkKvHistory(operations).leftOut).toEqual([]);
});

test.each(Object.entries(BAD))('bad: %s', (_, [operations, words]) => {
  const verdict = checkKvLinearizable(operations);
  expect(verdict).toMatchObject({ verdict: 'violation', key: 'k', message: expect.stringMatching(words) });
  expect(() => requireLinearizable(verdict)).toThrow(
    expect.objectContaining({ name: 'CheckFailure', checker: 'linearizability' }),
  );
});

describe('a history over several keys', () => {
  const moved = (key: string, operations: readonly KvOperation[]) =>
    operations.map((one) => ({ ...one, key }));

  test('is bad if one key is, which it names', () => {
    const good = Object.values(GOOD).flatMap((operations, at) => moved(`good ${at}`, operations));
    expect(checkKvLinearizable(good)).toMatchObject({ verdict: 'ok' });
    const bad = moved('bad', BAD['a stale read']![0]);
    expect(checkKvLinearizable([...good, ...bad])).toMatchObject({ verdict: 'violation', key: 'bad' });
  });

  test('leaves out keys with a time to live, and says so', () => {
    const expired = { ...put([1, 2], 'a', 'x', 1), request: { kind: 'put', value: 'x', ttlMs: 5 } } as const;
    expect(checkKvHistory([expired, get([3, 4], 'b')]).leftOut).toEqual(['k']);
  });
});

test('a search that takes too long is not taken for a good history', () => {
  const verdict = checkKvLinearizable(GOOD['several unknown writes have to work together']!, { maxSteps: 3 });
  expect(verdict).toMatchObject({ verdict: 'unknown', key: 'k' });
  expect(() => requireLinearizable(verdict)).toThrow(expect.objectContaining({ checker: 'linearizability' }));
});
