import { describe, expect, test } from 'vitest';
import { AppliedProgress, EqualState, LogMatching, OneLeaderPerTerm } from './replica-checks.ts';
import { TrimmedMap } from './trimmed-map.ts';

function failure(checker: string): unknown {
  return expect.objectContaining({ name: 'CheckFailure', checker });
}

describe('one leader per term', () => {
  test('good: each term and each group has its own, and says so again', () => {
    const check = new OneLeaderPerTerm();
    check.recordLeader('g', 1, 'a');
    check.recordLeader('g', 1, 'a');
    check.recordLeader('g', 2, 'b');
    check.recordLeader('h', 1, 'b');
  });

  test('bad: two in one term', () => {
    const check = new OneLeaderPerTerm();
    check.recordLeader('g', 3, 'a');
    expect(() => check.recordLeader('g', 3, 'b')).toThrow(failure('one-leader-per-term'));
  });

  test('what was trimmed is not compared', () => {
    const check = new OneLeaderPerTerm();
    check.recordLeader('g', 3, 'a');
    check.trim('g', 4);
    check.recordLeader('g', 3, 'b');
    check.recordLeader('g', 4, 'a');
    expect(() => check.recordLeader('g', 4, 'b')).toThrow(failure('one-leader-per-term'));
  });
});

describe('log matching', () => {
  test('good: uncommitted entries are replaced by those of a later term', () => {
    const check = new LogMatching();
    check.recordWritten('g', 'a', 1, 1, 'x');
    check.recordWritten('g', 'b', 1, 2, 'y');
    check.recordWritten('g', 'a', 1, 2, 'y');
    check.recordApplied('g', 'a', 1, 2, 'y');
    check.recordApplied('g', 'b', 1, 2, 'y');
    check.recordApplied('g', 'b', 2, 2, 'z');
    check.recordApplied('h', 'b', 1, 1, 'other group');
  });

  test('bad: one index and term, two entries', () => {
    const check = new LogMatching();
    check.recordWritten('g', 'a', 1, 1, 'x');
    expect(() => check.recordWritten('g', 'b', 1, 1, 'y')).toThrow(failure('log-matching'));
  });

  test('bad: an applied entry is not the one that was written', () => {
    const check = new LogMatching();
    check.recordWritten('g', 'a', 1, 1, 'x');
    expect(() => check.recordApplied('g', 'b', 1, 1, 'y')).toThrow(failure('log-matching'));
  });

  test('bad: a committed entry changes', () => {
    const check = new LogMatching();
    check.recordApplied('g', 'a', 1, 1, 'x');
    expect(() => check.recordApplied('g', 'b', 1, 2, 'x')).toThrow(failure('committed-never-changes'));
  });

  test('bad: terms fall along the log', () => {
    const check = new LogMatching();
    check.recordApplied('g', 'a', 1, 2, 'x');
    expect(() => check.recordApplied('g', 'a', 2, 1, 'y')).toThrow(failure('terms-never-fall'));
  });

  test('what was trimmed is not compared, the rest is', () => {
    const check = new LogMatching();
    for (const index of [1, 2, 3]) check.recordApplied('g', 'a', index, 1, index);
    check.trim('g', 3);
    check.recordApplied('g', 'b', 2, 1, 'other');
    expect(() => check.recordApplied('g', 'b', 3, 1, 'other')).toThrow(failure('log-matching'));
  });
});

describe('equal state', () => {
  test('good: equal at one index, whatever else', () => {
    const check = new EqualState();
    check.recordState('g', 'a', 1, 'x');
    check.recordState('g', 'b', 1, 'x');
    check.recordState('g', 'b', 2, 'y');
    check.recordState('h', 'b', 1, 'z');
  });

  test('bad: another state at one index, also of the same replica after a restart', () => {
    const check = new EqualState();
    check.recordState('g', 'a', 1, 'x');
    expect(() => check.recordState('g', 'b', 1, 'y')).toThrow(failure('equal-state'));
    expect(() => check.recordState('g', 'a', 1, 'y')).toThrow(failure('equal-state'));
    check.trim('g', 2);
    check.recordState('g', 'b', 1, 'y');
  });
});

describe('applied progress', () => {
  function started(): AppliedProgress {
    const check = new AppliedProgress();
    check.recordStarted('g', 'a', 0);
    for (const index of [1, 2, 3, 4]) check.recordApplied('g', 'a', index);
    check.recordDurable('g', 'a', 2);
    return check;
  }

  test('good: one by one, over a snapshot, and back to what was durable', () => {
    const check = started();
    check.recordStarted('g', 'a', 2);
    check.recordApplied('g', 'a', 3);
    check.recordInstalled('g', 'a', 9);
    check.recordApplied('g', 'a', 10);
    check.recordStarted('g', 'b', 5);
    expect(check.least('g')).toBe(2);
    check.forget('g', 'a');
    expect(check.least('g')).toBe(5);
  });

  test('good: a restart may keep more than was known to be durable', () => {
    const check = started();
    check.recordStarted('g', 'a', 4);
    expect(() => check.recordStarted('g', 'a', 3)).toThrow(failure('applied-progress'));
  });

  test.each<[string, (check: AppliedProgress) => void]>([
    ['an entry twice', (check) => check.recordApplied('g', 'a', 4)],
    ['an entry left out', (check) => check.recordApplied('g', 'a', 6)],
    ['an older snapshot', (check) => check.recordInstalled('g', 'a', 3)],
    ['a restart before what was durable', (check) => check.recordStarted('g', 'a', 1)],
    ['a restart after what was applied', (check) => check.recordStarted('g', 'a', 5)],
    ['durable before it is applied', (check) => check.recordDurable('g', 'a', 5)],
  ])('bad: %s', (_, act) => {
    const check = started();
    expect(() => act(check)).toThrow(failure('applied-progress'));
  });
});

test('trimming bounds the memory', () => {
  const map = new TrimmedMap<number>();
  for (let index = 1; index <= 1_000; index++) {
    map.keep('g', index, index);
    map.trim('g', index - 9);
  }
  expect(map.size).toBe(10);
});
