/** What replicas of a group say to each other. Any message may be lost, delayed, repeated or overtaken. */
import type { ReplicaId } from './configuration.ts';
import type { Entry } from './entry.ts';
import type { SnapshotPoint } from './raft-log.ts';

export interface Addressed {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  /** The sender's term; in `preVote` and a granted `preVoteResponse` the term that the candidate would begin. */
  readonly term: number;
}

/** Would you vote for me? Changes nothing where it arrives. */
export interface PreVote extends Addressed {
  readonly type: 'preVote';
  readonly lastIndex: number;
  readonly lastTerm: number;
}

export interface PreVoteResponse extends Addressed {
  readonly type: 'preVoteResponse';
  readonly granted: boolean;
}

export interface VoteRequest extends Addressed {
  readonly type: 'vote';
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** The leader asked for this election, so it is no reason to refuse that there is a leader. */
  readonly isTransfer: boolean;
}

export interface VoteResponse extends Addressed {
  readonly type: 'voteResponse';
  readonly granted: boolean;
}

/** Entries that follow `prevIndex`; none to only tell the commit index or to probe. */
export interface Append extends Addressed {
  readonly type: 'append';
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly committed: number;
  readonly entries: readonly Entry[];
}

/** Everything up to `index` is durable and as the leader has it. */
export interface AppendAccepted extends Addressed {
  readonly type: 'appendAccepted';
  readonly index: number;
}

/** The entry at `prevIndex` is not as the leader has it; the logs may agree at `hintIndex`, if its term is `hintTerm`. */
export interface AppendRejected extends Addressed {
  readonly type: 'appendRejected';
  readonly prevIndex: number;
  readonly hintIndex: number;
  readonly hintTerm: number;
}

/** The leader is there. Small, because there is one for each group and peer. */
export interface Heartbeat extends Addressed {
  readonly type: 'heartbeat';
  readonly committed: number;
  /** Newest round of reads; see `ReadRounds`. */
  readonly round: number;
}

export interface HeartbeatResponse extends Addressed {
  readonly type: 'heartbeatResponse';
  readonly round: number;
}

/** Comes with, or after, the rows of the snapshot, which the hosts move by themselves. */
export interface InstallSnapshot extends Addressed {
  readonly type: 'snapshot';
  readonly snapshot: SnapshotPoint;
}

/** The leader wants the receiver to take over, now. */
export interface TimeoutNow extends Addressed {
  readonly type: 'timeoutNow';
}

/** From which index on may a read that came before this message be served? */
export interface ReadIndexRequest extends Addressed {
  readonly type: 'readIndex';
  readonly id: number;
}

export interface ReadIndexResponse extends Addressed {
  readonly type: 'readIndexResponse';
  readonly id: number;
  readonly index: number;
}

export type Message =
  | PreVote
  | PreVoteResponse
  | VoteRequest
  | VoteResponse
  | Append
  | AppendAccepted
  | AppendRejected
  | Heartbeat
  | HeartbeatResponse
  | InstallSnapshot
  | TimeoutNow
  | ReadIndexRequest
  | ReadIndexResponse;
