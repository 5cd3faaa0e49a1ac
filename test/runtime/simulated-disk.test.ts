import { describe, expect, it } from 'vitest';
import type { DiskFile } from '../../node/runtime/disk.ts';
import type { CrashPolicy } from '../../node/runtime/simulated/crash-policy.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedDisk } from '../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { errorCode } from '../conformance/stage.ts';

const SECTOR = 512;
const SECTORS = 16;
const FILE = 'dir/log';
const filled = (value: number, sectors = SECTORS) => new Uint8Array(SECTOR * sectors).fill(value);

interface World {
  readonly world: SimulatedScheduler;
  readonly disk: SimulatedDisk;
  readonly file: DiskFile;
  /** Makes time pass until the promise settles. */
  wait<T>(promise: Promise<T>): Promise<T>;
}

/** A disk with one durable file of sixteen sectors of 1. */
async function worldWithFile(seed = 1): Promise<World> {
  const world = new SimulatedScheduler();
  const disk = new SimulatedDisk(world, new SeededRandom(seed));
  const wait = <T>(promise: Promise<T>) => world.settle(promise);
  await wait(disk.makeDirectory('dir'));
  await wait(disk.syncDirectory(''));
  const file = await wait(disk.open(FILE, 'create'));
  await wait(file.write(0, filled(1)));
  await wait(file.sync());
  await wait(disk.syncDirectory('dir'));
  return { world, disk, file, wait };
}

/** The value each sector is filled with; NaN when one is mixed. */
function sectorsOf(bytes: Uint8Array): number[] {
  return Array.from({ length: bytes.length / SECTOR }, (_, i) => {
    const sector = bytes.subarray(i * SECTOR, (i + 1) * SECTOR);
    return sector.every((byte) => byte === sector[0]) ? sector[0]! : NaN;
  });
}

async function sectorsAfterCrash(policy: CrashPolicy, seed: number): Promise<number[]> {
  const { disk, file, wait } = await worldWithFile(seed);
  for (let i = 0; i < SECTORS; i++) await wait(file.write(i * SECTOR, filled(2, 1)));
  return sectorsOf(disk.crash(policy).peek(FILE));
}

