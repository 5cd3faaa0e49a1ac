import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { News, timesToTell } from '../../../node/cluster/gossip/news.ts';
import { recordBytes } from '../../../node/cluster/gossip/node-record.ts';
import { record } from './gossip-samples.ts';

const bytesOf = (records: readonly Parameters<typeof recordBytes>[0][]) =>
  records.reduce((sum, one) => sum + recordBytes(one), 0);

describe('news', () => {
  test('are never more bytes than asked for, and each is told so many times', () => {
    const names = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 60 }), { maxLength: 12 });
    fc.assert(
      fc.property(
        names,
        fc.integer({ min: 400, max: 1_200 }),
        fc.integer({ min: 1, max: 4 }),
        (all, most, times) => {
          const news = new News();
          for (const name of all) news.add(record(name));
          const told = new Map<string, number>();
          for (let round = 0; news.size > 0; round++) {
            expect(round).toBeLessThan(12 * 4 + 1);
            const taken = news.take(most, times);
            expect(bytesOf(taken)).toBeLessThanOrEqual(most);
            for (const { name } of taken) told.set(name, (told.get(name) ?? 0) + 1);
          }
          expect([...told.values()].every((count) => count === times)).toBe(true);
          expect(told.size).toBe(all.length);
        },
      ),
    );
  });

  test('of one node are the newest alone', () => {
    const news = new News();
    news.add(record('a', { state: 'suspect' }));
    news.add(record('a', { incarnation: 1 }));
    expect(news.take(1_000, 9)).toEqual([record('a', { incarnation: 1 })]);
  });

  test('that were told least go first, and of those the newest', () => {
    const news = new News();
    const oneRecord = recordBytes(record('a'));
    for (const name of ['a', 'b']) news.add(record(name));
    const next = () => news.take(oneRecord, 9).map(({ name }) => name);
    expect([next(), next()]).toEqual([['b'], ['a']]);
    news.add(record('c'));
    expect([next(), next()]).toEqual([['c'], ['c']]);
  });

  test('begin with what the receiver has to know, which is not counted', () => {
    const news = new News();
    news.add(record('a'));
    const about = record('b', { state: 'suspect' });
    expect(news.take(10_000, 1, about)).toEqual([about, record('a')]);
    expect(news.take(10_000, 1, about)).toEqual([about]);
  });

  test('that are dropped are not told', () => {
    const news = new News();
    news.add(record('a'));
    news.drop('a');
    expect(news.take(1_000, 1)).toEqual([]);
  });
});

test('the number of times grows with the logarithm of the number of nodes', () => {
  expect([1, 3, 9, 10, 99, 100, 1_000].map((nodes) => timesToTell(4, nodes))).toEqual([
    4, 4, 4, 8, 8, 12, 16,
  ]);
});
