/**
 * Leases, locks and elections as the applied log says they are, by a model that is plainly
 * right: naive queues, and a set of leases. It is fed the commands in their order, with what each
 * resulted in, and compared with what a node holds after each entry.
 *
 * Which revision somebody who waited is served at is the node's to say; that it is new, and
 * that tokens of a queue grow in the order of serving, is checked.
 */
import {
  SessionCommandKind,
  type ProclaimCommand,
  type SessionCommand,
} from '../../../node/coordination/session-command.ts';
import type { SessionOutcome } from '../../../node/coordination/session-outcome.ts';
import { CAMPAIGN_REQUEST } from '../../../node/coordination/session-state.ts';
import { HoldMode, type Ask } from '../../../node/coordination/wait-queue.ts';
import { NaiveQueue, type NaivePlace } from '../../coordination/naive-queue.ts';
import { CheckFailed } from './check-failed.ts';

export type QueueKind = 'locks' | 'elections';

/** A queue as a node has it. */
export interface SeenPlace {
  readonly session: bigint;
  readonly token: number;
  readonly requests: ReadonlyMap<string, unknown>;
}
export interface SeenQueue {
  readonly holders: readonly SeenPlace[];
  readonly waiters: readonly SeenPlace[];
}

/** A node's state after an entry. */
export interface SeenState {
  readonly revision: number;
  queue(kind: QueueKind, name: string): SeenQueue | undefined;
  hasLease(lease: bigint): boolean;
}

export interface SessionModelEvents {
  /** Somebody has become a holder, or the leader. */
  onGranted(kind: QueueKind, name: string, session: bigint, token: number): void;
  /** Holders of a queue may have changed. */
  onQueue(kind: QueueKind, name: string, queue: NaiveQueue): void;
  /** The leader of an election says something, from this revision on. */
  onSaid(name: string, session: bigint, token: number, revision: number, value: Uint8Array): void;
  onLease(lease: bigint, ttlMs: number): void;
  onLeaseEnded(lease: bigint, hasExpired: boolean): void;
}

const NOTHING = new Uint8Array(0);
/** Above all revisions: tokens that the node has yet to say. */
const PROVISIONAL = 2 ** 52;

export class SessionModel {
  readonly leases = new Map<bigint, number>();
  readonly locks = new Map<string, NaiveQueue>();
  readonly elections = new Map<string, NaiveQueue>();
  readonly #events: SessionModelEvents;
  /** What candidates want to say, by election and session. */
  readonly #wishes = new Map<string, Uint8Array>();
  readonly #touched = new Set<string>();
  readonly #ended: { lease: bigint; hasExpired: boolean }[] = [];
  #provisional = PROVISIONAL;
  #term = 0;
  #revision = 0;

  constructor(events: SessionModelEvents) {
    this.#events = events;
  }

  /** Applies a command that was not refused. Throws CheckFailed when it had to be. */
  apply(command: SessionCommand, outcome: SessionOutcome): void {
    switch (command.kind) {
      case SessionCommandKind.grant:
        return this.#grant(outcome);
      case SessionCommandKind.revoke:
        this.#require(this.leases.has(command.lease), 'leases', `lease ${command.lease} was revoked twice`);
        return this.#end(command.lease, false);
      case SessionCommandKind.beginTerm:
        if (isCurrent(outcome)) this.#begin(command.term);
        return;
      case SessionCommandKind.checkpoint:
        return this.#requireTerm(command.term, outcome);
      case SessionCommandKind.expire:
        this.#requireTerm(command.term, outcome);
        if (isCurrent(outcome)) for (const lease of command.leases) this.#end(lease, true);
        return;
      case SessionCommandKind.acquire:
        return this.#ask('locks', command.name, command, outcome);
      case SessionCommandKind.campaign: {
        const { name, session, attempt, value } = command;
        const isHolder = this.#queue('elections', name).holders.some((one) => one.session === session);
        if (!isHolder) this.#wishes.set(`${name} ${session}`, value);
        const ask = {
          session,
          attempt,
          request: CAMPAIGN_REQUEST,
          mode: HoldMode.exclusive,
          permits: 0,
          mayWait: true,
        };
        return this.#ask('elections', name, ask, outcome);
      }
      case SessionCommandKind.release:
        return this.#give('locks', command.name, command, outcome);
      case SessionCommandKind.resign:
        return this.#give('elections', command.name, { ...command, request: CAMPAIGN_REQUEST }, outcome);
      case SessionCommandKind.proclaim:
        return this.#proclaim(command, outcome);
    }
  }

