/**
 * Leases on the node that leads: counts their time, keeps them alive, ends them.
 *
 *  1. Nothing is counted before the beginning of this leader's lease term is applied.
 *  2. A lease is told to be alive only after the others have confirmed, later than it was given
 *     its time anew, that this node leads: or it is a deposed leader's word that counts for nothing.
 *  3. One that is about to end is waited for, and told as what it is then.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { LeaseCountdown, TICK_MS } from './lease-countdown.ts';
import { SessionCommandKind, type CheckpointCommand, type SessionCommand } from './session-command.ts';
import type { SessionGroup } from './session-group.ts';
import type { LeaseRow } from './lease-table.ts';

/** Leases looked at in one tick: far more than become due, but all may at once. */
const DUE_AT_ONCE = 10_000;
/** Leases, and what hangs on them, that one command ends. */
const ENDED_AT_ONCE = 256;
const HANGING_AT_ONCE = 4_096;
/** Leases whose end one command stores. */
const STORED_AT_ONCE = 4_096;
/** Leases that are read at once when a leader begins. */
const READ_AT_ONCE = 1_000;
/** The stored lease time is at most this part of the checkpoint interval behind. */
const CHECKPOINT_PART = 1 / 5;
const PROPOSAL_MS = 5_000;
/** Of cluster.yaml. */
export const DEFAULT_LEASE_CHECKPOINT_MS = 10_000;

export interface LeasesOptions {
  readonly group: SessionGroup;
  readonly clock: Clock;
  /** By how much a change of leader may lengthen what a lease has left. */
  readonly checkpointMs: number;
}

/** What became of one lease that was to be kept alive; `ttlMs` 0: there is none. */
export interface KeptLease {
  readonly lease: bigint;
  readonly ttlMs: number;
}

/** Counts since the start. */
export interface LeaseCounts {
  granted: number;
  expired: number;
  revoked: number;
  kept: number;
}

/** A term in which this node leads. */
interface LeaseTerm {
  readonly term: number;
  /** Undefined: it has not begun. */
  countdown: LeaseCountdown | undefined;
  begun: Promise<LeaseCountdown>;
  /** Lease time of the last checkpoint. */
  storedMs: number;
  readonly ending: Set<Promise<void>>;
}

export class Leases {
  readonly counts: LeaseCounts = { granted: 0, expired: 0, revoked: 0, kept: 0 };
  readonly #options: LeasesOptions;
  #led: LeaseTerm | undefined;
  #timer: Timer | undefined;
  #isStopped = false;
  /** Leases that go afloat with this turn's checkpoint. */
  #rising: { readonly leases: bigint[]; readonly stored: Promise<void> } | undefined;

  constructor(options: LeasesOptions) {
    this.#options = options;
    this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#led = undefined;
  }

