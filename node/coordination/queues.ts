/**
 * Acquires and releases locks, and leads elections, for calls of this node: proposes, waits,
 * and takes back what nobody waits for any more.
 *
 *  1. Whose time to wait is over gives up its place, and what it was given meanwhile.
 *  2. Whose caller has gone takes back only what this call has caused: the caller may have sent
 *     the request again, by another node, and hold what it got there.
 *  3. A node that stops gives up no place: the request may be sent again to another one.
 */
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { Random } from '@holdfast/client/random';
import type { Grant } from './grant.ts';
import type { Hanging } from './lease-table.ts';
import { LockWaits, type Request, type Served, type WaitingCall } from './lock-waits.ts';
import { SessionCommandKind, type AcquireCommand, type SessionCommand } from './session-command.ts';
import type { SessionGroup } from './session-group.ts';
import { CAMPAIGN_REQUEST } from './session-state.ts';

/** Longest that a command of ours is tried to be proposed when its caller has gone. */
const CLEAN_UP_MS = 10_000;
/** Time kept for giving up and for the answer: a tenth of what there is, at most this. */
const ANSWER_MS = 500;

/** How long a call may wait. */
export interface Patience {
  /** Undefined: until the deadline. */
  readonly waitMs: number | undefined;
  readonly deadlineMs: number;
  readonly isRouted: boolean;
  readonly grant?: Grant | undefined;
  /** Aborted when the caller has gone. */
  readonly signal: AbortSignal;
}

/** What is asked of a lock. */
export type LockAsk = Pick<AcquireCommand, 'name' | 'session' | 'request' | 'mode' | 'permits'>;

/** How calls of this node have ended since the start. */
export interface QueueCounts {
  /** Served without waiting. */
  atOnce: number;
  /** Served after waiting. */
  waited: number;
  timedOut: number;
  /** With any other error. */
  failed: number;
}

function noCounts(): QueueCounts {
  return { atOnce: 0, waited: 0, timedOut: 0, failed: 0 };
}

