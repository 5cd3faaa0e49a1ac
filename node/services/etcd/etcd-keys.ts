/** Keys and ranges of etcd's API: they are the configuration's keys, byte for byte. */
import { create } from '@bufbuild/protobuf';
import { KeyValueSchema, type KeyValue } from '@holdfast/proto/etcd/kv';
import { keySpan, type KeySpan } from '../../coordination/config-command.ts';
import { MAX_CONFIG_KEY_BYTES, RESERVED_PREFIX } from '../../coordination/config-limits.ts';
import type { ConfigEntry } from '../../coordination/coordination-events.ts';
import { binaryString } from '../../storage/row-key.ts';
import { EtcdError, invalid } from './etcd-error.ts';

const EVERYTHING_FROM = '\0';

/** One key. Errors: key is not provided, request is too large, keys of the cluster's own. */
export function oneKey(key: Uint8Array): string {
  const text = readKey(key);
  if (text.startsWith(RESERVED_PREFIX)) throw reserved();
  return text;
}

/**
 * The keys from `key` up to `rangeEnd`: empty: one; a zero byte: to the last; undefined: the
 * range ends where it begins, or before, and has none. Ranges do not show keys of the cluster's
 * own; whoever names one is refused.
 */
export function rangeSpan(key: Uint8Array, rangeEnd: Uint8Array): KeySpan | undefined {
  if (rangeEnd.byteLength === 0) return keySpan(oneKey(key));
  const start = readKey(key);
  if (rangeEnd.byteLength > MAX_CONFIG_KEY_BYTES + 1) throw invalid('request is too large', 'range_end');
  const end = binaryString(rangeEnd);
  // The first key that there may be is a zero byte: from there on, all.
  if (end === EVERYTHING_FROM) return { start: start === EVERYTHING_FROM ? '' : start, end: undefined };
  return end > start ? { start, end } : undefined;
}

function readKey(key: Uint8Array): string {
  if (key.byteLength === 0) throw invalid('key is not provided', 'key');
  if (key.byteLength > MAX_CONFIG_KEY_BYTES) throw invalid('request is too large', 'key');
  return binaryString(key);
}

export function keyValue(entry: ConfigEntry, keysOnly = false): KeyValue {
  return create(KeyValueSchema, {
    key: entry.key as Uint8Array<ArrayBuffer>,
    value: keysOnly ? new Uint8Array(0) : (entry.value as Uint8Array<ArrayBuffer>),
    createRevision: BigInt(entry.createRevision),
    modRevision: BigInt(entry.modRevision),
    version: BigInt(entry.version),
    lease: entry.lease,
  });
}

function reserved(): EtcdError {
  const text = `keys under ${RESERVED_PREFIX} are the cluster's own`;
  return new EtcdError({ reason: 'KEY_RESERVED', message: text, field: 'key' }, 'PERMISSION_DENIED', text);
}