  /**
   * Gives leases their whole time anew; on the leader alone. Error: HoldfastError, NOT_LEADER
   * among others, after which nothing is known of them.
   */
  async keepAlive(leases: readonly bigint[], deadlineMs: number): Promise<KeptLease[]> {
    for (;;) {
      const led = this.#leading();
      const countdown = await led.begun;
      const { rising, isAnyEnding } = this.#keep(countdown, leases);
      await Promise.all([rising, this.#options.group.awaitRead(deadlineMs)]); // invariant 2
      this.#checkLeads(led);
      if (!isAnyEnding) return this.#kept(countdown, leases);
      await Promise.all(led.ending); // invariant 3
      if (this.#options.clock.monotonicMs() > deadlineMs) throw late();
    }
  }

  /** What a lease has left; undefined: there is none. On the leader alone. Error: as keepAlive. */
  async remainingMs(lease: bigint, deadlineMs: number): Promise<number | undefined> {
    const led = this.#leading();
    const countdown = await led.begun;
    await this.#options.group.awaitRead(deadlineMs);
    this.#checkLeads(led);
    this.#count(countdown, lease);
    return countdown.remainingMs(lease, this.#options.clock.monotonicMs());
  }

  onLeaseGranted(lease: bigint, row: Readonly<LeaseRow>): void {
    this.counts.granted++;
    this.#led?.countdown?.add(lease, row, this.#options.clock.monotonicMs());
  }

  onLeaseEnded(lease: bigint, hasExpired: boolean): void {
    if (hasExpired) this.counts.expired++;
    else this.counts.revoked++;
    this.#led?.countdown?.remove(lease);
  }

  #schedule(): void {
    this.#timer = this.#options.clock.setTimer(TICK_MS, () => {
      this.#tick();
      if (!this.#isStopped) this.#schedule();
    });
  }

  #tick(): void {
    this.#follow();
    const led = this.#led;
    if (led?.countdown === undefined) return;
    led.countdown.tick(this.#options.clock.monotonicMs());
    this.#proposeDue(led, led.countdown);
  }

  /** Begins a lease term where this node has begun to lead, and drops that of one that is over. */
  #follow(): void {
    const term = this.#options.group.leadingTerm();
    if (this.#led?.term === term) return;
    this.#led = undefined;
    if (term === undefined || this.#isStopped) return;
    const led: LeaseTerm = {
      term,
      countdown: undefined,
      begun: this.#begin(term),
      storedMs: 0,
      ending: new Set(),
    };
    this.#led = led;
    led.begun.then(
      (countdown) => {
        if (this.#led !== led) return;
        led.countdown = countdown;
        led.storedMs = countdown.nowMs;
        void this.#load(led, countdown);
      },
      () => {
        if (this.#led === led) this.#led = undefined; // the next tick tries again
      },
    );
  }

  /** Invariant 1. */
  async #begin(term: number): Promise<LeaseCountdown> {
    const outcome = await this.#propose({ kind: SessionCommandKind.beginTerm, term });
    if (outcome === undefined) throw notLeader();
    const { clock, checkpointMs } = this.#options;
    return new LeaseCountdown(checkpointMs, outcome, clock.monotonicMs());
  }

  /** Counts what was granted before. What is granted or ended meanwhile is told. */
  async #load(led: LeaseTerm, countdown: LeaseCountdown): Promise<void> {
    const { leases } = this.#options.group.state;
    let after = 0n;
    for (;;) {
      const part = await leases.list(after, READ_AT_ONCE).catch(() => undefined);
      if (part === undefined || this.#led !== led) return; // a store that cannot be read ends the node
      for (const [lease] of part.leases) this.#count(countdown, lease);
      if (!part.more) return;
      after = part.leases.at(-1)![0];
    }
  }

  /** Counts a lease, if there is one. */
  #count(countdown: LeaseCountdown, lease: bigint): void {
    if (countdown.has(lease)) return;
    const row = this.#options.group.state.leases.get(lease);
    if (row !== undefined) countdown.takeOver(lease, row, this.#options.clock.monotonicMs());
  }

  #leading(): LeaseTerm {
    this.#follow();
    if (this.#led === undefined) throw notLeader();
    return this.#led;
  }

  /** Invariant 2. */
  #checkLeads(led: LeaseTerm): void {
    if (this.#led !== led || this.#options.group.leadingTerm() !== led.term) throw notLeader();
  }

  #keep(
    countdown: LeaseCountdown,
    leases: readonly bigint[],
  ): { rising: Promise<void> | undefined; isAnyEnding: boolean } {
    let rising: Promise<void> | undefined;
    let isAnyEnding = false;
    for (const lease of leases) {
      this.#count(countdown, lease);
      const state = countdown.keep(lease, this.#options.clock.monotonicMs());
      if (state === 'ending') isAnyEnding = true;
      if (state === 'anchored') rising = this.#rise(lease);
    }
    return { rising, isAnyEnding };
  }

  #kept(countdown: LeaseCountdown, leases: readonly bigint[]): KeptLease[] {
    const kept = leases.map((lease) => ({ lease, ttlMs: countdown.ttlMs(lease) ?? 0 }));
    for (const { ttlMs } of kept) if (ttlMs > 0) this.counts.kept++;
    return kept;
  }

  /** Sets a lease afloat, with all others of this turn. */
  #rise(lease: bigint): Promise<void> {
    if (this.#rising !== undefined) {
      this.#rising.leases.push(lease);
      return this.#rising.stored;
    }
    const leases = [lease];
    const stored = new Promise<void>((resolve, reject) => {
      this.#options.clock.afterTurn(() => {
        this.#rising = undefined;
        this.#storeAfloat(leases).then(resolve, reject);
      });
    });
    this.#rising = { leases, stored };
    return stored;
  }

