import type { SessionCommand } from './session-command.ts';
import type { SessionOutcome } from './session-outcome.ts';
import type { SessionState } from './session-state.ts';
import type { Grant } from './grant.ts';
import type { WriteIdentity } from './coordination-command.ts';

/** How a command gets into group 0's log. */
export interface SessionProposal {
  /** Monotonic time after which it is no longer proposed. */
  readonly deadlineMs: number;
  /** It is proposed here or not at all; otherwise wherever the group is led. */
  readonly isRouted: boolean;
  /** Whether it adds data. */
  readonly grows: boolean;
  /** That its caller may; undefined: the node does it by itself. */
  readonly grant?: Grant | undefined;
  /** Applied once, however often it is sent. */
  readonly identity?: WriteIdentity | undefined;
}

/** Group 0, as far as leases, locks and elections have to do with it. */
export interface SessionGroup {
  /** As applied here. */
  readonly state: SessionState;
  /** Revision of the tree as applied here. */
  readonly revision: number;
  /** Keys that end with a lease, at most `limit`, as applied here. */
  keysOf(lease: bigint, limit: number): Uint8Array[];
  /** Term in which this node leads; undefined: it does not. */
  leadingTerm(): number | undefined;
  /** Why the group is not led as far as this node knows; undefined: it is, or an election is under way. */
  unledError(): Error | undefined;
  /** Resolves with what the command resulted in. Error: HoldfastError with outcome, refusals among them. */
  propose(command: SessionCommand, proposal: SessionProposal): Promise<SessionOutcome>;
  /** Resolves when what was acknowledged before is applied here. Error: HoldfastError. */
  awaitRead(deadlineMs: number): Promise<void>;
}
