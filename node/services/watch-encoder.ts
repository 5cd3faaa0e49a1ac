/**
 * Encodes WatchResponse by hand: a change is encoded once for all who are told of it, and what
 * is said in one breath is one message. Numbers are tags of config.proto (field number * 8 +
 * wire type); a test compares with the generated code.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { WireWriter, fieldSize, varintSize } from '@holdfast/client/wire-writer';
import type { HoldfastError } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import { EntrySchema, EventType, WatchCancelledSchema } from '@holdfast/proto/config/v1/config';
import type { ConfigEntry, ConfigEvent } from '../coordination/coordination-events.ts';

/** Changes for one watch. */
export interface SaidEvents {
  readonly watchId: number;
  /** Each a field of WatchEvents. */
  readonly fields: Uint8Array[];
  /** Of the fields. */
  bytes: number;
  revision: number;
  readonly more: boolean;
}

/** Changes, or any other response, encoded. */
export type Said = SaidEvents | Uint8Array;

/** Encodes changes, each once. */
export class EventEncoder {
  readonly #plain = new WeakMap<ConfigEvent, Uint8Array>();
  readonly #withPrevious = new WeakMap<ConfigEvent, Uint8Array>();

  /** A change as a field of WatchEvents; `previous`: what was there before, to be told as well. */
  field(event: ConfigEvent, previous?: (event: ConfigEvent) => ConfigEntry | undefined): Uint8Array {
    const known = previous === undefined ? this.#plain : this.#withPrevious;
    let field = known.get(event);
    if (field === undefined) known.set(event, (field = eventField(event, previous?.(event))));
    return field;
  }
}

/** One message that says all of it, in order. */
export function encodeResponses(said: readonly Said[]): Uint8Array {
  let bytes = 0;
  for (const [at, response] of said.entries()) {
    const size = sizeOf(response);
    bytes += at === 0 ? size : fieldSize(size);
  }
  const writer = new WireWriter(bytes);
  for (const [at, response] of said.entries()) {
    if (at > 0) {
      writer.byte(0x7a);
      writer.varint(sizeOf(response));
    }
    if (response instanceof Uint8Array) writer.raw(response);
    else writeEvents(writer, response);
  }
  return writer.finish();
}

/** WatchCreated. */
export function encodeCreated(watchId: number, revision: number, heartbeatMs: number): Uint8Array {
  const size = 3 + varintSize(watchId) + varintSize(revision) + varintSize(heartbeatMs);
  const writer = new WireWriter(fieldSize(size));
  writer.byte(0x0a);
  writer.varint(size);
  writeNumber(writer, 0x08, watchId);
  writeNumber(writer, 0x10, revision);
  writeNumber(writer, 0x18, heartbeatMs);
  return writer.finish();
}

/** WatchProgress; `watchId` undefined: of all watches of the stream. */
export function encodeProgress(watchId: number | undefined, revision: number): Uint8Array {
  const size = 2 + (watchId === undefined ? 1 : varintSize(watchId)) + varintSize(revision);
  const writer = new WireWriter(fieldSize(size));
  writer.byte(0x1a);
  writer.varint(size);
  if (watchId === undefined) writeNumber(writer, 0x10, 1);
  else writeNumber(writer, 0x08, watchId);
  writeNumber(writer, 0x18, revision);
  return writer.finish();
}

/** Why a watch is over, and where another may go on. */
export interface Cancellation {
  readonly error?: HoldfastError;
  readonly compactRevision?: number;
  /** Everything before it was told; 0: nothing was. */
  readonly nextRevision: number;
}

/** WatchCancelled. */
export function encodeCancelled(watchId: number, cancellation: Cancellation): Uint8Array {
  const { error, compactRevision = 0, nextRevision } = cancellation;
  const message = create(WatchCancelledSchema, {
    watchId: BigInt(watchId),
    ...(error && { error: errorToMessage(error) }),
    compactRevision: BigInt(compactRevision),
    nextRevision: BigInt(nextRevision),
  });
  const bytes = toBinary(WatchCancelledSchema, message);
  const writer = new WireWriter(fieldSize(bytes.byteLength));
  writer.field(0x22, bytes);
  return writer.finish();
}

/** Heartbeat. */
export function encodeHeartbeat(): Uint8Array {
  return Uint8Array.of(0x2a, 0);
}

function sizeOf(response: Said): number {
  return response instanceof Uint8Array ? response.byteLength : fieldSize(eventsSize(response));
}

function eventsSize({ watchId, bytes, revision, more }: SaidEvents): number {
  return 2 + varintSize(watchId) + bytes + varintSize(revision) + (more ? 2 : 0);
}

function writeEvents(writer: WireWriter, said: SaidEvents): void {
  writer.byte(0x12);
  writer.varint(eventsSize(said));
  writeNumber(writer, 0x08, said.watchId);
  for (const field of said.fields) writer.raw(field);
  writeNumber(writer, 0x18, said.revision);
  if (said.more) writeNumber(writer, 0x20, 1);
}

function writeNumber(writer: WireWriter, tag: number, value: number): void {
  writer.byte(tag);
  writer.varint(value);
}

function eventField({ isDelete, entry }: ConfigEvent, previous: ConfigEntry | undefined): Uint8Array {
  const told = isDelete ? { ...entry, value: NO_BYTES, createRevision: 0, version: 0, lease: 0n } : entry;
  const entryBytes = encodeEntry(told);
  const previousBytes = previous && encodeEntry(previous);
  const size =
    2 + fieldSize(entryBytes.byteLength) + (previousBytes ? fieldSize(previousBytes.byteLength) : 0);
  const writer = new WireWriter(fieldSize(size));
  writer.byte(0x12);
  writer.varint(size);
  writeNumber(writer, 0x08, isDelete ? EventType.DELETE : EventType.PUT);
  writer.field(0x12, entryBytes);
  if (previousBytes !== undefined) writer.field(0x1a, previousBytes);
  return writer.finish();
}

const NO_BYTES = new Uint8Array(0);

function encodeEntry({ key, value, createRevision, modRevision, version, lease }: ConfigEntry): Uint8Array {
  return toBinary(
    EntrySchema,
    create(EntrySchema, {
      key,
      value,
      createRevision: BigInt(createRevision),
      modRevision: BigInt(modRevision),
      version: BigInt(version),
      lease,
    }),
  );
}
