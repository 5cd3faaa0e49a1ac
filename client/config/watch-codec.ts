import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { EventType, WatchCancelledSchema, WatchRequestSchema } from '@holdfast/proto/config/v1/config';
import type { HoldfastError } from '../error.ts';
import { errorFromMessage } from '../error-mapping.ts';
import { WireReader } from '../wire-reader.ts';
import { ConfigEntry } from './config-entry.ts';
import { ConfigEvent } from './config-event.ts';

// Decodes WatchResponse by hand; numbers below are tags of config.proto (field number * 8 + wire type).

/** Who is told what a response says. */
export interface WatchAnswers {
  onCreated(watchId: number, revision: bigint, heartbeatMs: number): void;
  /** `more`: further changes of `revision` follow. */
  onEvents(watchId: number, events: ConfigEvent[], bytes: number, revision: bigint, more: boolean): void;
  /** `watchId` undefined: it holds for all watches of the stream. */
  onProgress(watchId: number | undefined, revision: bigint): void;
  /** `error` undefined: it was asked for. */
  onCancelled(watchId: number, error: HoldfastError | undefined, compactRevision: bigint): void;
}

/** Encodes something that a client says. */
export function encodeWatchRequest(
  request: MessageInitShape<typeof WatchRequestSchema>['request'] & object,
): Uint8Array {
  return toBinary(WatchRequestSchema, create(WatchRequestSchema, { request }));
}

/** Says what a WatchResponse says. Throws when the bytes are not one. */
export function decodeWatchResponse(message: Uint8Array, answers: WatchAnswers): void {
  readResponse(new WireReader(Buffer.from(message.buffer, message.byteOffset, message.byteLength)), answers);
}

function readResponse(reader: WireReader, answers: WatchAnswers): void {
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x12) readEvents(reader.message(), answers);
    else if (tag === 0x0a) readCreated(reader.message(), answers);
    else if (tag === 0x1a) readProgress(reader.message(), answers);
    else if (tag === 0x22) readCancelled(reader.bytes(), answers);
    else if (tag === 0x7a) readResponse(reader.message(), answers);
    else reader.skip(tag);
  }
}

function readCreated(reader: WireReader, answers: WatchAnswers): void {
  let watchId = 0;
  let revision = 0n;
  let heartbeatMs = 0;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x08) watchId = reader.varint();
    else if (tag === 0x10) revision = reader.int64();
    else if (tag === 0x18) heartbeatMs = reader.varint();
    else reader.skip(tag);
  }
  answers.onCreated(watchId, revision, heartbeatMs);
}

function readEvents(reader: WireReader, answers: WatchAnswers): void {
  const bytes = reader.left;
  const events: ConfigEvent[] = [];
  let watchId = 0;
  let revision = 0n;
  let more = false;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x12) events.push(readEvent(reader.message()));
    else if (tag === 0x08) watchId = reader.varint();
    else if (tag === 0x18) revision = reader.int64();
    else if (tag === 0x20) more = reader.varint() !== 0;
    else reader.skip(tag);
  }
  answers.onEvents(watchId, events, bytes, revision, more);
}

function readEvent(reader: WireReader): ConfigEvent {
  let type: 'put' | 'delete' = 'put';
  let entry: ConfigEntry | undefined;
  let previous: ConfigEntry | undefined;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x08) type = reader.varint() === EventType.DELETE ? 'delete' : 'put';
    else if (tag === 0x12) entry = readEntry(reader.message());
    else if (tag === 0x1a) previous = readEntry(reader.message());
    else reader.skip(tag);
  }
  if (entry === undefined) throw new RangeError('an event has no entry');
  return new ConfigEvent(type, entry, previous);
}

const EMPTY = new Uint8Array(0);

function readEntry(reader: WireReader): ConfigEntry {
  let key = EMPTY;
  let value = EMPTY;
  let createRevision = 0n;
  let modRevision = 0n;
  let version = 0n;
  let lease = 0n;
  while (!reader.done) {
    const tag = reader.varint();
    // Copied: a view would keep the whole message in memory as long as one small value.
    if (tag === 0x0a) key = Buffer.from(reader.bytes());
    else if (tag === 0x12) value = Buffer.from(reader.bytes());
    else if (tag === 0x18) createRevision = reader.int64();
    else if (tag === 0x20) modRevision = reader.int64();
    else if (tag === 0x28) version = reader.int64();
    else if (tag === 0x30) lease = reader.int64();
    else reader.skip(tag);
  }
  return new ConfigEntry({ key, value, createRevision, modRevision, version, lease });
}

function readProgress(reader: WireReader, answers: WatchAnswers): void {
  let watchId = 0;
  let isAll = false;
  let revision = 0n;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x08) watchId = reader.varint();
    else if (tag === 0x10) isAll = reader.varint() !== 0;
    else if (tag === 0x18) revision = reader.int64();
    else reader.skip(tag);
  }
  answers.onProgress(isAll ? undefined : watchId, revision);
}

function readCancelled(bytes: Uint8Array, answers: WatchAnswers): void {
  const { watchId, error, compactRevision } = fromBinary(WatchCancelledSchema, bytes);
  answers.onCancelled(Number(watchId), error && errorFromMessage(error), compactRevision);
}
