import type { Command } from './entry.ts';
import type { Member } from './members.ts';

/**
 * What a replicated log drives. `apply` is synchronous and deterministic: the same
 * commands in the same order give the same rows on every replica, whatever its clock.
 * A command that cannot be carried out changes nothing and says so in its result; an
 * exception means that the replica itself is unsound.
 */
export interface StateMachine {
  /** Carries out one command at log time `stampMs`; what it returns goes to the proposer. */
  apply(command: Command, stampMs: number): unknown;
  /** A command that another node sent: what its bytes say, for `decoded`. Error: RangeError, it is not one. */
  parse(command: Command): unknown;
  /** A result of `apply` for another node. */
  encodeResult(result: unknown): Uint8Array;
  /** This state machine begins with the rows of a snapshot, in place of another one's. */
  onInstalled?(): void;
}

/** A command on its way through a group's log. Exactly one of the callbacks is called, once. */
export interface Proposal extends Command {
  /** Monotonic time after which it is no longer proposed. */
  readonly deadlineMs: number;
  /** The log here has it on disk; nothing says yet that it will be applied. */
  onLogged?(): void;
  /** It was applied; `result` is the state machine's. */
  onApplied(result: unknown): void;
  /** It was not applied, or nobody can say. */
  onFailed(failure: ProposalFailure): void;
}

/** Why nothing can be proposed, or a proposal has no result. */
export type FailureCause =
  | 'deadline'
  | 'group gone'
  | 'not leader'
  /** There is no replica of the group here; `leader` has one, or knows who does. */
  | 'no replica'
  | 'stopped'
  | 'storage failed'
  | 'storage damaged'
  /** Storage is damaged, or the others knew this node with other data; they can serve in its place. */
  | 'node damaged';

/** What is known of who leads a group that is not led here. */
export interface NotLed {
  /** Who does, where that is known and somebody else. */
  readonly leader?: Member | undefined;
  /** Nobody does, and has not for long. */
  readonly unled?: UnledGroup | undefined;
}

/** What is known of a group that nobody leads. */
export interface UnledGroup {
  readonly forMs: number;
  /** Voters that must be up. */
  readonly needed: number;
  /** Names of the voters that this node hears, itself included, and of the others. */
  readonly heard: readonly string[];
  readonly silent: readonly string[];
}

/** Why a proposal has no result, and whether it may have been applied. */
export interface ProposalFailure extends NotLed {
  readonly cause: FailureCause;
  readonly outcome: 'NOT_APPLIED' | 'UNKNOWN';
}
