/**
 * Decodes PipelineRequest and encodes PipelineResponse by hand: through generic message
 * objects a batch costs more than everything else that is done with it. Numbers are tags
 * of kv.proto (field number * 8 + wire type); a test compares with the generated code.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { WireReader } from '@holdfast/client/wire-reader';
import { WireWriter, fieldSize, varintSize } from '@holdfast/client/wire-writer';
import {
  FenceSchema,
  MutationSchema,
  ReadOptionsSchema,
  type Fence,
  type Mutation,
  type ReadOptions,
} from '@holdfast/proto/kv/v1/kv';
import type { MutationOutcome } from '../kv/kv-outcome.ts';
import type { StoredValue } from '../kv/kv-rows.ts';

/** A batch of calls as it came. Bytes are views of the message. */
export interface PipelineBatch {
  keyspace: string;
  clientId: Uint8Array;
  ackedBelow: number;
  readonly calls: PipelineCallFields[];
}

/** One call. At most one of `get`, `put` and `mutation` is set. */
export interface PipelineCallFields {
  id: number;
  timeoutMs: number;
  sequence: number;
  open: boolean;
  fence: Fence | undefined;
  key: Uint8Array;
  get: { readonly options: ReadOptions | undefined } | undefined;
  /** Length of the encoded call. */
  readonly bytes: number;
  /** A put or create, the writes that are hot. */
  put: PutFields | undefined;
  /** Any other write. */
  mutation: Mutation | undefined;
}

export interface PutFields {
  readonly isCreate: boolean;
  value: Uint8Array;
  ttlMs: bigint | undefined;
}

const NO_BYTES = new Uint8Array(0);

/** Decodes a PipelineRequest. Throws when the bytes are not one. */
export function decodeBatch(bytes: Buffer): PipelineBatch {
  const reader = new WireReader(bytes);
  const batch: PipelineBatch = { keyspace: '', clientId: NO_BYTES, ackedBelow: 0, calls: [] };
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x22) batch.calls.push(readCall(reader.message()));
    else if (tag === 0x0a) batch.keyspace = reader.bytes().toString('utf8');
    else if (tag === 0x12) batch.clientId = reader.bytes();
    else if (tag === 0x18) batch.ackedBelow = reader.varint();
    else reader.skip(tag);
  }
  return batch;
}

function readCall(reader: WireReader): PipelineCallFields {
  const call: PipelineCallFields = {
    id: 0,
    timeoutMs: 0,
    sequence: 0,
    open: false,
    fence: undefined,
    key: NO_BYTES,
    bytes: reader.left,
    get: undefined,
    put: undefined,
    mutation: undefined,
  };
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x08) call.id = reader.varint() >>> 0;
    else if (tag === 0x10) call.timeoutMs = reader.varint() >>> 0;
    else if (tag === 0x22) readMutation(reader.bytes(), call);
    else if (tag === 0x1a) readGet(reader.message(), call);
    else if (tag === 0x28) call.sequence = reader.varint();
    else if (tag === 0x30) call.open = reader.varint() !== 0;
    else if (tag === 0x3a) call.fence = fromBinary(FenceSchema, reader.bytes());
    else reader.skip(tag);
  }
  return call;
}

function readGet(reader: WireReader, call: PipelineCallFields): void {
  let options: ReadOptions | undefined;
  call.key = NO_BYTES;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x0a) call.key = reader.bytes();
    else if (tag === 0x12) options = fromBinary(ReadOptionsSchema, reader.bytes());
    else reader.skip(tag);
  }
  call.get = { options };
  call.put = call.mutation = undefined;
}

function readMutation(bytes: Buffer, call: PipelineCallFields): void {
  const reader = new WireReader(bytes);
  let key: Uint8Array = NO_BYTES;
  let put: PutFields | undefined;
  let isOther = false;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x0a) key = reader.bytes();
    else if (tag === 0x12 || tag === 0x1a) put = readPut(reader.message(), tag === 0x1a);
    else {
      isOther = true;
      reader.skip(tag);
    }
  }
  call.key = key;
  call.get = undefined;
  call.put = isOther ? undefined : put;
  call.mutation = call.put === undefined ? fromBinary(MutationSchema, bytes) : undefined;
}

