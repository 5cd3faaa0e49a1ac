import type { Entry as EntryMessage } from '@holdfast/proto/kv/v1/kv';
import { keyOfBytes, textOfBytes } from './key-text.ts';
import type { Key } from './values.ts';

/** A key with its value, as it was when it was read. */
export class Entry {
  /** The key's bytes. */
  readonly keyBytes: Uint8Array;
  /** The value's bytes; empty in scans with `keysOnly`. */
  readonly bytes: Uint8Array;
  /** Grows with every write of the key and is never used twice; for `ifVersion`. */
  readonly version: bigint;
  /** When the entry ends, in milliseconds since 1970 by the cluster's clock; undefined: never. */
  readonly expiresAtMs: number | undefined;

  constructor(key: Uint8Array, value: Uint8Array, version: bigint, expiresAtMs: number | undefined) {
    this.keyBytes = key;
    this.bytes = value;
    this.version = version;
    this.expiresAtMs = expiresAtMs;
  }

  /** An entry from its message. */
  static fromMessage(entry: EntryMessage): Entry {
    const expiresAtMs = entry.expiresAtMs === undefined ? undefined : Number(entry.expiresAtMs);
    return new Entry(entry.key, entry.value, entry.version, expiresAtMs);
  }

  /** The key: text if its bytes are UTF-8, else the bytes. */
  get key(): Key {
    return keyOfBytes(this.keyBytes);
  }

  /** When the entry ends; undefined: never. */
  get expiresAt(): Date | undefined {
    return this.expiresAtMs === undefined ? undefined : new Date(this.expiresAtMs);
  }

  /** The value as text. Bytes that are not UTF-8 become U+FFFD. */
  text(): string {
    return textOfBytes(this.bytes);
  }

  /** The value parsed as JSON; SyntaxError if it is not. The type is the caller's claim, it is not checked. */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }
}
