/** The plain checks of a history, and its recorder. */
import { describe, expect, test } from 'vitest';
import { checkAcknowledgedKept, checkAppliedOnce, checkKvHistory, checkVersions } from './kv-checks.ts';
import { KvHistory, type KvOperation } from './kv-history.ts';
import { sample } from './kv-samples.ts';

const { get, put, increment } = sample;
const remove = sample.delete;

type Histories = Record<string, readonly KvOperation[]>;

function judge(
  checker: string,
  check: (operations: readonly KvOperation[]) => void,
  good: Histories,
  bad: Histories,
) {
  describe(checker, () => {
    test.each(Object.entries(good))('good: %s', (_, operations) => check(operations));
    test.each(Object.entries(bad))('bad: %s', (_, operations) => {
      expect(() => check(operations)).toThrow(expect.objectContaining({ checker }));
    });
  });
}

judge(
  'acknowledged-kept',
  checkAcknowledgedKept,
  {
    'the last write is found': [put([1, 2], 'a', 'x', 1), put([3, 4], 'a', 'y', 2), get([5, 6], 'b', 'y', 2)],
    'either of two at once is found': [
      put([1, 4], 'a', 'x', 2),
      put([2, 3], 'b', 'y', 1),
      get([5, 6], 'b', 'x', 2),
    ],
    'an unknown write replaced it': [put([1], 'a', 'y'), put([2, 3], 'a', 'x', 1), get([5, 6], 'b', 'y', 2)],
    'an unknown delete removed it': [remove([1], 'a'), put([2, 3], 'a', 'x', 1), get([5, 6], 'b')],
    'deleted and not found': [put([1, 2], 'a', 'x', 1), remove([3, 4], 'a', true), get([5, 6], 'b')],
    'nobody reads in the end': [put([1, 4], 'a', 'x', 1), get([2, 3], 'b')],
    'nothing was written': [get([1, 2], 'b')],
    'a counter': [increment([1, 2], 'a', 2n, 2n), increment([3, 4], 'a', 2n, 4n), get([5, 6], 'b', '4', 7)],
  },
  {
    'a write is gone': [put([1, 2], 'a', 'x', 1), get([3, 4], 'b')],
    'an earlier write is found': [
      put([1, 2], 'a', 'x', 1),
      put([3, 4], 'a', 'y', 2),
      get([5, 6], 'b', 'x', 1),
    ],
    'it is found with another version': [put([1, 2], 'a', 'x', 1), get([3, 4], 'b', 'x', 2)],
    'a deleted value is found': [
      put([1, 2], 'a', 'x', 1),
      remove([3, 4], 'a', true),
      get([5, 6], 'b', 'x', 1),
    ],
    'what was not applied is found': [sample.notApplied([1, 2], 'a', 'x'), get([3, 4], 'b', 'x', 1)],
    'a sum is lost': [
      increment([1, 2], 'a', 1n, 1n),
      increment([3, 4], 'a', 1n, 2n),
      get([5, 6], 'b', '1', 1),
    ],
  },
);

judge(
  'applied-once',
  checkAppliedOnce,
  {
    'all count': [increment([1, 2], 'a', 1n, 1n), increment([3, 4], 'b', 2n, 3n), get([5, 6], 'c', '3')],
    'an unknown one counts': [increment([1, 2], 'a', 1n, 1n), increment([3], 'b', 2n), get([5, 6], 'c', '3')],
    'an unknown one does not': [
      increment([1, 2], 'a', 1n, 1n),
      increment([3], 'b', 2n),
      get([5, 6], 'c', '1'),
    ],
    'sums repeat where some subtract': [
      increment([1, 2], 'a', 1n, 1n),
      increment([3, 4], 'a', 1n, 2n),
      increment([5, 6], 'a', -1n, 1n),
      get([7, 8], 'a', '1'),
    ],
    'a key that is also written is not looked at': [put([1, 2], 'a', '5', 1), increment([3, 4], 'a', 1n, 6n)],
  },
  {
    'one counts twice': [increment([1, 2], 'a', 1n, 1n), get([5, 6], 'c', '2')],
    'one is lost': [increment([1, 2], 'a', 1n, 1n), increment([3, 4], 'b', 1n, 2n), get([5, 6], 'c', '1')],
    'all are lost': [increment([1, 2], 'a', 1n, 1n), get([5, 6], 'c')],
    'an unknown one counts twice': [
      increment([1, 2], 'a', 1n, 1n),
      increment([3], 'b', 2n),
      get([5, 6], 'c', '5'),
    ],
    'two have one sum': [increment([1, 2], 'a', 1n, 1n), increment([3, 4], 'b', 1n, 1n)],
  },
);

