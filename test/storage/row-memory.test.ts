/** The overlay's memory is used again after a flush: what was read before stays what it was. */
import { expect, test } from 'vitest';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { SimulatedOrderedStore, SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import { RowArena } from '../../node/storage/row-arena.ts';
import { RowStore, NOTHING_APPLIED } from '../../node/storage/row-store.ts';

const ROWS = 200;
const name = (row: number) => `k${String(row).padStart(4, '0')}`;
const content = (row: number, round: number) => Buffer.alloc(1_000, `${row} in round ${round}, `);

function openRows() {
  const world = new SimulatedScheduler();
  const medium = new SimulatedStoreMedium();
  const slowReads = { readLatencyMs: [50, 60] } as const;
  const store = new SimulatedOrderedStore(world, new SeededRandom(1), medium, slowReads);
  const rows = new RowStore({
    store,
    clock: new SimulatedClock(world),
    logSequence: () => 0,
    onFlushed: () => undefined,
    onFailure: (error) => expect.unreachable(error.message),
  });
  const write = (round: number) => {
    for (let row = 0; row < ROWS; row++) rows.put(name(row), content(row, round));
    rows.applied(1, { ...NOTHING_APPLIED, index: round, term: 1, stampMs: round });
  };
  const flush = () => {
    rows.startFlush();
    return world.settle(rows.flushed());
  };
  return { world, rows, write, flush };
}

test('a row that was read stays as it was when its memory is used again', async () => {
  const { rows, write, flush } = openRows();
  write(1);
  const before = rows.get(name(7))!;
  await flush();
  for (let round = 2; round < 5; round++) {
    write(round);
    await flush();
  }
  expect(Buffer.from(before)).toEqual(content(7, 1));
  for (let row = 0; row < ROWS; row++) expect(Buffer.from(rows.get(name(row))!)).toEqual(content(row, 4));
});

test('a range that began before a flush is of the moment when it began', async () => {
  const { world, rows, write, flush } = openRows();
  write(1);
  await flush();
  write(2);
  const ranges = Array.from({ length: 3 }, () => rows.range('k', 'l', ROWS));
  await flush();
  write(3);
  for (const range of ranges) {
    const found = await world.settle(range);
    expect(found.rows.map(([row]) => row)).toEqual(Array.from({ length: ROWS }, (_, row) => name(row)));
    for (const [row, [, bytes]] of found.rows.entries()) expect(Buffer.from(bytes)).toEqual(content(row, 2));
  }
});

test('an arena takes memory that was given back, and no more of it than a bound', () => {
  const arena = new RowArena();
  const first = arena.take(100);
  const detached = arena.detach();
  expect(arena.take(100).buffer).not.toBe(first.buffer);
  arena.reuse(detached);
  arena.detach();
  expect(arena.take(100).buffer).toBe(first.buffer);
  const many = Array.from({ length: 1_000 }, () => Buffer.alloc(256 * 1024));
  arena.detach();
  arena.reuse(many);
  const buffers = new Set(many.map(({ buffer }) => buffer));
  const taken = Array.from({ length: 9_000 }, () => arena.take(30_000).buffer);
  expect(new Set(taken.filter((buffer) => buffers.has(buffer as ArrayBuffer))).size).toBe(64);
});
