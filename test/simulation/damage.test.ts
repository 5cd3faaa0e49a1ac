/** Damage to the log and the store: each single fault is detected, and never turns into a wrong value. */
import { describe, expect, test } from 'vitest';
import type { HoldfastError } from '../../client/error.ts';
import { MutationKind, type MutationCommand } from '../../node/kv/kv-command.ts';
import type { Engine } from '../../node/main/engine.ts';
import { HEAD_BYTES, TABLE_ENTRY_BYTES } from '../../node/storage/log-format.ts';
import { binaryBytes } from '../../node/storage/row-key.ts';
import { SimulatedNode, type NodeSettings } from './simulated-node.ts';

const SEGMENT = 'log/000000000001.seg';
const BATCH = 4_096;

function put(key: string, value: string): MutationCommand {
  return {
    kind: MutationKind.put,
    key: Buffer.from(key),
    value: Buffer.from(value),
    ttlMs: undefined,
    expectedVersion: 0,
    expectedValue: Buffer.alloc(0),
    delta: 0n,
  };
}

function write(engine: Engine, key: string, value: string): Promise<'done' | HoldfastError> {
  return new Promise((resolve) => {
    engine.kv.mutate(
      engine.keyspaces.get('default'),
      put(key, value),
      { identity: undefined, fence: undefined },
      Infinity,
      {
        onDone: () => resolve('done'),
        onError: resolve,
      },
    );
  });
}

async function read(engine: Engine, key: string): Promise<string | undefined> {
  const found = await engine.kv.get(engine.keyspaces.get('default'), Buffer.from(key));
  return found && Buffer.from(found.value).toString();
}

/** A node that acknowledged `count` writes, one batch each, and lost its power. Nothing is in the store. */
async function nodeWithLog(count: number, seed = 'damage'): Promise<SimulatedNode> {
  const node = new SimulatedNode(seed);
  const engine = await node.run(node.start());
  for (let i = 0; i < count; i++)
    expect(await node.run(write(engine, `key/${i}`, `value ${i}`))).toBe('done');
  node.crash('keep-all');
  return node;
}

async function state(node: SimulatedNode, count: number): Promise<(string | undefined)[]> {
  const engine = await node.run(node.start());
  return Promise.all(Array.from({ length: count }, (_, i) => node.run(read(engine, `key/${i}`))));
}

const expected = (count: number) => Array.from({ length: count }, (_, i) => `value ${i}`);

/** Where the batches of the log begin, and where the zeros after the last one. */
function batches(node: SimulatedNode): number[] {
  const bytes = node.disk.peek(SEGMENT);
  const starts: number[] = [];
  for (let at = 0; at < bytes.length && bytes[at] !== 0; at += BATCH) starts.push(at);
  return starts;
}

