/** `holdfast.raft.v1.PeerService` as grpc-js takes it, and what both of its sides must agree on. */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import {
  Lane,
  PeerService,
  ReceiveRequestSchema,
  ReceiveResponseSchema,
  type ReceiveRequest,
} from '@holdfast/proto/raft/v1/peer';
import type { PeerLane } from '../runtime/peer-transport.ts';

export const FORMAT_VERSION = 1;
/** Longest response on a stream. */
export const MAX_RESPONSE_BYTES = 64 * 2 ** 20;
export const PEER_LANES: readonly PeerLane[] = ['control', 'bulk'];
export const LANE_NUMBERS: Readonly<Record<PeerLane, Lane>> = { control: Lane.CONTROL, bulk: Lane.BULK };

/** Field 1, a varint. */
const VERSION_FIELD = Uint8Array.of((1 << 3) | 0, FORMAT_VERSION);
/** Field 2, of bytes. */
const MESSAGES_TAG = (2 << 3) | 2;

export const PEER_SERVICE = {
  receive: {
    path: `/${PeerService.typeName}/${PeerService.method.receive.name}`,
    requestStream: false,
    responseStream: true,
    requestSerialize: (request: ReceiveRequest) => inPlace(toBinary(ReceiveRequestSchema, request)),
    requestDeserialize: (bytes: Buffer) => fromBinary(ReceiveRequestSchema, bytes),
    // The port charges answers by their bytes, so they are encoded before: see `encodeResponse`.
    responseSerialize: (response: Buffer) => response,
    responseDeserialize: (bytes: Buffer) => fromBinary(ReceiveResponseSchema, bytes),
  },
} satisfies grpc.ServiceDefinition;

/** An answer of the serving side that ends a call. */
export function refusal(code: grpc.status, details: string): grpc.ServiceError {
  return Object.assign(new Error(details), { code, details, metadata: new grpc.Metadata() });
}

/** Bytes that `encodeResponse` needs for messages. */
export function responseBytes(messages: readonly Uint8Array[]): number {
  let bytes = VERSION_FIELD.length;
  for (const { length } of messages) bytes += 1 + varintBytes(length) + length;
  return bytes;
}

/**
 * Writes a ReceiveResponse into the beginning of `target`, and gives that. By hand: the
 * library would take several times the memory of each response, and collecting that costs
 * more than all else that is done to send it.
 */
export function encodeResponse(messages: readonly Uint8Array[], target: Buffer): Buffer {
  target.set(VERSION_FIELD);
  let at = VERSION_FIELD.length;
  for (const message of messages) {
    target[at++] = MESSAGES_TAG;
    at = writeVarint(target, message.length, at);
    target.set(message, at);
    at += message.length;
  }
  return target.subarray(0, at);
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest >>>= 7) bytes++;
  return bytes;
}

function writeVarint(target: Buffer, value: number, at: number): number {
  let rest = value;
  while (rest > 127) {
    target[at++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  target[at++] = rest;
  return at;
}

/** The same bytes as a Buffer, without a copy. */
function inPlace(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