function readPut(reader: WireReader, isCreate: boolean): PutFields {
  const put: PutFields = { isCreate, value: NO_BYTES, ttlMs: undefined };
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x0a) put.value = reader.bytes();
    else if (tag === 0x10) put.ttlMs = reader.int64();
    else reader.skip(tag);
  }
  return put;
}

/** The answer to one call: what was found, what was done, or an encoded holdfast.error.v1.Error. */
export type PipelineAnswer =
  | {
      readonly id: number;
      readonly kind: 'get';
      readonly key: Uint8Array;
      readonly found: StoredValue | undefined;
    }
  | { readonly id: number; readonly kind: 'mutation'; readonly outcome: MutationOutcome }
  | { readonly id: number; readonly kind: 'error'; readonly error: Uint8Array };

/** Bytes of an answer besides keys, values and errors, at most. */
const ANSWER_OVERHEAD = 80;

/** Bytes that an answer takes in a message, at most. */
export function answerBytes(answer: PipelineAnswer): number {
  if (answer.kind === 'error') return ANSWER_OVERHEAD + answer.error.length;
  if (answer.kind === 'mutation' || answer.found === undefined) return ANSWER_OVERHEAD;
  return ANSWER_OVERHEAD + answer.key.length + answer.found.value.length;
}

/** Encodes a PipelineResponse; `capacity` is at least the sum of `answerBytes`. */
export function encodeAnswers(answers: readonly PipelineAnswer[], capacity: number): Uint8Array {
  const writer = new WireWriter(capacity);
  for (const answer of answers) {
    if (answer.kind === 'mutation') writeMutation(writer, answer.id, answer.outcome);
    else if (answer.kind === 'get') writeGet(writer, answer.id, answer.key, answer.found);
    else writeResult(writer, answer.id, 0x22, answer.error.length).raw(answer.error);
  }
  return writer.finish();
}

/** Begins a PipelineResult with a result of `size` bytes in the field of `tag`. */
function writeResult(writer: WireWriter, id: number, tag: number, size: number): WireWriter {
  writer.byte(0x0a);
  writer.varint(1 + varintSize(id) + fieldSize(size));
  writer.byte(0x08);
  writer.varint(id);
  writer.byte(tag);
  writer.varint(size);
  return writer;
}

function writeGet(writer: WireWriter, id: number, key: Uint8Array, found: StoredValue | undefined): void {
  if (found === undefined) {
    writeResult(writer, id, 0x12, 0);
    return;
  }
  const { version, expiresAtMs, value } = found;
  let size = fieldSize(key.length) + fieldSize(value.length) + 1 + varintSize(version);
  if (expiresAtMs !== undefined) size += 1 + varintSize(expiresAtMs);
  writeResult(writer, id, 0x12, fieldSize(size));
  writer.byte(0x0a);
  writer.varint(size);
  writer.field(0x0a, key);
  writer.field(0x12, value);
  writer.byte(0x18);
  writer.varint(version);
  if (expiresAtMs === undefined) return;
  writer.byte(0x20);
  writer.varint(expiresAtMs);
}

function writeMutation(writer: WireWriter, id: number, { version, counter, existed }: MutationOutcome): void {
  const unsigned = counter === undefined ? undefined : BigInt.asUintN(64, counter);
  let size = 1 + varintSize(version) + (existed === undefined ? 0 : 2);
  if (unsigned !== undefined) size += 1 + bigVarintSize(unsigned);
  writeResult(writer, id, 0x1a, size);
  writer.byte(0x08);
  writer.varint(version);
  if (unsigned !== undefined) {
    writer.byte(0x10);
    writeBigVarint(writer, unsigned);
  }
  if (existed === undefined) return;
  writer.byte(0x18);
  writer.byte(existed ? 1 : 0);
}

function bigVarintSize(value: bigint): number {
  let size = 1;
  for (let rest = value >> 7n; rest > 0n; rest >>= 7n) size++;
  return size;
}

function writeBigVarint(writer: WireWriter, value: bigint): void {
  let rest = value;
  for (; rest > 0x7fn; rest >>= 7n) writer.byte(Number(rest & 0x7fn) | 0x80);
  writer.byte(Number(rest));
}
