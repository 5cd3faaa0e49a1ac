/** Records of callers that do not make or read batches themselves. */
import { BatchWriter, readRecords as readStored } from '@holdfast/client/broker/record-batch';
import { create } from '@bufbuild/protobuf';
import { RecordSchema, type Record as RecordMessage } from '@holdfast/proto/broker/v1/broker';
import { refuse } from './topic-limits.ts';

/** A batch of records without a producer. Error: INVALID_FIELD. */
export function encodeBatch(records: readonly RecordMessage[], nowMs: number): Buffer {
  if (records.length === 0)
    throw refuse('INVALID_FIELD', 'records', 'records is empty. Nothing was kept.', '0', '1..');
  const writer = new BatchWriter();
  for (const { timeMs, key, value, headers } of records)
    writer.add({ timeMs: timeMs === undefined ? nowMs : checkedTime(timeMs), key, value, headers });
  return writer.finish();
}

/** Puts the records of a batch from an offset on behind others. Error: RECORDS_UNREADABLE. */
export function readRecords(
  batch: Uint8Array,
  baseOffset: number,
  from: number,
  into: RecordMessage[],
): void {
  for (const { offset, timeMs, key, value, headers } of readStored(batch, baseOffset, from))
    into.push(
      create(RecordSchema, {
        offset: BigInt(offset),
        timeMs: BigInt(timeMs),
        ...(key !== undefined && { key: key as Uint8Array<ArrayBuffer> }),
        ...(value !== undefined && { value: value as Uint8Array<ArrayBuffer> }),
        headers: headers.map(({ name, value: bytes }) => ({ name, value: bytes as Uint8Array<ArrayBuffer> })),
      }),
    );
}

function checkedTime(timeMs: bigint): number {
  if (timeMs >= 0n && timeMs <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(timeMs);
  const message = `time_ms is ${timeMs}, allowed are 0 to 2^53-1. Nothing was kept.`;
  throw refuse('INVALID_FIELD', 'time_ms', message, String(timeMs), '0..2^53-1');
}
