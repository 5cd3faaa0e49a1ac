/**
 * What a partition, its files and a consumer group owe, in small scenes: for what worlds do not
 * come to often enough. Each throws with its name when it goes otherwise.
 */
import { RecordBatchWriter } from '../../client/broker/record-writer.ts';
import { readRecords } from '../../client/broker/record-reader.ts';
import { PartitionLog } from '../../node/broker/log/partition-log.ts';
import { SegmentFiles } from '../../node/broker/log/segment-files.ts';
import { encodeAppend, encodeClaim, encodeCommit } from '../../node/broker/partition-command.ts';
import { PartitionMachine } from '../../node/broker/partition-machine.ts';
import type { MachineLog } from '../../node/broker/partition-logs.ts';
import { compactTo, retainFrom } from '../../node/broker/retention.ts';
import { ConsumerGroup, type GroupMember } from '../../node/coordination/groups/consumer-group.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedDisk } from '../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import type { RowStore } from '../../node/storage/row-store.ts';
import { StepRows } from '../coordination/step-rows.ts';
import { CheckFailure } from '../raft/check-failure.ts';

/** Plays all scenes. */
export async function play(): Promise<void> {
  producers();
  offsets();
  retention();
  handover();
  generations();
  overdue();
  await times();
  await places();
  await compaction();
  await deletions();
}

function expect(scene: string, actual: unknown, wanted: unknown): void {
  if (JSON.stringify(actual) === JSON.stringify(wanted)) return;
  throw new CheckFailure(scene, `${JSON.stringify(actual)} instead of ${JSON.stringify(wanted)}`);
}

function machine(): PartitionMachine {
  const log = { append: () => undefined, noteTrim: () => undefined, compact: () => undefined };
  return new PartitionMachine({
    group: 7,
    generation: 0,
    rows: new StepRows() as unknown as RowStore,
    openLog: () => log as unknown as MachineLog,
    onMoved: () => undefined,
  });
}

function batch(
  values: readonly string[],
  options: { key?: string; timeMs?: number; epoch?: number; sequence?: number } = {},
): Uint8Array {
  const { key, timeMs = 1_000, epoch, sequence } = options;
  const writer = new RecordBatchWriter();
  for (const value of values)
    writer.append(timeMs, key === undefined ? undefined : Buffer.from(key), value === '' ? undefined : value);
  if (sequence === undefined) return writer.finish();
  return writer.finish({ seal: { producerId: 1n, producerEpoch: epoch ?? 0, sequence: BigInt(sequence) } });
}

/** Of a producer, older epochs are refused, and what comes again is known by where it was. */
function producers(): void {
  const partition = machine();
  const append = (values: string[], epoch: number, sequence: number) =>
    partition.apply(encodeAppend(batch(values, { epoch, sequence })), 1_000).case;
  append(['a', 'b'], 0, 0);
  append(['c'], 1, 0);
  expect('stale epoch', append(['late'], 0, 1), 'refused');
  expect('new epoch', append(['gap'], 2, 1), 'refused');
  const again = partition.apply(encodeAppend(batch(['c'], { epoch: 1, sequence: 0 })), 1_000);
  expect('where it was', again, { case: 'appended', baseOffset: 2, isDuplicate: true });
}

/** Commits are fenced, and within the log. */
function offsets(): void {
  const partition = machine();
  partition.apply(encodeAppend(batch(['a', 'b', 'c'])), 1_000);
  const commit = (generation: number, offset: number) =>
    partition.apply(encodeCommit({ group: 'g', offset, generation, metadata: '' }), 1_000).case;
  partition.apply(encodeClaim({ group: 'g', generation: 5 }), 1_000);
  expect('commit not fenced', commit(4, 1), 'refused');
  expect('commit beyond the end', commit(5, 4), 'refused');
  expect('commit', commit(5, 3), 'done');
  expect(
    'claim not fenced',
    partition.apply(encodeClaim({ group: 'g', generation: 4 }), 1_000).case,
    'refused',
  );
  expect('stored', partition.offsetOf('g').offset, 3);
}

/** The file that is written stays, and as much as is to stay. */
function retention(): void {
  const segment = (baseOffset: number, lastAppendedAtMs: number, isActive = false) => ({
    baseOffset,
    bytes: 100,
    lastAppendedAtMs,
    isActive,
  });
  const segments = [segment(0, 10), segment(10, 20), segment(20, 30, true)];
  const never = { retentionMs: 0, retentionBytes: 0 };
  expect('retention of nothing', retainFrom(segments, never, 1_000_000), 0);
  expect('retention of the active file', retainFrom(segments, { ...never, retentionMs: 1 }, 1_000_000), 20);
  expect('retention by bytes', retainFrom(segments, { ...never, retentionBytes: 150 }, 0), 10);
  expect('retention too early', retainFrom(segments, { ...never, retentionMs: 50 }, 65), 10);
  expect('compaction of the active file', compactTo(segments, 0, 50), 20);
}

const member = (id: string): GroupMember => ({
  id,
  lease: BigInt(id.length),
  instanceId: '',
  clientName: '',
  topics: new Set(['t']),
  rebalanceTimeoutMs: 1_000,
  version: 1,
});
const four = () => 4;

/** What moves is first released, and what stays is left alone. */
function handover(): void {
  const group = new ConsumerGroup();
  group.add(member('a'), four, 0);
  group.add(member('bb'), four, 10);
  const { owned, revoked } = group.assignmentOf('a');
  expect('early handover', [owned.length, revoked.length, group.assignmentOf('bb').owned.length], [2, 2, 0]);
  expect(
    'disturbed',
    owned.map(({ generation }) => generation),
    [1, 1],
  );
  group.release(
    'a',
    revoked.map(({ topic, number, generation }) => ({ topic, number, generation })),
  );
  expect('late handover', group.assignmentOf('bb').owned.length, 2);
}

