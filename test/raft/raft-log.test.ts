/** The bookkeeping of a log against plain arrays. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EntryKind, countFitting, type Entry } from '../../node/raft/core/entry.ts';
import { InvariantBroken } from '../../node/raft/core/invariant.ts';
import { RaftLog } from '../../node/raft/core/raft-log.ts';
import { TermRuns } from '../../node/raft/core/term-runs.ts';

const CONFIGURATION = { voters: [1], outgoing: [], learners: [] };
const BASE = { index: 0, term: 0, stampMs: 0, configuration: CONFIGURATION };

function entry(index: number, term: number): Entry {
  return {
    index,
    term,
    stampMs: index,
    kind: EntryKind.commands,
    version: 1,
    payload: Buffer.from(`${index}/${term}`),
  };
}

/** A log of entries with these terms, all durable. */
function logOf(terms: readonly number[]): RaftLog {
  const entries = terms.map((term, position) => entry(position + 1, term));
  const read = (first: number, last: number, maxBytes: number) => {
    const wanted = entries.slice(first - 1, last);
    return wanted.slice(0, countFitting(wanted, 0, maxBytes));
  };
  return new RaftLog({ base: BASE, applied: 0, entries }, { read });
}

const ascendingTerms = fc
  .array(fc.integer({ min: 0, max: 2 }), { maxLength: 12 })
  .map((steps) => steps.reduce<number[]>((terms, step) => [...terms, (terms.at(-1) ?? 1) + step], []));

describe('terms', () => {
  test('are found in runs as in an array', () => {
    fc.assert(
      fc.property(ascendingTerms, fc.nat(12), fc.nat(12), fc.nat(30), (terms, cut, compacted, wanted) => {
        const runs = new TermRuns(0, 0);
        for (const [position, term] of terms.entries()) runs.append(position + 1, term);
        let list = [0, ...terms];
        if (cut > 0) {
          runs.truncate(cut);
          list = list.slice(0, cut);
        }
        const base = Math.min(compacted, list.length - 1);
        runs.compact(base);
        for (let index = base; index < list.length; index++) {
          expect(runs.at(index)).toBe(list[index]);
          let naive = index;
          while (naive > base && list[naive]! > wanted) naive--;
          expect(runs.lastUpTo(index, wanted)).toBe(naive);
        }
      }),
    );
  });
});

describe('merging', () => {
  test('a leader’s entries gives the leader’s log as far as it was sent, and keeps what agrees', () => {
    fc.assert(
      fc.property(ascendingTerms, ascendingTerms, fc.nat(12), fc.nat(12), (mine, theirs, from, count) => {
        const log = logOf(mine);
        const prevIndex = Math.min(from, theirs.length, mine.length);
        const agrees = theirs.slice(0, prevIndex).every((term, position) => mine[position] === term);
        if (!agrees) return;
        const sent = theirs
          .map((term, position) => entry(position + 1, term))
          .slice(prevIndex, prevIndex + count);
        log.merge(sent);
        const conflict = sent.some(({ index, term }) => (mine[index - 1] ?? term) !== term);
        const reached = prevIndex + sent.length;
        const naive = conflict || reached > mine.length ? theirs.slice(0, reached) : mine;
        expect(termsOf(log)).toEqual(naive);
      }),
    );
  });

  test('finds where two logs part by skipping terms, without losing an agreement', () => {
    fc.assert(
      fc.property(ascendingTerms, ascendingTerms, (follower, leader) => {
        const [mine, theirs] = [logOf(follower), logOf(leader)];
        let agreeing = 0;
        while (agreeing < follower.length && follower[agreeing] === leader[agreeing]) agreeing++;
        if (follower.slice(agreeing).some((term, position) => term === leader[agreeing + position])) return;
        let prev = theirs.lastIndex;
        for (let probes = 0; mine.termAt(prev) !== theirs.termAt(prev); probes++) {
          expect(probes).toBeLessThanOrEqual(2 * new Set([...follower, ...leader]).size);
          const hint = mine.lastUpTo(prev, theirs.termAt(prev)!);
          prev = Math.min(prev - 1, theirs.lastUpTo(hint, mine.termAt(hint)!));
        }
        expect(prev).toBeLessThanOrEqual(agreeing);
      }),
    );
  });

  test('never cuts off what is committed', () => {
    const log = logOf([1, 1, 1]);
    log.commitTo(2);
    expect(() => log.merge([entry(2, 2)])).toThrow(InvariantBroken);
    log.merge([entry(3, 2)]);
    expect(log.termAt(3)).toBe(2);
  });
});

