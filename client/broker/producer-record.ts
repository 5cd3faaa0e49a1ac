import type { Clock } from '../clock.ts';
import { HoldfastError } from '../error.ts';
import { invalid, keyBytes, valueBytes } from '../values.ts';
import type { EncodedRecord, Waiter } from './producer-batch.ts';
import type { ProducerHeaders, ProducerRecord } from './producer-options.ts';
import { BATCH_HEADER_BYTES } from './record-batch.ts';
import { type RecordHeader, recordSize } from './record-writer.ts';
import type { KnownTopic } from './topic-directory.ts';

/** Of the bytes of a record that are reckoned with, those that it does not need in a batch of its own. */
const SPARE_BYTES = 11;

/** A record that is not in a batch yet. */
export interface WaitingRecord extends EncodedRecord {
  readonly partition: number | undefined;
}

/** A record as it is written. Errors: INVALID_FIELD, KEY_TOO_LARGE, VALUE_TOO_LARGE. */
export function encodeRecord(
  { key, value, headers, timeMs, partition }: ProducerRecord,
  clock: Clock,
  number: number,
  { resolve, reject }: Waiter,
): WaitingRecord {
  if (timeMs !== undefined) checkTime(timeMs);
  const isText = typeof value === 'string' && value.isWellFormed();
  const content = value === undefined || value === null ? undefined : isText ? value : valueBytes(value);
  const names = key === undefined ? undefined : keyBytes(key);
  const list = headerList(headers);
  return {
    key: names,
    value: content,
    headers: list,
    timeMs: timeMs ?? clock.wallMs(),
    partition,
    bytes: recordSize(names, content, list),
    number,
    atMs: clock.monotonicMs(),
    resolve,
    reject,
  };
}

/** The record with bytes of its own: its caller may change those that it gave. */
export function keptRecord(record: WaitingRecord): WaitingRecord {
  const { key, value } = record;
  return {
    ...record,
    key: key && Buffer.from(key),
    value: value instanceof Uint8Array ? Buffer.from(value) : value,
  };
}

/** RECORD_TOO_LARGE for a record that no batch of its topic can take. */
export function checkSize(record: EncodedRecord, { name, maxBatchBytes }: KnownTopic): void {
  const bytes = record.bytes - SPARE_BYTES;
  const limit = maxBatchBytes - BATCH_HEADER_BYTES;
  if (bytes <= limit) return;
  throw new HoldfastError({
    reason: 'RECORD_TOO_LARGE',
    message: `a record takes up to ${bytes} bytes, and a batch of topic ${name} has room for ${limit}. Not sent.`,
    outcome: 'NOT_APPLIED',
    field: 'value',
    actual: String(bytes),
    limit: String(limit),
  });
}

/** The error of a record for a partition that there is not. */
export function partitionUnknown({ name, partitions }: KnownTopic, partition: number): HoldfastError {
  return new HoldfastError({
    reason: 'PARTITION_UNKNOWN',
    message: `partition is ${partition}, and topic ${name} has 0 to ${partitions - 1}. The record was not sent.`,
    outcome: 'NOT_APPLIED',
    field: 'partition',
    actual: String(partition),
    limit: `0..${partitions - 1}`,
  });
}

/** The error of a record that waited too long for room. */
export function takenTooLate(topic: string, timeoutMs: number): HoldfastError {
  const message = `a record for topic ${topic} was not taken within ${timeoutMs} ms. It was not sent.`;
  return new HoldfastError({ reason: 'DEADLINE_EXCEEDED', message });
}

const NO_HEADERS: readonly RecordHeader[] = Object.freeze([]);
/** The end of the year 9999. */
const LAST_TIME_MS = 253_402_300_799_999;

/** Headers as they are written. Error: INVALID_FIELD. */
function headerList(headers: ProducerHeaders | undefined): readonly RecordHeader[] {
  if (headers === undefined) return NO_HEADERS;
  const pairs = Symbol.iterator in headers ? headers : Object.entries(headers);
  return Array.from(pairs as Iterable<readonly [string, string | Uint8Array]>, ([name, value]) => {
    if (typeof name === 'string' && name.isWellFormed()) {
      if (value instanceof Uint8Array) return [name, value] as const;
      if (typeof value === 'string' && value.isWellFormed()) return [name, Buffer.from(value)] as const;
    }
    throw invalid('headers', 'a header is not a name and a text or bytes. The record was not sent.');
  });
}

/** INVALID_FIELD for a time that a record cannot have. */
function checkTime(timeMs: number): void {
  if (!(Number.isSafeInteger(timeMs) && timeMs >= 0 && timeMs <= LAST_TIME_MS))
    throw invalid(
      'timeMs',
      `timeMs is ${timeMs}, allowed are whole ms from 1970 to 9999. The record was not sent.`,
      String(timeMs),
    );
}
