/** `holdfast.raft.v1.PeerService` as grpc-js takes it, and what both of its sides must agree on. */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import {
  Lane,
  PeerService,
  ReceiveRequestSchema,
  ReceiveResponseSchema,
  type ReceiveRequest,
  type ReceiveResponse,
} from '@holdfast/proto/raft/v1/peer';
import type { PeerLane } from '../runtime/peer-transport.ts';

export const FORMAT_VERSION = 1;
/** Longest response on a stream. */
export const MAX_RESPONSE_BYTES = 64 * 2 ** 20;
export const PEER_LANES: readonly PeerLane[] = ['control', 'bulk'];
export const LANE_NUMBERS: Readonly<Record<PeerLane, Lane>> = { control: Lane.CONTROL, bulk: Lane.BULK };

export const PEER_SERVICE = {
  receive: {
    path: `/${PeerService.typeName}/${PeerService.method.receive.name}`,
    requestStream: false,
    responseStream: true,
    requestSerialize: (request: ReceiveRequest) => inPlace(toBinary(ReceiveRequestSchema, request)),
    requestDeserialize: (bytes: Buffer) => fromBinary(ReceiveRequestSchema, bytes),
    responseSerialize: (response: ReceiveResponse) => inPlace(toBinary(ReceiveResponseSchema, response)),
    responseDeserialize: (bytes: Buffer) => fromBinary(ReceiveResponseSchema, bytes),
  },
} satisfies grpc.ServiceDefinition;

/** An answer of the serving side that ends a call. */
export function refusal(code: grpc.status, details: string): grpc.ServiceError {
  return Object.assign(new Error(details), { code, details, metadata: new grpc.Metadata() });
}

/** The same bytes as a Buffer, without a copy. */
function inPlace(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
