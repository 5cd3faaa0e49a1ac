import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CoordinationKind } from '../../node/coordination/coordination-command.ts';
import {
  MAX_SEQUENCE_COUNT,
  readSequenceOutcome,
  SequencePart,
  writeSequenceCommand,
  type SequenceCommand,
} from '../../node/coordination/sequence-part.ts';
import { isRefusal, type Outcome } from '../../node/coordination/refusal.ts';
import { ByteReader, ByteWriter } from '../../node/storage/byte-codec.ts';
import { MemoryRows } from './part-rows.ts';

const KIND = CoordinationKind.sequenceNext;
const PREFIX = 'group-prefix';

function read(command: SequenceCommand): SequenceCommand {
  const writer = new ByteWriter();
  writeSequenceCommand(writer, command);
  return new SequencePart(new MemoryRows(), PREFIX).parse(KIND, new ByteReader(writer.finish()));
}

/** The first number; undefined: it was refused. */
function firstOf(outcome: Outcome): number | undefined {
  return isRefusal(outcome) ? undefined : readSequenceOutcome(outcome);
}

const names = fc.constantFrom('a', 'a-', 'a.b', 'ab', 'b', 'z'.repeat(64));
const commands = fc.record({
  name: names,
  count: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: MAX_SEQUENCE_COUNT })),
});

test('numbers follow each other by name, through any number of restarts, and are listed in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(commands, fc.boolean()), { maxLength: 40 }), async (steps) => {
      const rows = new MemoryRows();
      // Rows of other families stand on both sides.
      rows.put(`${PREFIX}r`, Buffer.from('before'));
      rows.put(`${PREFIX}t`, Buffer.from('behind'));
      let part = new SequencePart(rows, PREFIX);
      const last = new Map<string, number>();
      for (const [command, isRestarted] of steps) {
        const { name, count } = command;
        expect(firstOf(part.apply(KIND, read(command)))).toBe((last.get(name) ?? 0) + 1);
        last.set(name, (last.get(name) ?? 0) + count);
        if (isRestarted) part = new SequencePart(rows, PREFIX);
      }
      const expected = [...last].sort().map(([name, at]) => ({ name, last: at }));
      expect(await part.list('', 1_000)).toEqual({ sequences: expected, more: false });
      const inParts = [];
      for (let more = true; more;) {
        const listed = await part.list(inParts.at(-1)?.name ?? '', 2);
        expect(listed.sequences.length).toBeLessThanOrEqual(2);
        inParts.push(...listed.sequences);
        more = listed.more;
      }
      expect(inParts).toEqual(expected);
    }),
  );
});

test('a sequence ends at 2^53 - 1, and what it has not left is refused and takes nothing', () => {
  const rows = new MemoryRows();
  const part = new SequencePart(rows, PREFIX);
  rows.put(`${PREFIX}sa`, new ByteWriter(8).u64(Number.MAX_SAFE_INTEGER - 3).finish());
  const before = rows.written();
  expect(part.apply(KIND, { name: 'a', count: 4 })).toEqual({
    refused: 'SEQUENCE_EXHAUSTED',
    actual: String(Number.MAX_SAFE_INTEGER - 3),
    limit: String(Number.MAX_SAFE_INTEGER),
  });
  expect(rows.written()).toEqual(before);
  expect(firstOf(part.apply(KIND, { name: 'a', count: 3 }))).toBe(Number.MAX_SAFE_INTEGER - 2);
  expect(part.apply(KIND, { name: 'a', count: 1 })).toMatchObject({ refused: 'SEQUENCE_EXHAUSTED' });
});

test('what cannot be applied is not a command', () => {
  for (const name of ['', 'A', 'a b', 'ä', 'x'.repeat(65)])
    expect(() => read({ name, count: 1 })).toThrow(RangeError);
  for (const count of [0, MAX_SEQUENCE_COUNT + 1])
    expect(() => read({ name: 'a', count })).toThrow(RangeError);
  expect(() => new SequencePart(new MemoryRows(), PREFIX).parse(KIND, new ByteReader(Buffer.of(1)))).toThrow(
    RangeError,
  );
});
