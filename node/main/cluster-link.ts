/** The other members of the cluster, and the link on which the messages of the replicated logs go. */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import { StatusCode } from '@holdfast/client/reasons';
import type { Membership } from '../cluster/membership.ts';
import type { Logger } from '../observe/logger.ts';
import type { CounterSource, GaugeSource } from '../observe/metrics.ts';
import { IdentityError } from '../storage/identity.ts';
import { GrpcPeerTransport, type PeerLinkStats } from '../transport/grpc-peer-transport.ts';
import type { TlsSettings } from '../transport/tls-files.ts';
import type { ClusterConfig } from './cluster-file.ts';

/** Error: IdentityError, for a member of which neither it nor cluster.yaml says where it is. */
export function checkAddresses({ members }: Membership, { nodes, path }: ClusterConfig): void {
  const lost = members.find(({ name, grpc }) => grpc === '' && !nodes.some((node) => node.name === name));
  if (lost === undefined) return;
  throw new IdentityError(
    `the data belongs to a cluster with the member "${lost.name}", which ${path} does not have. Put it back, with its addresses.`,
  );
}

export interface LinkOptions {
  readonly self: string;
  readonly clusterId: string;
  /** `host:port` of a member's gRPC port; undefined when it is not known. */
  readonly addressOf: (name: string) => string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly tls: TlsSettings | undefined;
  readonly logger: Logger;
}

/** The link to the other members, who are those that it is started with. */
export function linkToMembers(options: LinkOptions): GrpcPeerTransport {
  const { self, clusterId, addressOf, clock, random, tls, logger } = options;
  const link: GrpcPeerTransport = new GrpcPeerTransport({
    clock,
    random,
    self,
    clusterId: Buffer.from(clusterId, 'hex'),
    addressOf,
    tls,
    onLinkBroken: (peer, error, lane) => {
      const facts = { peer, lane, why: error.message };
      if (isRefusal(error)) logger.warn(facts, 'a peer refuses this node: do their files name each other?');
      // Nodes that are started together find each other not ready yet.
      else if (hasStood(link.stats(), peer, lane))
        logger.warn(facts, 'the link from a peer is broken: it is dialled again');
      else logger.debug(facts, 'a peer cannot be dialled yet');
    },
  });
  return link;
}

/** It answered, and holds this node for one of another cluster or for no member. */
function isRefusal(error: Error & { readonly code?: number }): boolean {
  return error.code === StatusCode.FAILED_PRECONDITION || error.code === StatusCode.PERMISSION_DENIED;
}

function hasStood(stats: readonly PeerLinkStats[], peer: string, lane: string): boolean {
  return stats.some((one) => one.peer === peer && one.lane === lane && one.incoming.sinceMs !== undefined);
}

/** What is known of each peer on each lane; a node alone has none. */
export type LinkStats = () => readonly PeerLinkStats[];

/** Figures of the links to peers. */
export function linkCounters(stats: LinkStats): CounterSource[] {
  const labels = ['peer', 'lane', 'direction'] as const;
  const both = (figure: 'bytes' | 'messages' | 'reconnects') =>
    stats().flatMap(({ peer, lane, incoming, outgoing }) => [
      [{ peer, lane, direction: 'received' }, incoming[figure]] as const,
      [{ peer, lane, direction: 'sent' }, outgoing[figure]] as const,
    ]);
  return [
    {
      name: 'holdfast_peer_bytes_total',
      help: 'Bytes of messages between this node and a peer, by peer, lane and direction.',
      labels,
      read: () => both('bytes'),
    },
    {
      name: 'holdfast_peer_messages_total',
      help: 'Messages between this node and a peer, by peer, lane and direction.',
      labels,
      read: () => both('messages'),
    },
    {
      name: 'holdfast_peer_reconnects_total',
      help: 'Times that a stream between this node and a peer was opened again, by peer, lane and direction.',
      labels,
      read: () => both('reconnects'),
    },
    {
      name: 'holdfast_peer_dropped_messages_total',
      help: 'Messages for a peer that were dropped because it is away or too slow, by peer and lane.',
      labels: ['peer', 'lane'],
      read: () =>
        stats().map(({ peer, lane, outgoing }) => [{ peer, lane }, outgoing.droppedMessages] as const),
    },
  ];
}

/** How the links are now. */
export function linkGauges(readStats: LinkStats): GaugeSource[] {
  const byPeer = (read: (stats: PeerLinkStats) => number, join: (a: number, b: number) => number) => {
    const values: Record<string, number> = {};
    for (const stats of readStats()) {
      const known = values[stats.peer];
      values[stats.peer] = known === undefined ? read(stats) : join(known, read(stats));
    }
    return values;
  };
  return [
    {
      name: 'holdfast_peer_connected',
      help: '1 while all streams between this node and a peer stand, by peer.',
      label: 'peer',
      read: () => byPeer(({ incoming, outgoing }) => (incoming.isOpen && outgoing.isOpen ? 1 : 0), Math.min),
    },
    {
      name: 'holdfast_peer_queue_bytes',
      help: 'Bytes of messages that wait for a peer to take them, by peer.',
      label: 'peer',
      read: () =>
        byPeer(
          ({ outgoing }) => outgoing.queuedBytes,
          (a, b) => a + b,
        ),
    },
  ];
}