/** Whoever gets a partition has a greater generation than everybody before. */
function generations(): void {
  const group = new ConsumerGroup();
  const greatest = new Map<number, number>();
  for (let round = 0; round < 4; round++) {
    group.add(member(`m${'x'.repeat(round)}`), four, round);
    if (round > 0) group.remove(`m${'x'.repeat(round - 1)}`, four, round);
    for (const { number, generation } of group.partitions) {
      if (generation <= (greatest.get(number) ?? 0))
        throw new CheckFailure('generation again', `partition ${number} has generation ${generation} again`);
      greatest.set(number, generation);
    }
  }
}

/** Who keeps what it is to release is overdue, not before its time. */
function overdue(): void {
  const group = new ConsumerGroup();
  group.add(member('a'), four, 0);
  group.add(member('bb'), four, 100);
  expect('expelled early', group.overdue(1_050).length, 0);
  expect(
    'never expelled',
    group.overdue(1_200).map(({ id }) => id),
    ['a'],
  );
}

class LogScene {
  readonly world = new SimulatedScheduler();
  readonly clock = new SimulatedClock(this.world);
  disk = new SimulatedDisk(this.world, new SeededRandom('scene'));
  log!: PartitionLog;
  end = 0;
  nowMs = 1_000;

  async open(): Promise<void> {
    this.log = await this.world.settle(
      PartitionLog.open({
        clock: this.clock,
        files: new SegmentFiles(this.disk),
        directory: 'topics/1-0',
        logStart: 0,
        logEnd: this.end,
        segmentBytes: 60_000,
        segmentMs: 1_000_000_000,
      }),
    );
  }

  append(values: readonly string[], options: { key?: string; timeMs?: number } = {}): void {
    this.log.append({ baseOffset: this.end, appendedAtMs: this.nowMs++, batch: batch(values, options) });
    this.end += values.length;
  }

  /** Everything is in files, and nothing in memory. */
  async restart(): Promise<void> {
    await this.world.settle(this.log.sync());
    this.disk = this.disk.crash('lose-all');
    await this.open();
  }

  async values(offset = 0): Promise<string[]> {
    const values: string[] = [];
    for (let at = offset; at < this.end;) {
      const { frames, nextOffset } = await this.world.settle(this.log.read(at, 1));
      for (const frame of frames)
        for (const { value } of readRecords(frame.batch)) values.push(Buffer.from(value ?? []).toString());
      at = nextOffset;
    }
    return values;
  }
}

/** Every offset is found after a restart, by the index. */
async function places(): Promise<void> {
  const scene = new LogScene();
  await scene.open();
  for (let at = 0; at < 40; at++) scene.append([`${at}${'x'.repeat(9_000)}`]);
  await scene.restart();
  for (let offset = 0; offset < 40; offset++) {
    const { frames } = await scene.world.settle(scene.log.read(offset, 1));
    expect('wrong place', frames[0]?.baseOffset, offset);
  }
}

/** A time is found where it first is. */
async function times(): Promise<void> {
  const scene = new LogScene();
  await scene.open();
  for (let at = 0; at < 40; at++) scene.append([`${at}${'x'.repeat(9_000)}`], { timeMs: 1_000 + at * 10 });
  await scene.restart();
  for (let at = 0; at < 40; at++)
    expect('wrong time', await scene.world.settle(scene.log.findByTime(1_000 + at * 10 - 5)), at);
}

/** Of each key the newest stays, and what is written now. */
async function compaction(): Promise<void> {
  const scene = new LogScene();
  await scene.open();
  for (let at = 0; at < 24; at++) scene.append([`${at} ${'x'.repeat(9_000)}`], { key: `k${at % 3}` });
  await scene.restart();
  const closed = scene.log.segments().findLast(({ isActive }) => isActive)!.baseOffset;
  await scene.world.settle(scene.log.compact({ upTo: closed, epoch: 1, dropDeletesBeforeMs: 0 }));
  await scene.restart();
  const left = (await scene.values()).map((value) => Number.parseInt(value, 10));
  const wanted = Array.from({ length: 24 }, (_, at) => at).filter((at) => at >= closed - 3);
  expect('compaction', left, wanted);
}

/** A deletion stays as long as it has to, and takes what was before it along. */
async function deletions(): Promise<void> {
  const scene = new LogScene();
  await scene.open();
  scene.append([`old${'x'.repeat(30_000)}`], { key: 'k' });
  scene.append([''], { key: 'k' });
  scene.append([`other${'x'.repeat(40_000)}`], { key: 'l' });
  scene.append([`last${'x'.repeat(40_000)}`], { key: 'm' });
  await scene.restart();
  const closed = scene.log.segments().findLast(({ isActive }) => isActive)!.baseOffset;
  await scene.world.settle(scene.log.compact({ upTo: closed, epoch: 1, dropDeletesBeforeMs: 0 }));
  const first = (await scene.values()).map((value) => value.replace(/x+$/, ''));
  expect('deletion dropped early', first.slice(0, 1), ['']);
  await scene.world.settle(scene.log.compact({ upTo: closed, epoch: 2, dropDeletesBeforeMs: 1_000_000 }));
  const second = (await scene.values()).map((value) => value.replace(/x+$/, ''));
  expect('deletion kept', second.includes(''), false);
}
