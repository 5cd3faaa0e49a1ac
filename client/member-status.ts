/** Members of the cluster as they are told. */
import {
  Liveness,
  MemberState,
  type ClusterMember,
  type MemberStatus as StatusMessage,
} from '@holdfast/proto/cluster/v1/cluster';
import { HoldfastError } from './error.ts';

/** A member of the cluster. */
export interface MemberDescription {
  /** Its number as a replica; never given to another node. */
  id: number;
  name: string;
  /** Drawn when its data directory was created. */
  nodeId: string;
  /** Addresses, as `host:port`. */
  grpc: string;
  http: string;
  /** `joining` until it votes, `leaving` until nothing is left on it. */
  state: 'joining' | 'active' | 'leaving' | 'unknown';
  /** Number of the member in whose place it comes. */
  replaces: number | undefined;
}

/**
 * What the gossip of the asked node holds a member for: it answers; it has not answered, or was
 * never heard of; it is taken for gone; it said that it stops. `unknown`: the asked node does not say.
 */
export type MemberLiveness = 'alive' | 'suspect' | 'dead' | 'left' | 'unknown';

/** A member, and how it fares. */
export interface MemberStatus extends MemberDescription {
  /** Whether it answered the asked node within a second; where nobody was asked, whether it is held for alive. */
  alive: boolean;
  liveness: MemberLiveness;
  /** Where its cluster.yaml says that it stands; empty: not said, or not heard of yet. */
  zone: string;
  datacentre: string;
  /** Version of its program; empty: not heard of yet. */
  version: string;
  /** How full the queue of its writes was when it last said so, in percent. */
  load: number;
  /** Times that its directory had been started when it was last heard of. */
  starts: bigint;
  /** Groups of which it is to hold a replica. */
  replicas: number;
}

const STATES: Readonly<Record<MemberState, MemberDescription['state']>> = {
  [MemberState.UNSPECIFIED]: 'unknown',
  [MemberState.JOINING]: 'joining',
  [MemberState.ACTIVE]: 'active',
  [MemberState.LEAVING]: 'leaving',
};

const LIVENESS: Readonly<Record<Liveness, MemberLiveness>> = {
  [Liveness.UNSPECIFIED]: 'unknown',
  [Liveness.ALIVE]: 'alive',
  [Liveness.SUSPECT]: 'suspect',
  [Liveness.DEAD]: 'dead',
  [Liveness.LEFT]: 'left',
};

/** A member as it was told. Error: INTERNAL, when there is none. */
export function described(member: ClusterMember | undefined): MemberDescription {
  if (member === undefined) {
    throw new HoldfastError({ reason: 'INTERNAL', message: 'the node answered without a member' });
  }
  const { id, name, nodeId, endpoints, state, replaces } = member;
  return {
    id,
    name,
    nodeId,
    grpc: endpoints?.grpc ?? '',
    http: endpoints?.http ?? '',
    state: STATES[state] ?? 'unknown',
    replaces: replaces === 0 ? undefined : replaces,
  };
}

/** A member and how it fares, as it was told. Error: as of `described`. */
export function statusOf({ member, liveness, ...told }: StatusMessage): MemberStatus {
  const { alive, replicas, zone, datacentre, version, load, starts } = told;
  const how = LIVENESS[liveness] ?? 'unknown';
  return { ...described(member), alive, liveness: how, zone, datacentre, version, load, starts, replicas };
}
