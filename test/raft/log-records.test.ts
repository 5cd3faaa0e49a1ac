/** What a replica finds after a start, against a naive reading of all that was written. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_CONFIGURATION, encodeConfiguration } from '../../node/raft/core/configuration.ts';
import type { Write } from '../../node/raft/core/ready.ts';
import { EntryKind, type Entry } from '../../node/raft/entry.ts';
import { RecoveredGroups, storeMarkRecord, writeRecords } from '../../node/raft/log-records.ts';
import { RecordType, type LogRecord } from '../../node/storage/log-format.ts';
import { EMPTY_GROUP } from '../../node/storage/log-opening.ts';
import { NOTHING_APPLIED, StoreDamaged, type AppliedEntry } from '../../node/storage/row-store.ts';

const VOTERS = { voters: [1, 2, 3], outgoing: [], learners: [] };
const entry = (index: number, term: number): Entry => ({
  index,
  term,
  stampMs: 100 * term,
  kind: EntryKind.commands,
  version: 1,
  payload: Buffer.from(`${index}/${term}`),
});
const entries = (first: number, count: number, term: number) =>
  Array.from({ length: count }, (_, position) => entry(first + position, term));
const point = (index: number, term: number) => ({ index, term, stampMs: 100 * term, configuration: VOTERS });

function write(change: Partial<Write>): Write {
  return { sequence: 1, hardState: undefined, snapshot: undefined, entries: [], messages: [], ...change };
}

/** What a log holds after these writes of one group, read back. */
class Written {
  readonly recovered = new RecoveredGroups();
  readonly types: number[] = [];
  state = EMPTY_GROUP;

  note(change: Partial<Write>, generation = 1, group = 1): this {
    const records: LogRecord[] = [];
    const rows = change.snapshot && { point: change.snapshot, generation };
    writeRecords(group, write(change), rows, records);
    for (const record of records) {
      this.types.push(record.type);
      this.recovered.note(record);
      if (record.type === RecordType.hardState)
        this.state = { ...this.state, term: record.term, vote: record.index };
      else this.state = { ...this.state, lastIndex: record.index };
    }
    return this;
  }

  take(stored: AppliedEntry = NOTHING_APPLIED, group = 1) {
    return this.recovered.take(group, this.state, stored, VOTERS);
  }
}

const stored = (index: number, term: number, generation = 0): AppliedEntry => ({
  index,
  term,
  stampMs: 100 * term,
  generation,
  configuration: undefined,
});

