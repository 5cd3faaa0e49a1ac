/** A window of the log in memory, against a plain list of entries. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { entryBytes, type Entry } from '../../node/raft/core/entry.ts';
import { EntryCache } from '../../node/raft/entry-cache.ts';

const made = (index: number, bytes: number, term = 1): Entry => ({
  index,
  term,
  stampMs: 0,
  kind: 2,
  version: 1,
  payload: new Uint8Array(bytes),
});
const bytesOf = (entries: readonly Entry[]) => entries.reduce((sum, entry) => sum + entryBytes(entry), 0);

/** `at` is a share of what is there. */
const steps = fc.array(
  fc.record({
    kind: fc.constantFrom('put', 'put', 'put', 'shrink', 'shrink', 'cut', 'read', 'read', 'reset'),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    sizes: fc.array(fc.nat({ max: 100 }), { minLength: 1, maxLength: 6 }),
    bytes: fc.nat({ max: 600 }),
    limit: fc.nat({ max: 12 }),
  }),
  { maxLength: 60 },
);

/** The entries that a reader may get: at least one, as many as fit. */
function naiveRead(entries: readonly Entry[], first: number, last: number, maxBytes: number) {
  if (!entries.some(({ index }) => index === first)) return undefined;
  const found: Entry[] = [];
  for (const entry of entries.filter(({ index }) => index >= first && index <= last)) {
    if (found.length > 0 && bytesOf([...found, entry]) > maxBytes) break;
    found.push(entry);
  }
  return found;
}

test('holds what a plain list would, whatever is put, cut and freed', () => {
  fc.assert(
    fc.property(fc.nat({ max: 20 }), steps, (base, all) => {
      const cache = new EntryCache(base);
      let list: Entry[] = [];
      let first = base + 1;
      let term = 1;
      for (const { kind, at, sizes, bytes, limit } of all) {
        const index = first + Math.floor(at * (list.length + 0.999));
        if (kind === 'put') {
          term++;
          const entries = sizes.map((size, position) => made(index + position, size, term));
          cache.put(entries);
          list = [...list.filter((entry) => entry.index < index), ...entries];
        } else if (kind === 'cut') {
          cache.cutFrom(index);
          list = list.filter((entry) => entry.index < index);
        } else if (kind === 'shrink') {
          const upTo = first + limit - 3;
          let freed = 0;
          while (bytesOf(list) > bytes && list.length > 0 && list[0]!.index <= upTo)
            freed = list.shift()!.index;
          expect(cache.shrinkTo(bytes, upTo)).toBe(freed);
          if (freed > 0) first = freed + 1;
        } else if (kind === 'reset') {
          cache.reset(index);
          list = [];
          first = index + 1;
        } else {
          const last = index + limit;
          expect(cache.read(index, last, bytes)).toEqual(naiveRead(list, index, last, bytes));
        }
        expect([cache.first, cache.last, cache.bytes]).toEqual([
          first,
          first + list.length - 1,
          bytesOf(list),
        ]);
      }
    }),
  );
});

test('frees thousands of entries one after another, and gives the rest', () => {
  const cache = new EntryCache(0);
  for (let index = 1; index <= 5_000; index++) {
    cache.put([made(index, 10)]);
    if (index > 100) expect(cache.shrinkTo(100 * 42, index)).toBe(index - 100);
  }
  expect([cache.first, cache.last, cache.bytes]).toEqual([4_901, 5_000, 4_200]);
  expect(cache.read(4_900, 5_000, Infinity)).toBeUndefined();
  expect(cache.read(4_950, 5_000, Infinity)?.map(({ index }) => index)).toEqual(
    Array.from({ length: 51 }, (_, position) => 4_950 + position),
  );
});
