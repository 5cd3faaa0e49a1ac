/** How the directory of a real node comes to belong to a cluster. */
import type { Clock } from '@holdfast/client/clock';
import type { Transport } from '@holdfast/client/transport';
import { Founder } from '../cluster/founder.ts';
import { membershipOf, withMembership } from '../cluster/membership.ts';
import type { Disk } from '../runtime/disk.ts';
import { writeIdentity, type Identity } from '../storage/identity.ts';
import type { ClusterConfig } from './cluster-file.ts';
import type { JoinRequest } from './join-request.ts';

export interface NodeFounderOptions {
  readonly config: ClusterConfig;
  readonly self: { readonly name: string; readonly grpc: string; readonly http: string };
  readonly identity: Identity;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly disk: Disk;
  /** Undefined: it founds a cluster with the others of cluster.yaml. */
  readonly joining: JoinRequest | undefined;
  /** Told once for each new reason. */
  readonly onWaiting: (why: string) => void;
}

export function createFounder(options: NodeFounderOptions): Founder {
  const { config, self, identity, transport, clock, disk, joining, onWaiting } = options;
  const { cluster, nodes } = config;
  const grpcOf = new Map(nodes.map((node) => [node.name, node.grpc.text]));
  return new Founder({
    self: {
      ...self,
      nodeId: identity.node_id,
      cluster,
      nodes: [...grpcOf.keys()].sort(),
      membership: membershipOf(identity),
    },
    addressOf: (node) => grpcOf.get(node)!,
    transport,
    clock,
    save: (membership) => writeIdentity(disk, withMembership(identity, membership)),
    onWaiting,
    join: joining && { addresses: joining.addresses, ask: (known) => joining.ask(known) },
  });
}
