import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TreePages } from '../../node/coordination/tree-pages.ts';
import type { EntryCodec } from '../../node/coordination/tree-page.ts';
import { MemoryRows } from './part-rows.ts';

const NUMBERS: EntryCodec<number> = {
  write: (writer, value) => void writer.u64(value),
  read: (reader) => reader.u64(),
  bytes: () => 8,
};

type Step =
  | { readonly do: 'set'; readonly key: string; readonly value: number }
  | { readonly do: 'delete'; readonly key: string }
  | { readonly do: 'fill'; readonly from: number; readonly count: number; readonly by: number }
  | { readonly do: 'clear'; readonly from: string; readonly to: string }
  | { readonly do: 'reread' };

const key = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 2_000 }).map((n) => `k${n}`) },
  { weight: 2, arbitrary: fc.string({ unit: fc.constantFrom('\0', '\x01', 'a', '\xff'), maxLength: 4 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 30 }).map((n) => `${'long'.repeat(1_000)}${n}`) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('set' as const), key, value: fc.nat() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('delete' as const), key }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('fill' as const),
      from: fc.integer({ min: 0, max: 2_000 }),
      count: fc.integer({ min: 1, max: 600 }),
      by: fc.constantFrom(-1, 1, 7),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('clear' as const), from: key, to: key }) },
  { weight: 1, arbitrary: fc.constant({ do: 'reread' as const }) },
);

/** The same as an array. */
class SortedArray {
  entries: [string, number][] = [];

  set(at: string, value: number): void {
    this.delete(at);
    this.entries.push([at, value]);
    this.entries.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  delete(at: string): boolean {
    const before = this.entries.length;
    this.entries = this.entries.filter(([known]) => known !== at);
    return this.entries.length < before;
  }
}

function all(tree: TreePages<number>, from = ''): [string, number][] {
  const found: [string, number][] = [];
  for (const cursor = tree.seek(from); cursor.key !== undefined; cursor.next())
    found.push([cursor.key, cursor.value]);
  return found;
}

function play(steps: readonly Step[], rows = new MemoryRows()): MemoryRows {
  const tree = new TreePages(rows, 'p', NUMBERS);
  const array = new SortedArray();
  for (const one of steps) {
    if (one.do === 'set') {
      tree.set(one.key, one.value);
      array.set(one.key, one.value);
    } else if (one.do === 'delete') {
      expect(tree.delete(one.key)).toBe(array.delete(one.key));
    } else if (one.do === 'fill') {
      const known = new Map(array.entries);
      for (let n = 0; n < one.count; n++) {
        tree.set(`k${one.from + n * one.by}`, n);
        known.set(`k${one.from + n * one.by}`, n);
      }
      array.entries = [...known].sort(([a], [b]) => (a < b ? -1 : 1));
    } else if (one.do === 'clear') {
      const [from, to] = one.from < one.to ? [one.from, one.to] : [one.to, one.from];
      for (const [cleared] of array.entries.filter(([at]) => at >= from && at < to))
        expect(tree.delete(cleared)).toBe(true);
      array.entries = array.entries.filter(([at]) => at < from || at >= to);
    } else rows.reread();
  }
  expect(all(tree)).toEqual(array.entries);
  compareLookups(tree, array, steps);
  return rows;
}

function compareLookups(tree: TreePages<number>, { entries }: SortedArray, steps: readonly Step[]): void {
  const asked = steps.flatMap((one) =>
    'key' in one ? [one.key] : one.do === 'clear' ? [one.from, one.to] : [],
  );
  for (const at of ['', ...asked]) {
    expect(tree.get(at)).toBe(entries.find(([known]) => known === at)?.[1]);
    const next = entries.find(([known]) => known >= at);
    expect(tree.seek(at).key).toBe(next?.[0]);
    const below = entries.findLast(([known]) => known < at);
    expect(tree.before(at)?.key).toBe(below?.[0]);
  }
  expect(tree.before(undefined)?.key).toBe(entries.at(-1)?.[0]);
  const cursor = tree.seek('');
  for (const at of [...asked].sort()) {
    if (cursor.key === undefined) break;
    if (at < cursor.key) continue;
    cursor.seek(at);
    expect(cursor.key).toBe(entries.find(([known]) => known >= at)?.[0]);
  }
}

describe('pages of a tree', () => {
  it('are a sorted array, whatever is set, deleted and read again', () => {
    const steps = fc.array(step, { maxLength: 60, size: 'max' });
    fc.assert(
      fc.property(steps, (taken) => void play(taken)),
      { numRuns: 300 },
    );
  });

  it('are the same rows, whatever was in memory', () => {
    const steps = fc.array(step, { maxLength: 40, size: 'max' });
    fc.assert(
      fc.property(steps, (taken) => {
        const often = taken.flatMap((one): Step[] => [one, { do: 'reread' }]);
        const seldom = taken.filter((one) => one.do !== 'reread');
        expect(play(often).written()).toEqual(play(seldom).written());
      }),
      { numRuns: 50 },
    );
  });

  it('leave one row when everything is deleted', () => {
    const rows = new MemoryRows();
    const tree = new TreePages(rows, 'p', NUMBERS);
    for (let n = 0; n < 5_000; n++) tree.set(`k${(n * 7_919) % 5_000}`, n);
    expect(rows.written().size).toBeGreaterThan(80);
    for (let n = 0; n < 5_000; n++) expect(tree.delete(`k${(n * 104_729) % 5_000}`)).toBe(true);
    expect(all(tree)).toEqual([]);
    expect(rows.written().size).toBeLessThanOrEqual(2);
    tree.set('again', 1);
    expect(all(tree)).toEqual([['again', 1]]);
  });

  it('have few pages for few entries, after many were deleted here and there', () => {
    const rows = new MemoryRows();
    const tree = new TreePages(rows, 'p', NUMBERS);
    for (let n = 0; n < 10_000; n++) tree.set(String(n).padStart(5, '0'), n);
    for (let n = 0; n < 10_000; n++) if (n % 50 !== 0) tree.delete(String(n).padStart(5, '0'));
    expect(all(tree)).toHaveLength(200);
    expect(rows.written().size).toBeLessThan(20);
  });
});
