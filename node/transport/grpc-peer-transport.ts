import { create } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import { ReceiveRequestSchema, type ReceiveRequest } from '@holdfast/proto/raft/v1/peer';
import type { PeerLane, PeerTransport } from '../runtime/peer-transport.ts';
import type { ArrivalContext, GrpcCalls } from './grpc-calls.ts';
import type { PeerTlsFiles } from './peer-dial.ts';
import { PeerLink, type IncomingStats } from './peer-link.ts';
import { PeerOutlet, type OutgoingStats, type ReceiveCall } from './peer-outlet.ts';
import { FORMAT_VERSION, LANE_NUMBERS, PEER_LANES, PEER_SERVICE, refusal } from './peer-service.ts';

const CLUSTER_ID_BYTES = 16;
const DEFAULT_MAX_QUEUED_BYTES = 64 * 2 ** 20;
/** What each lane may take of the bound, so that a lot of bulk never costs a heartbeat. */
const SHARES: Readonly<Record<PeerLane, number>> = { control: 0.25, bulk: 0.75 };

/** What a GrpcPeerTransport needs to know. */
export interface GrpcPeerTransportOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** This node's name. */
  readonly self: string;
  /** 16 bytes; calls by nodes of other clusters are refused. */
  readonly clusterId: Uint8Array;
  /** `host:port` of a peer's gRPC port, asked at each dial; undefined when it is not known. */
  readonly addressOf: (peer: string) => string | undefined;
  /** Dialled as soon as there is a receiver (`onMessage`); see `start`. */
  readonly peers?: readonly string[];
  /** Whether a node of that name is given messages. Default: `peers`, or those that `start` was given. */
  readonly isMember?: (peer: string) => boolean;
  /**
   * Files to dial with: certificate and key of this node, and whom it trusts (undefined: whom
   * Node.js does). They are read at each dial. A peer's certificate must be for the host in
   * its address. Undefined: plain text.
   */
  readonly tls?: PeerTlsFiles | undefined;
  /**
   * Bytes that wait for one peer, a quarter of them on the control lane at most; default
   * 64 MiB. More rides out a longer stall of a peer and costs that much memory for each;
   * less drops and sends again sooner.
   */
  readonly maxQueuedBytes?: number;
  /** A peer's stream broke, or a dial failed otherwise than the one before; for the log. */
  readonly onLinkBroken?: (peer: string, error: Error, lane: PeerLane) => void;
}

/** What is known of a peer on one lane. */
export interface PeerLinkStats {
  readonly peer: string;
  readonly lane: PeerLane;
  /** The stream that this node dials, for the peer's messages. */
  readonly incoming: IncomingStats;
  /** The stream that the peer dials, for this node's messages. */
  readonly outgoing: OutgoingStats;
}

interface Way {
  readonly outlet: PeerOutlet;
  /** Undefined as long as the peer is not dialled. */
  link: PeerLink | undefined;
}

type Peer = Readonly<Record<PeerLane, Way>>;

/**
 * Messages between nodes over gRPC, pulled by the receiver: each node dials its peers and is
 * sent what they have for it, for only a gRPC client can set how much it takes at a time.
 * `peers` are dialled; `addTo` puts the sending side on the node's gRPC port.
 */
export class GrpcPeerTransport implements PeerTransport {
  readonly #options: GrpcPeerTransportOptions;
  readonly #peers = new Map<string, Peer>();
  /** Whom this node dials, or will as soon as there is a receiver. */
  #dialled: ReadonlySet<string>;
  #receive: ((peer: string, message: Uint8Array) => void) | undefined;
  #isClosed = false;

  constructor(options: GrpcPeerTransportOptions) {
    if (options.clusterId.length !== CLUSTER_ID_BYTES) {
      throw new RangeError(`cluster id is ${options.clusterId.length} bytes, not ${CLUSTER_ID_BYTES}`);
    }
    this.#options = options;
    this.#dialled = new Set(options.peers);
  }

  /** Adds `holdfast.raft.v1.PeerService` to a server. */
  addTo(server: GrpcCalls): void {
    const receive: grpc.handleServerStreamingCall<ReceiveRequest, Buffer> = (call) => this.#accept(call);
    server.addService(PEER_SERVICE, { receive });
  }

