/** A real LevelDB with each kind of damage that it would not notice by itself. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MutationKind } from '../../node/kv/kv-command.ts';
import type { Engine } from '../../node/main/engine.ts';
import { FileDisk } from '../../node/runtime/file-disk.ts';
import { LevelStore } from '../../node/runtime/level-store.ts';
import { verifyNextTable } from '../../node/storage/level-verifier.ts';
import { openLevelEngine } from './level-engine.ts';

const COUNT = 600;
let directory = '';
let failures: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'holdfast-level-'));
  failures = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function open(): Promise<Engine> {
  return openLevelEngine(directory, failures);
}

function key(i: number): Buffer {
  return Buffer.from(`key/${i}`);
}

function write(engine: Engine, i: number): Promise<void> {
  const command = {
    kind: MutationKind.put,
    key: key(i),
    value: Buffer.from(`value ${i} `.repeat(40)),
    ttlMs: undefined,
    expectedVersion: 0,
    expectedValue: Buffer.alloc(0),
    delta: 0n,
  };
  return new Promise((resolve, reject) => {
    engine.kv.mutate(
      engine.keyspaces.get('default'),
      command,
      { identity: undefined, fence: undefined },
      Infinity,
      { onDone: () => resolve(), onError: reject },
    );
  });
}

/** A node that wrote in several flushes and stopped. */
async function filled(): Promise<void> {
  const engine = await open();
  for (let from = 0; from < COUNT; from += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, i) => write(engine, from + i)));
    engine.rows.startFlush();
    await engine.rows.flushed();
  }
  await engine.stop();
}

function storeFiles(pattern: RegExp): string[] {
  return readdirSync(join(directory, 'store'))
    .filter((name) => pattern.test(name))
    .map((name) => join(directory, 'store', name));
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 0x10;
  writeFileSync(path, bytes);
}

test('without damage everything is there', async () => {
  await filled();
  const engine = await open();
  const keyspace = engine.keyspaces.get('default');
  for (let i = 0; i < COUNT; i++) expect(await engine.kv.get(keyspace, key(i))).toBeDefined();
  await engine.stop();
});

test('a flipped bit in its log is refused before it is opened', async () => {
  await filled();
  const [log] = storeFiles(/\.log$/);
  flip(log!, Math.floor(readFileSync(log!).length / 2));
  await expect(open()).rejects.toThrow(/data is damaged: store\/\d+\.log: record at \d+ is damaged/);
});

test('a flipped bit in the last record of its log is refused by the mark in ours', async () => {
  await filled();
  const [log] = storeFiles(/\.log$/);
  flip(log!, readFileSync(log!).length - 20);
  await expect(open()).rejects.toThrow(/data is damaged: the store holds flush \d+, and had \d+/);
});

test('a MANIFEST cut by 10 bytes is refused', async () => {
  await filled();
  const [manifest] = storeFiles(/^MANIFEST/);
  truncateSync(manifest!, readFileSync(manifest!).length - 10);
  await expect(open()).rejects.toThrow(/data is damaged/);
});

test('a MANIFEST or CURRENT that is gone is refused', async () => {
  await filled();
  rmSync(storeFiles(/^MANIFEST/)[0]!);
  await expect(open()).rejects.toThrow(/MANIFEST-\d+ is missing/);
});

test('a flipped bit in the MANIFEST is refused', async () => {
  await filled();
  const engine = await open(); // makes a second MANIFEST record
  await engine.stop();
  const [manifest] = storeFiles(/^MANIFEST/);
  flip(manifest!, 12);
  await expect(open()).rejects.toThrow(/data is damaged/);
});

test('a table that a crash left half-written, and that no MANIFEST names, is no damage', async () => {
  await filled();
  writeFileSync(join(directory, 'store', '999999.ldb'), Buffer.alloc(10_000, 7));
  expect(readInProcess()).toBe('untouched');
});

test('a flipped bit in a table is an error, never a wrong value', async () => {
  await filled();
  const store = await LevelStore.open(join(directory, 'store'));
  await store.compact(Buffer.from([0]), Buffer.from([255]));
  await store.close();
  const tables = storeFiles(/\.ldb$/);
  expect(tables.length).toBeGreaterThan(0);
  const table = tables.at(-1)!;
  const whole = readFileSync(table);
  expect(readInProcess()).toBe('untouched');
  const found: Record<string, number> = { refused: 0, errors: 0, untouched: 0, died: 0, wrong: 0 };
  for (let part = 1; part < 12; part++) {
    writeFileSync(table, whole);
    flip(table, Math.floor((whole.length * part) / 12));
    found[readInProcess()]!++;
  }
  console.log(JSON.stringify(found));
  // The scrubber meets the same files while the node runs.
  const disk = new FileDisk(directory);
  writeFileSync(join(directory, 'store', '000000.ldb'), 'being written');
  const names = readdirSync(join(directory, 'store'))
    .filter((name) => name.endsWith('.ldb') && name !== '000000.ldb')
    .sort();
  writeFileSync(table, whole);
  expect(await verifyNextTable(disk, 'store', '')).toEqual({ name: names[0], problem: undefined });
  expect(await verifyNextTable(disk, 'store', names.at(-1)!)).toBeUndefined();
  flip(table, 100);
  expect((await verifyNextTable(disk, 'store', names.at(-2) ?? ''))?.problem).toMatch(
    /block at \d+ is damaged/,
  );
  expect(found['wrong']).toBe(0);
  expect(found['errors']! + found['refused']!).toBeGreaterThan(5);
}, 180_000);

/** What a process of its own makes of the directory; LevelDB may also end it. */
function readInProcess(): string {
  const script = new URL('read-everything.ts', import.meta.url).pathname;
  const { stdout, signal } = spawnSync(
    process.execPath,
    ['--conditions=holdfast-source', script, directory, String(COUNT)],
    {
      encoding: 'utf8',
      timeout: 60_000,
    },
  );
  return signal === null ? stdout.trim() || 'wrong' : 'died';
}
