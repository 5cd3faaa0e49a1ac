import type { ClusterMember, Membership } from '../cluster/membership.ts';
import type { GroupHost } from '../raft/group-host.ts';
import type { Member } from '../raft/members.ts';
import type { Identity } from '../storage/identity.ts';

/** What a node alone belongs to. */
export function aloneIn({
  cluster_id: clusterId = '',
  node_name: name,
  node_id: nodeId,
}: Identity): Membership {
  const self = { id: 1, name, nodeId, grpc: '', http: '', state: 'active', replaces: 0 } as const;
  return { clusterId, members: [self], version: 0, nextId: 2, founders: [1] };
}

/** Those of the host's members that are among some. */
export function membersOf(some: readonly ClusterMember[], { members }: GroupHost): Member[] {
  return members.filter(({ id }) => some.some((one) => one.id === id));
}
