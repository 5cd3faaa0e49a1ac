/** Bounds of the key-value service, checked at the edge before anything is queued. */
import { HoldfastError } from '@holdfast/client/error';
import type { Reason } from '@holdfast/client/reasons';

export const MAX_BATCH_OPERATIONS = 4_096;
export const MAX_BATCH_BYTES = 8 * 1024 * 1024;
/** Bytes of values that the reads of a transaction may give. What a replica refuses all refuse: it never changes. */
export const MAX_TRANSACTION_ANSWER_BYTES = 8 * 1024 * 1024;
export const MAX_TTL_MS = 315_360_000_000;
export const MAX_DEADLINE_MS = 300_000;
export const DEFAULT_DEADLINE_MS = 5_000;
export const DEFAULT_PARTITIONS = 8;
export const DEFAULT_REPLICATION = 3;
export const MAX_REPLICATION = 7;
export const MAX_PARTITIONS = 1_024;
export const DEFAULT_KEY_BYTES = 4_096;
export const MAX_KEY_BYTES = 65_536;
export const DEFAULT_VALUE_BYTES = 1_048_576;
export const MAX_VALUE_BYTES = 4_194_304;
export const MAX_LOCK_NAME_BYTES = 256;

/** Limits of one keyspace. */
export interface KeyspaceLimits {
  readonly name: string;
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
}

/** A refused request: nothing was written. */
export function refuse(
  reason: Reason,
  field: string,
  message: string,
  actual = '',
  limit = '',
): HoldfastError {
  return new HoldfastError({ reason, field, message, actual, limit, outcome: 'NOT_APPLIED' });
}

export function checkKey(key: Uint8Array, { name, maxKeyBytes }: KeyspaceLimits, field = 'key'): void {
  if (key.byteLength === 0)
    throw refuse(
      'KEY_EMPTY',
      field,
      'the key is empty, keys have 1 byte or more. Nothing was written.',
      '0',
      `1..${maxKeyBytes}`,
    );
  if (key.byteLength <= maxKeyBytes) return;
  const message = `key is ${count(key.byteLength)} bytes, limit ${count(maxKeyBytes)} (max_key_bytes of keyspace "${name}"). Nothing was written.`;
  throw refuse('KEY_TOO_LARGE', field, message, String(key.byteLength), String(maxKeyBytes));
}

export function checkValue(
  value: Uint8Array,
  { name, maxValueBytes }: KeyspaceLimits,
  field = 'value',
): void {
  if (value.byteLength <= maxValueBytes) return;
  const message = `value is ${count(value.byteLength)} bytes, limit ${count(maxValueBytes)} (max_value_bytes of keyspace "${name}"). Nothing was written.`;
  throw refuse('VALUE_TOO_LARGE', field, message, String(value.byteLength), String(maxValueBytes));
}

/** A time to live as a number; undefined: for ever. */
export function checkTtl(ttlMs: bigint | undefined, field = 'ttl_ms'): number | undefined {
  if (ttlMs === undefined) return undefined;
  if (ttlMs >= 1n && ttlMs <= BigInt(MAX_TTL_MS)) return Number(ttlMs);
  const message = `${field} is ${ttlMs}, allowed are 1 to ${MAX_TTL_MS} (ten years); leave it out for no expiry. Nothing was written.`;
  throw refuse('TTL_OUT_OF_RANGE', field, message, String(ttlMs), `1..${MAX_TTL_MS}`);
}

export function checkBatch(operations: number, bytes: number, field: string): void {
  if (operations === 0)
    throw refuse(
      'BATCH_EMPTY',
      field,
      `${field} is empty. Nothing was done.`,
      '0',
      `1..${MAX_BATCH_OPERATIONS}`,
    );
  if (operations > MAX_BATCH_OPERATIONS) {
    const message = `batch has ${count(operations)} operations, limit ${count(MAX_BATCH_OPERATIONS)}. Nothing was done; send it in parts.`;
    throw refuse('BATCH_TOO_LARGE', field, message, String(operations), String(MAX_BATCH_OPERATIONS));
  }
  if (bytes <= MAX_BATCH_BYTES) return;
  const message = `batch is ${count(bytes)} bytes, limit ${count(MAX_BATCH_BYTES)}. Nothing was done; send it in parts.`;
  throw refuse('BATCH_TOO_LARGE', field, message, String(bytes), String(MAX_BATCH_BYTES));
}

const NAME = /^[a-z0-9._-]{1,64}$/;

/** Whether a keyspace may be called so. Error: KEYSPACE_NAME_INVALID. */
export function checkKeyspaceName(name: string, field = 'keyspace'): void {
  if (NAME.test(name)) return;
  const why = name.includes('/') ? 'contains "/", which is reserved for tenants' : 'is not a keyspace name';
  const shown = JSON.stringify(name.slice(0, 80));
  const message = `${shown} ${why}; names are 1 to 64 of a-z 0-9 . _ -. Nothing was done.`;
  throw refuse('KEYSPACE_NAME_INVALID', field, message, name.slice(0, 80), '[a-z0-9._-]{1,64}');
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
