import { describe, expect, it } from 'vitest';
import type { RowChange } from '../../node/runtime/ordered-store.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { SimulatedOrderedStore, SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import { SortedRows } from '../../node/runtime/simulated/sorted-rows.ts';
import { errorCode } from '../conformance/stage.ts';

const key = (n: number) => Uint8Array.of(n >> 16, (n >> 8) & 255, n & 255);
const put = (n: number, value: number): RowChange => [key(n), Uint8Array.of(value)];

function openStore(seed = 1) {
  const world = new SimulatedScheduler();
  const random = new SeededRandom(seed);
  const medium = new SimulatedStoreMedium();
  const open = () => new SimulatedOrderedStore(world, random, medium);
  return { world, medium, open, store: open(), wait: <T>(promise: Promise<T>) => world.settle(promise) };
}

describe('SimulatedOrderedStore', () => {
  it('after a crash holds its completed batches, and a batch in flight wholly or not at all', async () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const { world, store, open, wait } = openStore(seed);
      await wait(store.writeBatch([put(1, 1), put(2, 1)]));
      let settled = false;
      for (const value of [2, 3]) {
        void store.writeBatch([put(1, value), put(2, value)]).then(() => (settled = true));
      }
      store.crash();
      await world.runFor(1000);
      expect(settled).toBe(false);
      const found = [open().get(key(1))![0]!, open().get(key(2))![0]!];
      expect(found[0]).toBe(found[1]);
      outcomes.add(String(found[0]));
    }
    expect([...outcomes].sort()).toEqual(['1', '2', '3']);
  });

  it('shows a batch only once it is durable', async () => {
    const { world, store, wait } = openStore();
    const writing = store.writeBatch([put(1, 1)]);
    await world.runFor(0);
    expect(store.get(key(1))).toBeUndefined();
    await wait(writing);
    expect(store.get(key(1))).toEqual(Uint8Array.of(1));
  });

  it('fails a batch, which may surface all the same', async () => {
    for (const kept of [false, true]) {
      const { store, open, wait } = openStore();
      store.failNextBatch('EIO', kept);
      expect(await wait(errorCode(store.writeBatch([put(1, 1)])))).toBe('EIO');
      store.crash();
      expect(open().get(key(1)) !== undefined).toBe(kept);
    }
  });

  it('can be damaged: a flipped bit, lost batches, every row gone', async () => {
    const { store, open, medium, wait } = openStore();
    for (const value of [1, 2, 3]) await wait(store.writeBatch([put(1, value)]));
    await wait(store.close());
    medium.rollBack(1);
    expect(open().get(key(1))).toEqual(Uint8Array.of(2));
    expect(medium.flipBit(key(1), 7)).toBe(true);
    expect(open().get(key(1))).toEqual(Uint8Array.of(2 ^ 128));
    expect(medium.flipBit(key(9), 0)).toBe(false);
    medium.empty();
    expect(open().get(key(1))).toBeUndefined();
    expect(medium.injections.all()).toEqual({ 'empty-store': 1, 'flip-row-bit': 1, 'roll-back-store': 1 });
  });
});

describe('SortedRows', () => {
  it('agrees with a plain sorted map over random changes', () => {
    const random = new SeededRandom('rows');
    const model = new Map<number, number>();
    let rows = SortedRows.empty;
    for (let batch = 0; batch < 300; batch++) {
      const changes: RowChange[] = [];
      for (let i = 0; i < 40; i++) {
        const n = Math.floor(random.float() * 3000);
        const isDelete = random.chance(batch < 150 ? 0.2 : 0.7);
        changes.push(isDelete ? [key(n), undefined] : put(n, i));
        if (isDelete) model.delete(n);
        else model.set(n, i);
      }
      rows = rows.with(changes);
    }
    const expected = [...model].sort(([a], [b]) => a - b).map(([n, value]) => [key(n), Uint8Array.of(value)]);
    expect(rows.all()).toEqual(expected);
    expect(rows.size).toBe(model.size);
    expect(rows.slice(key(500), key(900), 5)).toEqual(
      expected.filter(([k]) => Buffer.compare(k!, key(500)) >= 0).slice(0, 5),
    );
  });

  it('holds 100,000 rows', () => {
    let rows = SortedRows.empty;
    const random = new SeededRandom(1);
    for (let batch = 0; batch < 50; batch++) {
      rows = rows.with(Array.from({ length: 2000 }, () => put(random.u32() >>> 8, 1)));
    }
    expect(rows.size).toBeGreaterThan(99_000);
  });
});