const other = (operation: KvOperation) => ({ ...operation, key: 'other' });
judge(
  'versions',
  (operations) => checkVersions(operations, () => 'one partition'),
  {
    'they grow over keys': [
      put([1, 2], 'a', 'x', 1),
      other(put([3, 4], 'a', 'x', 2)),
      put([5, 6], 'a', 'y', 9),
    ],
    'of writes at once in any order': [put([1, 4], 'a', 'x', 2), other(put([2, 3], 'a', 'x', 1))],
  },
  {
    'one for two keys': [put([1, 4], 'a', 'x', 1), other(put([2, 3], 'a', 'x', 1))],
    'they fall from one key to another': [put([1, 2], 'a', 'x', 2), other(put([3, 4], 'a', 'x', 1))],
  },
);

test('partitions count their versions each for itself', () => {
  checkVersions([put([1, 2], 'a', 'x', 2), other(put([3, 4], 'a', 'x', 1))], (key) => key);
});

describe('the recorder', () => {
  test('numbers events, keeps what is open as unknown, and takes each end once', () => {
    const history = new KvHistory();
    const write = history.begin('a', 'k', { kind: 'put', value: 'x' });
    const read = history.begin('b', 'k', { kind: 'get' });
    write.applied({ version: 5n });
    read.read({ value: 'x', version: 5n });
    history.begin('a', 'k', { kind: 'delete' });
    expect(history.operations).toMatchObject([
      { client: 'a', called: 1, returned: 3, outcome: { kind: 'applied', version: 5 } },
      { client: 'b', called: 2, returned: 4, outcome: { kind: 'read', found: { value: 'x', version: 5 } } },
      { client: 'a', called: 5, returned: undefined, outcome: { kind: 'unknown' } },
    ]);
    expect(() => read.unknown()).toThrow('ended twice');
    expect(checkKvHistory(history.operations).verdict).toMatchObject({ verdict: 'ok' });
  });

  test.each([
    [{ reason: 'UNAVAILABLE', outcome: 'UNKNOWN' }, { kind: 'unknown' }],
    [{ reason: 'KEY_EXISTS', outcome: undefined }, { kind: 'unknown' }],
    [{ reason: 'OVERLOADED', outcome: 'NOT_APPLIED' }, { kind: 'notApplied' }],
    [{ reason: 'FENCED', outcome: 'NOT_APPLIED' }, { kind: 'notApplied' }],
    [
      { reason: 'KEY_EXISTS', outcome: 'NOT_APPLIED', current: { version: 3n } },
      { kind: 'refused', reason: 'KEY_EXISTS', current: 3 },
    ],
    [
      { reason: 'VERSION_MISMATCH', outcome: 'NOT_APPLIED', current: undefined },
      { kind: 'refused', reason: 'VERSION_MISMATCH', current: 'absent' },
    ],
    [
      { reason: 'NOT_A_COUNTER', outcome: 'NOT_APPLIED' },
      { kind: 'refused', reason: 'NOT_A_COUNTER' },
    ],
  ] as const)('takes an error: %#', (failure, outcome) => {
    const history = new KvHistory();
    history.begin('a', 'k', { kind: 'put', value: 'x' }).failed(failure);
    expect(history.operations[0]!.outcome).toEqual(outcome);
  });

  test('a delete is answered with version 0, which is none', () => {
    const history = new KvHistory();
    history.begin('a', 'k', { kind: 'delete' }).applied({ version: 0, existed: true, counter: undefined });
    expect(history.operations[0]!.outcome).toEqual({ kind: 'applied', existed: true });
  });
});
