/** Messages of `holdfast.broker.v1.BrokerService` and what a node makes of them. */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import { errorToMessage } from '@holdfast/client/error-mapping';
import {
  Acks,
  FetchFormat,
  FetchResultSchema,
  ProduceResultSchema,
  type FetchPartition,
  type FetchRequest,
  type FetchResult,
  type ProducePartition,
  type ProduceResult,
  type Record as RecordMessage,
} from '@holdfast/proto/broker/v1/broker';
import { batchHeader, batchProblem, type BatchHeader } from '../broker/batch-check.ts';
import type { ReadFrames } from '../broker/broker.ts';
import { encodeBatch, readRecords } from '../broker/batch-messages.ts';
import { MAX_REQUEST_PARTITIONS, refuse } from '../broker/topic-limits.ts';
import type { TopicPartition } from '../broker/topic-partition.ts';
import { asHoldfastError } from './kv-messages.ts';

export const DEFAULT_FETCH_BYTES = 1024 * 1024;
export const MAX_FETCH_BYTES = 8 * 1024 * 1024;
export const MAX_FETCH_WAIT_MS = 60_000;

/** A batch that is sound. */
export interface CheckedBatch {
  readonly batch: Uint8Array;
  readonly header: BatchHeader;
}

/**
 * What a partition is to take. Errors: BATCH_TOO_LARGE, RECORD_TOO_LARGE, BATCH_CORRUPT,
 * COMPRESSION_UNKNOWN, INVALID_FIELD.
 */
export function checkedBatch(
  { content }: ProducePartition,
  { settings, topic, number }: TopicPartition,
  clock: Clock,
): CheckedBatch {
  if (content.case === undefined)
    throw refuse('INVALID_FIELD', 'content', 'there is neither a batch nor records. Nothing was kept.');
  const batch = content.case === 'batch' ? content.value : encodeBatch(content.value.records, clock.wallMs());
  const problem = batchProblem(batch, settings.maxBatchBytes);
  if (problem === undefined) return { batch, header: batchHeader(batch) };
  const { reason, message, actual, limit } = problem;
  const where = `partition ${number} of topic "${topic}": `;
  if (content.case === 'records' && reason === 'BATCH_TOO_LARGE')
    checkRecords(content.value.records, settings.maxBatchBytes, where);
  throw refuse(reason, content.case, `${where}${message} Nothing was kept.`, actual, limit);
}

/** Whether each would do as a batch of its own. Error: RECORD_TOO_LARGE. */
function checkRecords(records: readonly RecordMessage[], maxBytes: number, where: string): void {
  for (const [at, record] of records.entries()) {
    const { byteLength } = encodeBatch([record], 0);
    if (byteLength <= maxBytes) continue;
    const message = `${where}record ${at} alone makes a batch of ${byteLength} bytes, limit ${maxBytes} (max_batch_bytes of the topic). Nothing was kept.`;
    throw refuse('RECORD_TOO_LARGE', 'records', message, String(byteLength), String(maxBytes));
  }
}

/** Error: INVALID_FIELD. */
export function acksOf(acks: Acks): 'leader' | 'majority' {
  if (acks === Acks.LEADER) return 'leader';
  if (acks === Acks.MAJORITY || acks === Acks.UNSPECIFIED) return 'majority';
  const message = `acks ${String(acks)} are not known. Nothing was kept.`;
  throw refuse('INVALID_FIELD', 'acks', message, String(acks), 'MAJORITY, LEADER');
}

