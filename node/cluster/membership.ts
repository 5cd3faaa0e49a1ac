/** The nodes of a cluster, by the data directories that they are. */
import type { Identity } from '../storage/identity.ts';

/** A node of a cluster. */
export interface ClusterMember {
  /** Its number as a replica; never given to another node. */
  readonly id: number;
  readonly name: string;
  /** Drawn when its data directory was created: a directory that was emptied has another. */
  readonly nodeId: string;
}

/** What a data directory belongs to. */
export interface Membership {
  /** 16 bytes as hexadecimal digits. */
  readonly clusterId: string;
  readonly members: readonly ClusterMember[];
}

/** What a node says of itself. */
export interface Introduction {
  readonly name: string;
  readonly nodeId: string;
  /** Name of the cluster in its cluster.yaml. */
  readonly cluster: string;
  /** Names of the nodes in its cluster.yaml. */
  readonly nodes: readonly string[];
  /** Undefined: it never belonged to a cluster. */
  readonly membership: Membership | undefined;
}

/** The cluster that a directory belongs to; undefined: none yet. */
export function membershipOf({ cluster_id, members, node_name, node_id }: Identity): Membership | undefined {
  if (cluster_id === undefined) return undefined;
  const known = members ?? [{ id: 1, name: node_name, node_id }];
  return {
    clusterId: cluster_id,
    members: known.map(({ id, name, node_id: nodeId }) => ({ id, name, nodeId })),
  };
}

/** The identity of a directory that belongs to a cluster from now on. */
export function withMembership(identity: Identity, { clusterId, members }: Membership): Identity {
  const written = members.map(({ id, name, nodeId }) => ({ id, name, node_id: nodeId }));
  return { ...identity, cluster_id: clusterId, members: written };
}

/** Whether it can be one: ids in their form, numbers and names of members all different. */
export function isMembership({ clusterId, members }: Membership): boolean {
  const areDistinct = (values: readonly unknown[]) => new Set(values).size === members.length;
  return (
    /^[0-9a-f]{32}$/.test(clusterId) &&
    members.every(({ id, name, nodeId }) => id > 0 && name !== '' && /^[0-9a-f]{16}$/.test(nodeId)) &&
    areDistinct(members.map(({ id }) => id)) &&
    areDistinct(members.map(({ name }) => name))
  );
}