  async #storeAfloat(leases: readonly bigint[]): Promise<void> {
    const led = this.#led;
    const countdown = led?.countdown;
    if (led === undefined || countdown === undefined) throw notLeader();
    try {
      const parts = inParts(leases, STORED_AT_ONCE);
      await Promise.all(parts.map((afloat) => this.#checkpoint(led, countdown, { anchored: [], afloat })));
    } catch (error) {
      for (const lease of leases) countdown.noteAnchored(lease);
      throw error;
    }
  }

  #proposeDue(led: LeaseTerm, countdown: LeaseCountdown): void {
    const { ended, late: anchored } = countdown.takeDue(DUE_AT_ONCE);
    for (const leases of this.#endedParts(ended)) {
      const ending = this.#expire(led, leases)
        .catch(() => countdown.putBack(leases))
        .finally(() => led.ending.delete(ending));
      led.ending.add(ending);
    }
    for (const part of inParts(anchored, STORED_AT_ONCE))
      this.#checkpoint(led, countdown, { anchored: part, afloat: [] }).catch(() =>
        countdown.putBack(part.map(({ lease }) => lease)),
      );
    const isDue = countdown.nowMs - led.storedMs >= this.#options.checkpointMs * CHECKPOINT_PART;
    if (countdown.anchored > 0 && isDue)
      this.#checkpoint(led, countdown, { anchored: [], afloat: [] }).catch(() => undefined); // the next one says more
  }

  async #expire({ term }: LeaseTerm, leases: readonly bigint[]): Promise<void> {
    await this.#propose({ kind: SessionCommandKind.expire, term, leases });
  }

  async #checkpoint(
    led: LeaseTerm,
    countdown: LeaseCountdown,
    stored: Pick<CheckpointCommand, 'anchored' | 'afloat'>,
  ): Promise<void> {
    const timeMs = (led.storedMs = Math.floor(countdown.nowMs));
    const command = { kind: SessionCommandKind.checkpoint, term: led.term, timeMs, ...stored } as const;
    if ((await this.#propose(command)) === undefined) throw notLeader();
  }

  /** Proposes here; the stored lease time, or undefined: another leader counts by now. */
  async #propose(command: SessionCommand): Promise<number | undefined> {
    const { group, clock } = this.#options;
    const deadlineMs = clock.monotonicMs() + PROPOSAL_MS;
    const outcome = await group.propose(command, { deadlineMs, isRouted: true, grows: false });
    return outcome.case === 'counted' && outcome.isCurrent ? outcome.timeMs : undefined;
  }

  /** Parts that one command can end within the time that it may take. */
  #endedParts(ended: readonly bigint[]): bigint[][] {
    const { leases } = this.#options.group.state;
    const parts: bigint[][] = [];
    let hanging = Infinity;
    for (const lease of ended) {
      const more = leases.get(lease)?.hanging ?? 0;
      hanging += more;
      const last = parts.at(-1);
      if (last !== undefined && hanging <= HANGING_AT_ONCE && last.length < ENDED_AT_ONCE) last.push(lease);
      else {
        parts.push([lease]);
        hanging = more;
      }
    }
    return parts;
  }
}

function inParts<T>(all: readonly T[], size: number): T[][] {
  const parts: T[][] = [];
  for (let at = 0; at < all.length; at += size) parts.push(all.slice(at, at + size));
  return parts;
}

/** Whoever asks is told by the caller where to ask. */
function notLeader(): HoldfastError {
  return new HoldfastError({
    reason: 'NOT_LEADER',
    message: 'this node does not lead the cluster (any more), so it does not know how long leases have left.',
    retryAfterMs: 100,
  });
}

function late(): HoldfastError {
  return new HoldfastError({
    reason: 'DEADLINE_EXCEEDED',
    message: 'the deadline passed while a lease was about to end. Whether it has ended is not known.',
  });
}
