/**
 * Calls that wait on this node until they hold a lock or lead an election. Who is served is
 * told by the state machine as it is applied here, wherever the group is led; this knows
 * whose call it is.
 *
 *  1. A call is noted before its command is proposed: what is applied meanwhile is not missed.
 *  2. A call whose session has ended is told at once.
 *  3. A node that knows of no leader for long lets its calls go: another one may know more.
 *  4. A call is served, or loses its place, by what came after its own command, which has a
 *     revision of its own: a node that lags may apply only now what became of an earlier sending.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { Hanging } from './lease-table.ts';
import type { SessionGroup } from './session-group.ts';
import { refusalError } from './refusal-error.ts';
import type { Place } from './wait-queue.ts';

/** Between two looks whether somebody leads. */
const LOOK_MS = 1_000;

/** What a session asks for on a call. */
export interface Request {
  readonly kind: Hanging;
  /** Binary. */
  readonly name: string;
  readonly session: bigint;
  /** Binary. */
  readonly request: string;
}

/** What a call got. */
export interface Served {
  readonly token: number;
  readonly holds: number;
}

/** A call that waits. */
export class WaitingCall {
  readonly request: Request;
  /** Settles when it is served, or cannot be any more. */
  readonly served: Promise<Served>;
  #waitsSince: number | undefined;
  /** Served before it was known since when it waits. */
  #early: Served | undefined;
  /** Revision at which its place was given up before that. */
  #earlyGivenUp: number | undefined;
  readonly #waits: LockWaits;
  #resolve!: (served: Served) => void;
  #reject!: (error: unknown) => void;

  constructor(waits: LockWaits, request: Request) {
    this.#waits = waits;
    this.request = request;
    this.served = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.served.catch(() => undefined); // whoever left does not care
  }

  /** Revision at which it was known to wait; undefined: it is not yet. */
  get waitsSince(): number | undefined {
    return this.#waitsSince;
  }

  /** It waits at this revision: what it was told to hold before is over. Invariant 4. */
  waitsAt(revision: number): void {
    this.#waitsSince = revision;
    if (this.#earlyGivenUp !== undefined) this.giveUp(this.#earlyGivenUp);
    if (this.#early !== undefined) this.serve(this.#early);
  }

  /** Its place was given up by another call, when this was the last revision. Invariant 4. */
  giveUp(revision: number): void {
    if (this.#waitsSince === undefined) this.#earlyGivenUp = revision;
    else if (revision >= this.#waitsSince) this.#reject(givenUp());
  }

  serve(served: Served): void {
    if (this.#waitsSince === undefined) this.#early = served;
    else if (served.token > this.#waitsSince) this.#resolve(served);
  }

  fail(error: unknown): void {
    this.#reject(error);
  }

  /** It waits no more. */
  leave(): void {
    this.#waits.remove(this);
  }
}

export class LockWaits {
  readonly #group: SessionGroup;
  readonly #clock: Clock;
  readonly #bySession = new Map<bigint, Set<WaitingCall>>();
  #size = 0;
  #timer: Timer | undefined;
  #stopped: HoldfastError | undefined;

  constructor(group: SessionGroup, clock: Clock) {
    this.#group = group;
    this.#clock = clock;
  }

  /** Calls that wait. */
  get size(): number {
    return this.#size;
  }

  /** Notes a call. Invariant 1. */
  add(request: Request): WaitingCall {
    const call = new WaitingCall(this, request);
    const calls = this.#bySession.get(request.session);
    if (calls === undefined) this.#bySession.set(request.session, new Set([call]));
    else calls.add(call);
    this.#size++;
    if (this.#stopped !== undefined) call.fail(this.#stopped);
    else if (this.#timer === undefined) this.#look();
    return call;
  }

  remove(call: WaitingCall): void {
    const calls = this.#bySession.get(call.request.session);
    if (calls?.delete(call) !== true) return;
    this.#size--;
    if (calls.size === 0) this.#bySession.delete(call.request.session);
    if (this.#size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Somebody who waited was served. */
  onServed(kind: Hanging, name: string, { session, token, requests }: Place): void {
    for (const call of this.#callsOf(kind, name, session))
      if (requests.has(call.request.request)) call.serve({ token, holds: requests.size });
  }

  /** A request was given up by another call. */
  onGivenUp(kind: Hanging, name: string, session: bigint, request: string, revision: number): void {
    for (const call of this.#callsOf(kind, name, session))
      if (call.request.request === request) call.giveUp(revision);
  }

  /** Invariant 2. */
  onLeaseEnded(lease: bigint): void {
    for (const call of this.#bySession.get(lease) ?? []) call.fail(expired(lease));
  }

  /** A snapshot came in place of what was applied: nobody told what happened in between. */
  onReplaced(): void {
    for (const calls of this.#bySession.values()) for (const call of calls) this.#lookUp(call);
  }

  /** The node stops: another one may go on with the same requests. */
  stop(error: HoldfastError): void {
    const stopped = (this.#stopped = placeKept(error));
    this.#timer?.cancel();
    for (const calls of this.#bySession.values()) for (const call of calls) call.fail(stopped);
  }

  #callsOf(kind: Hanging, name: string, session: bigint): WaitingCall[] {
    const calls = this.#bySession.get(session);
    if (calls === undefined) return [];
    return [...calls].filter(({ request }) => request.kind === kind && request.name === name);
  }

  #lookUp(call: WaitingCall): void {
    const { kind, name, session, request } = call.request;
    const { state, revision } = this.#group;
    if (call.waitsSince === undefined || revision < call.waitsSince) return; // its answer, or the log, will tell
    const place = state[kind].get(name)?.place(session);
    if (state.leases.get(session) === undefined) call.fail(expired(session));
    else if (place?.requests.has(request) !== true) call.fail(givenUp());
    else if (place.token !== 0) call.serve({ token: place.token, holds: place.requests.size });
  }

  /** Invariant 3. */
  #look(): void {
    this.#timer = this.#clock.setTimer(LOOK_MS, () => {
      const error = this.#group.unledError();
      if (error !== undefined)
        for (const calls of this.#bySession.values()) for (const call of calls) call.fail(error);
      this.#look();
    });
  }
}

function expired(session: bigint): HoldfastError {
  return refusalError({ refused: 'SESSION_EXPIRED', actual: String(session) });
}

function givenUp(): HoldfastError {
  return new HoldfastError({
    reason: 'CANCELLED',
    message: 'the place in the queue was given up by another call of the same session. Nothing is held.',
    outcome: 'NOT_APPLIED',
  });
}

/** That the node stops says nothing of the place, which may have been taken, and even been served. */
function placeKept(cause: HoldfastError): HoldfastError {
  return new HoldfastError({
    reason: cause.reason,
    message:
      'the node is stopping, and waits no longer. The place in the queue is kept: send the same request to another node, or give it up.',
    outcome: 'UNKNOWN',
    retryAfterMs: cause.retryAfterMs,
    cause,
  });
}