  /** A command was refused: it was right to be. */
  refused(command: SessionCommand, reason: string): void {
    if (command.kind === SessionCommandKind.acquire && reason === 'LOCK_HELD') {
      // Who waited and was sent again without a wish to wait has given up its place.
      const queue = this.#queue('locks', command.name);
      const answer = queue.ask(command, () => this.#next());
      this.#require(answer === reason, 'locks', `${command.name}: was refused as held, and is ${answer}`);
      this.#serve('locks', command.name, queue);
    }
    if (reason === 'SESSION_EXPIRED' && 'session' in command)
      this.#require(!this.leases.has(command.session), 'leases', `lease ${command.session} is there`);
    if (reason === 'LOCK_NOT_HELD' && command.kind === SessionCommandKind.release) {
      const place = this.#queue('locks', command.name).holders.find(
        ({ session, token }) => session === command.session && token === command.token,
      );
      const isHeld = place?.requests.has(command.request) === true;
      this.#require(
        !isHeld,
        'locks',
        `${command.name}: ${command.session} holds it and could not release it`,
      );
    }
  }

  /** The commands of an entry are applied: this is what a node holds now. */
  compare(seen: SeenState): void {
    for (const touched of this.#touched) {
      const [kind, name] = splitName(touched);
      const queue = this.#queue(kind, name);
      this.#compareQueue(kind, name, queue, seen);
      if (queue.places.length === 0) this[kind].delete(name);
    }
    for (const { lease, hasExpired } of this.#ended) {
      this.#require(!seen.hasLease(lease), 'leases', `lease ${lease} has ended and is still there`);
      this.#events.onLeaseEnded(lease, hasExpired);
    }
    for (const touched of this.#touched) {
      const [kind, name] = splitName(touched);
      this.#events.onQueue(kind, name, this.#queue(kind, name));
    }
    this.#touched.clear();
    this.#ended.length = 0;
    this.#revision = seen.revision;
  }

  #grant(outcome: SessionOutcome): void {
    if (outcome.case !== 'lease') throw new CheckFailed('leases', `a grant resulted in ${outcome.case}`);
    const { lease, ttlMs } = outcome;
    this.#require(!this.leases.has(lease), 'leases', `lease ${lease} was granted twice`);
    this.leases.set(lease, ttlMs);
    this.#events.onLease(lease, ttlMs);
  }

  #begin(term: number): void {
    this.#require(term > this.#term, 'leases', `lease term ${term} began after ${this.#term}`);
    this.#term = term;
  }

  #requireTerm(term: number, outcome: SessionOutcome): void {
    this.#require(
      isCurrent(outcome) === (term === this.#term),
      'leases',
      `what lease term ${term} says was ${isCurrent(outcome) ? 'taken' : 'passed over'} in ${this.#term}`,
    );
  }

  #end(lease: bigint, hasExpired: boolean): void {
    if (!this.leases.delete(lease)) return;
    this.#ended.push({ lease, hasExpired });
    for (const kind of ['locks', 'elections'] as const) {
      for (const [name, queue] of this[kind]) {
        if (!queue.places.some(({ session }) => session === lease)) continue;
        queue.end(lease);
        this.#serve(kind, name, queue);
      }
    }
  }

  #ask(kind: QueueKind, name: string, ask: Ask, outcome: SessionOutcome): void {
    const { session } = ask;
    this.#require(this.leases.has(session), kind, `${name}: session ${session} has ended and was let in`);
    const queue = this.#queue(kind, name);
    const answer = queue.ask(ask, () => this.#next());
    this.#serve(kind, name, queue);
    const place = queue.places.find((one) => one.session === session);
    if (outcome.case === 'held' && place !== undefined && place.token >= PROVISIONAL) {
      this.#settle(kind, name, place, outcome.token);
    }
    const is = answer.startsWith('held') ? `held ${place!.token} ${place!.requests.size}` : answer;
    const said = outcome.case === 'held' ? `held ${outcome.token} ${outcome.holds}` : outcome.case;
    this.#require(is === said, kind, `${name}: session ${session} was told ${said}, and it is ${is}`);
  }

  #give(
    kind: QueueKind,
    name: string,
    given: { session: bigint; request: string; token: number; attempt: number | undefined },
    outcome: SessionOutcome,
  ): void {
    const { session, request, token, attempt } = given;
    const queue = this.#queue(kind, name);
    const left =
      token === 0 ? queue.giveUp(session, request, attempt) : queue.release(session, token, request);
    const wasFound = outcome.case === 'released' && outcome.wasFound;
    this.#require(
      (left !== undefined) === wasFound,
      kind,
      `${name}: session ${session} gave back token ${token}, which was ${wasFound ? '' : 'not '}found`,
    );
    if (left !== undefined) this.#serve(kind, name, queue);
  }

  #proclaim({ name, session, token, value }: ProclaimCommand, outcome: SessionOutcome): void {
    if (outcome.case !== 'done') throw new CheckFailed('elections', `it resulted in ${outcome.case}`);
    const place = this.#queue('elections', name).places.find((one) => one.session === session);
    const isLeader = place !== undefined && place.token === token;
    this.#require(isLeader, 'elections', `${name}: ${session} proclaimed by token ${token} of another`);
    this.#events.onSaid(name, session, token, outcome.revision, value);
  }

  #serve(kind: QueueKind, name: string, queue: NaiveQueue): void {
    queue.serve(() => this.#next());
    this.#touched.add(`${kind} ${name}`);
  }

  #compareQueue(kind: QueueKind, name: string, queue: NaiveQueue, seen: SeenState): void {
    const actual = seen.queue(kind, name) ?? { holders: [], waiters: [] };
    const { holders, waiters } = queue;
    const sessions = (places: readonly { session: bigint; requests: ReadonlyMap<string, unknown> }[]) =>
      places.map(({ session, requests }) => `${session}:${requests.size}`).join(' ');
    const shown = (one: { holders: readonly SeenPlace[]; waiters: readonly SeenPlace[] }) =>
      `holders ${sessions(one.holders)}; waiters ${sessions(one.waiters)}`;
    this.#require(
      shown(actual) === shown({ holders, waiters }),
      kind,
      `${name} has ${shown(actual)}, and should have ${shown({ holders, waiters })}`,
    );
    for (const [at, place] of holders.entries()) {
      const { token } = actual.holders[at]!;
      if (place.token < PROVISIONAL)
        this.#require(place.token === token, kind, `${name}: token ${place.token} became ${token}`);
      else this.#settle(kind, name, place, token);
    }
    this.#require(
      holders.every(({ token }, at) => at === 0 || token > holders[at - 1]!.token),
      kind,
      `${name}: tokens do not grow: ${holders.map(({ token }) => token).join(' ')}`,
    );
  }

  #settle(kind: QueueKind, name: string, place: NaivePlace, token: number): void {
    this.#require(
      token > this.#revision,
      kind,
      `${name}: token ${token} was given after revision ${this.#revision}`,
    );
    place.token = token;
    this.#events.onGranted(kind, name, place.session, token);
    const wish = this.#wishes.get(`${name} ${place.session}`);
    if (kind === 'elections') this.#events.onSaid(name, place.session, token, token, wish ?? NOTHING);
  }

  #queue(kind: QueueKind, name: string): NaiveQueue {
    let queue = this[kind].get(name);
    if (queue === undefined) this[kind].set(name, (queue = new NaiveQueue()));
    return queue;
  }

  #next(): number {
    return ++this.#provisional;
  }

  #require(holds: boolean, checker: QueueKind | 'leases', message: string): void {
    if (!holds) throw new CheckFailed(checker, message);
  }
}

function splitName(touched: string): [QueueKind, string] {
  const at = touched.indexOf(' ');
  return [touched.slice(0, at) as QueueKind, touched.slice(at + 1)];
}

function isCurrent(outcome: SessionOutcome): boolean {
  return outcome.case === 'counted' && outcome.isCurrent;
}
