import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { ErrorSchema } from '@holdfast/proto/error/v1/error';
import { Consistency, FenceSchema, MutationSchema } from '@holdfast/proto/kv/v1/kv';
import { Entry } from './entry.ts';
import type { HoldfastError } from './error.ts';
import { errorFromMessage } from './error-mapping.ts';
import { WireReader } from './wire-reader.ts';
import { fieldSize, varintSize, WireWriter } from './wire-writer.ts';

// Encodes PipelineRequest and decodes PipelineResponse by hand; numbers below are tags
// of kv.proto (field number * 8 + wire type). A call's operation is encoded when the call
// is made, which copies what the caller owns, and is put into messages as it is, also
// when it is sent again.

const GET = 0x1a;
const MUTATION = 0x22;

/** `PipelineCall.get` of a key. `maxStalenessMs` 0: linearizable. */
export function encodeGet(key: Uint8Array, maxStalenessMs = 0): Uint8Array {
  const options = maxStalenessMs === 0 ? 0 : 3 + varintSize(maxStalenessMs);
  const inner = fieldSize(key.length) + (options === 0 ? 0 : fieldSize(options));
  const writer = new WireWriter(fieldSize(inner));
  writer.byte(GET);
  writer.varint(inner);
  writer.field(0x0a, key);
  if (options > 0) {
    writer.byte(0x12);
    writer.varint(options);
    writer.byte(0x08);
    writer.byte(Consistency.BOUNDED_STALE);
    writer.byte(0x10);
    writer.varint(maxStalenessMs);
  }
  return writer.finish();
}

/** `PipelineCall.mutation` of a put or create, which are laid out alike. `ttlMs` 0: none. */
export function encodePut(
  kind: 'put' | 'create',
  key: Uint8Array,
  value: Uint8Array,
  ttlMs: number,
): Uint8Array {
  const body = fieldSize(value.length) + (ttlMs > 0 ? 1 + varintSize(ttlMs) : 0);
  const mutation = fieldSize(key.length) + fieldSize(body);
  const writer = new WireWriter(fieldSize(mutation));
  writer.byte(MUTATION);
  writer.varint(mutation);
  writer.field(0x0a, key);
  writer.byte(kind === 'put' ? 0x12 : 0x1a);
  writer.varint(body);
  writer.field(0x0a, value);
  if (ttlMs > 0) {
    writer.byte(0x10);
    writer.varint(ttlMs);
  }
  return writer.finish();
}

/** `PipelineCall.mutation` of any kind. */
export function encodeMutation(mutation: MessageInitShape<typeof MutationSchema>): Uint8Array {
  const bytes = toBinary(MutationSchema, create(MutationSchema, mutation));
  const writer = new WireWriter(fieldSize(bytes.length));
  writer.field(MUTATION, bytes);
  return writer.finish();
}

/** Appends `PipelineCall.fence` to an encoded operation. */
export function encodeFence(operation: Uint8Array, lock: string, token: bigint): Uint8Array {
  const bytes = toBinary(FenceSchema, create(FenceSchema, { lock, token }));
  const writer = new WireWriter(operation.length + fieldSize(bytes.length));
  writer.raw(operation);
  writer.field(0x3a, bytes);
  return writer.finish();
}

/** What the encoder needs of a call. */
export interface EncodableCall {
  readonly id: number;
  readonly operation: Uint8Array;
  readonly sequence: number;
  readonly open: boolean;
  readonly timeoutMs: number;
}

/** Bytes of a call in a message besides its operation, at most. */
export const CALL_OVERHEAD = 40;

/** A PipelineRequest. */
export function encodeRequest(
  keyspace: Uint8Array,
  clientId: Uint8Array,
  ackedBelow: number,
  calls: readonly EncodableCall[],
): Uint8Array {
  let capacity = fieldSize(keyspace.length) + fieldSize(clientId.length) + 10;
  for (const call of calls) capacity += call.operation.length + CALL_OVERHEAD;
  const writer = new WireWriter(capacity);
  writer.field(0x0a, keyspace);
  writer.field(0x12, clientId);
  writer.byte(0x18);
  writer.varint(ackedBelow);
  for (const call of calls) writeCall(writer, call);
  return writer.finish();
}

function writeCall(writer: WireWriter, call: EncodableCall): void {
  let size = 2 + varintSize(call.id) + varintSize(call.timeoutMs) + call.operation.length;
  if (call.sequence > 0) size += 1 + varintSize(call.sequence) + (call.open ? 2 : 0);
  writer.byte(0x22);
  writer.varint(size);
  writer.byte(0x08);
  writer.varint(call.id);
  writer.byte(0x10);
  writer.varint(call.timeoutMs);
  writer.raw(call.operation);
  if (call.sequence === 0) return;
  writer.byte(0x28);
  writer.varint(call.sequence);
  if (call.open) {
    writer.byte(0x30);
    writer.byte(1);
  }
}

/** The answer to one call, of whatever kind. */
export interface Answer {
  id: number;
  /** Of a get; undefined: no such key. */
  entry: Entry | undefined;
  /** Of a mutation. */
  version: bigint;
  counter: bigint | undefined;
  existed: boolean | undefined;
  /** The call failed. */
  error: HoldfastError | undefined;
}

/** Hands every answer of a PipelineResponse to `receive`. Throws when the bytes are not one. */
export function decodeResponse(message: Uint8Array, receive: (answer: Answer) => void): void {
  const reader = new WireReader(Buffer.from(message.buffer, message.byteOffset, message.byteLength));
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x0a) receive(readResult(reader.message()));
    else reader.skip(tag);
  }
}

function readResult(reader: WireReader): Answer {
  const answer: Answer = {
    id: 0,
    entry: undefined,
    version: 0n,
    counter: undefined,
    existed: undefined,
    error: undefined,
  };
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x08) answer.id = reader.varint() >>> 0;
    else if (tag === 0x12) readGet(reader.message(), answer);
    else if (tag === 0x1a) readMutation(reader.message(), answer);
    else if (tag === 0x22) answer.error = errorFromMessage(fromBinary(ErrorSchema, reader.bytes()));
    else reader.skip(tag);
  }
  return answer;
}

function readGet(reader: WireReader, answer: Answer): void {
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x0a) answer.entry = readEntry(reader.message());
    else reader.skip(tag);
  }
}

const EMPTY = new Uint8Array(0);

function readEntry(reader: WireReader): Entry {
  let key = EMPTY;
  let value = EMPTY;
  let version = 0n;
  let expiresAtMs: number | undefined;
  while (!reader.done) {
    const tag = reader.varint();
    // Copied: a view would keep the whole message in memory as long as one small value.
    if (tag === 0x0a) key = Buffer.from(reader.bytes());
    else if (tag === 0x12) value = Buffer.from(reader.bytes());
    else if (tag === 0x18) version = reader.int64();
    else if (tag === 0x20) expiresAtMs = Number(reader.int64());
    else reader.skip(tag);
  }
  return new Entry(key, value, version, expiresAtMs);
}

function readMutation(reader: WireReader, answer: Answer): void {
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x08) answer.version = reader.int64();
    else if (tag === 0x10) answer.counter = reader.int64();
    else if (tag === 0x18) answer.existed = reader.varint() !== 0;
    else reader.skip(tag);
  }
}
