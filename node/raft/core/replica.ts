/**
 * What a replica has in every role: identity, term and vote, its log, and what it is
 * about to say. The roles (`Follower`, `Candidate`, `Leader`) share it; a role's own
 * state goes with the role.
 */
import type { ReplicaId } from './configuration.ts';
import { mustHold } from './invariant.ts';
import type { Message } from './messages.ts';
import type { HardState } from './pending-writes.ts';
import type { RaftLog } from './raft-log.ts';
import type { ReadState, RoleName } from './ready.ts';
import type { RaftSettings } from './settings.ts';

/** How a candidacy began. */
export type Campaign = 'preVote' | 'vote' | 'transfer';

/** What a role does; messages are of the replica's own term. */
export interface Role {
  readonly name: RoleName;
  /** 0: not known. */
  readonly leader: ReplicaId;
  /** Whether a leader is alive as far as this replica can tell, so that no election is due. */
  readonly hasLiveLeader: boolean;
  tick(): void;
  receive(message: Message): void;
  /** Part of the log, or the vote, became durable. */
  notePersisted(): void;
  /** Last chance to add messages to this turn. */
  completeTurn(): void;
  /** Another role follows. */
  end(): void;
}

/** Changes of role, for the roles to ask for. */
export interface Transitions {
  becomeFollower(term: number, leader: ReplicaId): void;
  becomeCandidate(campaign: Campaign): void;
  becomeLeader(): void;
}

export class Replica {
  readonly id: ReplicaId;
  readonly settings: RaftSettings;
  readonly log: RaftLog;
  /** Numbers in [0, 1). */
  readonly random: () => number;
  /** The clock as of the last tick or proposal. */
  wallMs = 0;
  /** Term and vote as of the last completed write. */
  durableState: HardState;
  readonly messages: Message[] = [];
  /** Messages that wait for a write, because they promise what it makes durable. */
  readonly promises: Message[] = [];
  readonly reads: ReadState[] = [];
  readonly droppedReads: number[] = [];
  readonly snapshotsWanted: ReplicaId[] = [];
  #term: number;
  #vote: ReplicaId;

  constructor(
    id: ReplicaId,
    settings: RaftSettings,
    log: RaftLog,
    hardState: HardState,
    random: () => number,
  ) {
    this.id = id;
    this.settings = settings;
    this.log = log;
    this.random = random;
    this.durableState = hardState;
    this.#term = hardState.term;
    this.#vote = hardState.vote;
  }

  get term(): number {
    return this.#term;
  }

  /** 0: nobody. */
  get vote(): ReplicaId {
    return this.#vote;
  }

  get mayLead(): boolean {
    return this.log.mayLead(this.id);
  }

  /**
   * Enters a later term. What this turn was to promise in the old one is not said: before
   * it is durable a new leader may have replaced what it was about.
   */
  enterTerm(term: number): void {
    mustHold(term > this.#term, () => `term ${term} after ${this.#term}`);
    this.#term = term;
    this.#vote = 0;
    this.promises.length = 0;
  }

  /** One vote a term. */
  voteFor(candidate: ReplicaId): void {
    mustHold(this.#vote === 0 || this.#vote === candidate, () => `second vote in term ${this.#term}`);
    this.#vote = candidate;
  }

  /** Between one and two times `electionTicks`, so that few replicas stand at once. */
  drawElectionTimeout(): number {
    const { electionTicks } = this.settings;
    return electionTicks + Math.floor(this.random() * electionTicks);
  }
}
