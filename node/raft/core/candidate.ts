/**
 * A replica that stands for election: first it asks whether it would win (pre-vote,
 * dissertation, section 9.6), so that one that was cut off does not raise the term and
 * unseat a leader that the others follow.
 *
 *  1. A pre-vote changes neither term nor vote.
 *  2. Requests for votes leave once term and own vote are durable, together with the log
 *     they speak of; the own vote counts from then on. Otherwise the replica could restart
 *     with a shorter log and win with votes that the longer one got.
 */
import { tally } from './quorum.ts';
import type { Message, PreVoteResponse } from './messages.ts';
import type { Campaign, Replica, Role, Transitions } from './replica.ts';

export class Candidate implements Role {
  readonly leader = 0;
  readonly hasLiveLeader = false;
  readonly #replica: Replica;
  readonly #transitions: Transitions;
  readonly #campaign: Campaign;
  readonly #votes = new Map<number, boolean>();
  readonly #timeout: number;
  #elapsed = 0;

  constructor(replica: Replica, transitions: Transitions, campaign: Campaign) {
    this.#replica = replica;
    this.#transitions = transitions;
    this.#campaign = campaign;
    this.#timeout = replica.drawElectionTimeout();
  }

  get name(): 'preCandidate' | 'candidate' {
    return this.#campaign === 'preVote' ? 'preCandidate' : 'candidate';
  }

  /** Asks all voters; alone in its group it may have won at once. */
  start(): void {
    if (this.#campaign === 'preVote') {
      this.#askForPreVotes();
      this.#count(this.#replica.id, true);
    } else {
      this.#replica.enterTerm(this.#replica.term + 1);
      this.#replica.voteFor(this.#replica.id);
      this.#askForVotes();
    }
  }

  tick(): void {
    if (++this.#elapsed >= this.#timeout) this.#transitions.becomeCandidate('preVote');
  }

  receive(message: Message): void {
    const isPreVote = this.#campaign === 'preVote';
    switch (message.type) {
      case 'preVoteResponse':
        if (isPreVote && this.#isCurrent(message)) this.#count(message.from, message.granted);
        return;
      case 'voteResponse':
        if (!isPreVote) this.#count(message.from, message.granted);
        return;
      default: // meant for a role that this replica no longer has
    }
  }

  /** Invariant 2. */
  notePersisted(): void {
    const { id, term, durableState } = this.#replica;
    if (this.#campaign !== 'preVote' && durableState.term === term && durableState.vote === id) {
      this.#count(id, true);
    }
  }

  completeTurn(): void {
    // All that a candidate has to say was said when it began.
  }

  /** Requests that have not left speak of a log that may be another when they do. */
  end(): void {
    if (this.#campaign !== 'preVote') this.#replica.promises.length = 0;
  }

  /** Invariant 1: the term asked for is only named. */
  #askForPreVotes(): void {
    const { id: from, term, log, messages } = this.#replica;
    for (const to of this.#others()) {
      const { lastIndex, lastTerm } = log;
      messages.push({ type: 'preVote', from, to, term: term + 1, lastIndex, lastTerm });
    }
  }

  /** Invariant 2. */
  #askForVotes(): void {
    const { id: from, term, log, promises } = this.#replica;
    const isTransfer = this.#campaign === 'transfer';
    for (const to of this.#others()) {
      const { lastIndex, lastTerm } = log;
      promises.push({ type: 'vote', from, to, term, lastIndex, lastTerm, isTransfer });
    }
  }

  #others(): number[] {
    const { voters, outgoing } = this.#replica.log.configuration;
    return [...new Set([...voters, ...outgoing])].filter((voter) => voter !== this.#replica.id);
  }

  /** A grant names the term that would begin. */
  #isCurrent({ granted, term }: PreVoteResponse): boolean {
    return !granted || term === this.#replica.term + 1;
  }

  #count(voter: number, granted: boolean): void {
    if (!this.#votes.has(voter)) this.#votes.set(voter, granted);
    const { term, log } = this.#replica;
    const result = tally(log.configuration, (replica) => this.#votes.get(replica));
    if (result === 'lost') this.#transitions.becomeFollower(term, 0);
    else if (result === 'won' && this.#campaign === 'preVote') this.#transitions.becomeCandidate('vote');
    else if (result === 'won') this.#transitions.becomeLeader();
  }
}
