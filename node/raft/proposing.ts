/** Turns what is proposed to groups here into entries of their logs, and ends what cannot be. */
import type { Clock } from '@holdfast/client/clock';
import type { ClockGuard } from './clock-guard.ts';
import type { GroupReplica } from './group-replica.ts';
import type { FailureCause, NotLed, Proposal } from './state-machine.ts';

/** What became of the commands that were proposed here. */
export interface ProposalCounts {
  /** Put into the log. */
  logged: number;
  /** Refused: this node does not lead, or no longer. */
  refused: number;
  /** Not put into the log by their deadline. */
  expired: number;
  /** In the log when this node stopped leading: nobody here can say what became of them. */
  lost: number;
}

export class Proposing {
  readonly counts: ProposalCounts = { logged: 0, refused: 0, expired: 0, lost: 0 };
  readonly #clock: Clock;
  readonly #clockGuard: ClockGuard;
  readonly #notLed: (group: number) => NotLed;

  constructor(clock: Clock, clockGuard: ClockGuard, notLed: (group: number) => NotLed) {
    this.#clock = clock;
    this.#clockGuard = clockGuard;
    this.#notLed = notLed;
  }

  /** Proposes what waits; a leader whose clock is far from the others' hands over instead. */
  run(replica: GroupReplica): void {
    const { core, proposals } = replica;
    const expired: Proposal[] = [];
    const prepared = proposals.prepare(this.#clock.monotonicMs(), expired);
    this.counts.expired += expired.length;
    for (const proposal of expired) proposal.onFailed({ cause: 'deadline', outcome: 'NOT_APPLIED' });
    if (prepared.length === 0) return;
    if (this.#clockGuard.isOff && this.#clockGuard.handOver(core)) return;
    const result = core.propose(prepared, this.#clock.wallMs());
    if (result.refused === undefined) {
      const logged = proposals.track(result.index, result.term, this.#clock.monotonicMs());
      for (const entry of logged) this.counts.logged += entry.proposals.length;
    } else if (result.refused === 'not leader' && !replica.isAlone) this.giveUp(replica, 'not leader');
    // Otherwise it waits: for room, for the end of a handover, or for its own election.
  }

  /** Ends a proposal to a group that is led elsewhere. */
  refuse(proposal: Proposal, group: number): void {
    this.counts.refused++;
    proposal.onFailed({ cause: 'not leader', outcome: 'NOT_APPLIED', ...this.#notLed(group) });
  }

  /** Ends what was proposed here: of what is in the log nobody here can say what becomes of it. */
  giveUp(replica: GroupReplica, cause: FailureCause): void {
    const notLed = this.#notLed(replica.group);
    const lost = replica.proposals.drainInFlight();
    for (const proposal of lost) proposal.onFailed({ cause, outcome: 'UNKNOWN', ...notLed });
    const refused = replica.proposals.drainWaiting();
    for (const proposal of refused) proposal.onFailed({ cause, outcome: 'NOT_APPLIED', ...notLed });
    this.counts.lost += lost.length;
    this.counts.refused += refused.length;
  }
}
