/** The nodes of a cluster as its replicated logs know them. */

/** The group that every member holds: the coordination tree, which runs the cluster. */
export const COORDINATION_GROUP = 0;

/** A node that may hold replicas. */
export interface Member {
  /** Its number as a replica; never given to another node. */
  readonly id: number;
  readonly name: string;
  /** Where clients reach it, as `host:port`. */
  readonly address: string;
}
