/** Records of callers that do not make or read batches themselves. */
import { create } from '@bufbuild/protobuf';
import { RecordReader } from '@holdfast/client/broker/record-reader';
import { RecordBatchWriter } from '@holdfast/client/broker/record-writer';
import { RecordSchema, type Record as RecordMessage } from '@holdfast/proto/broker/v1/broker';
import { refuse } from './topic-limits.ts';

/** A batch of records without a producer. Error: INVALID_FIELD. */
export function encodeBatch(records: readonly RecordMessage[], nowMs: number): Uint8Array {
  if (records.length === 0)
    throw refuse('INVALID_FIELD', 'records', 'records is empty. Nothing was kept.', '0', '1..');
  const writer = new RecordBatchWriter();
  for (const { timeMs, key, value, headers } of records) {
    const at = timeMs === undefined ? nowMs : checkedTime(timeMs);
    writer.append(
      at,
      key,
      value,
      headers.map(({ name, value: content }) => [name, content] as const),
    );
  }
  return writer.finish();
}

/** Puts the records of a batch from an offset on behind others. Error: RECORDS_UNREADABLE. */
export function readRecords(
  batch: Uint8Array,
  baseOffset: number,
  from: number,
  into: RecordMessage[],
): void {
  const reader = new RecordReader(batch);
  for (let record = reader.next(); record !== undefined; record = reader.next()) {
    const { delta, timeMs, key, value, headers } = record;
    if (baseOffset + delta < from) continue;
    into.push(
      create(RecordSchema, {
        offset: BigInt(baseOffset + delta),
        timeMs: BigInt(timeMs),
        ...(key !== undefined && { key: key as Uint8Array<ArrayBuffer> }),
        ...(value !== undefined && { value: value as Uint8Array<ArrayBuffer> }),
        headers: headers.map(([name, content]) => ({ name, value: content as Uint8Array<ArrayBuffer> })),
      }),
    );
  }
}

function checkedTime(timeMs: bigint): number {
  if (timeMs >= 0n && timeMs <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(timeMs);
  const message = `time_ms is ${timeMs}, allowed are 0 to 2^53-1. Nothing was kept.`;
  throw refuse('INVALID_FIELD', 'time_ms', message, String(timeMs), '0..2^53-1');
}