describe('damage to the log', () => {
  test('a flipped bit anywhere is refused or harmless, never a wrong value', async () => {
    const count = 8;
    const node = await nodeWithLog(count);
    const image = node.disk.snapshot();
    const end = batches(node).at(-1)! + BATCH;
    const bytes = node.disk.peek(SEGMENT).slice();
    let refused = 0;
    let harmless = 0;
    for (let at = 0; at < end + 1_024; at++) {
      if (bytes[at] === 0 && at % 97 !== 0) continue; // padding: a sample will do
      node.disk.restore(image);
      node.disk.flipBit(SEGMENT, at, at % 8);
      const found = await state(node, count).catch((error: Error) => error);
      node.crash('keep-all');
      if (found instanceof Error) {
        expect(found.name).toBe('DataDamaged');
        expect(found.message).toContain(SEGMENT);
        refused++;
      } else {
        expect(found, `bit ${at % 8} of byte ${at}`).toEqual(expected(count));
        harmless++;
      }
    }
    console.log(`${refused} flips refused, ${harmless} harmless`);
    expect(refused).toBeGreaterThan(500);
    expect(harmless).toBeGreaterThan(20);
  }, 120_000);

  test.each([
    ['the head of a batch', (start: number) => start + 17],
    ['the table of a batch', (start: number) => start + HEAD_BYTES + 20],
    ['a payload', (start: number) => start + HEAD_BYTES + TABLE_ENTRY_BYTES + 30],
  ])('a flipped bit in %s of the last, acknowledged batch is damage, not a torn tail', async (_, place) => {
    const node = await nodeWithLog(5);
    const bytes = Buffer.from(node.disk.peek(SEGMENT));
    const last = batches(node).findLast((start) => bytes.readUInt32LE(start + HEAD_BYTES) > 40)!;
    bytes.fill(0, last + BATCH); // marks of the store may follow it
    node.disk.replace(SEGMENT, bytes);
    node.disk.flipBit(SEGMENT, place(last), 3);
    await expect(node.run(node.start())).rejects.toThrow(/damaged.*log\/000000000001\.seg/);
  });

  test('a hole is damage', async () => {
    const node = await nodeWithLog(6);
    const bytes = node.disk.peek(SEGMENT).slice();
    bytes.fill(0, batches(node).at(-3)!, batches(node).at(-2)!);
    node.disk.replace(SEGMENT, bytes);
    await expect(node.run(node.start())).rejects.toThrow(/a batch is missing/);
  });

  test('a torn last batch is cut, and the log goes on', async () => {
    const node = await nodeWithLog(4);
    const large = 'x'.repeat(9_000);
    const engine = await node.run(node.start());
    expect(await node.run(write(engine, 'key/4', large))).toBe('done');
    node.crash('keep-all');
    const bytes = node.disk.peek(SEGMENT).slice();
    const used = bytes.findLastIndex((byte) => byte !== 0);
    const torn = used - (used % 512) - 4 * 512;
    bytes.fill(0, torn, torn + 512);
    node.disk.replace(SEGMENT, bytes);
    const again = await node.run(node.start());
    expect(again.recovery.tornBytes).toBeGreaterThan(8_000);
    expect(await node.run(read(again, 'key/4'))).toBeUndefined();
    expect(await node.run(write(again, 'key/5', 'after'))).toBe('done');
    node.crash('lose-all');
    const last = await node.run(node.start());
    expect(await node.run(read(last, 'key/5'))).toBe('after');
    expect(await node.run(read(last, 'key/3'))).toBe('value 3');
  });

  test('a value full of zeros is not taken for missing sectors', async () => {
    const node = await nodeWithLog(2);
    const engine = await node.run(node.start());
    expect(await node.run(write(engine, 'zeros', '\0'.repeat(20_000)))).toBe('done');
    node.crash('keep-all');
    const start = batches(node).at(-1)!;
    node.disk.flipBit(SEGMENT, start + HEAD_BYTES + TABLE_ENTRY_BYTES + 5_000, 0);
    await expect(node.run(node.start())).rejects.toThrow(/damaged/);
  });

  test('a value that looks like a batch of the log changes nothing', async () => {
    const node = await nodeWithLog(3);
    const bytes = node.disk.peek(SEGMENT);
    const lookalike = Buffer.from(bytes.subarray(0, 2 * BATCH)).toString('latin1');
    const engine = await node.run(node.start());
    expect(await node.run(write(engine, 'key/3', lookalike))).toBe('done');
    node.crash('keep-all');
    const again = await node.run(node.start());
    expect(await node.run(read(again, 'key/3'))).toBe(Buffer.from(lookalike).toString());
  });

  test.each(['kept', 'lost'] as const)(
    'a failed sync ends the node; the write is unknown, its data %s',
    async (data) => {
      const node = await nodeWithLog(3);
      const engine = await node.run(node.start());
      node.disk.faults.add({ operation: 'sync', matches: (path) => path.endsWith('.seg'), data });
      const ended = await node.run(write(engine, 'key/3', 'value 3'));
      expect(ended).toMatchObject({ outcome: 'UNKNOWN' });
      expect(node.failures).toMatchObject([{ cause: 'storage failed' }]);
      expect(await node.run(write(engine, 'key/4', 'never'))).toMatchObject({ outcome: 'NOT_APPLIED' });
      await expect(node.run(read(engine, 'key/0'))).rejects.toMatchObject({ reason: 'UNAVAILABLE' });
      node.crash(data === 'kept' ? 'keep-all' : 'lose-all');
      const again = await node.run(node.start());
      expect(await node.run(read(again, 'key/2'))).toBe('value 2');
      expect([undefined, 'value 3']).toContain(await node.run(read(again, 'key/3')));
      expect(await node.run(read(again, 'key/4'))).toBeUndefined();
    },
  );

  test('a segment that is gone is damage', async () => {
    const node = await nodeWithLog(3);
    await node.run(node.disk.remove(SEGMENT));
    await expect(node.run(node.start())).rejects.toThrow(/damaged/);
  });

  test('an emptied log directory is damage, not a new node', async () => {
    const node = await nodeWithLog(3);
    for (const path of node.disk.paths()) if (path.startsWith('log/')) await node.run(node.disk.remove(path));
    await expect(node.run(node.start())).rejects.toThrow(/the log is gone/);
  });
});