/** A follower's life: entries replaced from some index on, writes taken, writes completed. */
type Step = { readonly replace: number; readonly count: number; readonly term: number } | 'take' | 'complete';

const lives: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({
      replace: fc.integer({ min: 1, max: 6 }),
      count: fc.integer({ min: 1, max: 4 }),
      term: fc.integer({ min: 1, max: 3 }),
    }),
    fc.constant('take' as const),
    fc.constant('complete' as const),
  ),
  { maxLength: 40 },
);

describe('durable', () => {
  test('counts only what stays on the disk whichever of the writes under way come to pass', () => {
    fc.assert(
      fc.property(lives, (life) => {
        const disk: Entry[] = [];
        const log = new RaftLog(
          { base: BASE, applied: 0, entries: [] },
          { read: (first, last) => disk.slice(first - 1, last) },
        );
        const pending: { sequence: number; entries: readonly Entry[] }[] = [];
        for (const step of life) {
          if (step === 'take') {
            const { entries } = log.takeUnwritten();
            pending.push({ sequence: log.beginWrite({ term: 9, vote: 0 }, undefined), entries });
          } else if (step === 'complete') {
            const done = pending.shift();
            if (done === undefined) continue;
            put(disk, done.entries);
            log.completeWrites(done.sequence);
          } else replace(log, step);
          checkDurable(
            log,
            disk,
            pending.map(({ entries }) => entries),
          );
        }
        for (const { sequence, entries } of pending) {
          put(disk, entries);
          log.completeWrites(sequence);
        }
        if (log.takeUnwritten().entries.length === 0) expect(log.durable).toBe(log.lastIndex);
      }),
      { numRuns: 2000 },
    );
  });

  test('a write that nobody took cannot be completed', () => {
    expect(() => logOf([1]).completeWrites(1)).toThrow(RangeError);
  });
});

describe('entries to apply', () => {
  test('come in order, each once, committed and durable, and in bounded portions', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        fc.array(fc.nat(4)),
        fc.integer({ min: 1, max: 200 }),
        (length, acks, bound) => {
          const log = logOf(Array.from({ length }, () => 1));
          log.commitTo(length);
          let handed = 0;
          let applied = 0;
          for (const ack of acks) {
            for (const { index } of log.takeCommitted(bound)) expect(index).toBe(++handed);
            expect((handed - applied) * 33).toBeLessThanOrEqual(bound + 40);
            applied = Math.min(handed, applied + ack);
            log.noteApplied(applied);
          }
        },
      ),
    );
  });

  test('wait until they are at hand', () => {
    let isAtHand = false;
    const entries = [entry(1, 1), entry(2, 1)];
    const log = new RaftLog(
      { base: BASE, applied: 0, entries },
      { read: (first, last) => (isAtHand ? entries.slice(first - 1, last) : undefined) },
    );
    log.commitTo(2);
    expect(log.takeCommitted(1000)).toEqual([]);
    isAtHand = true;
    expect(log.takeCommitted(1000)).toEqual(entries);
  });

  test('that the source mixed up are refused', () => {
    const log = new RaftLog(
      { base: BASE, applied: 0, entries: [entry(1, 1)] },
      { read: () => [entry(1, 2)] },
    );
    log.commitTo(1);
    expect(() => log.takeCommitted(1000)).toThrow(InvariantBroken);
  });
});

function termsOf(log: RaftLog): number[] {
  return Array.from({ length: log.lastIndex }, (_, position) => log.termAt(position + 1)!);
}

/** Entries in the manner of a leader of some term: never below the term before them. */
function replace(log: RaftLog, { replace: from, count, term }: Exclude<Step, string>): void {
  const first = Math.min(from, log.lastIndex + 1);
  const least = log.termAt(first - 1) ?? 0;
  log.merge(Array.from({ length: count }, (_, position) => entry(first + position, Math.max(least, term))));
}

function put(disk: Entry[], entries: readonly Entry[]): void {
  if (entries.length > 0) disk.splice(entries[0]!.index - 1, Infinity, ...entries);
}

/** At every moment from now on, the disk has the log's entries up to `durable`. */
function checkDurable(log: RaftLog, disk: readonly Entry[], pending: readonly (readonly Entry[])[]): void {
  const future = [...disk];
  for (const entries of [[], ...pending]) {
    put(future, entries);
    for (let index = 1; index <= log.durable; index++)
      expect(future[index - 1]?.term).toBe(log.termAt(index));
  }
}
