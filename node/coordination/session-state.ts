/**
 * Leases, locks and elections: the part of group 0's state machine that knows who is there.
 *
 *  1. A lock or a candidacy is taken only by a lease that there is, and named by it: what ends
 *     the lease finds all of them.
 *  2. A lease ends with everything that hangs on it, at one revision, and those who waited for it
 *     are served, all in one command.
 *  3. A lease expires only by the leader of the newest lease term: what an earlier one proposed is passed over.
 *  4. Whoever becomes a holder or the leader of an election is told of, each with a revision of its own.
 */
import { LeaseTable, type Hanging, type LeaseRow } from './lease-table.ts';
import type { Applying, PartRows } from './machine-part.ts';
import { QueueTable } from './queue-table.ts';
import { SessionCommandKind, type SessionCommand } from './session-command.ts';
import type {
  AcquireCommand,
  BeginTermCommand,
  CampaignCommand,
  CheckpointCommand,
  ExpireCommand,
  GrantCommand,
  ProclaimCommand,
  ReleaseCommand,
  ResignCommand,
  RevokeCommand,
} from './session-command.ts';
import type { Refusal } from './refusal.ts';
import type { SessionOutcome } from './session-outcome.ts';
import { HoldMode, WaitQueue, type Ask, type Place } from './wait-queue.ts';

/** The keys that hang on leases. */
export interface LeasedKeys {
  /** Deletes all keys that end with a lease, at one revision. */
  deleteKeysOf(lease: bigint, revision: number): void;
  /** Takes out the members of groups that hang on a lease. */
  endMembersOf?(lease: bigint, groups: Iterable<string>, stampMs: number): void;
}

/** Told of what is applied, in order. */
export interface SessionEvents {
  onLeaseGranted(lease: bigint, row: Readonly<LeaseRow>): void;
  onLeaseEnded(lease: bigint, hasExpired: boolean): void;
  /** Somebody who waited holds a lock, or leads. */
  onServed(kind: Hanging, name: string, place: Place): void;
  /** A request that waited was given up, while its session goes on; `revision`: the last one by then. */
  onGivenUp(kind: Hanging, name: string, session: bigint, request: string, revision: number): void;
  /** Another one leads an election, or says something else. */
  onElection(name: string): void;
}

/** All campaigns of a session in one election are one request. */
export const CAMPAIGN_REQUEST = '.';

export class SessionState {
  readonly leases: LeaseTable;
  readonly locks: QueueTable;
  readonly elections: QueueTable;
  readonly #keys: LeasedKeys;
  readonly #events: SessionEvents;

  /** `prefix`: of the group's rows. */
  constructor(rows: PartRows, prefix: string, keys: LeasedKeys, events: SessionEvents) {
    this.leases = new LeaseTable(rows, `${prefix}l`);
    this.locks = new QueueTable(rows, `${prefix}q`);
    this.elections = new QueueTable(rows, `${prefix}n`);
    this.#keys = keys;
    this.#events = events;
  }

  apply(command: SessionCommand, step: Applying): SessionOutcome | Refusal {
    switch (command.kind) {
      case SessionCommandKind.grant:
        return this.#grant(command, step);
      case SessionCommandKind.revoke:
        return this.#revoke(command, step);
      case SessionCommandKind.expire:
        return this.#expire(command, step);
      case SessionCommandKind.beginTerm:
        return this.#begin(command);
      case SessionCommandKind.checkpoint:
        return this.#checkpoint(command);
      case SessionCommandKind.acquire:
        return this.#acquire(command, step);
      case SessionCommandKind.release:
        return this.#release(command, step);
      case SessionCommandKind.campaign:
        return this.#campaign(command, step);
      case SessionCommandKind.proclaim:
        return this.#proclaim(command, step);
      case SessionCommandKind.resign:
        return this.#resign(command, step);
    }
  }

