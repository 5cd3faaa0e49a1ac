/** What was proposed: every proposal gets into one entry or comes back, in order, once. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EntryKind, commandBytes, decodeCommands } from '../../node/raft/entry.ts';
import { ProposalQueue, type PreparedEntry } from '../../node/raft/proposal-queue.ts';
import type { Proposal } from '../../node/raft/state-machine.ts';

interface Named extends Proposal {
  readonly name: number;
}

let names = 0;
function proposal(size: number, deadlineMs = Infinity): Named {
  const name = ++names;
  const bytes = Buffer.alloc(Math.max(4, size));
  bytes.writeUInt32LE(name);
  return {
    name,
    kind: 1,
    version: 1,
    bytes,
    deadlineMs,
    onApplied: () => undefined,
    onFailed: () => undefined,
  };
}
const namesOf = (proposals: readonly Proposal[]) => proposals.map((each) => (each as Named).name);
const inPayload = (entry: PreparedEntry) =>
  [...decodeCommands(entry.payload)].map(({ bytes }) => Buffer.from(bytes).readUInt32LE());

const added = fc.array(
  fc.record({
    size: fc.oneof(
      { weight: 8, arbitrary: fc.nat({ max: 200 }) },
      { weight: 1, arbitrary: fc.nat({ max: 1_500_000 }) },
    ),
    deadlineMs: fc.constantFrom(50, 100, Infinity, Infinity, Infinity),
  }),
  { maxLength: 40 },
);

test('entries hold what was added, in order, without what is past its deadline', () => {
  fc.assert(
    fc.property(added, (all) => {
      const queue = new ProposalQueue(() => undefined);
      const proposals = all.map(({ size, deadlineMs }) => proposal(size, deadlineMs));
      for (const each of proposals) queue.add(each);
      const expired: Proposal[] = [];
      const entries = queue.prepare(100, expired);
      expect(namesOf(expired)).toEqual(namesOf(proposals.filter(({ deadlineMs }) => deadlineMs <= 100)));
      const kept = namesOf(proposals.filter(({ deadlineMs }) => deadlineMs > 100));
      expect(entries.flatMap(inPayload)).toEqual(kept);
      for (const entry of entries) {
        expect(namesOf(entry.proposals)).toEqual(inPayload(entry));
        expect(entry.payload.length).toBe(entry.proposals.reduce((sum, each) => sum + commandBytes(each), 0));
        expect(entry.payload.length <= 1024 * 1024 || entry.proposals.length === 1).toBe(true);
      }
    }),
    { numRuns: 50 },
  );
});

test('an entry has at most 512 commands', () => {
  const queue = new ProposalQueue(() => undefined);
  for (let i = 0; i < 1_100; i++) queue.add(proposal(4));
  expect(queue.prepare(0, []).map(({ proposals }) => proposals.length)).toEqual([512, 512, 76]);
});

const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.constant('add' as const) },
    { weight: 2, arbitrary: fc.constant('time' as const) },
    { weight: 3, arbitrary: fc.constant('prepare' as const) },
    { weight: 3, arbitrary: fc.constant('track' as const) },
    { weight: 3, arbitrary: fc.constant('apply' as const) },
    { weight: 1, arbitrary: fc.constant('lose' as const) },
  ),
  { maxLength: 80 },
);

test('what is added ends once: applied with its entry, or given back when leadership goes', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const queue = new ProposalQueue(() => undefined);
      const waiting: number[] = [];
      const inLog: number[] = [];
      let [timesAsked, timesTold] = [0, 0];
      let [term, last, applied] = [1, 0, 0];
      for (const step of all) {
        if (step === 'add') {
          const each = proposal(10);
          queue.add(each);
          waiting.push(each.name);
        } else if (step === 'time') {
          timesAsked++;
          queue.addTime(() => timesTold++);
        } else if (step === 'prepare') {
          queue.prepare(0, []);
        } else if (step === 'track') {
          const entries = queue.prepare(0, []);
          const count = entries.length;
          expect(queue.track(last + 1, term, 0)).toBe(entries);
          last += count;
          inLog.push(...waiting.splice(0));
        } else if (step === 'apply') {
          if (applied === last) continue;
          const index = ++applied;
          expect(queue.take(index, term + 1)).toBeUndefined(); // somebody else's entry
          const made = queue.take(index, term)!.made;
          expect(namesOf(made.proposals)).toEqual(inLog.splice(0, made.proposals.length));
          for (const waiter of made.onApplied) waiter();
          expect(queue.take(index, term)).toBeUndefined();
        } else {
          expect(namesOf(queue.drainInFlight())).toEqual(inLog.splice(0));
          expect(namesOf(queue.drainWaiting())).toEqual(waiting.splice(0));
          expect([timesTold, queue.isEmpty]).toEqual([timesAsked, true]);
          applied = last;
          term++;
        }
        expect(timesTold).toBeLessThanOrEqual(timesAsked);
      }
    }),
  );
});

test('all who ask for log time in one turn share an entry', () => {
  const queue = new ProposalQueue(() => undefined);
  let told = 0;
  for (let i = 0; i < 3; i++) queue.addTime(() => told++);
  const entries = queue.prepare(0, []);
  expect(entries.map(({ kind, payload }) => [kind, payload.length])).toEqual([[EntryKind.time, 0]]);
  queue.track(7, 1, 0);
  for (const waiter of queue.take(7, 1)!.made.onApplied) waiter();
  expect(told).toBe(3);
});

test('an entry of an earlier term is still answered when it is applied, after a replica that is alone led again', () => {
  const queue = new ProposalQueue(() => undefined);
  const [first, second] = [proposal(10), proposal(10)];
  queue.add(first);
  queue.prepare(0, []);
  queue.track(5, 1, 0);
  queue.add(second);
  queue.prepare(0, []);
  queue.track(7, 2, 0);
  expect(queue.take(5, 2)).toBeUndefined();
  expect(namesOf(queue.take(5, 1)!.made.proposals)).toEqual([first.name]);
  expect(namesOf(queue.take(7, 2)!.made.proposals)).toEqual([second.name]);
  expect(queue.isEmpty).toBe(true);
});

test('commands count as queued until the log has them, or they are given up', () => {
  let queued = 0;
  const queue = new ProposalQueue((bytes) => (queued += bytes));
  const all = [proposal(10), proposal(20), proposal(30, 5)];
  for (const each of all) queue.add(each);
  expect(queued).toBe(all.reduce((sum, each) => sum + commandBytes(each), 0));
  queue.prepare(10, []); // the last is past its deadline
  queue.track(1, 1, 0);
  expect(queued).toBe(commandBytes(all[0]!) + commandBytes(all[1]!));
  queue.noteWritten([{ index: 1 }]);
  expect(queued).toBe(0);
  queue.take(1, 1);
  expect(queued).toBe(0);
  queue.add(proposal(10));
  queue.prepare(10, []);
  queue.track(2, 1, 0);
  queue.drainInFlight();
  expect(queued).toBe(0);
  queue.add(proposal(10));
  queue.drainWaiting();
  expect(queued).toBe(0);
});
