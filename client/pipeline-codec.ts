import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { ErrorSchema } from '@holdfast/proto/error/v1/error';
import { FenceSchema, MutationSchema } from '@holdfast/proto/kv/v1/kv';
import { Entry } from './entry.ts';
import type { HoldfastError } from './error.ts';
import { errorFromMessage } from './error-mapping.ts';
import { fieldSize, varintSize, WireWriter } from './wire-writer.ts';

// Encodes PipelineRequest and decodes PipelineResponse by hand; numbers below are tags
// of kv.proto (field number * 8 + wire type). A call's operation is encoded when the call
// is made, which copies what the caller owns, and is put into messages as it is, also
// when it is sent again.

const GET = 0x1a;
const MUTATION = 0x22;

/** `PipelineCall.get` of a key. */
export function encodeGet(key: Uint8Array): Uint8Array {
  const inner = fieldSize(key.length);
  const writer = new WireWriter(fieldSize(inner));
  writer.byte(GET);
  writer.varint(inner);
  writer.field(0x0a, key);
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
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === 1) receive(readResult(reader, reader.uint32() + reader.pos));
    else reader.skip(wire);
  }
}

function readResult(reader: BinaryReader, end: number): Answer {
  const answer: Answer = {
    id: 0,
    entry: undefined,
    version: 0n,
    counter: undefined,
    existed: undefined,
    error: undefined,
  };
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 1) answer.id = reader.uint32();
    else if (field === 2) readGet(reader, reader.uint32() + reader.pos, answer);
    else if (field === 3) readMutation(reader, reader.uint32() + reader.pos, answer);
    else if (field === 4) answer.error = errorFromMessage(fromBinary(ErrorSchema, reader.bytes()));
    else reader.skip(wire);
  }
  return answer;
}

function readGet(reader: BinaryReader, end: number, answer: Answer): void {
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 1) answer.entry = readEntry(reader, reader.uint32() + reader.pos);
    else reader.skip(wire);
  }
}

const EMPTY = new Uint8Array(0);

function readEntry(reader: BinaryReader, end: number): Entry {
  let key = EMPTY;
  let value = EMPTY;
  let version = 0n;
  let expiresAtMs: number | undefined;
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    // Copied: a view would keep the whole message in memory as long as one small value.
    if (field === 1) key = reader.bytes().slice();
    else if (field === 2) value = reader.bytes().slice();
    else if (field === 3) version = BigInt(reader.uint64());
    else if (field === 4) expiresAtMs = Number(reader.int64());
    else reader.skip(wire);
  }
  return new Entry(key, value, version, expiresAtMs);
}

function readMutation(reader: BinaryReader, end: number, answer: Answer): void {
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 1) answer.version = BigInt(reader.uint64());
    else if (field === 2) answer.counter = BigInt(reader.int64());
    else if (field === 3) answer.existed = reader.bool();
    else reader.skip(wire);
  }
}
