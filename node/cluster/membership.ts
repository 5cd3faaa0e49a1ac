/** The nodes of a cluster, by the data directories that they are. */
import type { Identity } from '../storage/identity.ts';

/** How far a node belongs to the cluster. */
export type MembershipState = 'joining' | 'active' | 'leaving';

/** A node of a cluster. */
export interface ClusterMember {
  /** Its number as a replica; never given to another node. */
  readonly id: number;
  readonly name: string;
  /** Drawn when its data directory was created: a directory that was emptied has another. */
  readonly nodeId: string;
  /** Where it is reached; empty: as cluster.yaml says. */
  readonly grpc: string;
  readonly http: string;
  readonly state: MembershipState;
  /** Number of the member in whose place it comes; 0: of none. */
  readonly replaces: number;
}

/** The members of a cluster as of one change of them. */
export interface MemberTable {
  /** Counts the changes. */
  readonly version: number;
  /** The number that the next member gets. */
  readonly nextId: number;
  /** By number. A member that is replaced under its own name is there twice. */
  readonly members: readonly ClusterMember[];
}

/** What a data directory belongs to. */
export interface Membership extends MemberTable {
  /** 16 bytes as hexadecimal digits. */
  readonly clusterId: string;
  /** Numbers of the voters that group 0 began with. */
  readonly founders: readonly number[];
}

/** What a node says of itself. */
export interface Introduction {
  readonly name: string;
  readonly nodeId: string;
  /** Name of the cluster in its cluster.yaml. */
  readonly cluster: string;
  /** Names of the nodes in its cluster.yaml. */
  readonly nodes: readonly string[];
  /** Where it is reached, by its cluster.yaml. */
  readonly grpc: string;
  readonly http: string;
  /** Undefined: it never belonged to a cluster. */
  readonly membership: Membership | undefined;
}

/** The newest member of a name. */
export function memberNamed({ members }: MemberTable, name: string): ClusterMember | undefined {
  return members.findLast((member) => member.name === name);
}

/**
 * Where a member is reached. Those that founded the cluster move with cluster.yaml, the others
 * are where they were said to be when they were added.
 */
export function addressOfMember(
  { founders }: Pick<Membership, 'founders'>,
  { id, name, grpc }: ClusterMember,
  configured: ((name: string) => string | undefined) | undefined,
): string {
  const own = founders.includes(id) || grpc === '' ? configured?.(name) : undefined;
  return own ?? grpc;
}

/** The cluster that a directory belongs to; undefined: none yet. */
export function membershipOf(identity: Identity): Membership | undefined {
  const { cluster_id: clusterId, members, node_name: name, node_id } = identity;
  if (clusterId === undefined) return undefined;
  const written = members ?? [{ id: 1, name, node_id }];
  const known = written.map((member): ClusterMember => {
    const { grpc = '', http = '', state = 'active', replaces = 0 } = member;
    return { id: member.id, name: member.name, nodeId: member.node_id, grpc, http, state, replaces };
  });
  const ids = known.map(({ id }) => id);
  return {
    clusterId,
    members: known,
    // Directories of the time when members did not change.
    version: identity.members_version ?? 0,
    nextId: identity.next_member ?? Math.max(...ids) + 1,
    founders: identity.founders ?? ids,
  };
}

/** The identity of a directory that belongs to a cluster as of this change of its members. */
export function withMembership(identity: Identity, membership: Membership): Identity {
  const { clusterId, members, version, nextId, founders } = membership;
  return {
    ...identity,
    cluster_id: clusterId,
    members: members.map(({ nodeId, ...member }) => ({ ...member, node_id: nodeId })),
    members_version: version,
    next_member: nextId,
    founders: [...founders],
  };
}

/** Whether it can be one: ids in their form, numbers different and below the next. */
export function isMembership({ clusterId, members, nextId, founders }: Membership): boolean {
  return (
    /^[0-9a-f]{32}$/.test(clusterId) &&
    members.every(({ id, name, nodeId }) => id > 0 && name !== '' && /^[0-9a-f]{16}$/.test(nodeId)) &&
    members.every(({ id }, at) => id < nextId && (at === 0 || id > members[at - 1]!.id)) &&
    founders.length > 0 &&
    founders.every((id) => id > 0 && id < nextId)
  );
}