describe('SimulatedDisk: a crash', () => {
  it('keeps what was synced under every policy', async () => {
    for (const policy of ['seeded', 'lose-all', 'keep-all', 'keep-last', 'keep-first'] as const) {
      const { disk } = await worldWithFile();
      expect(sectorsOf(disk.crash(policy).peek(FILE))).toEqual(new Array(SECTORS).fill(1));
    }
  });

  it('loses or keeps unsynced sectors as the policy says', async () => {
    const [one, two] = [new Array<number>(8).fill(1), new Array<number>(8).fill(2)];
    expect(await sectorsAfterCrash('lose-all', 1)).toEqual([...one, ...one]);
    expect(await sectorsAfterCrash('keep-all', 1)).toEqual([...two, ...two]);
    expect(await sectorsAfterCrash('keep-last', 1)).toEqual([...one, ...two]);
    expect(await sectorsAfterCrash('keep-first', 1)).toEqual([...two, ...one]);
  });

  it('by chance keeps any subset of whole sectors, the same one for the same seed', async () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const sectors = await sectorsAfterCrash('seeded', seed);
      expect(await sectorsAfterCrash('seeded', seed)).toEqual(sectors);
      expect(sectors.every((value) => value === 1 || value === 2)).toBe(true);
      outcomes.add(sectors.join());
    }
    expect(outcomes.size).toBeGreaterThan(15);
  });

  it('can leave an earlier of several unsynced versions', async () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const { disk, file, wait } = await worldWithFile(seed);
      await wait(file.write(0, filled(2, 1)));
      await wait(file.write(0, filled(3, 1)));
      seen.add(disk.crash().peek(FILE)[0]!);
    }
    expect([...seen].sort()).toEqual([1, 2, 3]);
  });

  it('does not count a write as synced that was in flight when the sync began', async () => {
    const { disk, file, wait } = await worldWithFile();
    const writing = file.write(0, filled(2));
    const syncing = file.sync();
    await wait(Promise.all([writing, syncing]));
    expect(sectorsOf(disk.crash('lose-all').peek(FILE))).toEqual(new Array(SECTORS).fill(1));
  });

  it('covers by the next sync, not by this one, a sector written again while it is synced', async () => {
    for (const [syncs, expected] of [
      [1, 2],
      [2, 3],
    ] as const) {
      const { disk, file, wait } = await worldWithFile();
      await wait(file.write(0, filled(2)));
      const syncing = file.sync();
      await wait(Promise.all([syncing, file.write(0, filled(3))]));
      if (syncs === 2) await wait(file.sync());
      expect(sectorsOf(disk.crash('lose-all').peek(FILE))).toEqual(new Array(SECTORS).fill(expected));
    }
  });

  it('loses a directory that was not synced into its parent, with all that is in it', async () => {
    const { disk, wait } = await worldWithFile();
    await wait(disk.makeDirectory('other/inner'));
    const inside = await wait(disk.open('other/inner/file', 'create'));
    await wait(inside.sync());
    await wait(disk.syncDirectory('other/inner'));
    await wait(disk.syncDirectory('other'));
    const after = disk.crash('lose-all');
    expect(after.paths()).toEqual([FILE]);
    expect(await wait(after.list(''))).toEqual(['dir']);
  });

  it('loses an unsynced extension and an unsynced cut', async () => {
    const { disk, file, wait } = await worldWithFile();
    await wait(file.write(SECTORS * SECTOR, filled(2)));
    expect(disk.crash('lose-all').peek(FILE)).toHaveLength(SECTORS * SECTOR);
    const other = await worldWithFile();
    await other.wait(other.file.truncate(100));
    expect(sectorsOf(other.disk.crash('lose-all').peek(FILE))).toEqual(new Array(SECTORS).fill(1));
  });

  it('has a file under one name after it was made, moved, and both directories were synced', async () => {
    const { disk, wait } = await worldWithFile();
    await wait(disk.makeDirectory('aside'));
    await wait(disk.syncDirectory(''));
    const made = await wait(disk.open('dir/made', 'create'));
    await wait(made.sync());
    await wait(disk.rename('dir/made', 'aside/made'));
    await wait(disk.syncDirectory('aside'));
    await wait(disk.syncDirectory('dir'));
    expect(disk.crash('lose-all').paths()).toEqual(['aside/made', FILE]);
  });

  it('loses created, renamed and removed names whose directory was not synced', async () => {
    const { disk, wait } = await worldWithFile();
    const made = await wait(disk.open('dir/new', 'create'));
    await wait(made.sync());
    await wait(disk.rename(FILE, 'dir/renamed'));
    const after = disk.crash('lose-all');
    expect(after.paths()).toEqual([FILE]);
    await wait(after.rename(FILE, 'dir/renamed'));
    await wait(after.syncDirectory('dir'));
    expect(after.crash('lose-all').paths()).toEqual(['dir/renamed']);
  });

  it('settles nothing that was in flight, and nothing asked of the old disk later', async () => {
    const { world, disk, file } = await worldWithFile();
    let settled = 0;
    const watch = (promise: Promise<unknown>) =>
      promise.then(
        () => settled++,
        () => settled++,
      );
    void watch(file.write(0, filled(2)));
    void watch(disk.list(''));
    const next = disk.crash();
    void watch(file.sync());
    await world.runFor(10_000);
    expect(settled).toBe(0);
    expect(disk.isEnded).toBe(true);
    expect(next.injections.of('crash')).toBe(1);
  });

  it('of the process alone keeps the page cache, and a later power loss still takes it', async () => {
    const { disk, file, wait } = await worldWithFile();
    await wait(file.write(0, filled(2)));
    const restarted = disk.kill();
    expect(sectorsOf(restarted.peek(FILE))).toEqual(new Array(SECTORS).fill(2));
    expect(sectorsOf(restarted.crash('lose-all').peek(FILE))).toEqual(new Array(SECTORS).fill(1));
  });
});

