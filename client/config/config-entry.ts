import { keyOfBytes, textOfBytes } from '../key-text.ts';
import type { Key } from '../values.ts';

/** What an entry is made of. */
export interface ConfigEntryInit {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly version: bigint;
  /** 0: none. */
  readonly lease: bigint;
}

/** A key of the configuration with its value, as it was when it was read. */
export class ConfigEntry {
  /** The key's bytes. */
  readonly keyBytes: Uint8Array;
  /** The value's bytes; empty with `keysOnly`, and of a delete. */
  readonly bytes: Uint8Array;
  /** Revision at which the key came into being. */
  readonly createRevision: bigint;
  /** Revision of the last change; for `ifModRevision`. */
  readonly modRevision: bigint;
  /** Changes since it came into being, the first included. */
  readonly version: bigint;
  /** Lease that it ends with; undefined: none. */
  readonly lease: bigint | undefined;

  /** @internal */
  constructor(message: ConfigEntryInit) {
    this.keyBytes = message.key;
    this.bytes = message.value;
    this.createRevision = message.createRevision;
    this.modRevision = message.modRevision;
    this.version = message.version;
    this.lease = message.lease === 0n ? undefined : message.lease;
  }

  /** The key: text if its bytes are UTF-8, else the bytes. */
  get key(): Key {
    return keyOfBytes(this.keyBytes);
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

/** The entry of a message; undefined: there was none. */
export function entryOf(message: ConfigEntryInit | undefined): ConfigEntry | undefined {
  return message === undefined ? undefined : new ConfigEntry(message);
}
