import zlib from 'node:zlib';
import { HoldfastError } from '@holdfast/client';
import { crc32, plainCrc32 } from '@holdfast/client/broker/checksum';
import {
  BATCH_HEADER_BYTES,
  checkBatch,
  readBatchHeader,
  sealBatch,
} from '@holdfast/client/broker/record-batch';
import { readRecords } from '@holdfast/client/broker/record-reader';
import { RecordBatchWriter, type RecordHeader, recordSize } from '@holdfast/client/broker/record-writer';
import fc from 'fast-check';
import { expect, test } from 'vitest';

const bytes = (maxLength = 300) => fc.uint8Array({ maxLength });
const record = fc.record({
  step: fc.integer({ min: 1, max: 1_000 }),
  timeMs: fc.oneof(
    fc.integer({ min: 0, max: 253_402_300_799_999 }),
    fc.integer({ min: 1e12, max: 1e12 + 99 }),
  ),
  key: fc.option(bytes(40), { nil: undefined }),
  value: fc.option(fc.oneof(bytes(), fc.string({ unit: 'grapheme' })), { nil: undefined }),
  headers: fc.array(fc.tuple(fc.string({ unit: 'grapheme', maxLength: 9 }), bytes(20)), { maxLength: 3 }),
});
const records = fc.array(record, { minLength: 1, maxLength: 40 });
const compression = fc.constantFrom('none' as const, 'gzip' as const, 'zstd' as const);
const seal = fc.record({
  producerId: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  producerEpoch: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  sequence: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});

function build(
  given: readonly {
    step: number;
    timeMs: number;
    key: Uint8Array | undefined;
    value: Uint8Array | string | undefined;
    headers: RecordHeader[];
  }[],
  hasGaps: boolean,
) {
  const writer = new RecordBatchWriter();
  const expected = [];
  let delta = -1;
  for (const { step, timeMs, key, value, headers } of given) {
    delta += hasGaps ? step : 1;
    const before = writer.size;
    writer.append(timeMs, key, value, headers, delta);
    expect(writer.size - before).toBeLessThanOrEqual(recordSize(key, value, headers));
    const content = value === undefined ? undefined : Buffer.from(value as string);
    expected.push({ delta, timeMs, key: key && Buffer.from(key), value: content, headers });
  }
  return { writer, expected };
}

const plain = (headers: readonly RecordHeader[]) => headers.map(([name, value]) => [name, [...value]]);

test('what is written is read again, whatever the compression', () => {
  fc.assert(
    fc.property(records, compression, seal, fc.boolean(), (given, how, by, hasGaps) => {
      const { writer, expected } = build(given, hasGaps);
      const { size } = writer;
      const batch = writer.finish({ compression: how, seal: by });
      const header = checkBatch(batch);
      expect(batch.length).toBeLessThanOrEqual(size);
      expect(header).toMatchObject(by);
      expect(header.count).toBe(given.length);
      expect(header.lastDelta).toBe(expected.at(-1)!.delta);
      expect(header.maxTimeMs).toBe(Math.max(...given.map(({ timeMs }) => timeMs)));
      const read = readRecords(batch);
      expect(read.map(({ delta, timeMs, key, value }) => ({ delta, timeMs, key, value }))).toEqual(
        expected.map(({ delta, timeMs, key, value }) => ({ delta, timeMs, key, value })),
      );
      expect(read.map(({ headers }) => plain(headers))).toEqual(
        expected.map(({ headers }) => plain(headers)),
      );
    }),
  );
});

test('an empty key or value is not the same as none', () => {
  const writer = new RecordBatchWriter();
  writer.append(1, new Uint8Array(0), '');
  writer.append(1, undefined, undefined);
  const [first, second] = readRecords(writer.finish());
  expect([first!.key?.length, first!.value?.length]).toEqual([0, 0]);
  expect([second!.key, second!.value]).toEqual([undefined, undefined]);
});

test('a seal changes who made the batch, and nothing else', () => {
  fc.assert(
    fc.property(records, seal, seal, compression, (given, first, second, how) => {
      const batch = build(given, false).writer.finish({ compression: how, seal: first });
      const before = Buffer.from(batch);
      sealBatch(batch, second);
      expect(checkBatch(batch)).toEqual({ ...readBatchHeader(before), ...second });
      expect(Buffer.compare(batch.subarray(BATCH_HEADER_BYTES), before.subarray(BATCH_HEADER_BYTES))).toBe(0);
    }),
  );
});

test('records and headers are views of the batch', () => {
  const writer = new RecordBatchWriter();
  writer.append(1, Buffer.from('key'), 'value', [['name', Buffer.from('content')]]);
  const batch = writer.finish();
  const [only] = readRecords(batch);
  for (const view of [only!.key!, only!.value!, only!.headers[0]![1]]) expect(view.buffer).toBe(batch.buffer);
});

