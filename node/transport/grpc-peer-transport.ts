import { fromBinary, toBinary, create } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import {
  LinkRequestSchema,
  LinkResponseSchema,
  type LinkRequest,
  type LinkResponse,
} from '@holdfast/proto/raft/v1/peer';
import type { PeerTransport } from '../runtime/peer-transport.ts';
import { PeerLink } from './peer-link.ts';

const FORMAT_VERSION = 1;
const CLUSTER_ID_BYTES = 16;
const DEFAULT_MAX_QUEUED_BYTES = 64 * 2 ** 20;

/** What a GrpcPeerTransport needs to know. */
export interface GrpcPeerTransportOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** This node's name. */
  readonly self: string;
  /** 16 bytes; messages of other clusters are refused. */
  readonly clusterId: Uint8Array;
  /** `host:port` of a peer's gRPC server, asked at each dial; undefined when it is not known. */
  readonly addressOf: (peer: string) => string | undefined;
  /** Whether a node of that name may send to this one. Default: all may. */
  readonly isMember?: (peer: string) => boolean;
  /**
   * Bytes that wait for one peer; default 64 MiB. More rides out a longer stall of a
   * peer and costs that much memory for each; less drops and sends again sooner.
   */
  readonly maxQueuedBytes?: number;
  /** Called with each broken link's error; for the log. */
  readonly onLinkBroken?: (peer: string, error: Error) => void;
}

/**
 * Messages between nodes over gRPC: one stream to each peer, dialled by the sender when
 * it first has something to send, and again after a break. `addTo` puts the receiving
 * side on the node's gRPC server.
 */
export class GrpcPeerTransport implements PeerTransport {
  readonly #options: GrpcPeerTransportOptions;
  readonly #links = new Map<string, PeerLink>();
  readonly #inbound = new Set<(error: grpc.ServiceError | null) => void>();
  #receive: ((peer: string, message: Uint8Array) => void) | undefined;
  #isClosed = false;
  #dropped = 0;

  constructor(options: GrpcPeerTransportOptions) {
    if (options.clusterId.length !== CLUSTER_ID_BYTES) {
      throw new RangeError(`cluster id is ${options.clusterId.length} bytes, not ${CLUSTER_ID_BYTES}`);
    }
    this.#options = options;
  }

  /** Messages dropped before the connection took them. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Adds `holdfast.raft.v1.PeerService` to a server. */
  addTo(server: grpc.Server): void {
    const link: grpc.handleClientStreamingCall<LinkRequest, LinkResponse> = (call, answer) =>
      this.#accept(call, answer);
    server.addService(PEER_SERVICE, { link });
  }

  send(peer: string, message: Uint8Array): void {
    if (this.#isClosed) return;
    let link = this.#links.get(peer);
    if (link === undefined) {
      link = this.#linkTo(peer);
      this.#links.set(peer, link);
    }
    link.send(message);
  }

  onMessage(receive: (peer: string, message: Uint8Array) => void): void {
    this.#receive = receive;
  }

  queuedBytes(peer: string): number {
    return this.#links.get(peer)?.queuedBytes ?? 0;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const link of this.#links.values()) link.close();
    for (const end of this.#inbound) end(refusal(grpc.status.UNAVAILABLE, 'the node is shutting down'));
    this.#inbound.clear();
    return Promise.resolve();
  }

  #linkTo(peer: string): PeerLink {
    const { clock, random, self, clusterId, addressOf, maxQueuedBytes, onLinkBroken } = this.#options;
    const envelope = { formatVersion: FORMAT_VERSION, clusterId, from: self };
    return new PeerLink({
      clock,
      random,
      link: PEER_SERVICE.link,
      address: () => addressOf(peer),
      wrap: (payload) => create(LinkRequestSchema, { ...envelope, payload }),
      maxQueuedBytes: maxQueuedBytes ?? DEFAULT_MAX_QUEUED_BYTES,
      onDropped: (messages) => (this.#dropped += messages),
      onBroken: (error) => onLinkBroken?.(peer, error),
    });
  }

  #accept(
    call: grpc.ServerReadableStream<LinkRequest, LinkResponse>,
    answer: grpc.sendUnaryData<LinkResponse>,
  ): void {
    let isOpen = true;
    const end = (error: grpc.ServiceError | null) => {
      if (isOpen) answer(error, create(LinkResponseSchema));
      isOpen = false;
      this.#inbound.delete(end);
    };
    this.#inbound.add(end);
    if (this.#isClosed) end(refusal(grpc.status.UNAVAILABLE, 'the node is shutting down'));
    call.on('data', (request: LinkRequest) => {
      const refused = isOpen ? this.#check(request) : undefined;
      if (refused !== undefined) end(refused);
      if (isOpen) this.#receive?.(request.from, request.payload);
    });
    call.on('end', () => end(null));
    call.on('cancelled', () => end(null));
    call.on('error', () => end(null));
  }

  #check(request: LinkRequest): grpc.ServiceError | undefined {
    if (request.formatVersion !== FORMAT_VERSION) {
      const details = `envelope format is ${request.formatVersion}, this node knows ${FORMAT_VERSION}`;
      return refusal(grpc.status.FAILED_PRECONDITION, details);
    }
    if (Buffer.compare(request.clusterId, this.#options.clusterId) !== 0) {
      return refusal(grpc.status.FAILED_PRECONDITION, `node "${request.from}" belongs to another cluster`);
    }
    if (this.#options.isMember?.(request.from) === false) {
      return refusal(grpc.status.PERMISSION_DENIED, `node "${request.from}" is no member of the cluster`);
    }
    return undefined;
  }
}

const PEER_SERVICE = {
  link: {
    path: '/holdfast.raft.v1.PeerService/Link',
    requestStream: true,
    responseStream: false,
    requestSerialize: (request: LinkRequest) => inPlace(toBinary(LinkRequestSchema, request)),
    requestDeserialize: (bytes: Buffer) => fromBinary(LinkRequestSchema, bytes),
    responseSerialize: (response: LinkResponse) => inPlace(toBinary(LinkResponseSchema, response)),
    responseDeserialize: (bytes: Buffer) => fromBinary(LinkResponseSchema, bytes),
  },
} satisfies grpc.ServiceDefinition;

function refusal(code: grpc.status, details: string): grpc.ServiceError {
  return Object.assign(new Error(details), { code, details, metadata: new grpc.Metadata() });
}

/** The same bytes as a Buffer, without a copy. */
function inPlace(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
