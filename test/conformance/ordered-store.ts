import { describe, expect, it } from 'vitest';
import type { OrderedStore, RowChange } from '../../node/runtime/ordered-store.ts';
import { scene, type Staged } from './stage.ts';

/** A store that can be closed and opened again on what it left. */
export interface Reopenable {
  readonly store: OrderedStore;
  /** Opens the store again, after the one before was closed. */
  reopen(): Promise<OrderedStore>;
}

const key = (n: number) => new TextEncoder().encode(`k${String(n).padStart(6, '0')}`);
const value = (n: number) => new TextEncoder().encode(`value ${n}`);
const plain = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes);
const put = (n: number, as = n): RowChange => [key(n), value(as)];

async function keysOf(store: OrderedStore, from: number, to: number, step = 1000): Promise<string[]> {
  const walk = store.iterate(key(from), key(to));
  const found: string[] = [];
  for (;;) {
    const rows = await walk.next(step);
    if (rows.length === 0) break;
    found.push(...rows.map(([rowKey]) => plain(rowKey)!));
  }
  await walk.close();
  return found;
}

/** What every OrderedStore must do. */
export function describeOrderedStore(name: string, factory: () => Promise<Staged<Reopenable>>): void {
  const play = (body: (store: OrderedStore, subject: Reopenable) => Promise<void>) =>
    scene(factory, async (subject) => body(subject.store, subject));

  describe(`OrderedStore: ${name}`, () => {
    it(
      'reads what was written',
      play(async (store) => {
        expect(store.get(key(1))).toBeUndefined();
        await store.writeBatch([put(1), put(2), [key(3), new Uint8Array(0)]]);
        expect(plain(store.get(key(1)))).toBe('value 1');
        expect(store.get(key(3))).toHaveLength(0);
        const many = await store.getMany([key(2), key(9), key(1)]);
        expect(many.map(plain)).toEqual(['value 2', undefined, 'value 1']);
        expect(await store.getMany([])).toEqual([]);
        await store.close();
      }),
    );

    it(
      'applies a batch in its order: the last change of a key counts',
      play(async (store) => {
        await store.writeBatch([
          put(1),
          put(1, 5),
          [key(2), value(2)],
          [key(2), undefined],
          [key(7), undefined],
        ]);
        expect(plain(store.get(key(1)))).toBe('value 5');
        expect(store.get(key(2))).toBeUndefined();
        await store.writeBatch([]);
        await store.close();
      }),
    );

    it(
      'applies batches in the order of the calls',
      play(async (store) => {
        await Promise.all(Array.from({ length: 30 }, (_, i) => store.writeBatch([put(1, i)])));
        expect(plain(store.get(key(1)))).toBe('value 29');
        await store.close();
      }),
    );

    it(
      'walks [start, end) in byte order, in steps',
      play(async (store) => {
        const rows = Array.from({ length: 2000 }, (_, i) => put((i * 7919) % 2000));
        await store.writeBatch(rows);
        const found = await keysOf(store, 100, 1900, 77);
        expect(found).toEqual(Array.from({ length: 1800 }, (_, i) => plain(key(100 + i))));
        expect(await keysOf(store, 5, 5)).toEqual([]);
        expect(await keysOf(store, 9, 5)).toEqual([]);
        await store.close();
      }),
    );

    it(
      'orders unsigned bytes, and a prefix before what it begins',
      play(async (store) => {
        const keys = [[255], [128, 0], [128], [127, 255], [0]].map((bytes) => Uint8Array.from(bytes));
        await store.writeBatch(keys.map((bytes): RowChange => [bytes, bytes]));
        const walk = store.iterate(Uint8Array.of(0), Uint8Array.of(255, 255));
        const rows = await walk.next(10);
        expect(rows.map(([bytes]) => [...bytes])).toEqual([[0], [127, 255], [128], [128, 0], [255]]);
        await walk.close();
        await store.close();
      }),
    );

    it(
      'walks over the state at the time of the call',
      play(async (store) => {
        await store.writeBatch([put(1), put(2), put(3)]);
        const walk = store.iterate(key(0), key(9));
        await store.writeBatch([[key(2), undefined], put(3, 33), put(4)]);
        const rows = await walk.next(10);
        expect(rows.map(([, bytes]) => plain(bytes))).toEqual(['value 1', 'value 2', 'value 3']);
        await walk.close();
        expect(await keysOf(store, 0, 9)).toHaveLength(3);
        await store.close();
      }),
    );

    it(
      'keeps its rows when it is closed and opened again, the batch in flight too',
      play(async (store, subject) => {
        await store.writeBatch([put(1), put(2)]);
        await store.writeBatch([[key(1), undefined]]);
        const inFlight = store.writeBatch([put(3)]);
        await store.close();
        await inFlight;
        const again = await subject.reopen();
        expect(await keysOf(again, 0, 9)).toEqual([plain(key(2)), plain(key(3))]);
        await again.close();
      }),
    );

    it(
      'is not changed by a caller that uses its buffers again',
      play(async (store) => {
        const bytes = value(1);
        const writing = store.writeBatch([[key(1), bytes]]);
        bytes.fill(0);
        await writing;
        store.get(key(1))!.fill(0);
        expect(plain(store.get(key(1)))).toBe('value 1');
        await store.close();
      }),
    );

    it(
      'compacts without loss, and refuses calls once closed',
      play(async (store) => {
        await store.writeBatch(Array.from({ length: 100 }, (_, i) => put(i)));
        await store.compact(key(0), key(50));
        expect(await keysOf(store, 0, 1000)).toHaveLength(100);
        await store.close();
        expect(() => store.get(key(1))).toThrow();
        await expect(store.writeBatch([put(1)])).rejects.toThrow();
      }),
    );
  });
}