  #grant({ lease, ttlMs, name }: GrantCommand, step: Applying): SessionOutcome | Refusal {
    const granted = this.leases.grant(lease, ttlMs, name, step.stampMs);
    if (typeof granted === 'string') return refused(granted, String(lease));
    this.#events.onLeaseGranted(granted.lease, this.leases.get(granted.lease)!);
    return { case: 'lease', lease: granted.lease, ttlMs, revision: step.revision };
  }

  #revoke({ lease }: RevokeCommand, step: Applying): SessionOutcome | Refusal {
    const row = this.leases.get(lease);
    if (row === undefined) return refused('LEASE_UNKNOWN', String(lease));
    return { case: 'done', revision: this.#end(lease, row, step, false) };
  }

  /** Invariant 3. */
  #expire({ term, leases }: ExpireCommand, step: Applying): SessionOutcome | Refusal {
    const { term: current, timeMs } = this.leases.clock;
    if (term !== current) return { case: 'counted', isCurrent: false, timeMs };
    for (const lease of leases) {
      const row = this.leases.get(lease);
      if (row !== undefined) this.#end(lease, row, step, true);
    }
    return { case: 'counted', isCurrent: true, timeMs };
  }

  #begin({ term }: BeginTermCommand): SessionOutcome {
    const isCurrent = this.leases.begin(term);
    return { case: 'counted', isCurrent, timeMs: this.leases.clock.timeMs };
  }

  #checkpoint({ term, timeMs, anchored, afloat }: CheckpointCommand): SessionOutcome {
    const isCurrent = this.leases.checkpoint(term, timeMs, anchored, afloat);
    return { case: 'counted', isCurrent, timeMs: this.leases.clock.timeMs };
  }

  #acquire(command: AcquireCommand, step: Applying): SessionOutcome | Refusal {
    return this.#ask('locks', command.name, command, step);
  }

  #campaign({ name, session, attempt, value }: CampaignCommand, step: Applying): SessionOutcome | Refusal {
    const queue = this.elections.get(name);
    if (queue?.hasRoomFor(session, value) === false)
      return refused('LOCK_QUEUE_FULL', 'bytes of all candidates');
    const ask: Ask = {
      session,
      request: CAMPAIGN_REQUEST,
      attempt,
      mode: HoldMode.exclusive,
      permits: 0,
      mayWait: true,
      said: value,
    };
    return this.#ask('elections', name, ask, step);
  }

  /** Invariant 1. */
  #ask(kind: Hanging, name: string, ask: Ask, step: Applying): SessionOutcome | Refusal {
    const { session } = ask;
    const queue = this[kind].get(name) ?? new WaitQueue();
    const stood = queue.place(session) !== undefined;
    const room = this.leases.room(session);
    if (room === 'LEASE_UNKNOWN') return refused('SESSION_EXPIRED', String(session));
    if (room === 'LEASE_FULL' && !stood) return refused(room, String(session));
    const leader = leaderOf(queue);
    const answer = queue.ask(ask, () => step.nextRevision());
    // Of its own: whoever waits can tell what came before from what came after.
    const waitsAt = 'state' in answer && answer.state === 'waiting' ? step.nextRevision() : undefined;
    const stands = queue.place(session) !== undefined;
    if (stands && !stood) this.leases.add(session, kind, name);
    if (stood && !stands) this.leases.drop(session, kind, name);
    this.#settle(kind, name, queue, leader, step);
    if ('refused' in answer) return refused(answer.refused, answer.actual);
    if (answer.state === 'waiting') return { case: 'waiting', revision: waitsAt! };
    return { case: 'held', token: answer.token, holds: answer.holds };
  }

  #release(
    { name, session, request, token, attempt }: ReleaseCommand,
    step: Applying,
  ): SessionOutcome | Refusal {
    return this.#give('locks', name, { session, request, token, attempt }, step);
  }

  #resign({ name, session, token, attempt }: ResignCommand, step: Applying): SessionOutcome | Refusal {
    return this.#give('elections', name, { session, request: CAMPAIGN_REQUEST, token, attempt }, step);
  }

  #give(
    kind: Hanging,
    name: string,
    given: Pick<ReleaseCommand, 'session' | 'request' | 'token' | 'attempt'>,
    step: Applying,
  ): SessionOutcome | Refusal {
    const { session, request, token, attempt } = given;
    const queue = this[kind].get(name);
    const waited = queue?.place(session)?.token === 0;
    const leader = queue && leaderOf(queue);
    const left =
      token === 0 ? queue?.giveUp(session, request, attempt) : queue?.release(session, token, request);
    if (queue === undefined || left === undefined) {
      // The attempt is taken out of the row, though the request stays for another one.
      if (queue?.place(session) !== undefined && attempt !== undefined) this[kind].put(name, queue);
      if (token === 0)
        return { case: 'released', holds: queue?.place(session)?.requests.size ?? 0, wasFound: false };
      return refused(kind === 'locks' ? 'LOCK_NOT_HELD' : 'NOT_ELECTED', String(token));
    }
    if (waited) this.#events.onGivenUp(kind, name, session, request, step.revision);
    if (left === 0) this.leases.drop(session, kind, name);
    this.#settle(kind, name, queue, leader, step);
    return { case: 'released', holds: left, wasFound: true };
  }

  #proclaim({ name, session, token, value }: ProclaimCommand, step: Applying): SessionOutcome | Refusal {
    const queue = this.elections.get(name);
    const place = queue?.place(session);
    if (queue === undefined || place === undefined || token === 0 || place.token !== token)
      return refused('NOT_ELECTED', String(token));
    if (!queue.hasRoomFor(session, value)) return refused('LOCK_QUEUE_FULL', 'bytes of all candidates');
    const revision = step.nextRevision();
    queue.say(session, token, value, revision);
    this.elections.put(name, queue);
    this.#events.onElection(name);
    return { case: 'done', revision };
  }

  /** Invariant 2. */
  #end(lease: bigint, row: Readonly<LeaseRow>, step: Applying, hasExpired: boolean): number {
    const revision = step.nextRevision();
    if (row.keys > 0) this.#keys.deleteKeysOf(lease, revision);
    if (row.groups.size > 0) this.#keys.endMembersOf?.(lease, [...row.groups], step.stampMs);
    for (const kind of ['locks', 'elections'] as const) {
      for (const name of row[kind]) {
        const queue = this[kind].get(name);
        const leader = queue && leaderOf(queue);
        if (queue?.end(lease) === true) this.#settle(kind, name, queue, leader, step);
      }
    }
    this.leases.remove(lease);
    this.#events.onLeaseEnded(lease, hasExpired);
    return revision;
  }

  /** Serves who can be, and writes what has become of a queue. Invariant 4. */
  #settle(
    kind: Hanging,
    name: string,
    queue: WaitQueue,
    leaderBefore: number | undefined,
    step: Applying,
  ): void {
    const served = queue.serve(() => step.nextRevision());
    this[kind].put(name, queue);
    for (const place of served) this.#events.onServed(kind, name, place);
    if (kind === 'elections' && leaderOf(queue) !== leaderBefore) this.#events.onElection(name);
  }
}

/** Token of who leads an election. */
function leaderOf(queue: WaitQueue): number | undefined {
  return queue.holders[0]?.token;
}

function refused(reason: Refusal['refused'], actual: string): Refusal {
  return { refused: reason, actual };
}
