/**
 * The log of a partition beside a naive one, over a disk that loses what was not synced: any
 * order of appends, syncs, crashes, retention, reads and looks for times.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RecordBatchWriter } from '../../../client/broker/record-writer.ts';
import { PartitionLog, type Frame } from '../../../node/broker/log/partition-log.ts';
import { SegmentFiles } from '../../../node/broker/log/segment-files.ts';
import { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedDisk } from '../../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedScheduler } from '../../../node/runtime/simulated/simulated-scheduler.ts';

const DIRECTORY = 'topics/7-0';
const SEGMENT_BYTES = 2_000;

interface Appended {
  readonly frame: Frame;
  readonly next: number;
  readonly timeMs: number;
}

class Rig {
  readonly world = new SimulatedScheduler();
  readonly clock = new SimulatedClock(this.world);
  disk: SimulatedDisk;
  log!: PartitionLog;
  appended: Appended[] = [];
  /** What the rows would say. */
  durable = { start: 0, end: 0 };
  start = 0;
  now = 1_000;

  constructor(seed: number) {
    this.disk = new SimulatedDisk(this.world, new SeededRandom(seed));
  }

  get end(): number {
    return this.appended.at(-1)?.next ?? this.durable.end;
  }

  async open(): Promise<void> {
    const { start: logStart, end: logEnd } = this.durable;
    this.log = await this.world.settle(
      PartitionLog.open({
        clock: this.clock,
        files: new SegmentFiles(this.disk),
        directory: DIRECTORY,
        logStart,
        logEnd,
        segmentBytes: SEGMENT_BYTES,
        segmentMs: 60_000,
      }),
    );
  }

  append(count: number, bytes: number, agoMs: number): void {
    const baseOffset = this.end;
    const timeMs = Math.max(0, this.now - agoMs);
    const writer = new RecordBatchWriter();
    for (let at = 0; at < count; at++) {
      const value = Buffer.alloc(bytes, at + 1);
      writer.append(timeMs, Buffer.from(`k${at % 3}`), value);
    }
    const frame = { baseOffset, appendedAtMs: this.now, batch: writer.finish() };
    this.now += 1_000;
    this.log.append(frame);
    this.appended.push({ frame, next: baseOffset + count, timeMs });
  }

  async flush(): Promise<void> {
    const rows = { start: this.start, end: this.end };
    await this.world.settle(this.log.sync());
    this.durable = rows;
    this.log.noteStored(rows.start);
  }

  async crash(): Promise<void> {
    this.disk = this.disk.crash('seeded');
    const { start, end } = this.durable;
    this.appended = this.appended.filter(({ next }) => next <= end);
    this.start = start;
    await this.open();
  }

  async checkRead(offset: number, maxBytes: number): Promise<void> {
    const wanted = this.appended.filter(({ next }) => next > offset);
    const { frames, nextOffset } = await this.world.settle(this.log.read(offset, maxBytes));
    expect(frames.map(shown)).toEqual(wanted.slice(0, frames.length).map(({ frame }) => shown(frame)));
    if (wanted.length > 0) expect(frames.length).toBeGreaterThan(0);
    expect(nextOffset).toBe(frames.length > 0 ? wanted[frames.length - 1]!.next : Math.max(offset, this.end));
    const bytes = frames.slice(0, -1).reduce((sum, { batch }) => sum + batch.byteLength, 0);
    expect(bytes).toBeLessThan(Math.max(1, maxBytes));
  }

  async checkTime(timeMs: number): Promise<void> {
    const first = this.log.segments()[0]?.baseOffset ?? 0;
    const wanted = this.appended.find(({ timeMs: of, frame }) => of >= timeMs && frame.baseOffset >= first);
    expect(await this.world.settle(this.log.findByTime(timeMs))).toBe(wanted?.frame.baseOffset);
  }
}

function shown({ baseOffset, appendedAtMs, batch }: Frame): string {
  return `${baseOffset} ${appendedAtMs} ${Buffer.from(batch).toString('base64')}`;
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      count: fc.integer({ min: 1, max: 9 }),
      bytes: fc.integer({ min: 0, max: 300 }),
      ago: fc.integer({ min: 0, max: 5_000 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('flush' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('sync' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('read' as const),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      bytes: fc.integer({ min: 0, max: 3_000 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('time' as const), at: fc.integer({ min: 0, max: 60_000 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('trim' as const),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('roll' as const) }) },
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Two files go, and the crash undoes the removal of the first one only. */
const REMOVALS_OUT_OF_ORDER: [number, Step[]] = [
  -770_146_562,
  [
    { do: 'append', count: 1, bytes: 0, ago: 0 },
    { do: 'roll' },
    { do: 'flush' },
    { do: 'append', count: 4, bytes: 186, ago: 0 },
    { do: 'append', count: 4, bytes: 74, ago: 0 },
    { do: 'flush' },
    { do: 'append', count: 7, bytes: 83, ago: 0 },
    { do: 'roll' },
    { do: 'trim', at: 0.5625 },
    { do: 'append', count: 1, bytes: 0, ago: 0 },
    { do: 'flush' },
    { do: 'read', at: 0, bytes: 0 },
  ],
];

/** The removal of a file that the rows did not know of is undone by the next crash but one. */
const REMOVED_AT_THE_START: [number, Step[]] = [
  0,
  [
    { do: 'append', count: 1, bytes: 0, ago: 0 },
    { do: 'flush' },
    { do: 'append', count: 7, bytes: 250, ago: 0 },
    { do: 'sync' },
    { do: 'crash' },
    { do: 'time', at: 0 },
    { do: 'append', count: 1, bytes: 0, ago: 0 },
    { do: 'time', at: 3_001 },
    { do: 'flush' },
    { do: 'append', count: 1, bytes: 0, ago: 0 },
  ],
];

test('a log says what a naive one says, through crashes', { timeout: 60_000 }, async () => {
  let crashes = 0;
  let reads = 0;
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.array(step, { minLength: 5, maxLength: 60 }), async (seed, steps) => {
      const rig = new Rig(seed);
      await rig.open();
      for (const one of steps) {
        if (one.do === 'append') rig.append(one.count, one.bytes, one.ago);
        else if (one.do === 'flush') await rig.flush();
        else if (one.do === 'sync') await rig.world.settle(rig.log.sync());
        else if (one.do === 'roll') rig.log.roll();
        else if (one.do === 'time') await rig.checkTime(one.at);
        else if (one.do === 'trim') rig.start = rig.start + Math.floor(one.at * (rig.end - rig.start));
        else if (one.do === 'read') {
          reads++;
          await rig.checkRead(rig.start + Math.floor(one.at * (rig.end - rig.start)), one.bytes);
        } else {
          crashes++;
          await rig.crash();
        }
      }
      await rig.flush();
      await rig.crash();
      await rig.checkRead(rig.start, 1_000);
      const active = rig.log.segments().at(-1);
      if (active !== undefined) expect(active.isActive).toBe(true);
    }),
    { numRuns: 300, examples: [REMOVALS_OUT_OF_ORDER, REMOVED_AT_THE_START] },
  );
  expect(crashes).toBeGreaterThan(200);
  expect(reads).toBeGreaterThan(300);
});
