/** Keys of the configuration and selections of them, checked. */
import type { KeySelection } from '@holdfast/proto/config/v1/config';
import { keySpan, type KeySpan } from '../coordination/config-command.ts';
import { MAX_CONFIG_KEY_BYTES, RESERVED_PREFIX } from '../coordination/config-limits.ts';
import { refuse } from '../kv/limits.ts';
import { binaryString, prefixEnd } from '../storage/row-key.ts';

const NOTHING = 'Nothing was done.';

/** A key as a binary string. Errors: KEY_EMPTY, KEY_TOO_LARGE, KEY_RESERVED. */
export function configKey(key: Uint8Array, field = 'key'): string {
  if (key.byteLength === 0) {
    const limit = `1..${MAX_CONFIG_KEY_BYTES}`;
    throw refuse('KEY_EMPTY', field, `${field} is empty, keys have 1 byte or more. ${NOTHING}`, '0', limit);
  }
  return checkedKey(key, field);
}

/** The keys that are selected. Errors: INVALID_FIELD, RANGE_INVERTED, and those of a key. */
export function selectedSpan(message: KeySelection | undefined, field = 'selection'): KeySpan {
  const selection = message?.selection;
  switch (selection?.case) {
    case 'key':
      return keySpan(configKey(selection.value, `${field}.key`));
    case 'prefix':
      return prefixSpan(checkedKey(selection.value, `${field}.prefix`));
    case 'range': {
      const start = checkedBound(selection.value.start, `${field}.range.start`);
      const end = selection.value.end && checkedBound(selection.value.end, `${field}.range.end`);
      if (end === undefined || end > start) return { start, end };
      const message = `${field}.range ends where it begins or before. ${NOTHING}`;
      throw refuse('RANGE_INVERTED', `${field}.range.end`, message);
    }
    default: {
      const message = `${field} names no key, prefix or range. ${NOTHING}`;
      throw refuse('INVALID_FIELD', field, message, '', 'key, prefix or range');
    }
  }
}

/** All keys that begin with a prefix. */
export function prefixSpan(prefix: string): KeySpan {
  const hasEnd = prefix !== '' && !/^\xff+$/.test(prefix);
  return { start: prefix, end: hasEnd ? prefixEnd(prefix) : undefined };
}

function checkedKey(key: Uint8Array, field: string): string {
  const text = checkedLength(key, field, MAX_CONFIG_KEY_BYTES);
  if (!text.startsWith(RESERVED_PREFIX)) return text;
  const message = `keys under ${RESERVED_PREFIX} are the cluster's own. ${NOTHING} Use other keys.`;
  throw refuse('KEY_RESERVED', field, message, RESERVED_PREFIX);
}

/** A range may end right behind the longest key. */
function checkedBound(key: Uint8Array, field: string): string {
  return checkedLength(key, field, MAX_CONFIG_KEY_BYTES + 1);
}

function checkedLength(key: Uint8Array, field: string, limit: number): string {
  if (key.byteLength <= limit) return binaryString(key);
  const message = `${field} is ${key.byteLength} bytes, limit ${limit}. ${NOTHING}`;
  throw refuse('KEY_TOO_LARGE', field, message, String(key.byteLength), String(limit));
}