test('one bit that is not as it was is noticed', () => {
  fc.assert(
    fc.property(records, compression, fc.nat(), (given, how, where) => {
      const batch = build(given, false).writer.finish({ compression: how });
      const bit = where % (batch.length * 8);
      batch[bit >> 3]! ^= 1 << (bit & 7);
      // That of the compression is before what the checksum covers.
      const whole = () => checkBatch(batch) && readRecords(batch);
      const isCompression = bit >> 3 === 5;
      expect(whole).toThrow(isCompression ? /_UNREADABLE|_UNKNOWN|_CORRUPT/ : /BATCH_CORRUPT/);
    }),
  );
});

/** Reads whatever it is; only errors of Holdfast may come of it. */
function readAnything(batch: Uint8Array): number {
  try {
    return readRecords(batch).length;
  } catch (error) {
    expect(error).toBeInstanceOf(HoldfastError);
    expect((error as HoldfastError).reason).toMatch(
      /^(BATCH_CORRUPT|COMPRESSION_UNKNOWN|RECORDS_UNREADABLE)$/,
    );
    return -1;
  }
}

test('cut or changed batches are read or refused, and never more is read than is stated', () => {
  fc.assert(
    fc.property(
      records,
      compression,
      fc.array(fc.tuple(fc.nat(), fc.nat(255))),
      fc.nat(),
      (given, how, edits, cut) => {
        const whole = build(given, true).writer.finish({ compression: how });
        const batch = Buffer.from(whole.subarray(0, whole.length - (cut % 3 === 0 ? cut % whole.length : 0)));
        for (const [at, value] of edits) batch[at % Math.max(1, batch.length)] = value;
        if (batch.length >= 4) batch.writeUInt32BE(batch.length, 0);
        const count = readAnything(batch);
        if (count >= 0) expect(count).toBe(readBatchHeader(batch).count);
      },
    ),
    { numRuns: 400 },
  );
});

test('any bytes behind a sound head are read or refused', () => {
  fc.assert(
    fc.property(
      bytes(200),
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 0, max: 2 }),
      (content, count, how) => {
        const writer = new RecordBatchWriter();
        writer.append(1, undefined, Buffer.concat([content, Buffer.alloc(10)]));
        const batch = Buffer.from(writer.finish());
        batch[5] = how;
        batch.writeUInt32BE(count, 12);
        batch.writeUInt32BE(1_000, 16);
        batch.set(content, BATCH_HEADER_BYTES);
        readAnything(batch);
      },
    ),
    { numRuns: 400 },
  );
});

test.each(['gzip', 'zstd'] as const)('%s is not unpacked beyond the size that is stated', (how) => {
  const writer = new RecordBatchWriter();
  writer.append(1, undefined, Buffer.alloc(8_000_000));
  const batch = Buffer.from(writer.finish({ compression: how }));
  expect(batch.length).toBeLessThan(20_000);
  expect(readRecords(batch)[0]!.value!.length).toBe(8_000_000);
  batch.writeUInt32BE(1_000, 56);
  expect(() => readRecords(batch)).toThrow(/RECORDS_UNREADABLE/);
  batch.writeUInt32BE(0xffff_ffff, 56);
  expect(() => readRecords(batch)).toThrow(/BATCH_CORRUPT/);
});

test('every number of the head has bounds', () => {
  const writer = new RecordBatchWriter();
  writer.append(5, undefined, 'value');
  writer.append(5, undefined, 'value');
  const batch = Buffer.from(writer.finish());
  const cases: [string, (copy: Buffer) => void][] = [
    ['version', (copy) => copy.writeUInt8(2, 4)],
    ['reserved', (copy) => copy.writeUInt16BE(1, 6)],
    ['count', (copy) => copy.writeUInt32BE(0, 12)],
    ['count', (copy) => copy.writeUInt32BE(2 ** 31, 12) && copy.writeUInt32BE(2 ** 32 - 1, 16)],
    ['last_offset', (copy) => copy.writeUInt32BE(0, 16)],
    ['time', (copy) => copy.writeBigInt64BE(2n ** 60n, 40)],
    ['max_time', (copy) => copy.writeBigInt64BE(4n, 48)],
    ['uncompressed', (copy) => copy.writeUInt32BE(3, 56)],
    ['length', (copy) => copy.writeUInt32BE(3, 0)],
    ['compression', (copy) => copy.writeUInt8(3, 5)],
  ];
  for (const [field, change] of cases) {
    const copy = Buffer.from(batch);
    change(copy);
    expect(() => readBatchHeader(copy), field).toThrow(expect.objectContaining({ field: `batch.${field}` }));
  }
});

test('the checksum is that of gzip, also without help', () => {
  fc.assert(
    fc.property(bytes(), (content) => {
      expect(plainCrc32(content)).toBe(zlib.crc32(content));
      expect(crc32(content)).toBe(zlib.crc32(content));
    }),
  );
});