  /**
   * Dials these peers and keeps the links up. Given again, it dials those that are new and
   * ends the links with those that are no longer named. This node's own name is passed over.
   */
  start(peers: readonly string[]): void {
    if (this.#isClosed) return;
    const dialled = new Set(peers.filter((peer) => peer !== this.#options.self));
    for (const name of this.#dialled) if (!dialled.has(name)) this.#drop(name, notMember(name));
    this.#dialled = dialled;
    for (const name of dialled) {
      const peer = this.#peer(name);
      for (const lane of PEER_LANES) peer[lane].link ??= this.#linkTo(name, lane);
    }
  }

  send(peer: string, message: Uint8Array, lane: PeerLane = 'control'): void {
    this.#peers.get(peer)?.[lane].outlet.send(message);
  }

  onMessage(receive: (peer: string, message: Uint8Array) => void): void {
    const isFirst = this.#receive === undefined;
    this.#receive = receive;
    if (isFirst) this.start([...this.#dialled]);
  }

  queuedBytes(peer: string): number {
    const known = this.#peers.get(peer);
    return known === undefined ? 0 : known.control.outlet.queuedBytes + known.bulk.outlet.queuedBytes;
  }

  /** Of each peer, both lanes. */
  stats(): PeerLinkStats[] {
    return [...this.#peers].flatMap(([peer, ways]) =>
      PEER_LANES.map((lane) => {
        const { link, outlet } = ways[lane];
        return { peer, lane, incoming: link?.stats ?? NEVER_DIALLED, outgoing: outlet.stats };
      }),
    );
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const name of this.#peers.keys()) this.#drop(name, stopping());
    return Promise.resolve();
  }

  #peer(name: string): Peer {
    const known = this.#peers.get(name);
    if (known !== undefined) return known;
    const { clock, maxQueuedBytes = DEFAULT_MAX_QUEUED_BYTES } = this.#options;
    const way = (lane: PeerLane): Way => ({
      outlet: new PeerOutlet(clock, maxQueuedBytes * SHARES[lane]),
      link: undefined,
    });
    const peer: Peer = { control: way('control'), bulk: way('bulk') };
    this.#peers.set(name, peer);
    return peer;
  }

  #drop(name: string, reason: grpc.ServiceError): void {
    const peer = this.#peers.get(name);
    if (peer === undefined) return;
    this.#peers.delete(name);
    for (const lane of PEER_LANES) {
      peer[lane].link?.close();
      peer[lane].outlet.end(reason);
    }
  }

  #linkTo(peer: string, lane: PeerLane): PeerLink {
    const { clock, random, self, clusterId, addressOf, tls, onLinkBroken } = this.#options;
    return new PeerLink({
      clock,
      random,
      lane,
      tls,
      request: create(ReceiveRequestSchema, {
        formatVersion: FORMAT_VERSION,
        clusterId,
        from: self,
        to: peer,
        lane: LANE_NUMBERS[lane],
      }),
      address: () => addressOf(peer),
      receive: (message) => {
        if (!this.#isClosed) this.#receive?.(peer, message);
      },
      onBroken: (error) => onLinkBroken?.(peer, error, lane),
    });
  }

  #accept(call: ReceiveCall): void {
    const arrival = call.getAuthContext() as ArrivalContext;
    arrival.received.release(); // else it would be cut as a request that does not end
    arrival.stand();
    const { request } = call;
    const refused = this.#check(request);
    if (refused !== undefined) {
      call.emit('error', refused);
      return;
    }
    this.#peer(request.from)[laneOf(request)!].outlet.open(call);
  }

  #check(request: ReceiveRequest): grpc.ServiceError | undefined {
    const { self, clusterId, isMember = (peer) => this.#dialled.has(peer) } = this.#options;
    const { formatVersion, from, to } = request;
    const unfit = (details: string) => refusal(grpc.status.FAILED_PRECONDITION, details);
    if (this.#isClosed) return stopping();
    if (formatVersion !== FORMAT_VERSION)
      return unfit(`the caller speaks format ${formatVersion}, this node knows ${FORMAT_VERSION}`);
    if (Buffer.compare(request.clusterId, clusterId) !== 0)
      return unfit(`the caller belongs to another cluster than node "${self}"`);
    if (to !== self) return unfit(`this is node "${self}", and another one was called`);
    if (!isMember(from)) return notMember(from);
    if (laneOf(request) !== undefined) return undefined;
    const known = Object.values(LANE_NUMBERS).join(' and ');
    return refusal(grpc.status.INVALID_ARGUMENT, `lane is ${request.lane}, this node knows ${known}`);
  }
}

const NEVER_DIALLED: IncomingStats = {
  isOpen: false,
  sinceMs: undefined,
  reconnects: 0,
  messages: 0,
  bytes: 0,
};

function laneOf({ lane }: ReceiveRequest): PeerLane | undefined {
  return PEER_LANES.find((name) => LANE_NUMBERS[name] === lane);
}

function notMember(peer: string): grpc.ServiceError {
  return refusal(grpc.status.PERMISSION_DENIED, `node "${peer.slice(0, 100)}" is no member of the cluster`);
}

function stopping(): grpc.ServiceError {
  return refusal(grpc.status.UNAVAILABLE, 'the node is shutting down');
}