describe('a store and a log that do not belong together', () => {
  /** Writes, flushes to the store, and writes on. */
  async function flushedNode(): Promise<{
    node: SimulatedNode;
    early: ReturnType<SimulatedNode['disk']['snapshot']>;
  }> {
    const node = new SimulatedNode('marks');
    const engine = await node.run(node.start());
    expect(await node.run(write(engine, 'key/0', 'value 0'))).toBe('done');
    const early = node.disk.snapshot();
    for (let i = 1; i < 5; i++) {
      expect(await node.run(write(engine, `key/${i}`, `value ${i}`))).toBe('done');
      engine.rows.startFlush();
      await node.run(engine.rows.flushed());
    }
    expect(await node.run(write(engine, 'key/5', 'value 5'))).toBe('done');
    node.crash('keep-all');
    return { node, early };
  }

  test('is whole without a fault', async () => {
    const { node } = await flushedNode();
    expect(await state(node, 6)).toEqual(expected(6));
  });

  test('a log rolled back to an earlier copy is refused', async () => {
    const { node, early } = await flushedNode();
    node.disk.restore(early);
    await expect(node.run(node.start())).rejects.toThrow(/log ends at record \d+, and had \d+.*rolled back/);
  });

  test.each([1, 3])('a store that lost its last %i flushes is refused', async (flushes) => {
    const { node } = await flushedNode();
    node.medium.rollBack(flushes);
    await expect(node.run(node.start())).rejects.toThrow(/store holds flush \d+, and had \d+/);
  });

  test('an emptied store is refused', async () => {
    const { node } = await flushedNode();
    node.medium.empty();
    await expect(node.run(node.start())).rejects.toThrow(/store holds flush 0/);
  });

  test('a flipped bit in a row is an error, never a value, and condemns the store', async () => {
    const { node } = await flushedNode();
    const engine = await node.run(node.start());
    const { machine } = engine.keyspaces.get('default').partitionOf(Buffer.from('key/1'));
    const row = binaryBytes(machine!.keys.data(Buffer.from('key/1')));
    for (const bit of [3, 40 + 3, 8 * 20]) {
      const { node: damaged } = await flushedNode();
      expect(damaged.medium.flipBit(row, bit)).toBe(true);
      const opened = await damaged.run(damaged.start());
      await expect(damaged.run(read(opened, 'key/1'))).rejects.toMatchObject({ reason: 'STORAGE_DAMAGED' });
      expect(damaged.failures).toMatchObject([{ cause: 'storage damaged' }]);
      await expect(damaged.run(read(opened, 'key/0'))).rejects.toMatchObject({ reason: 'STORAGE_DAMAGED' });
      expect(await damaged.run(write(opened, 'key/9', 'no'))).toMatchObject({
        reason: 'STORAGE_DAMAGED',
        outcome: 'NOT_APPLIED',
      });
    }
  });

  test('a damaged row that nobody reads is found by the scrubber', async () => {
    const { node } = await flushedNode();
    const engine = await node.run(node.start());
    await node.world.runFor(2_000);
    expect(engine.scrubber.passes).toBe(1);
    const { machine } = engine.keyspaces.get('default').partitionOf(Buffer.from('key/3'));
    node.medium.flipBit(binaryBytes(machine!.keys.data(Buffer.from('key/3'))), 77);
    await node.world.runFor(3_700_000);
    expect(node.failures).toMatchObject([{ cause: 'storage damaged' }]);
  });

  test('a failed flush ends the node; nothing acknowledged is lost', async () => {
    const { node } = await flushedNode();
    const engine = await node.run(node.start());
    expect(await node.run(write(engine, 'key/6', 'value 6'))).toBe('done');
    node.store!.failNextBatch('EIO', true);
    engine.rows.startFlush();
    await node.run(engine.rows.flushed());
    expect(node.failures).toMatchObject([{ cause: 'storage failed' }]);
    node.crash('lose-all');
    expect(await state(node, 7)).toEqual(expected(7));
  });
});

