/**
 * The rows of the configuration.
 *
 *   p page                  index: key and position of each change, the newest of a key first
 *   e revision number       changes: key, value, and which change was replaced
 *   g                       counters
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { binaryBytes, binaryString, type RowKey } from '../storage/row-key.ts';
import { CHANGE_BYTES } from './config-limits.ts';
import type { ConfigEntry, ConfigEvent, EventPosition } from './coordination-events.ts';
import type { LiveRow } from './machine-part.ts';
import type { EntryCodec } from './tree-page.ts';

/** What the index knows of one change of a key. */
export interface KeyVersion {
  readonly createRevision: number;
  /** Changes since it came into being; 0: it was deleted. */
  readonly version: number;
  readonly lease: bigint;
  readonly valueBytes: number;
}

/** One change of one key, as found. */
export interface FoundVersion extends KeyVersion {
  readonly key: string;
  readonly position: EventPosition;
}

const LAST = Number.MAX_SAFE_INTEGER;
const LAST_NUMBER = 0xffff_ffff;
const TWO_32 = 0x1_0000_0000;
/** Characters of a position in a name. */
const POSITION_LENGTH = 12;
/** Ends a key in the index: below everything that a longer key goes on with. */
const KEY_END = '\0\0';

export const VERSIONS: EntryCodec<KeyVersion> = {
  write(writer, { createRevision, version, lease, valueBytes }) {
    writer.u64(createRevision).u64(version).i64(lease).u32(valueBytes);
  },
  read(reader) {
    const [createRevision, version] = [reader.u64(), reader.u64()];
    return { createRevision, version, lease: reader.i64(), valueBytes: reader.u32() };
  },
  bytes: () => 28,
};

/** Bytes that a change counts. */
export function changeBytes(key: string, valueBytes: number): number {
  return CHANGE_BYTES + key.length + valueBytes;
}

/** Where the changes of a key begin in the index. Keys are in their own order there. */
export function indexedKey(key: string): string {
  return (key.includes('\0') ? key.replaceAll('\0', '\0\xff') : key) + KEY_END;
}

/** Behind all changes of a key. */
export function behindKey(indexed: string): string {
  return `${indexed.slice(0, -1)}\x01`;
}

/** Where a change is in the index, behind its key: the newest is first. */
export function indexedPosition({ revision, number }: EventPosition): string {
  return positionText(LAST - revision, LAST_NUMBER - number);
}

/** Behind its key, where the changes up to a revision begin. */
export function indexedUpTo(revision: number): string {
  return positionText(LAST - Math.min(revision, LAST), 0);
}

/** The part of an index key that `indexedKey` made. */
export function keyPart(indexKey: string): string {
  return indexKey.slice(0, -POSITION_LENGTH);
}

/** The key of that part. */
export function keyOfPart(part: string): string {
  const key = part.slice(0, -KEY_END.length);
  return key.includes('\0') ? key.replaceAll('\0\xff', '\0') : key;
}

export function positionOf(indexKey: string): EventPosition {
  const at = indexKey.length - POSITION_LENGTH;
  const revision = LAST - (wordAt(indexKey, at) * TWO_32 + wordAt(indexKey, at + 4));
  return { revision, number: LAST_NUMBER - wordAt(indexKey, at + 8) };
}

/** The rest of the name of a change's row. */
export function eventName({ revision, number }: EventPosition): string {
  return positionText(revision, number);
}

/** Reads the position back. */
export function positionOfName(name: string): EventPosition {
  return { revision: wordAt(name, 0) * TWO_32 + wordAt(name, 4), number: wordAt(name, 8) };
}

function positionText(revision: number, number: number): string {
  const high = Math.floor(revision / TWO_32);
  return wordText(high) + wordText(revision - high * TWO_32) + wordText(number);
}

function wordText(word: number): string {
  return String.fromCharCode(word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff);
}

function wordAt(text: string, at: number): number {
  const [a, b] = [text.charCodeAt(at), text.charCodeAt(at + 1)];
  return a * 0x100_0000 + b * 0x1_0000 + text.charCodeAt(at + 2) * 0x100 + text.charCodeAt(at + 3);
}

const EVENT_FORMAT = 1;

/** A change as a row. `previous`: the change that it replaced, unless that was a delete. */
export function encodeEvent(
  key: string,
  { createRevision, version, lease }: KeyVersion,
  value: Uint8Array,
  previous: EventPosition | undefined,
): Uint8Array {
  const writer = new ByteWriter(48 + key.length + value.byteLength);
  writer.u8(EVENT_FORMAT).u8(previous === undefined ? 0 : 1);
  writer.u64(createRevision).u64(version).i64(lease);
  if (previous !== undefined) writer.u64(previous.revision).u32(previous.number);
  return writer.latin1(key).bytes(value).finish();
}

/** A change as it is told. Its bytes are views of the row. */
export function decodeEvent(content: Uint8Array, { revision, number }: EventPosition): ConfigEvent {
  const reader = new ByteReader(content);
  const format = reader.u8();
  if (format !== EVENT_FORMAT) throw new RangeError(`change of unknown format ${format}`);
  const hasPrevious = reader.u8() === 1;
  const [createRevision, version] = [reader.u64(), reader.u64()];
  const lease = reader.i64();
  const previous = hasPrevious ? { revision: reader.u64(), number: reader.u32() } : undefined;
  const [key, value] = [reader.bytes(), reader.bytes()];
  const entry: ConfigEntry = { key, value, createRevision, modRevision: revision, version, lease };
  return { revision, number, isDelete: version === 0, entry, previous };
}

/** Names the rows of changes. */
export class EventRows {
  readonly #prefix: RowKey;

  constructor(prefix: RowKey) {
    this.#prefix = prefix;
  }

  row(position: EventPosition): RowKey {
    return this.#prefix + eventName(position);
  }

  positionOf(row: RowKey): EventPosition {
    return positionOfName(row.slice(this.#prefix.length));
  }
}

/** What the configuration counts. */
export class ConfigCounters implements LiveRow {
  /** History before it is forgotten. */
  compactRevision = 0;
  /** All changes up to here have been looked at: what they replaced is removed. */
  purged: EventPosition = { revision: 0, number: 0 };
  /** Keys that there are. */
  keys = 0;
  /** Of all changes that are kept. */
  bytes = 0;

  static decode(content: Uint8Array): ConfigCounters {
    const reader = new ByteReader(content);
    const counters = new ConfigCounters();
    counters.compactRevision = reader.u64();
    counters.purged = { revision: reader.u64(), number: reader.u32() };
    counters.keys = reader.u64();
    counters.bytes = reader.u64();
    return counters;
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(36).u64(this.compactRevision);
    writer.u64(this.purged.revision).u32(this.purged.number);
    return writer.u64(this.keys).u64(this.bytes).finish();
  }
}

/** The key of an entry as a binary string. */
export function entryKey({ key }: ConfigEntry): string {
  return binaryString(key);
}

/** An entry without its value, from what the index knows. */
export function entryWithoutValue({ key, position, ...version }: FoundVersion): ConfigEntry {
  const { createRevision, lease } = version;
  const modRevision = position.revision;
  return {
    key: binaryBytes(key),
    value: NO_BYTES,
    createRevision,
    modRevision,
    version: version.version,
    lease,
  };
}

const NO_BYTES = new Uint8Array(0);
