/** What a turn of the core leaves for its host to do; see `RaftCore.takeReady` for the order. */
import type { ReplicaId } from './configuration.ts';
import type { Entry } from './entry.ts';
import type { Message } from './messages.ts';
import type { HardState } from './pending-writes.ts';
import type { SnapshotPoint } from './raft-log.ts';

export type RoleName = 'follower' | 'preCandidate' | 'candidate' | 'leader';

/** To be made durable as a whole, in the order of `sequence`, and then reported with `onPersisted`. */
export interface Write {
  readonly sequence: number;
  /** Term and vote, if they changed. */
  readonly hardState: HardState | undefined;
  /** Rows received from the leader take the place of the replica's own, and its log is empty. */
  readonly snapshot: SnapshotPoint | undefined;
  /** They follow each other. What the log has from the first one's index on goes. */
  readonly entries: readonly Entry[];
  /** To be sent once this write, and so every earlier one, is durable. Not before. */
  readonly messages: readonly Message[];
}

/** A read may be served once the state machine has applied `index`. */
export interface ReadState {
  readonly context: number;
  readonly index: number;
}

/** Role, term or leader changed. */
export interface RoleChange {
  readonly role: RoleName;
  readonly term: number;
  /** 0: not known. */
  readonly leader: ReplicaId;
}

export interface Ready {
  readonly write: Write | undefined;
  /** To be sent now; they promise nothing that is not durable. */
  readonly messages: readonly Message[];
  /** To be applied in order; reported with `onApplied`. */
  readonly committed: readonly Entry[];
  readonly reads: readonly ReadState[];
  /** Reads that will get no answer here; to be asked anew, or refused. */
  readonly droppedReads: readonly number[];
  /** Followers that need a snapshot; see `RaftCore.snapshotFor`. */
  readonly snapshotsWanted: readonly ReplicaId[];
  readonly roleChange: RoleChange | undefined;
}
