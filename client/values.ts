import { HoldfastError } from './error.ts';

/** A key: text (stored as UTF-8) or raw bytes. */
export type Key = string | Uint8Array;

/** Anything that JSON can say. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined };

/** A value: text is stored as UTF-8, bytes as they are, everything else as JSON. */
export type Value = string | Uint8Array | JsonValue | object;

/** Greatest key of any keyspace, in bytes. */
export const MAX_KEY_BYTES = 65_536;
/** Greatest value of any keyspace, in bytes. */
export const MAX_VALUE_BYTES = 4_194_304;

/** Bytes of a key. Text with half a surrogate pair is refused: two such keys would become one. */
export function keyBytes(key: Key): Uint8Array {
  const bytes = typeof key === 'string' ? textBytes(key, 'key') : bytesOf(key, 'key');
  if (bytes.length <= MAX_KEY_BYTES) return bytes;
  throw tooLarge('KEY_TOO_LARGE', 'key', bytes.length, MAX_KEY_BYTES);
}

/** Bytes of a value. */
export function valueBytes(value: Value): Uint8Array {
  const bytes = ArrayBuffer.isView(value) ? bytesOf(value, 'value') : textBytes(valueText(value), 'value');
  if (bytes.length <= MAX_VALUE_BYTES) return bytes;
  throw tooLarge('VALUE_TOO_LARGE', 'value', bytes.length, MAX_VALUE_BYTES);
}

/** A bigint of 64 bits, signed or not; INVALID_FIELD for anything else. */
export function integer64(value: bigint | number, field: string, signed: boolean): bigint {
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) {
    const wide = BigInt(value);
    if ((signed ? BigInt.asIntN(64, wide) : BigInt.asUintN(64, wide)) === wide) return wide;
  }
  const limit = signed ? 'a 64-bit integer' : 'an unsigned 64-bit integer';
  throw invalid(field, `${field} is ${String(value)}, allowed is ${limit}`, String(value), limit);
}

/** An INVALID_FIELD error; nothing was sent. */
export function invalid(field: string, message: string, actual?: string, limit?: string): HoldfastError {
  return new HoldfastError({
    reason: 'INVALID_FIELD',
    message,
    outcome: 'NOT_APPLIED',
    field,
    actual,
    limit,
  });
}

function valueText(value: Value): string {
  if (typeof value === 'string') return value;
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new HoldfastError({
      reason: 'INVALID_FIELD',
      message: 'value cannot be written as JSON. Nothing was written.',
      outcome: 'NOT_APPLIED',
      field: 'value',
      cause,
    });
  }
  if (text !== undefined) return text;
  throw invalid('value', `value is ${typeof value}, allowed are text, bytes and JSON. Nothing was written.`);
}

function textBytes(text: string, field: string): Uint8Array {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  throw invalid(field, `${field} is text with half a surrogate pair, which UTF-8 cannot say; use bytes`);
}

function bytesOf(view: ArrayBufferView, field: string): Uint8Array {
  if (view instanceof Uint8Array) return view;
  if (ArrayBuffer.isView(view)) return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  throw invalid(field, `${field} is ${typeof view}, allowed are text and bytes`);
}

function tooLarge(reason: 'KEY_TOO_LARGE' | 'VALUE_TOO_LARGE', field: string, size: number, limit: number) {
  return new HoldfastError({
    reason,
    message: `${field} is ${size} bytes, limit ${limit} in any keyspace. Nothing was sent.`,
    outcome: 'NOT_APPLIED',
    field,
    actual: String(size),
    limit: String(limit),
  });
}
