/** Who a peer was: what a node that lost its data says of itself gives it away. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PeerMemory, type SeenPeer } from '../../node/raft/peer-memory.ts';
import { RecordType, type LogRecord } from '../../node/storage/log-format.ts';

const seen = (change: Partial<SeenPeer> = {}): SeenPeer => ({
  logId: 'aa',
  runId: 'r1',
  startSequence: 0,
  sequence: 10,
  ...change,
});

/** Writes what the memory wants written; returns what a log would keep of it. */
function write(memory: PeerMemory, kept = new Map<number, Uint8Array>()): Map<number, Uint8Array> {
  const records: LogRecord[] = [];
  memory.takeRecords(records);
  for (const record of records) {
    expect([record.type, record.group, record.term]).toEqual([RecordType.peer, 0, 0]);
    kept.set(record.index, Uint8Array.from(record.payload));
  }
  memory.noteWritten();
  return kept;
}

function settled(): PeerMemory {
  const memory = new PeerMemory(new Map(), () => undefined);
  memory.judge(2, seen());
  write(memory);
  return memory;
}

test('nothing is taken from a new peer until the log knows it', () => {
  let news = 0;
  const memory = new PeerMemory(new Map(), () => news++);
  expect(memory.isSettled).toBe(true);
  expect(memory.judge(2, seen())).toBe('unsettled');
  expect([news, memory.isSettled]).toEqual([1, false]);
  expect(memory.judge(2, seen())).toBe('unsettled');
  memory.takeRecords([]);
  expect(memory.judge(2, seen())).toBe('unsettled'); // being written
  memory.noteWritten();
  expect([memory.judge(2, seen()), memory.isSettled]).toEqual(['known', true]);
});

test('one that was heard of while a batch is written waits for the next', () => {
  const memory = new PeerMemory(new Map(), () => undefined);
  memory.judge(2, seen());
  memory.takeRecords([]);
  memory.judge(3, seen({ logId: 'bb' }));
  memory.noteWritten();
  expect([memory.judge(2, seen()), memory.judge(3, seen({ logId: 'bb' }))]).toEqual(['known', 'unsettled']);
  write(memory);
  expect(memory.judge(3, seen({ logId: 'bb' }))).toBe('known');
});

test('another log, or one that ends earlier, is refused; also by a node that was restarted', () => {
  const memory = settled();
  const kept = new Map<number, Uint8Array>();
  const first = new PeerMemory(new Map(), () => undefined);
  first.judge(2, seen());
  write(first, kept);
  for (const each of [memory, new PeerMemory(kept, () => undefined)]) {
    expect(each.judge(2, seen({ logId: 'cc', runId: 'r2' }))).toBe('data removed');
    expect(each.judge(2, seen({ runId: 'r2', startSequence: 9, sequence: 9 }))).toBe('data rolled back');
    expect(each.judge(2, seen())).toBe('known'); // it is still there itself
    expect(each.judge(2, seen({ runId: 'r2', startSequence: 10, sequence: 10 }))).toBe('known');
  }
});

test('a late message of an earlier run is refused, and the run that is there is not', () => {
  const memory = settled();
  expect(memory.judge(2, seen({ runId: 'r2', startSequence: 12, sequence: 15 }))).toBe('known');
  expect(memory.judge(2, seen({ sequence: 11 }))).toBe('data rolled back');
  expect(memory.judge(2, seen({ runId: 'r2', startSequence: 12, sequence: 14 }))).toBe('known');
});

test('a peer that keeps its log is always known, however its messages and our restarts fall', () => {
  const steps = fc.array(fc.constantFrom('write', 'write', 'restart', 'hear', 'hear', 'late', 'forget'), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, fc.infiniteStream(fc.nat()), (all, numbers) => {
      let kept = new Map<number, Uint8Array>();
      let memory = new PeerMemory(kept, () => undefined);
      let run = { runId: 'r0', startSequence: 0, sequence: 0 };
      const sent: SeenPeer[] = [];
      for (const [position, step] of all.entries()) {
        const choice = numbers.next().value as number;
        if (step === 'write') run = { ...run, sequence: run.sequence + (choice % 5) };
        else if (step === 'restart')
          run = { runId: `r${position + 1}`, startSequence: run.sequence, sequence: run.sequence };
        else if (step === 'forget') memory = new PeerMemory(new Map(kept), () => undefined);
        else if (step === 'hear') {
          sent.push(seen(run));
          expect(['known', 'unsettled']).toContain(memory.judge(2, sent.at(-1)!));
          kept = write(memory, new Map(kept));
        } else if (sent.length > 0) {
          const message = sent[choice % sent.length]!;
          if (memory.judge(2, message) === 'data rolled back') expect(message.runId).not.toBe(run.runId);
        }
      }
    }),
  );
});
