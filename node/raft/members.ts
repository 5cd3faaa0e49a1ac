/** The nodes of a cluster as its replicated logs know them. */

/** A node that may hold replicas. */
export interface Member {
  /** Its number as a replica; never given to another node. */
  readonly id: number;
  readonly name: string;
  /** Where clients reach it, as `host:port`. */
  readonly address: string;
}
