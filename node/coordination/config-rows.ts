/**
 * The rows of the configuration.
 *
 *   k key                   what a key is now, and where its former changes are
 *   e revision number       changes: key, value, and which change was replaced
 *   p page                  the keys, in order
 *   g                       counters
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { binaryBytes, type RowKey } from '../storage/row-key.ts';
import { CHANGE_BYTES } from './config-limits.ts';
import type { ConfigEntry, ConfigEvent, EventPosition } from './coordination-events.ts';
import type { LiveRow } from './machine-part.ts';
import type { EntryCodec } from './tree-page.ts';

/** What is known of a key without its value. */
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

const TWO_32 = 0x1_0000_0000;

/** The keys stand in pages by themselves. */
export const KEYS_ALONE: EntryCodec<true> = {
  write: () => undefined,
  read: () => true,
  bytes: () => 0,
};

/** Bytes that a change counts. */
export function changeBytes(key: string, valueBytes: number): number {
  return CHANGE_BYTES + key.length + valueBytes;
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

const KEY_FORMAT = 1;
const EVENT_FORMAT = 1;
/** Flags of a change. */
const HAS_PREVIOUS = 1;
const WAS_DELETED = 2;
const HAS_JUMP = 4;

/**
 * What a key is at its last change. `former`: positions of former changes of the key, nearest
 * first, such that of n changes those are there whose number is n with some of its lowest bits
 * cleared, as in a Fenwick tree: the way back to any of them is short.
 */
export interface KeyRow extends KeyVersion {
  readonly position: EventPosition;
  /** Changes of the key, deletes included, since it was last forgotten. */
  readonly changes: number;
  readonly former: readonly EventPosition[];
}

export function encodeKey({ position, former, changes, ...version }: KeyRow): Uint8Array {
  const writer = new ByteWriter(56 + former.length * 12).u8(KEY_FORMAT);
  writePosition(writer, position);
  writer.u64(version.createRevision).u64(version.version).i64(version.lease).u32(version.valueBytes);
  writer.u64(changes).u8(former.length);
  for (const one of former) writePosition(writer, one);
  return writer.finish();
}

export function decodeKey(content: Uint8Array): KeyRow {
  const reader = new ByteReader(content);
  const format = reader.u8();
  if (format !== KEY_FORMAT) throw new RangeError(`key of unknown format ${format}`);
  const position = readPosition(reader);
  const [createRevision, version] = [reader.u64(), reader.u64()];
  const [lease, valueBytes, changes] = [reader.i64(), reader.u32(), reader.u64()];
  const former: EventPosition[] = [];
  for (let left = reader.u8(); left > 0; left--) former.push(readPosition(reader));
  return { position, createRevision, version, lease, valueBytes, changes, former };
}

/** Where the changes before one are. */
export interface EventLinks {
  /** The change before it; undefined: there was none, or it is forgotten. */
  readonly previous: EventPosition | undefined;
  /** Whether that was a delete. */
  readonly wasDeleted: boolean;
  /** Of its value. */
  readonly previousBytes: number;
  /** One further back. */
  readonly jump: EventPosition | undefined;
}

/** A change as a row. */
export function encodeEvent(
  key: string,
  { createRevision, version, lease }: KeyVersion,
  value: Uint8Array,
  { previous, wasDeleted, previousBytes, jump }: EventLinks,
): Uint8Array {
  const writer = new ByteWriter(64 + key.length + value.byteLength);
  const flags = (previous ? HAS_PREVIOUS : 0) | (wasDeleted ? WAS_DELETED : 0) | (jump ? HAS_JUMP : 0);
  writer.u8(EVENT_FORMAT).u8(flags);
  writer.u64(createRevision).u64(version).i64(lease);
  if (previous !== undefined) writePosition(writer, previous);
  if (previous !== undefined) writer.u32(previousBytes);
  if (jump !== undefined) writePosition(writer, jump);
  return writer.latin1(key).bytes(value).finish();
}

/** A change as it is told, and where those before it are. */
export interface StoredEvent {
  readonly event: ConfigEvent;
  readonly links: EventLinks;
}

/** A change as it is told. Its bytes are views of the row. */
export function decodeEvent(content: Uint8Array, position: EventPosition): ConfigEvent {
  return decodeStored(content, position).event;
}

export function decodeStored(content: Uint8Array, { revision, number }: EventPosition): StoredEvent {
  const reader = new ByteReader(content);
  const format = reader.u8();
  if (format !== EVENT_FORMAT) throw new RangeError(`change of unknown format ${format}`);
  const flags = reader.u8();
  const [createRevision, version] = [reader.u64(), reader.u64()];
  const lease = reader.i64();
  const previous = flags & HAS_PREVIOUS ? readPosition(reader) : undefined;
  const previousBytes = previous === undefined ? 0 : reader.u32();
  const jump = flags & HAS_JUMP ? readPosition(reader) : undefined;
  const wasDeleted = (flags & WAS_DELETED) !== 0;
  const [key, value] = [reader.bytes(), reader.bytes()];
  const entry: ConfigEntry = { key, value, createRevision, modRevision: revision, version, lease };
  const shown = wasDeleted ? undefined : previous;
  const event = { revision, number, isDelete: version === 0, entry, previous: shown };
  return { event, links: { previous, wasDeleted, previousBytes, jump } };
}

function writePosition(writer: ByteWriter, { revision, number }: EventPosition): void {
  writer.u64(revision).u32(number);
}

function readPosition(reader: ByteReader): EventPosition {
  return { revision: reader.u64(), number: reader.u32() };
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

/** An entry without its value. */
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