describe('recovered groups', () => {
  test('have what a list of all entries, replaced from each first one on, would have', () => {
    const writes = fc.array(
      fc.record({ back: fc.nat({ max: 4 }), count: fc.nat({ max: 5 }), isSnapshot: fc.boolean() }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(writes, fc.double({ min: 0, max: 1, noNaN: true }), (all, share) => {
        const log = new Written();
        let list: Entry[] = [];
        let snapshot: number | undefined;
        let [base, last, term, lastTerm] = [0, 0, 0, 0];
        for (const { back, count, isSnapshot } of all) {
          term++;
          const hardState = { term, vote: 1 };
          if (isSnapshot && back === 0) {
            last += 3;
            [base, snapshot, list, lastTerm] = [last, last, [], term];
            log.note({ hardState, snapshot: point(last, term) }, term);
          }
          const first = Math.max(base + 1, last + 1 - back);
          const added = entries(first, count, term);
          log.note({ hardState, entries: added });
          if (count === 0) continue;
          list = [...list.filter(({ index }) => index < first), ...added];
          [last, lastTerm] = [first + count - 1, term];
        }
        expect(log.recovered.lastIndex(1)).toBe(last);
        // The store is anywhere between what the log begins with and its end.
        const at = Math.floor(base + share * (last - base));
        const atTerm = list.find(({ index }) => index === at)?.term ?? lastTerm;
        const found = log.take(at === 0 ? NOTHING_APPLIED : stored(at, Math.min(atTerm, term)));
        expect(found.entries.map(({ index, term: of }) => `${index}/${of}`)).toEqual(
          list.filter(({ index }) => index > at).map(({ payload }) => Buffer.from(payload).toString()),
        );
        expect(found.applied.index).toBe(at);
        expect(found.hardState.term).toBe(term);
        expect(snapshot === undefined || at >= snapshot).toBe(true);
      }),
    );
  });

  test('go on from a snapshot that the store does not have yet, with its generation and members', () => {
    const members = { voters: [2, 3], outgoing: [], learners: [4] };
    const log = new Written()
      .note({ hardState: { term: 1, vote: 1 }, entries: entries(1, 5, 1) })
      .note({ snapshot: { ...point(9, 1), configuration: members } }, 3)
      .note({ entries: entries(10, 2, 1) });
    const found = log.take(stored(4, 1));
    expect(found.applied).toEqual({
      index: 9,
      term: 1,
      stampMs: 100,
      generation: 3,
      configuration: encodeConfiguration(members),
    });
    expect(found.configuration).toEqual(members);
    expect(found.entries.map(({ index }) => index)).toEqual([10, 11]);
  });

  test('keep what the store has where that is later than the snapshot', () => {
    const log = new Written()
      .note({ hardState: { term: 1, vote: 1 }, snapshot: point(9, 1) }, 3)
      .note({ entries: entries(10, 3, 1) });
    const found = log.take(stored(11, 1, 3));
    expect([found.applied.index, found.applied.generation]).toEqual([11, 3]);
    expect(found.entries.map(({ index }) => index)).toEqual([12]);
    expect(found.configuration).toEqual(VOTERS); // the row says nothing of members
  });

  test('begin with the first members where nothing says otherwise, and are taken once', () => {
    const log = new Written().note({ hardState: { term: 2, vote: 3 }, entries: entries(1, 2, 2) });
    expect([...log.recovered.groups]).toEqual([1]);
    expect(log.take().hardState).toEqual({ term: 2, vote: 3 });
    expect([...log.recovered.groups]).toEqual([]);
    const nobody = new RecoveredGroups().take(5, EMPTY_GROUP, NOTHING_APPLIED, NO_CONFIGURATION);
    expect([nobody.configuration, nobody.entries]).toEqual([NO_CONFIGURATION, []]);
  });

  test('of different groups do not mix', () => {
    const log = new Written()
      .note({ hardState: { term: 1, vote: 1 }, entries: entries(1, 3, 1) }, 1, 1)
      .note({ entries: entries(1, 7, 1) }, 1, 2)
      .note({ snapshot: point(20, 1) }, 4, 2);
    expect([log.recovered.lastIndex(1), log.recovered.lastIndex(2), log.recovered.lastIndex(3)]).toEqual([
      3, 20, 0,
    ]);
  });
});

describe('damage', () => {
  const log = () =>
    new Written()
      .note({ hardState: { term: 2, vote: 1 }, entries: entries(5, 3, 2) })
      .note({ entries: entries(8, 1, 2) });

  test('is a log that begins after what follows the store', () => {
    expect(() => log().take(stored(3, 1))).toThrow(StoreDamaged);
    expect(() => log().take()).toThrow(/ends at entry 0, the log goes on at 5/);
    expect(log().take(stored(4, 1)).entries).toHaveLength(4);
  });

  test('is a log that was trimmed further than the store reaches', () => {
    const trimmed = new RecoveredGroups();
    const state = { ...EMPTY_GROUP, term: 2, lastIndex: 9 };
    expect(() => trimmed.take(1, state, stored(8, 2), VOTERS)).toThrow(/trimmed after entry 9/);
    expect(trimmed.take(1, state, stored(9, 2), VOTERS).entries).toEqual([]);
  });

  test('is an entry, or a store, of a later term than the log ever knew', () => {
    const ahead = new Written().note({ entries: entries(1, 2, 7) });
    expect(() => ahead.take()).toThrow(/of term 7, the log knows of term 0 only/);
    const old = new RecoveredGroups();
    expect(() => old.take(1, { ...EMPTY_GROUP, term: 2 }, stored(4, 3), VOTERS)).toThrow(StoreDamaged);
  });
});

test('records of a write stand in the order that recovery needs', () => {
  const log = new Written().note({
    hardState: { term: 4, vote: 2 },
    snapshot: point(9, 4),
    entries: entries(10, 2, 4),
  });
  expect(log.types).toEqual([RecordType.hardState, RecordType.snapshot, RecordType.entry, RecordType.entry]);
  expect(storeMarkRecord(12)).toMatchObject({ type: RecordType.storeMark, index: 12 });
});
