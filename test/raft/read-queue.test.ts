/** Reads that wait: each is told once, and ready only when it may be. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ReadQueue } from '../../node/raft/read-queue.ts';

interface Read {
  context: number | undefined;
  confirmedAt: number | undefined;
  told: ('ready' | 'failed')[];
}

const steps = fc.array(
  fc.record({
    kind: fc.constantFrom('add', 'add', 'add', 'ask', 'ask', 'confirm', 'confirm', 'drop', 'apply', 'fail'),
    number: fc.nat({ max: 6 }),
    isTaken: fc.boolean(),
  }),
  { maxLength: 80 },
);

test('every read is told once: ready when its index is applied, failed when nobody confirmed it', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const queue = new ReadQueue();
      const reads: Read[] = [];
      const open = new Set<number>();
      let applied = 0;
      for (const { kind, number, isTaken } of all) {
        const context = [...open][number % Math.max(1, open.size)];
        if (kind === 'add') {
          const read: Read = { context: undefined, confirmedAt: undefined, told: [] };
          reads.push(read);
          queue.add({ onReady: () => read.told.push('ready'), onFailed: () => read.told.push('failed') });
        } else if (kind === 'ask') {
          const arrived = reads.filter((read) => read.context === undefined && read.told.length === 0);
          expect(queue.hasArrived).toBe(arrived.length > 0);
          queue.ask(0, (asked) => {
            expect(open.has(asked)).toBe(false);
            for (const read of arrived) read.context = asked;
            if (isTaken) open.add(asked);
            return isTaken;
          });
          for (const read of arrived) expect(read.told).toEqual(isTaken ? [] : ['failed']);
        } else if (kind === 'confirm' && context !== undefined) {
          open.delete(context);
          const index = applied + number - 2;
          for (const read of reads) if (read.context === context) read.confirmedAt = index;
          queue.confirm([{ context, index }]);
        } else if (kind === 'drop' && context !== undefined) {
          open.delete(context);
          queue.drop([context, context + 1_000]);
          for (const read of reads) if (read.context === context) expect(read.told).toEqual(['failed']);
        } else if (kind === 'apply') {
          applied += number;
          queue.serve(applied);
          for (const read of reads)
            if (read.confirmedAt !== undefined && read.confirmedAt <= applied)
              expect(read.told).toHaveLength(1);
        } else if (kind === 'fail') {
          queue.fail();
          open.clear();
          for (const read of reads) expect(read.told).toHaveLength(1);
        }
        for (const { told, confirmedAt } of reads) {
          expect(told.length).toBeLessThanOrEqual(1);
          if (told[0] === 'ready') expect(confirmedAt).toBeLessThanOrEqual(applied);
        }
      }
    }),
  );
});

test('a read that comes while a request is under way is not part of it', () => {
  const queue = new ReadQueue();
  const told: string[] = [];
  const read = (name: string) =>
    queue.add({ onReady: () => told.push(name), onFailed: () => told.push('no') });
  let first = 0;
  read('a');
  queue.ask(0, (context) => ((first = context), true));
  read('b');
  queue.confirm([{ context: first, index: 5 }]);
  queue.serve(5);
  expect(told).toEqual(['a']);
  expect(queue.hasArrived).toBe(true);
});

test('a confirmed read that is never applied fails after 40 ticks', () => {
  const queue = new ReadQueue();
  const told: string[] = [];
  queue.add({ onReady: () => told.push('ready'), onFailed: () => told.push('failed') });
  let asked = 0;
  queue.ask(0, (context) => ((asked = context), true));
  queue.confirm([{ context: asked, index: 5 }]);
  for (let tick = 0; tick < 40; tick++) queue.tick();
  expect(told).toEqual([]);
  queue.tick();
  expect(told).toEqual(['failed']);
});

test('what is applied is as fresh as the moment when the served request was made', () => {
  const queue = new ReadQueue();
  const contexts: number[] = [];
  for (const nowMs of [100, 200, 300]) {
    queue.add({ onReady: () => undefined, onFailed: () => undefined });
    queue.ask(nowMs, (context) => (contexts.push(context), true));
  }
  expect(queue.freshAsOfMs).toBe(-Infinity);
  queue.confirm([
    { context: contexts[1]!, index: 5 },
    { context: contexts[0]!, index: 5 },
  ]);
  queue.serve(4);
  expect(queue.freshAsOfMs).toBe(-Infinity);
  queue.serve(5);
  expect(queue.freshAsOfMs).toBe(200);
  queue.drop([contexts[2]!]);
  queue.serve(9);
  expect(queue.freshAsOfMs).toBe(200);
});