export class Queues {
  readonly counts: Readonly<Record<Hanging, QueueCounts>> = { locks: noCounts(), elections: noCounts() };
  readonly waits: LockWaits;
  readonly #group: SessionGroup;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(group: SessionGroup, clock: Clock, random: Random) {
    this.#group = group;
    this.#clock = clock;
    this.#random = random;
    this.waits = new LockWaits(group, clock);
  }

  /** Takes a lock. Errors: those of Acquire. */
  acquire(ask: LockAsk, patience: Patience): Promise<Served> {
    const attempt = this.#attempt();
    const mayWait = patience.waitMs !== 0;
    const request = { kind: 'locks' as const, ...ask };
    const command = { ...ask, kind: SessionCommandKind.acquire, attempt, mayWait };
    return this.#enter(request, command, attempt, patience);
  }

  /** Leads an election. Errors: those of Campaign. */
  campaign(name: string, session: bigint, value: Uint8Array, patience: Patience): Promise<Served> {
    const attempt = this.#attempt();
    const request = { kind: 'elections' as const, name, session, request: CAMPAIGN_REQUEST };
    const command = { kind: SessionCommandKind.campaign, name, session, attempt, value };
    return this.#enter(request, command, attempt, patience);
  }

  async #enter(
    request: Request,
    command: SessionCommand,
    attempt: number,
    patience: Patience,
  ): Promise<Served> {
    const { deadlineMs, isRouted, grant, signal } = patience;
    const counts = this.counts[request.kind];
    const call = this.waits.add(request);
    const givesUpMs = this.#givesUpMs(patience);
    try {
      const outcome = await this.#group.propose(command, { deadlineMs, isRouted, grant, grows: true });
      if (outcome.case === 'waiting') call.waitsAt(outcome.revision);
      const isAtOnce = outcome.case === 'held';
      const served = isAtOnce ? outcome : await this.#wait(call, givesUpMs, signal);
      if (served === 'late') return await this.#timedOut(request, attempt, deadlineMs);
      if (signal.aborted) throw gone();
      counts[isAtOnce ? 'atOnce' : 'waited']++;
      return { token: served.token, holds: served.holds };
    } catch (error) {
      if ((error as HoldfastError).code === 'DEADLINE_EXCEEDED') counts.timedOut++;
      else counts.failed++;
      if (signal.aborted) this.#takeBack(request, attempt);
      throw error;
    } finally {
      call.leave();
    }
  }

  /** Resolves when it is served, or its time is over. Error: it cannot be served any more; its caller has gone. */
  #wait(call: WaitingCall, givesUpMs: number, signal: AbortSignal): Promise<Served | 'late'> {
    if (signal.aborted) throw gone();
    return new Promise((resolve, reject) => {
      const leftMs = givesUpMs - this.#clock.monotonicMs();
      const end = () => {
        timer?.cancel();
        signal.removeEventListener('abort', onGone);
      };
      const onLate = () => {
        end();
        resolve('late');
      };
      const onGone = () => {
        end();
        reject(gone());
      };
      const timer = leftMs === Infinity ? undefined : this.#clock.setTimer(Math.max(0, leftMs), onLate);
      signal.addEventListener('abort', onGone, { once: true });
      call.served.then(resolve, reject).finally(end);
    });
  }

  /** Invariant 1. */
  async #timedOut(request: Request, attempt: number, deadlineMs: number): Promise<never> {
    const command = giveUp(request, attempt);
    const giving = this.#group.propose(command, {
      deadlineMs: Math.max(deadlineMs, this.#clock.monotonicMs() + CLEAN_UP_MS),
      isRouted: false,
      grows: false,
    });
    const outcome = await giving.catch((error: unknown) => error as HoldfastError);
    if (outcome instanceof Error) throw timedOut(request.kind, 'unknown', outcome);
    const isLeft = outcome.case === 'released' && !outcome.wasFound && outcome.holds > 0;
    throw timedOut(request.kind, isLeft ? 'kept' : 'given up');
  }

  /** Invariant 2. */
  #takeBack(request: Request, attempt: number): void {
    const deadlineMs = this.#clock.monotonicMs() + CLEAN_UP_MS;
    const proposal = { deadlineMs, isRouted: false, grows: false };
    // What this fails to do the end of the session does.
    this.#group.propose(giveUp(request, attempt), proposal).catch(() => undefined);
  }

  #givesUpMs({ waitMs = Infinity, deadlineMs }: Patience): number {
    const nowMs = this.#clock.monotonicMs();
    const answerMs = Math.min(ANSWER_MS, (deadlineMs - nowMs) / 10);
    return Math.min(nowMs + waitMs, deadlineMs - answerMs);
  }

  #attempt(): number {
    return 1 + Math.floor(this.#random.float() * 2 ** 48);
  }
}

function giveUp({ kind, name, session, request }: Request, attempt: number | undefined): SessionCommand {
  if (kind === 'elections') return { kind: SessionCommandKind.resign, name, session, token: 0, attempt };
  return { kind: SessionCommandKind.release, name, session, request, token: 0, attempt };
}

function gone(): HoldfastError {
  return new HoldfastError({
    reason: 'CANCELLED',
    message: 'the caller has gone; its place in the queue is given up.',
    outcome: 'UNKNOWN',
  });
}

/** What has become of the place of a call whose time is over. */
const FATES = {
  'given up': 'The place in the queue was given up. Nothing is held.',
  kept: 'The session has the place in the queue by another sending of the request, or another request.',
  unknown: 'Whether the place in the queue is given up is not known; it is at the end of the session.',
} as const;

function timedOut(kind: Hanging, fate: keyof typeof FATES, cause?: HoldfastError): HoldfastError {
  const what = kind === 'locks' ? 'the lock was not got' : 'the candidate was not elected';
  return new HoldfastError({
    reason: kind === 'locks' ? 'LOCK_TIMED_OUT' : 'ELECTION_TIMED_OUT',
    message: `${what} within the time to wait. ${FATES[fate]}`,
    outcome: fate === 'given up' ? 'NOT_APPLIED' : 'UNKNOWN',
    cause,
  });
}