describe('space', () => {
  test('low space refuses what grows, lets reads and deletes go on, and comes back by itself', async () => {
    const node = new SimulatedNode('space', { minFreeBytes: 1_000_000 });
    const engine = await node.run(node.start());
    expect(await node.run(write(engine, 'key/0', 'value 0'))).toBe('done');
    node.disk.conditions.capacityBytes = 1_200_000;
    await node.world.runFor(1_000);
    expect(engine.space.isLow).toBe(true);
    expect(() =>
      engine.kv.mutate(
        engine.keyspaces.get('default'),
        put('key/1', 'x'),
        { identity: undefined, fence: undefined },
        Infinity,
        { onDone: () => undefined, onError: () => undefined },
      ),
    ).toThrow(/bytes free.*Nothing was written/);
    expect(await node.run(read(engine, 'key/0'))).toBe('value 0');
    const removal = { ...put('key/0', ''), kind: MutationKind.delete };
    await node.run(
      new Promise<void>((resolve, reject) => {
        engine.kv.mutate(
          engine.keyspaces.get('default'),
          removal,
          { identity: undefined, fence: undefined },
          Infinity,
          { onDone: () => resolve(), onError: reject },
        );
      }),
    );
    node.disk.conditions.capacityBytes = Infinity;
    await node.world.runFor(1_000);
    expect(await node.run(write(engine, 'key/1', 'value 1'))).toBe('done');
    expect(node.failures).toEqual([]);
  });
});

describe('what a review found', () => {
  test('an entry that fails half-way is not stored half, and is applied once after a restart', async () => {
    const node = new SimulatedNode('half');
    const engine = await node.run(node.start());
    const keyspace = engine.keyspaces.get('default');
    const { group } = keyspace.partitionOf(Buffer.from('n0'));
    const keys = Array.from({ length: 400 }, (_, i) => `n${i}`).filter(
      (key) => keyspace.partitionOf(Buffer.from(key)).group === group,
    );
    const store = node.store!;
    const get = store.get.bind(store);
    const last = binaryBytes(
      keyspace.partitionOf(Buffer.from('n0')).machine!.keys.data(Buffer.from(keys.at(-1)!)),
    );
    store.get = (key) => {
      if (Buffer.compare(key, last) === 0)
        throw Object.assign(new Error('Corruption: once'), { code: 'LEVEL_CORRUPTION' });
      return get(key);
    };
    const increment = (key: string) => ({ ...put(key, ''), kind: MutationKind.increment, delta: 1n });
    const ended = keys.map(
      (key) =>
        new Promise<string>((resolve) => {
          engine.kv.mutate(keyspace, increment(key), { identity: undefined, fence: undefined }, Infinity, {
            onDone: () => resolve('done'),
            onError: ({ outcome }) => resolve(outcome ?? ''),
          });
        }),
    );
    expect(new Set(await node.run(Promise.all(ended)))).toEqual(new Set(['UNKNOWN']));
    await node.run(engine.stop());
    node.crash('keep-all');
    const again = await node.run(node.start());
    for (const key of keys) expect(await node.run(read(again, key)), key).toBe('1');
  });

  test('a flush while the node opens frees nothing that groups still to be added need', async () => {
    const settings: NodeSettings = { segmentBytes: 48 * 1024 };
    const node = new SimulatedNode('opening', settings);
    const engine = await node.run(node.start());
    for (let i = 0; i < 12; i++)
      expect(await node.run(write(engine, `key/${i}`, 'x'.repeat(12_000)))).toBe('done');
    node.crash('keep-all');
    settings.readLatencyMs = [3_000, 3_000];
    await node.run(node.start());
    node.crash('lose-all');
    settings.readLatencyMs = [0.1, 0.2];
    const again = await node.run(node.start());
    for (let i = 0; i < 12; i++) expect(await node.run(read(again, `key/${i}`))).toHaveLength(12_000);
  });

  test('a segment whose first batch was torn is opened anew, and says all that the one before said', async () => {
    const node = new SimulatedNode('torn first', { segmentBytes: 48 * 1024 });
    const engine = await node.run(node.start());
    for (let i = 0; i < 12; i++)
      expect(await node.run(write(engine, `key/${i}`, 'x'.repeat(12_000)))).toBe('done');
    const segments = () =>
      node.disk
        .paths()
        .filter((path) => path.endsWith('.seg') && node.disk.peek(path).some((byte) => byte !== 0));
    node.crash('keep-all');
    const newest = segments().at(-1)!;
    const bytes = node.disk.peek(newest).slice();
    bytes.fill(0, 512); // only the head of its first batch reached the disk
    node.disk.replace(newest, bytes);
    for (let start = 0; start < 3; start++) {
      const opened = await node.run(node.start());
      expect(await node.run(write(opened, 'after', String(start)))).toBe('done');
      opened.rows.startFlush();
      await node.run(opened.rows.flushed());
      await node.world.runFor(1_500);
      node.crash('lose-all');
    }
    const first = Buffer.from(node.disk.peek(segments()[0]!));
    expect(first[HEAD_BYTES + 8]).toBe(1); // an opening
    expect(await node.run(read(await node.run(node.start()), 'after'))).toBe('2');
  });
});
