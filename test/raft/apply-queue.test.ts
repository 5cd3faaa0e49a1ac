/** Applying what is committed: in order, in slices, no faster than the store takes it. */
import { expect, test } from 'vitest';
import type { Clock } from '@holdfast/client/clock';
import { ApplyQueue, type ApplyQueueOptions } from '../../node/raft/apply-queue.ts';
import { EntryKind, encodeCommands, type Entry } from '../../node/raft/entry.ts';
import { GroupReplica } from '../../node/raft/group-replica.ts';
import type { Proposal, ProposalFailure } from '../../node/raft/state-machine.ts';
import { NOTHING_APPLIED, type RowStore } from '../../node/storage/row-store.ts';

/** Turns of the event loop by hand, and time that passes only while something is applied. */
class HandClock implements Clock {
  nowMs = 0;
  turns: (() => void)[] = [];
  wallMs = () => this.nowMs;
  monotonicMs = () => this.nowMs;
  setTimer = () => ({ cancel: () => undefined });
  afterTurn = (callback: () => void) => void this.turns.push(callback);

  /** Runs the turns that are due; what awaits goes on. */
  async turn(): Promise<void> {
    for (let i = 0; i < 5; i++) await Promise.resolve();
    for (const callback of this.turns.splice(0)) callback();
    for (let i = 0; i < 5; i++) await Promise.resolve();
  }
}

class Rig {
  readonly clock = new HandClock();
  readonly log: string[] = [];
  readonly present = new Set<GroupReplica>();
  readonly errors: unknown[] = [];
  idle = 0;
  costMs = 1;
  isFull = false;
  endFlush: (() => void) | undefined;
  onApply: (group: number, text: string) => void = () => undefined;
  readonly queue: ApplyQueue;

  constructor() {
    const rows = {
      applied: (group: number, { index }: { index: number }) => this.log.push(`stored ${group}/${index}`),
      freeze: () => this.log.push('frozen'),
      startFlush: () => this.log.push('flush'),
      flushed: () => new Promise<void>((resolve) => (this.endFlush = resolve)),
    };
    Object.defineProperty(rows, 'isFull', { get: () => this.isFull });
    const options: ApplyQueueOptions = {
      rows: rows as unknown as RowStore,
      clock: this.clock,
      observe: undefined,
      isPresent: (replica) => this.present.has(replica),
      onApplied: ({ group }) => this.log.push(`told ${group}`),
      onIdle: () => this.idle++,
      onError: (error) => this.errors.push(error),
    };
    this.queue = new ApplyQueue(options);
  }

  replica(group: number, entries: readonly Entry[]): GroupReplica {
    const replica = new GroupReplica({
      group,
      self: 1,
      settings: {},
      random: () => 0.5,
      restored: {
        hardState: { term: 1, vote: 1 },
        applied: NOTHING_APPLIED,
        storedIndex: 0,
        configuration: { voters: [1], outgoing: [], learners: [] },
        entries,
      },
      onQueued: () => undefined,
      createMachine: () => ({
        parse: () => undefined,
        encodeResult: () => new Uint8Array(0),
        apply: ({ bytes }) => {
          const text = Buffer.from(bytes).toString();
          this.clock.nowMs += this.costMs;
          this.log.push(`${group}:${text}`);
          this.onApply(group, text);
          return text;
        },
      }),
    });
    // Alone in its group: all of its log is committed once it leads.
    replica.core.campaign();
    for (let ready = replica.core.takeReady(); ready !== undefined; ready = replica.core.takeReady()) {
      if (ready.write === undefined) break;
      replica.cache.put(ready.write.entries);
      replica.core.onPersisted(ready.write.sequence);
    }
    this.present.add(replica);
    return replica;
  }

  get applied(): string[] {
    return this.log.filter((line) => /^\d+:/.test(line));
  }
}

const entry = (index: number, ...texts: string[]): Entry => ({
  index,
  term: 1,
  stampMs: index,
  kind: EntryKind.commands,
  version: 1,
  payload: encodeCommands(texts.map((text) => ({ kind: 1, version: 1, bytes: Buffer.from(text) }))),
});
const entries = (count: number) => Array.from({ length: count }, (_, i) => entry(i + 1, `e${i + 1}`));

function proposal(text: string, told: string[]): Proposal {
  return {
    kind: 1,
    version: 1,
    bytes: Buffer.from(text),
    deadlineMs: Infinity,
    onApplied: (result) => told.push(`${text} gave ${String(result)}`),
    onFailed: ({ cause, outcome }: ProposalFailure) => told.push(`${text} ${cause} ${outcome}`),
  };
}