describe('SimulatedDisk: a crash at an operation', () => {
  async function crashAtWrite(moment: 'before' | 'torn' | 'after', seed: number): Promise<number[]> {
    const { world, disk, file } = await worldWithFile(seed);
    let crashed = 0;
    disk.crashAt(disk.operations + 1, moment, () => crashed++);
    void file.write(0, filled(2));
    await world.runFor(100);
    expect([crashed, disk.isEnded]).toEqual([1, true]);
    return sectorsOf(disk.crash('keep-all').peek(FILE));
  }

  it('has no effect, all of it, or some sectors of it', async () => {
    expect(await crashAtWrite('before', 1)).toEqual(new Array(SECTORS).fill(1));
    expect(await crashAtWrite('after', 1)).toEqual(new Array(SECTORS).fill(2));
    const torn = await crashAtWrite('torn', 1);
    expect(new Set(torn)).toEqual(new Set([1, 2]));
  });

  it('can tear a sync', async () => {
    const { disk, file, wait } = await worldWithFile();
    await wait(file.write(0, filled(2)));
    disk.crashAt(disk.operations + 1, 'torn');
    void file.sync();
    expect(new Set(sectorsOf(disk.crash('lose-all').peek(FILE)))).toEqual(new Set([1, 2]));
  });
});

describe('SimulatedDisk: faults', () => {
  it('fails a sync whose data is then lost or surfaces, though the next sync succeeds', async () => {
    for (const [data, expected] of [
      ['lost', 1],
      ['kept', 2],
    ] as const) {
      const { disk, file, wait } = await worldWithFile();
      disk.faults.add({ operation: 'sync', data });
      await wait(file.write(0, filled(2)));
      expect(await wait(errorCode(file.sync()))).toBe('EIO');
      await wait(file.sync());
      expect(disk.peek(FILE)[0]).toBe(2);
      expect(sectorsOf(disk.crash('lose-all').peek(FILE))).toEqual(new Array(SECTORS).fill(expected));
      expect(disk.injections.of('fail-sync')).toBe(1);
    }
  });

  it('fails the operations on matching paths, so many times, with the code', async () => {
    const { disk, file, wait } = await worldWithFile();
    disk.faults.add({
      operation: 'write',
      code: 'EACCES',
      times: 2,
      matches: (path) => path === 'dir/other',
    });
    const other = await wait(disk.open('dir/other', 'create'));
    await wait(file.write(0, filled(2)));
    expect(await wait(errorCode(other.write(0, filled(2))))).toBe('EACCES');
    expect(await wait(errorCode(other.write(0, filled(2))))).toBe('EACCES');
    expect(await wait(errorCode(other.write(0, filled(2))))).toBeUndefined();
  });

  it('fills up, says so honestly, and takes writes again when there is room', async () => {
    const { disk, file, wait } = await worldWithFile();
    disk.conditions.capacityBytes = 10_000;
    expect(await wait(disk.freeBytes())).toBe(10_000 - SECTORS * SECTOR);
    expect(await wait(errorCode(file.write(SECTORS * SECTOR, filled(2))))).toBe('ENOSPC');
    expect(await wait(errorCode(file.write(0, filled(3))))).toBeUndefined();
    expect(await wait(disk.freeBytes())).toBe(0);
    disk.conditions.capacityBytes = 100_000;
    expect(await wait(errorCode(file.write(SECTORS * SECTOR, filled(2))))).toBeUndefined();
  });

  it('is read-only, and slow, when told so', async () => {
    const { world, disk, file, wait } = await worldWithFile();
    disk.conditions.isReadOnly = true;
    expect(await wait(errorCode(file.write(0, filled(2))))).toBe('EROFS');
    expect(await wait(errorCode(disk.open('new', 'create')))).toBe('EROFS');
    disk.conditions.isReadOnly = false;
    disk.conditions.slowdown = 1000;
    const startMs = world.nowMs();
    await wait(file.sync());
    expect(world.nowMs() - startMs).toBeGreaterThanOrEqual(200);
  });

  it('flips a bit, cuts and replaces files, and goes back to a snapshot', async () => {
    const { disk, file, wait } = await worldWithFile();
    const before = disk.snapshot();
    disk.flipBit(FILE, 700, 3);
    expect((await wait(file.read(700, 1)))[0]).toBe(1 ^ 8);
    disk.cut(FILE, 100);
    disk.replace('dir/made', filled(9));
    let after = disk.crash('lose-all');
    expect(after.peek(FILE)).toHaveLength(100);
    expect(after.peek('dir/made')[0]).toBe(9);
    after.restore(before);
    after = after.crash('lose-all');
    expect(after.paths()).toEqual([FILE]);
    expect(sectorsOf(after.peek(FILE))).toEqual(new Array(SECTORS).fill(1));
    expect(after.injections.all()).toEqual({ crash: 2, cut: 1, 'flip-bit': 1, replace: 1, restore: 1 });
  });
});
