/** The other members of the cluster, and the link on which the messages of the replicated logs go. */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { Membership } from '../cluster/membership.ts';
import type { Member } from '../raft/members.ts';
import { IdentityError } from '../storage/identity.ts';
import { GrpcPeerTransport } from '../transport/grpc-peer-transport.ts';
import type { TlsSettings } from '../transport/tls-files.ts';
import type { ClusterConfig } from './cluster-file.ts';

/** The members with the addresses that cluster.yaml gives them. Error: IdentityError, for one that it does not have. */
export function membersOf({ members }: Membership, { nodes, path }: ClusterConfig): Member[] {
  return members.map(({ id, name }) => {
    const node = nodes.find((one) => one.name === name);
    if (node !== undefined) return { id, name, address: node.grpc.text };
    throw new IdentityError(
      `the data belongs to a cluster with the member "${name}", which ${path} does not have. Put it back, with its addresses.`,
    );
  });
}

/** The link to the other members; undefined: there is none. */
export function linkToMembers(
  self: string,
  membership: Membership,
  members: readonly Member[],
  clock: Clock,
  random: Random,
  tls?: TlsSettings,
): GrpcPeerTransport | undefined {
  if (members.length === 1) return undefined;
  const addresses = new Map(members.map(({ name, address }) => [name, address]));
  return new GrpcPeerTransport({
    clock,
    random,
    self,
    clusterId: Buffer.from(membership.clusterId, 'hex'),
    addressOf: (peer) => addresses.get(peer),
    peers: members.map(({ name }) => name),
    tls,
  });
}
