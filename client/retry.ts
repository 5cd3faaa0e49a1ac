import { HoldfastError, type Outcome } from './error.ts';
import type { Random } from './random.ts';
import { reasonInfo } from './reasons.ts';

const FIRST_DELAY_MS = 20;
const LAST_DELAY_MS = 1_000;
/** An election takes a second: who waits for one asks again soon. */
const LAST_ELECTION_DELAY_MS = 100;
/** Attempts after which a call still goes at once to the leader that a node named; nodes may name each other. */
const FOLLOWED_HINTS = 2;

/** A client of one node asks it so often before it believes that nobody leads. */
const LEAST_REFUSALS = 3;
/** What a message of an attempt says of its write, of which the call knows more. */
const FATE = /( Nothing was written\.| The write may or may not have been kept\.)? \[\w+\]$/;

/** What the retry rules ask about a call. */
export interface RetryState {
  readonly isWrite: boolean;
  /** 0: the write carries none, so it is sent once only. */
  readonly sequence: number;
  /** Sent again it does the same and no more, also without a sequence. */
  readonly isRepeatable?: boolean;
  /** Attempts made, counting the one that just failed. */
  readonly attempts: number;
  /** Whether an earlier attempt was sent and never answered. */
  readonly lost: boolean;
}

/** Attempts that failed, and the nodes that they were sent to. */
export interface Refusals {
  count: number;
  readonly endpoints: Set<string>;
}

/** Where an attempt was sent, and how many nodes there are to send it to. */
export interface AttemptPlace {
  readonly endpoint: string;
  readonly endpoints: number;
}

/** A call whose failed attempts are judged. */
export interface RetriedCall extends RetryState {
  lost: boolean;
  /** `reopen` was called. */
  reopened: boolean;
  /** What a node has said of a partition that nobody leads, unless one has shown since that somebody does. */
  unled: HoldfastError | undefined;
  /** Who has failed the call since a node said that it has long been so; undefined: none has said so. */
  refusedBy: Refusals | undefined;
  /** Flags the request of a write as opening. */
  reopen(): void;
}

/**
 * Judges an attempt that failed: notes on the call what it means for the next one and for
 * the outcome. True: the call may be sent again; when a node says that the partition has lost
 * its majority, until every node was asked. Every path of a call comes through here.
 */
export function judgeAttempt(error: HoldfastError, call: RetriedCall, place: AttemptPlace): boolean {
  noteUnled(error, call, place);
  if (mayReopen(error, call)) {
    call.reopened = true;
    call.reopen();
    return true;
  }
  if (leavesDoubt(error)) call.lost = true;
  return mayRetry(error, call) && !isRefusedByAll(call, place);
}

function noteUnled(error: HoldfastError, call: RetriedCall, { endpoint }: AttemptPlace): void {
  const isUnled = error.reason === 'NO_LEADER' || error.reason === 'NOT_LEADER';
  const isUnreached = error.reason === 'UNAVAILABLE' && !leavesDoubt(error);
  if (error.leader !== undefined || !(isUnled || isUnreached || isStartOrStop(error))) {
    // Whoever refuses for another reason leads, or knows who does.
    call.unled = call.refusedBy = undefined;
    return;
  }
  if (isUnled) call.unled = error;
  if (error.reason === 'NO_LEADER') call.refusedBy ??= { count: 0, endpoints: new Set() };
  if (call.refusedBy === undefined || isStartOrStop(error)) return;
  call.refusedBy.count += 1;
  call.refusedBy.endpoints.add(endpoint);
}

/** Its node will soon know more, or another one will. */
function isStartOrStop({ reason }: HoldfastError): boolean {
  return reason === 'STARTING' || reason === 'SHUTTING_DOWN';
}

function isRefusedByAll({ refusedBy }: RetriedCall, { endpoints }: AttemptPlace): boolean {
  if (refusedBy === undefined) return false;
  return refusedBy.endpoints.size >= endpoints && refusedBy.count >= Math.max(LEAST_REFUSALS, endpoints);
}

/**
 * The error that a call ends with, for its caller. That nobody leads the partition says more
 * than that yet another node could not be reached, or that there was no time to find out.
 */
export function endError(error: HoldfastError, call: RetriedCall, sent: boolean): HoldfastError {
  const { unled } = call;
  const outcome = finalOutcome(error, call, sent);
  const isOut = error.reason === 'DEADLINE_EXCEEDED' && sent && !call.lost;
  // An error that may be retried ends the call only for want of time, or of nodes to ask.
  const isUnanswered = error.reason === 'DEADLINE_EXCEEDED' || mayRetry(error, call);
  if (unled === undefined || isOut || !isUnanswered) return error.withOutcome(outcome);
  const told = unled.message.replace(FATE, '');
  const what = unled.reason === 'NO_LEADER' ? told : `no leader was found in time: ${told}`;
  const fates = { NOT_APPLIED: ' Nothing was written.', UNKNOWN: ' The write may have been kept.' };
  return new HoldfastError({
    reason: 'NO_LEADER',
    message: `${what}${outcome === undefined ? '' : fates[outcome]}`,
    outcome,
    retryAfterMs: unled.retryAfterMs,
    cause: error,
  });
}

/** Whether the same call may be sent again after this error, by the table of reasons. */
export function mayRetry(error: HoldfastError, call: RetryState): boolean {
  const rule = reasonInfo(error.reason)?.retry ?? 'never';
  if (rule === 'safe') return true;
  if (rule === 'never') return false;
  return !call.isWrite || call.sequence > 0 || call.isRepeatable === true || error.outcome === 'NOT_APPLIED';
}

/**
 * Whether a write that was answered CLIENT_EXPIRED may be sent again as opening: only when
 * no attempt can have been applied.
 */
function mayReopen(error: HoldfastError, call: RetriedCall): boolean {
  return error.reason === 'CLIENT_EXPIRED' && call.sequence > 0 && !call.reopened && !call.lost;
}

/**
 * Time to wait before the next attempt, in milliseconds: doubling from 20 ms to 1 s, of
 * which a random half to whole (so that clients that failed together do not return
 * together), and never less than the node advises. At most 100 ms for a leader, and at
 * first none when a node has named it.
 */
export function retryDelayMs(error: HoldfastError, attempts: number, random: Random): number {
  if (error.leader !== undefined && attempts <= FOLLOWED_HINTS) return 0;
  const isUnled = error.reason === 'NOT_LEADER' || error.reason === 'NO_LEADER';
  const last = isUnled ? LAST_ELECTION_DELAY_MS : LAST_DELAY_MS;
  const cap = Math.min(last, FIRST_DELAY_MS * 2 ** Math.min(attempts - 1, 10));
  return Math.max(error.retryAfterMs ?? 0, cap * (0.5 + random.float() / 2));
}

/** What became of a write that ends in this error. Undefined for reads. */
export function finalOutcome(error: HoldfastError, call: RetryState, sent: boolean): Outcome | undefined {
  if (!call.isWrite) return undefined;
  // Who refuses a repeat knows nothing of the attempt that got lost, unless it looked it up.
  if (call.lost && reasonInfo(error.reason)?.decidedByStateMachine !== true) return 'UNKNOWN';
  if (error.outcome !== undefined) return error.outcome;
  return sent && leavesDoubt(error) ? 'UNKNOWN' : 'NOT_APPLIED';
}

/** Whether an attempt that ended in this error may have been executed all the same. */
export function leavesDoubt(error: HoldfastError): boolean {
  if (error.outcome !== undefined) return error.outcome === 'UNKNOWN';
  return reasonInfo(error.reason)?.retry !== 'safe';
}