test('entries of each group are applied in order, each once, in slices of 8 ms', async () => {
  const rig = new Rig();
  const all = entries(20);
  const [first, second] = [rig.replica(1, all), rig.replica(2, all)];
  rig.queue.add(first, all.slice(0, 12));
  rig.queue.add(second, all);
  rig.queue.add(first, all.slice(12));
  rig.queue.run();
  expect(rig.applied).toHaveLength(8);
  expect([rig.queue.isBusy, rig.idle]).toEqual([true, 0]);
  rig.queue.run(); // what runs is not run twice
  expect(rig.applied).toHaveLength(8);
  for (let turn = 0; turn < 5; turn++) await rig.clock.turn();
  const expected = all.map((_, i) => `e${i + 1}`);
  for (const group of [1, 2])
    expect(rig.applied.filter((line) => line.startsWith(`${group}:`))).toEqual(
      expected.map((text) => `${group}:${text}`),
    );
  expect([rig.queue.isBusy, rig.idle, first.applied.index]).toEqual([false, 1, 20]);
});

test('while the store has no room nothing is applied', async () => {
  const rig = new Rig();
  const all = entries(6);
  const replica = rig.replica(1, all);
  rig.onApply = () => (rig.isFull = true);
  rig.queue.add(replica, all);
  rig.queue.run();
  await rig.clock.turn();
  await rig.clock.turn();
  expect(rig.applied).toHaveLength(1);
  expect(rig.log.at(-1)).toBe('flush');
  rig.isFull = false;
  rig.onApply = () => undefined;
  rig.endFlush!();
  await rig.clock.turn();
  expect(rig.applied).toHaveLength(6);
});

test('who proposed gets the results of exactly its commands, and who waits to read is served', () => {
  const rig = new Rig();
  const all = [entry(1, 'a', 'b'), entry(2, 'c')];
  const replica = rig.replica(1, all);
  const told: string[] = [];
  for (const text of ['a', 'b']) replica.proposals.add(proposal(text, told));
  replica.proposals.prepare(0, []);
  replica.proposals.track(1, 1, 0);
  replica.reads.add({ onReady: () => told.push('read'), onFailed: () => told.push('not read') });
  let asked = 0;
  replica.reads.ask(0, (context) => ((asked = context), true));
  replica.reads.confirm([{ context: asked, index: 2 }]);
  rig.queue.add(replica, all);
  rig.queue.run();
  expect(told).toEqual(['a gave a', 'b gave b', 'read']);
  expect(rig.applied).toEqual(['1:a', '1:b', '1:c']);
});

test('what belongs to a group that is dropped or gone is not applied', () => {
  const rig = new Rig();
  const all = entries(3);
  const [dropped, gone, kept] = [rig.replica(1, all), rig.replica(2, all), rig.replica(3, all)];
  for (const replica of [dropped, gone, kept]) rig.queue.add(replica, all);
  rig.queue.drop(dropped);
  rig.present.delete(gone);
  rig.queue.run();
  expect(rig.applied).toEqual(['3:e1', '3:e2', '3:e3']);
  expect([rig.queue.isBusy, rig.idle]).toEqual([false, 1]);
});

test('a group that is removed by what it applies goes no further', () => {
  const rig = new Rig();
  const all = entries(3);
  const [first, second] = [rig.replica(1, all), rig.replica(2, all)];
  rig.onApply = (group) => group === 1 && rig.present.delete(first);
  rig.queue.add(first, all);
  rig.queue.add(second, all);
  rig.queue.run();
  expect(rig.applied).toEqual(['1:e1', '2:e1', '2:e2', '2:e3']);
});

test('when applying fails the store is frozen before anything else, and who proposed is told that nobody knows', () => {
  const rig = new Rig();
  const all = [entry(1, 'good'), entry(2, 'bad', 'never'), entry(3, 'later')];
  const replica = rig.replica(1, all);
  const told: string[] = [];
  for (const text of ['bad', 'never']) replica.proposals.add(proposal(text, told));
  replica.proposals.prepare(0, []);
  replica.proposals.track(2, 1, 0);
  rig.onApply = (_, text) => {
    if (text === 'bad') throw new RangeError('cannot be read');
  };
  rig.queue.add(replica, all);
  rig.queue.run();
  expect(rig.applied).toEqual(['1:good', '1:bad']);
  expect(rig.log).toContain('frozen');
  expect(rig.log).not.toContain('stored 1/2');
  expect(told).toEqual(['bad storage damaged UNKNOWN', 'never storage damaged UNKNOWN']);
  expect(rig.errors).toHaveLength(1);
});

test('an entry that does not follow the last one is never applied', () => {
  const rig = new Rig();
  const all = entries(3);
  const replica = rig.replica(1, all);
  rig.queue.add(replica, [all[1]!]);
  rig.queue.run();
  expect([rig.applied, rig.errors.length, rig.log.at(-1)]).toEqual([[], 1, 'frozen']);
});
