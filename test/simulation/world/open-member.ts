/**
 * How a node of the world gets its engine: the one place that knows how an engine of a
 * cluster of several is opened, and what can be learned of its groups.
 */
import type { Membership } from '../../../node/cluster/membership.ts';
import { openEngine, type Engine, type EngineOptions } from '../../../node/main/engine.ts';
import { decodeEnvelope, type GroupMessage } from '../../../node/raft/core/message-codec.ts';
import { HEADER_BYTES, PeerMessageKind } from '../../../node/raft/peer-courier.ts';
import type { PeerTransport } from '../../../node/runtime/peer-transport.ts';

/** One voter of the cluster. */
export interface Member {
  readonly id: number;
  readonly name: string;
  /** Where clients reach it. */
  readonly address: string;
}

export interface MemberOptions extends EngineOptions {
  readonly membership: Membership;
  readonly peers: PeerTransport;
}

/** Numbers of nodes that runs have, if nobody says; with several voters 3, 3, 3, 4, 5, 5, 6, 7. */
export const CLUSTER_SIZES: readonly number[] = [1, 3, 3, 3, 5, 5, 7];

/**
 * Whether a log that is opened makes durable what it found at its end. As long as it does
 * not, a write that a killed process had not synced, or whose sync failed, is served after
 * the restart and lost with the power; so the machine writes everything when a process dies.
 */
export const LOG_SECURES_ITS_END: boolean = true;

/** Opens the engine of one member. One that is alone reaches nobody. */
export function openMember(options: MemberOptions): Promise<Engine> {
  const { peers, forwarding, ...engineOptions } = options;
  if (options.membership.members.length === 1) return openEngine(engineOptions);
  return openEngine({ ...engineOptions, peers, forwarding });
}

/** What a member says of itself. */
export function gossipOf({ address: grpc }: Member): EngineOptions['gossip'] {
  return { meta: { zone: '', datacentre: '', grpc, http: '', version: 'simulated' } };
}

/** What the world looks at in one replica of a group. */
export interface ReplicaView {
  readonly group: number;
  readonly term: number;
  readonly isLeader: boolean;
  readonly lastIndex: number;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
}

/** The replicas of an engine. */
export function replicasOf(engine: Engine): ReplicaView[] {
  return engine.host.replicas.map(({ group, term, lastIndex, applied, isLeader }) => ({
    group,
    term,
    isLeader,
    lastIndex,
    appliedIndex: applied.index,
    appliedTerm: applied.term,
  }));
}

/** The messages of cores in what one node sends another. */
export function coreMessages(sent: Uint8Array): readonly GroupMessage[] {
  if (sent[0] !== PeerMessageKind.envelope) return [];
  return decodeEnvelope(Buffer.from(sent.subarray(HEADER_BYTES)));
}

/** What a message between nodes says of the run of its sender, and which run of its receiver it welcomes. */
export function greetingOf(sent: Uint8Array): {
  readonly kind: 'envelope' | 'other';
  readonly run: string;
  readonly welcomed: string | undefined;
} {
  const bytes = Buffer.from(sent);
  return {
    kind: sent[0] === PeerMessageKind.envelope ? 'envelope' : 'other',
    run: bytes.toString('hex', 9, 17),
    welcomed: sent[0] === PeerMessageKind.welcome ? bytes.toString('hex', HEADER_BYTES) : undefined,
  };
}
