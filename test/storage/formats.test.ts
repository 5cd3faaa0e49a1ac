/** What stands on disk: encoders and decoders agree, and the clever parts agree with dumb ones. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteReader, ByteWriter } from '../../node/storage/byte-codec.ts';
import { crc32c } from '../../node/storage/level-checksum.ts';
import {
  BATCH_ALIGNMENT,
  SECTOR_BYTES,
  aligned,
  batchBytes,
  countZeroSectors,
  encodeBatch,
  isZero,
  readBody,
  readHead,
  type LogRecord,
} from '../../node/storage/log-format.ts';
import { EMPTY_GROUP, decodeOpening, encodeOpening } from '../../node/storage/log-opening.ts';
import { binaryBytes, binaryString, groupOf, groupPrefix, prefixEnd } from '../../node/storage/row-key.ts';

const LOG_ID = Buffer.from('0123456789abcdef', 'hex');
const u53 = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.nat({ max: 5_000 }).map((length) => new Uint8Array(length)),
  fc.nat({ max: 3_000 }).map((length) => new Uint8Array(length).fill(7)),
);
const record: fc.Arbitrary<LogRecord> = fc.record({
  type: fc.constantFrom(2, 3, 4),
  group: u53,
  term: u53,
  index: u53,
  stampMs: u53,
  kind: fc.nat({ max: 255 }),
  version: fc.nat({ max: 255 }),
  payload,
});
const records = fc.array(record, { minLength: 1, maxLength: 20 });

function encoded(items: readonly LogRecord[], sequence = 1): Buffer {
  const bytes = Buffer.alloc(aligned(batchBytes(items)));
  expect(encodeBatch(bytes, items, sequence, LOG_ID)).toBe(bytes.length);
  return bytes;
}

describe('the byte codec', () => {
  test('reads what it wrote, across the growth of its buffer', () => {
    const field = fc.oneof(
      u53.map((value) => ({ kind: 'u64' as const, value })),
      fc.nat({ max: 0xffffffff }).map((value) => ({ kind: 'u32' as const, value })),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => ({ kind: 'i64' as const, value })),
      payload.map((value) => ({ kind: 'bytes' as const, value })),
      fc.string({ unit: 'binary-ascii' }).map((value) => ({ kind: 'latin1' as const, value })),
    );
    fc.assert(
      fc.property(fc.array(field), fc.integer({ min: 1, max: 64 }), (fields, capacity) => {
        const writer = new ByteWriter(capacity);
        for (const { kind, value } of fields)
          (writer[kind] as (value: unknown) => unknown).call(writer, value);
        const reader = new ByteReader(writer.finish());
        for (const { kind, value } of fields) {
          const read = reader[kind]();
          expect(read instanceof Buffer ? new Uint8Array(read) : read).toEqual(value);
        }
        expect(reader.done).toBe(true);
      }),
    );
  });

  test('refuses to read past the end, and integers beyond 53 bits', () => {
    expect(() => new ByteReader(Uint8Array.of(1, 2)).u32()).toThrow(RangeError);
    expect(() => new ByteReader(Uint8Array.of(255, 0, 0, 0, 1)).bytes()).toThrow(RangeError);
    expect(() => new ByteReader(new Uint8Array(8).fill(255)).u64()).toThrow(RangeError);
  });
});

describe('a batch of the log', () => {
  test('is read as it was written, and lies on whole alignment units', () => {
    fc.assert(
      fc.property(records, u53, (items, sequence) => {
        const bytes = encoded(items, sequence);
        expect(bytes.length % BATCH_ALIGNMENT).toBe(0);
        const head = readHead(bytes, 0, LOG_ID);
        if (typeof head === 'string') throw new Error(head);
        expect(head.firstSequence).toBe(sequence);
        const body = readBody(bytes, 0, head);
        expect([body.badPayloads, body.torn]).toEqual([[], false]);
        expect(body.records!.map((each) => ({ ...each, payload: new Uint8Array(each.payload) }))).toEqual(
          items.map((each) => ({ ...each, payload: new Uint8Array(each.payload) })),
        );
      }),
    );
  });

  test('that lacks any sector is torn or, if that sector was zero anyway, whole', () => {
    fc.assert(
      fc.property(records, fc.nat(), (items, choice) => {
        const bytes = encoded(items);
        const sector = choice % (bytes.length / SECTOR_BYTES);
        const wasZero = isZero(bytes, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
        bytes.fill(0, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
        const head = readHead(bytes, 0, LOG_ID);
        if (head === 'zero') {
          expect(sector).toBe(0);
          return;
        }
        if (typeof head === 'string') throw new Error(head);
        expect(readBody(bytes, 0, head).torn).toBe(!wasZero);
      }),
    );
  });

  test('with a flipped bit in its head, table or a payload never passes', () => {
    fc.assert(
      fc.property(records, fc.nat(), fc.nat({ max: 7 }), (items, choice, bit) => {
        const bytes = encoded(items);
        bytes[choice % batchBytes(items)]! ^= 1 << bit;
        const head = readHead(bytes, 0, LOG_ID);
        if (typeof head === 'string') return;
        const body = readBody(bytes, 0, head);
        expect(body.records === undefined || body.badPayloads.length > 0).toBe(true);
      }),
    );
  });

  test('of another log is not taken for one of ours', () => {
    expect(
      readHead(
        encoded([{ type: 2, group: 1, term: 1, index: 1, stampMs: 1, kind: 1, version: 1, payload: LOG_ID }]),
        0,
        Buffer.alloc(8),
      ),
    ).toBe('other log');
  });

  test('zero sectors are counted as a dumb loop counts them', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(0, 0, 1), { minLength: 1, maxLength: 40 }), (sectors) => {
        const bytes = Buffer.concat(
          sectors.map((value, i) => Buffer.alloc(SECTOR_BYTES).fill(value === 0 ? 0 : i + 1, 500)),
        );
        expect(countZeroSectors(bytes, 0, bytes.length)).toBe(sectors.filter((value) => value === 0).length);
      }),
    );
  });
});

test('the opening of a segment is read as it was written', () => {
  const state = fc.record({
    term: u53,
    vote: u53,
    lastIndex: u53,
    storedIndex: u53,
    configuration: fc.uint8Array({ maxLength: 40 }),
  });
  const peers = fc.array(fc.tuple(u53, fc.uint8Array({ maxLength: 40 })), { maxLength: 5 });
  fc.assert(
    fc.property(
      u53,
      u53,
      fc.array(fc.tuple(u53, state), { maxLength: 30 }),
      peers,
      (segment, storeMark, groups, known) => {
        const opening = { segment, storeMark, groups: new Map(groups), peers: new Map(known) };
        expect(decodeOpening(encodeOpening(opening))).toEqual(opening);
      },
    ),
  );
  expect(EMPTY_GROUP.term).toBe(0);
});

describe('row keys', () => {
  test('sort as their bytes do', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
        const order = Buffer.compare(a, b);
        const [x, y] = [binaryString(a), binaryString(b)];
        expect(x < y ? -1 : x > y ? 1 : 0).toBe(order);
        expect(new Uint8Array(binaryBytes(x))).toEqual(a);
      }),
    );
  });

  test('the end of a prefix lies after all that begin with it and before all else that follows', () => {
    const bytes = fc
      .uint8Array({ maxLength: 4 })
      .map((each) => binaryString(each.map((byte) => (byte > 200 ? 255 : byte))));
    fc.assert(
      fc.property(bytes, bytes, (prefix, other) => {
        if (prefix === '' || /^\xff+$/.test(prefix)) return;
        expect(other >= prefix && other < prefixEnd(prefix)).toBe(other.startsWith(prefix));
      }),
    );
  });

  test('carry their group', () => {
    fc.assert(
      fc.property(u53, fc.nat(), (group, generation) => {
        expect(groupOf(`${groupPrefix(group, generation)}d`)).toBe(group);
      }),
    );
  });
});

test('CRC-32C gives the published check value', () => {
  expect(crc32c(Buffer.from('123456789'), 0, 9)).toBe(0xe3069283);
});
