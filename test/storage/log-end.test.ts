/** The log when it is opened: its end is made sure of, and openings of the first release are read. */
import { expect, test } from 'vitest';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedDisk } from '../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { ByteWriter } from '../../node/storage/byte-codec.ts';
import {
  RecordType,
  aligned,
  batchBytes,
  encodeBatch,
  type LogRecord,
} from '../../node/storage/log-format.ts';
import { decodeOpening, encodeOpening } from '../../node/storage/log-opening.ts';
import { segmentName } from '../../node/storage/log-scan.ts';
import { WriteAheadLog } from '../../node/storage/write-ahead-log.ts';

const LOG_ID = Buffer.from('0123456789abcdef', 'hex');
const SEGMENT_BYTES = 64 * 1024;
const world = new SimulatedScheduler();
const clock = new SimulatedClock(world);

const entry = (index: number): LogRecord => ({
  type: RecordType.entry,
  group: 1,
  term: 1,
  index,
  stampMs: 1,
  kind: 2,
  version: 1,
  payload: Buffer.from(`entry ${index} `.repeat(20)),
});
const peer = (id: number, text: string): LogRecord => ({
  ...entry(0),
  type: RecordType.peer,
  group: 0,
  index: id,
  payload: Buffer.from(text),
});

async function open(disk: SimulatedDisk) {
  const records: LogRecord[] = [];
  const options = { disk, clock, directory: 'log', logId: LOG_ID, segmentBytes: SEGMENT_BYTES };
  const opened = await world.settle(
    WriteAheadLog.open(options, (record) => {
      records.push({ ...record, payload: Buffer.from(record.payload) });
    }),
  );
  await world.runFor(1_000);
  return { ...opened, records, indexes: records.map(({ index }) => index) };
}

test('what is found at the end is on the disk before anything is built on it', async () => {
  let unsynced = 0;
  for (let seed = 0; seed < 20; seed++) {
    const first = new SimulatedDisk(world, new SeededRandom(seed));
    const { log } = await open(first);
    await world.settle(log.append([entry(1)]));
    first.faults.add({ operation: 'sync', data: 'kept' });
    first.faults.add({ operation: 'write', data: 'kept' });
    const appended = log.append([entry(2)]).then(
      () => undefined,
      () => unsynced++,
    );
    await world.settle(appended);
    // The process ends, and the kernel shows what it has not written.
    const second = first.kill();
    const { indexes, log: again } = await open(second);
    await world.settle(again.close());
    // Now the power goes: what was found must still be there.
    const { indexes: after } = await open(second.crash('lose-all'));
    expect(after).toEqual(indexes);
    expect(indexes[0]).toBe(1);
  }
  expect(unsynced).toBe(20);
});

test('the newest record of each peer outlives the segment that it was in', async () => {
  const disk = new SimulatedDisk(world, new SeededRandom('peers'));
  const { log } = await open(disk);
  await world.settle(log.append([peer(2, 'old'), peer(3, 'three'), entry(1)]));
  await world.settle(log.append([peer(2, 'new')]));
  for (let index = 2; index < 60; index++) await world.settle(log.append([entry(index)]));
  await world.runFor(1_000);
  await world.settle(log.release(new Map([[1, { index: 59 }]]), new Set([1])));
  expect(log.segmentCount).toBeLessThan(3);
  const { log: again, indexes } = await open(disk.crash('lose-all'));
  expect(indexes[0]).toBeGreaterThan(1);
  expect([...again.peers].map(([id, payload]) => `${id} ${Buffer.from(payload).toString()}`)).toEqual([
    '2 new',
    '3 three',
  ]);
});

test('a snapshot in the log pins its segment until the store has it', async () => {
  const disk = new SimulatedDisk(world, new SeededRandom('snapshot'));
  const { log } = await open(disk);
  await world.settle(log.append([{ ...entry(500), type: RecordType.snapshot }]));
  expect(log.group(1).lastIndex).toBe(500);
  for (let index = 501; index < 560; index++) await world.settle(log.append([entry(index)]));
  const segments = log.segmentCount;
  await world.settle(log.release(new Map([[1, { index: 499 }]]), new Set([1])));
  expect(log.segmentCount).toBe(segments);
  await world.settle(log.release(new Map([[1, { index: 559 }]]), new Set([1])));
  expect(log.segmentCount).toBeLessThan(segments);
});

test('entries that were replaced by fewer do not pin their segment', async () => {
  const disk = new SimulatedDisk(world, new SeededRandom('replaced'));
  const { log } = await open(disk);
  const quiet = (index: number, term: number) => ({ ...entry(index), group: 2, term });
  await world.settle(log.append([1, 2, 3, 4, 5].map((index) => quiet(index, 1))));
  await world.settle(log.append([quiet(2, 2)]));
  for (let index = 1; index < 60; index++) await world.settle(log.append([entry(index)]));
  const stored = (quietIndex: number) =>
    new Map([
      [1, { index: 59 }],
      [2, { index: quietIndex }],
    ]);
  const segments = log.segmentCount;
  await world.settle(log.release(stored(1), new Set([1, 2])));
  expect(log.segmentCount).toBe(segments);
  await world.settle(log.release(stored(2), new Set([1, 2])));
  expect(log.segmentCount).toBeLessThan(segments);
});

/** As the first release wrote it: it ends after the groups. */
function openingOfFirstRelease(): LogRecord {
  const writer = new ByteWriter().u64(4).u64(17).u32(2);
  writer.u64(0).u64(3).u64(1).u64(20).u64(18).bytes(new Uint8Array(0));
  writer.u64(9).u64(5).u64(2).u64(30).u64(30).bytes(new Uint8Array(0));
  const payload = Buffer.from(writer.finish());
  return { ...entry(4), type: RecordType.opening, group: 0, term: 0, stampMs: 0, kind: 0, payload };
}

test('an opening of the first release is read', () => {
  const opening = decodeOpening(openingOfFirstRelease());
  expect([opening.segment, opening.storeMark, opening.peers.size]).toEqual([4, 17, 0]);
  expect(opening.groups.get(9)).toEqual({
    term: 5,
    vote: 2,
    lastIndex: 30,
    storedIndex: 30,
    configuration: new Uint8Array(0),
  });
  const next = encodeOpening(opening);
  expect([next.version, decodeOpening(next)]).toEqual([2, opening]);
  for (const version of [0, 3]) expect(() => decodeOpening({ ...next, version })).toThrow(RangeError);
});

test('a log of the first release is opened and written on', async () => {
  const disk = new SimulatedDisk(world, new SeededRandom('first'));
  const batch = [openingOfFirstRelease(), entry(1)];
  const segment = Buffer.alloc(SEGMENT_BYTES);
  const bytes = Buffer.alloc(aligned(batchBytes(batch)));
  encodeBatch(bytes, batch, 100, LOG_ID);
  segment.set(bytes);
  await world.settle(disk.makeDirectory('log'));
  await world.settle(disk.syncDirectory(''));
  disk.replace(`log/${segmentName(4)}`, segment);
  const { log, damage, indexes } = await open(disk);
  expect([damage, indexes, log.lastSequence, log.storeMark]).toEqual([[], [1], 101, 17]);
  expect([log.group(0).vote, log.group(9).term]).toEqual([1, 5]);
  for (let index = 2; index < 60; index++) await world.settle(log.append([entry(index)]));
  const { indexes: after, log: again } = await open(disk.crash('lose-all'));
  expect(after).toEqual(Array.from({ length: 59 }, (_, i) => i + 1));
  expect(again.group(9).term).toBe(5);
});
