/** Deleted rows give their space back on a real LevelDB, whoever reads meanwhile. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SystemClock } from '../../client/system-clock.ts';
import { LevelStore } from '../../node/runtime/level-store.ts';
import { groupPrefix } from '../../node/storage/row-key.ts';
import { NOTHING_APPLIED, RowStore } from '../../node/storage/row-store.ts';

const MiB = 1024 * 1024;
const ROW_BYTES = 64 * 1024;
const GROUP = 1;
const NEVER = new Promise<void>(() => undefined);
const rowKey = (row: number) => `${groupPrefix(GROUP, 0)}k${String(row).padStart(4, '0')}`;

async function openRows(count: number) {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-reclaim-'));
  const path = join(directory, 'store');
  const store = await LevelStore.open(path);
  const rows = new RowStore({
    store,
    clock: new SystemClock(),
    logSequence: () => 0,
    onFlushed: () => undefined,
    onFailure: (error) => expect.unreachable(error.message),
  });
  let index = 0;
  const flush = async () => {
    await rows.flushed();
    rows.applied(GROUP, { ...NOTHING_APPLIED, index: ++index, term: 1, stampMs: 1 });
    rows.startFlush();
    await rows.flushed();
  };
  const usedBytes = () => readdirSync(path).reduce((sum, file) => sum + statSync(join(path, file)).size, 0);
  const close = async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  };
  return { count, rows, flush, usedBytes, [Symbol.asyncDispose]: close };
}

async function fill({ count, rows, flush }: Awaited<ReturnType<typeof openRows>>): Promise<void> {
  for (let row = 0; row < count; row++) {
    rows.put(rowKey(row), randomBytes(ROW_BYTES));
    if (row % 100 === 99) await flush();
  }
  await flush();
}

// Fewer rows than LevelDB gathers in memory, and more.
test.each([200, 1_000, 1_600])('%d deleted rows give their space back', async (count) => {
  await using opened = await openRows(count);
  const { rows, flush, usedBytes } = opened;
  await fill(opened);
  await rows.emptyMemory();
  for (let row = 0; row < count; row++) rows.delete(rowKey(row));
  await flush();
  await rows.reclaim(NEVER);
  expect(usedBytes()).toBeLessThan(4 * MiB);
});

test.each([200, 1_000, 1_600])('so do %d that somebody reads, as soon as that is done', async (count) => {
  await using opened = await openRows(count);
  const { rows, flush, usedBytes } = opened;
  await fill(opened);
  await rows.emptyMemory();
  const reader = await rows.openSnapshot(GROUP);
  for (let row = 0; row < count; row++) rows.delete(rowKey(row));
  await flush();
  const reclaimed = rows.reclaim(NEVER);
  for (let seen = 0; seen < count;) {
    const next = await reader.next(100);
    expect(next.length).toBeGreaterThan(0);
    seen += next.length;
  }
  await reader.close();
  await reclaimed;
  expect(usedBytes()).toBeLessThan(4 * MiB);
});

test('whoever is stopped does not wait for readers', async () => {
  await using opened = await openRows(100);
  const { rows, flush, usedBytes } = opened;
  await fill(opened);
  await rows.emptyMemory();
  const reader = await rows.openSnapshot(GROUP);
  for (let row = 0; row < 100; row++) rows.delete(rowKey(row));
  await flush();
  const before = usedBytes();
  await rows.reclaim(Promise.resolve());
  expect(usedBytes()).toBe(before);
  await reader.close();
  await rows.reclaim(NEVER);
  expect(usedBytes()).toBeLessThan(4 * MiB);
});
