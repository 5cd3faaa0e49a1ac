/** Rows of a group as a whole: what a snapshot reads, what a new generation gets, what the store says of a group. */
import fc from 'fast-check';
import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { SimulatedOrderedStore, SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import { ByteWriter } from '../../node/storage/byte-codec.ts';
import { binaryBytes, groupPrefix } from '../../node/storage/row-key.ts';
import {
  NOTHING_APPLIED,
  RowStore,
  StoreDamaged,
  type AppliedEntry,
  type GroupSnapshot,
} from '../../node/storage/row-store.ts';

const GROUP = 3;
const entry = (index: number, generation = 0): AppliedEntry => ({
  index,
  term: 2,
  stampMs: 50,
  generation,
  configuration: undefined,
});

function openRows(medium = new SimulatedStoreMedium()) {
  const world = new SimulatedScheduler();
  const store = new SimulatedOrderedStore(world, new SeededRandom(1), medium);
  const rows = new RowStore({
    store,
    clock: new SimulatedClock(world),
    logSequence: () => 0,
    onFlushed: () => undefined,
    onFailure: (error) => expect.unreachable(error.message),
  });
  const flush = (applied: AppliedEntry) => {
    rows.applied(GROUP, applied);
    rows.startFlush();
    return world.settle(rows.flushed());
  };
  return { world, medium, rows, flush };
}

async function readAll(world: SimulatedScheduler, snapshot: GroupSnapshot, count = 7) {
  const found: [string, string][] = [];
  for (;;) {
    const rows = await world.settle(snapshot.next(count));
    if (rows.length === 0) return found;
    for (const [rest, content] of rows) found.push([rest, Buffer.from(content).toString()]);
  }
}

test('a snapshot has all rows of one generation as of the stored entry, and no others', async () => {
  const changes = fc.array(
    fc.record({ key: fc.nat({ max: 30 }), value: fc.option(fc.nat()), isFlushed: fc.boolean() }),
    { maxLength: 60 },
  );
  await fc.assert(
    fc.asyncProperty(changes, fc.integer({ min: 1, max: 9 }), async (all, count) => {
      const { world, rows, flush } = openRows();
      const own = groupPrefix(GROUP, 4);
      // Neighbours in every direction, and the row that says how far the group is stored.
      for (const [group, generation] of [
        [2, 4],
        [3, 3],
        [3, 5],
        [4, 0],
      ] as const)
        rows.put(`${groupPrefix(group, generation)}dx`, Buffer.from('another'));
      await flush(entry(1, 4));
      const model = new Map<string, string>();
      let stored: [string, string][] = [];
      let index = 1;
      for (const { key, value, isFlushed } of all) {
        const rest = `d${String(key).padStart(2, '0')}`;
        if (value === null) {
          rows.delete(own + rest);
          model.delete(rest);
        } else {
          rows.put(own + rest, Buffer.from(String(value)));
          model.set(rest, String(value));
        }
        if (!isFlushed) continue;
        await flush(entry(++index, 4));
        stored = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
      }
      const snapshot = await world.settle(rows.openSnapshot(GROUP));
      rows.put(`${own}dlate`, Buffer.from('later'));
      await flush(entry(index + 1, 4));
      expect(snapshot.applied).toEqual(entry(index, 4));
      expect(await readAll(world, snapshot, count)).toEqual(stored);
    }),
    { numRuns: 40 },
  );
});

test('a snapshot waits for the flush under way, and its entry is that of the rows', async () => {
  const { world, rows } = openRows();
  for (let index = 1; index < 20; index++) {
    rows.put(`${groupPrefix(GROUP, 0)}d`, Buffer.from(String(index)));
    rows.applied(GROUP, entry(index));
    rows.startFlush();
    const snapshot = await world.settle(rows.openSnapshot(GROUP));
    expect(await readAll(world, snapshot)).toEqual([['d', String(snapshot.applied.index)]]);
  }
});

test('a damaged row ends a snapshot', async () => {
  const { world, medium, rows, flush } = openRows();
  rows.put(`${groupPrefix(GROUP, 0)}dk`, Buffer.from('value'));
  await flush(entry(1));
  medium.flipBit(binaryBytes(`${groupPrefix(GROUP, 0)}dk`), 50);
  const snapshot = await world.settle(rows.openSnapshot(GROUP));
  await expect(world.settle(snapshot.next(10))).rejects.toThrow(StoreDamaged);
});

test('rows that were added are durable before anything is applied, in their generation alone', async () => {
  const { world, medium, rows, flush } = openRows();
  rows.put(`${groupPrefix(GROUP, 0)}da`, Buffer.from('old'));
  await flush(entry(1));
  const added = Array.from({ length: 300 }, (_, i) => [`d${i}`, Buffer.from(`new ${i}`)] as const);
  await world.settle(rows.addRows(GROUP, 1, added));
  expect(rows.stored(GROUP)).toEqual(entry(1));
  const again = openRows(medium);
  expect(Buffer.from(again.rows.get(`${groupPrefix(GROUP, 1)}d299`)!).toString()).toBe('new 299');
  expect(again.rows.get(`${groupPrefix(GROUP, 0)}d299`)).toBeUndefined();
  await again.flush(entry(9, 1));
  const snapshot = await again.world.settle(again.rows.openSnapshot(GROUP));
  expect([snapshot.applied.index, (await readAll(again.world, snapshot)).length]).toEqual([9, 300]);
});

test('what the store says of a group is read back, whatever it holds', async () => {
  const { world, medium, rows, flush } = openRows();
  expect(rows.stored(GROUP)).toBe(NOTHING_APPLIED);
  const configurations = [undefined, Uint8Array.of(), Uint8Array.of(1, 2, 3)];
  for (const [at, configuration] of configurations.entries()) {
    const applied = { index: at + 1, term: 7, stampMs: 9, generation: 2 ** 32 - 1, configuration };
    await flush(applied);
    expect(openRows(medium).rows.stored(GROUP)).toEqual(applied);
  }
  await world.runFor(1);
});

test('a group stored by the first release is read: index, term and stamp, 24 bytes', () => {
  const medium = new SimulatedStoreMedium();
  const content = new ByteWriter(24).u64(12).u64(3).u64(1_760_000_000_000).finish();
  expect(content.length).toBe(24);
  const key = binaryBytes(`${groupPrefix(GROUP, 0)}i`);
  const row = Buffer.alloc(5 + 24);
  row[0] = 1;
  row.writeUInt32LE(crc32(content, crc32(key)), 1);
  row.set(content, 5);
  medium.commit([[key, row]]);
  expect(openRows(medium).rows.stored(GROUP)).toEqual({
    index: 12,
    term: 3,
    stampMs: 1_760_000_000_000,
    generation: 0,
    configuration: undefined,
  });
});