/** Each partition once. Error: INVALID_FIELD. */
export function checkPartitions(
  partitions: readonly { readonly topic: string; readonly partition: number }[],
): void {
  if (partitions.length === 0)
    throw refuse('INVALID_FIELD', 'partitions', 'partitions is empty. Nothing was done.', '0', '1..1024');
  if (partitions.length > MAX_REQUEST_PARTITIONS) {
    const message = `there are ${partitions.length} partitions, limit ${MAX_REQUEST_PARTITIONS}. Nothing was done.`;
    throw refuse('INVALID_FIELD', 'partitions', message, String(partitions.length), '1..1024');
  }
  if (partitions.length === 1) return;
  const seen = new Set<string>();
  for (const { topic, partition } of partitions) {
    const name = `${topic}/${partition}`;
    if (seen.has(name)) {
      const message = `partition ${partition} of topic "${topic}" stands twice in one request. Nothing was done.`;
      throw refuse('INVALID_FIELD', 'partitions', message, name);
    }
    seen.add(name);
  }
}

export function produceError(error: unknown): ProduceResult {
  const message = errorToMessage(asHoldfastError(error));
  return create(ProduceResultSchema, { error: message });
}

/** How much, how long and how a fetch is to be answered. */
export interface FetchTerms {
  readonly maxBytes: number;
  readonly waitMs: number;
  readonly isDecoded: boolean;
}

/** Error: INVALID_FIELD. */
export function fetchTerms({ partitions, waitMs, maxBytes, format }: FetchRequest): FetchTerms {
  checkPartitions(partitions);
  for (const { offset } of partitions)
    if (offset > BigInt(Number.MAX_SAFE_INTEGER))
      throw refuse(
        'INVALID_FIELD',
        'offset',
        `offset ${offset} is too large. Nothing was read.`,
        String(offset),
      );
  within('wait_ms', waitMs, MAX_FETCH_WAIT_MS);
  within('max_bytes', maxBytes, MAX_FETCH_BYTES);
  if (FetchFormat[format] === undefined)
    throw refuse('INVALID_FIELD', 'format', `format ${String(format)} is not known. Nothing was read.`);
  return {
    maxBytes: maxBytes === 0 ? DEFAULT_FETCH_BYTES : maxBytes,
    waitMs,
    isDecoded: format === FetchFormat.RECORDS,
  };
}

/** Batches as they are asked for. Error: RECORDS_UNREADABLE, those of the first one cannot be decoded. */
export function fetchResult(
  { topic, partition, offset }: FetchPartition,
  { frames, nextOffset, logStart, logEnd }: ReadFrames,
  isDecoded: boolean,
): FetchResult {
  const bounds = { topic, partition, logStart: BigInt(logStart), logEnd: BigInt(logEnd) };
  if (!isDecoded) {
    const batches = frames.map(({ baseOffset, appendedAtMs, batch }) => ({
      baseOffset: BigInt(baseOffset),
      appendedAtMs: BigInt(appendedAtMs),
      batch: batch as Uint8Array<ArrayBuffer>,
    }));
    return create(FetchResultSchema, { ...bounds, batches, nextOffset: BigInt(nextOffset) });
  }
  const records: RecordMessage[] = [];
  for (const { baseOffset, batch } of frames) {
    const before = records.length;
    try {
      readRecords(batch, baseOffset, Number(offset), records);
    } catch (error) {
      if (baseOffset <= offset) throw error;
      // What is before it is given, and it is met by whoever goes on.
      records.length = before;
      return create(FetchResultSchema, { ...bounds, records, nextOffset: BigInt(baseOffset) });
    }
  }
  return create(FetchResultSchema, { ...bounds, records, nextOffset: BigInt(nextOffset) });
}

export function fetchError({ topic, partition }: FetchPartition, error: unknown): FetchResult {
  const failure = asHoldfastError(error);
  const message = errorToMessage(failure);
  const range = failure.reason === 'OFFSET_OUT_OF_RANGE' ? failure.limit?.split('..') : undefined;
  const bounds = range && { logStart: BigInt(range[0]!), logEnd: BigInt(range[1]!) };
  return create(FetchResultSchema, { topic, partition, error: message, ...bounds });
}

function within(field: string, value: number, limit: number): void {
  if (value <= limit) return;
  const message = `${field} is ${value}, limit ${limit}. Nothing was read.`;
  throw refuse('INVALID_FIELD', field, message, String(value), `0..${limit}`);
}
