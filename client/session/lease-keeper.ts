import { LeaseService } from '@holdfast/proto/lease/v1/lease';
import type { Timer } from '../clock.ts';
import { callCoordinator } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { asHoldfastError } from '../unary.ts';

/** Leases of one KeepAlive call. */
const MAX_LEASES = 10_000;
/** Of its time to live a lease that was kept alive goes without another call. */
const RENEWAL_SHARE = 1 / 3;
/** Leases that would be due within this share of the shortest time to live are renewed along. */
const ALONG_SHARE = 1 / 12;
/** Of its time to live one call may take: a node that hangs must leave time to ask others. */
const ATTEMPT_SHARE = 1 / 8;
const LEAST_ATTEMPT_MS = 200;
const MOST_ATTEMPT_MS = 2_000;
/** Between a call that failed and the next. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 500;
/** What the clocks of client and cluster may differ in rate, and more. */
const MARGIN_SHARE = 0.05;
/** How late a turn of the event loop may be, and the news on their way to whoever holds. */
const MARGIN_MS = 50;

/** A lease as its keeper sees it. */
export interface KeptLease {
  readonly id: bigint;
  readonly ttlMs: number;
  /** Whether it is to be renewed; else it is only watched until it ends. */
  readonly isRenewed: boolean;
  /** When the last request that was answered had been sent, in monotonic ms. */
  renewedAtMs: number;
  /** The keeper has given it up: it may have ended, or the node says that it has. */
  lost(error: HoldfastError): void;
}

/** When a lease is to be taken for ended, unless it is renewed before. */
export function endsAtMs({ renewedAtMs, ttlMs }: Pick<KeptLease, 'renewedAtMs' | 'ttlMs'>): number {
  return renewedAtMs + ttlMs * (1 - MARGIN_SHARE) - MARGIN_MS;
}

/**
 * Keeps the leases of a client alive, one call for all that are due; of those that nobody wants
 * kept alive it says when they end.
 *
 * Invariants:
 *  K1. A lease is taken for ended before the cluster can have ended it: by this machine's
 *      monotonic clock, counted from when the last answered request was sent, less a margin
 *      of 5 % and 50 ms. An answer that comes later changes nothing.
 *  K2. A lease is told of its loss once, and is not kept alive afterwards.
 *  K3. At most one call is under way for a lease.
 */
export class LeaseKeeper {
  readonly #core: ClientCore;
  readonly #leases = new Map<bigint, KeptLease>();
  readonly #underWay = new Set<KeptLease>();
  #timer: Timer | undefined;
  #wakeAtMs = Infinity;
  #failures = 0;
  #notBeforeMs = 0;
  #isClosed = false;

  constructor(core: ClientCore) {
    this.#core = core;
  }

  add(lease: KeptLease): void {
    this.#leases.set(lease.id, lease);
    this.#wakeAt(Math.min(Math.max(dueMs(lease), this.#notBeforeMs), endsAtMs(lease)));
  }

  remove(lease: KeptLease): void {
    if (this.#leases.get(lease.id) !== lease) return;
    this.#leases.delete(lease.id);
    if (this.#leases.size === 0) this.#stop();
  }

  close(): void {
    this.#isClosed = true;
    this.#leases.clear();
    this.#stop();
  }

  #stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#wakeAtMs = Infinity;
  }

  /** Sets the timer for whatever comes first: a lease that is due, or one that ends. */
  #plan(): void {
    let wakeAtMs = Infinity;
    for (const lease of this.#leases.values()) {
      const dueAtMs = this.#underWay.has(lease) ? Infinity : Math.max(dueMs(lease), this.#notBeforeMs);
      wakeAtMs = Math.min(wakeAtMs, dueAtMs, endsAtMs(lease));
    }
    this.#stop();
    this.#wakeAt(wakeAtMs);
  }

  /** At the latest then. */
  #wakeAt(wakeAtMs: number): void {
    if (wakeAtMs >= this.#wakeAtMs || this.#isClosed) return;
    this.#stop();
    this.#wakeAtMs = wakeAtMs;
    const delayMs = Math.max(0, wakeAtMs - this.#core.clock.monotonicMs());
    this.#timer = this.#core.clock.setTimer(delayMs, () => this.#wake());
  }

  #wake(): void {
    this.#timer = undefined;
    this.#wakeAtMs = Infinity;
    const nowMs = this.#core.clock.monotonicMs();
    const due: KeptLease[] = [];
    let along = Infinity;
    for (const { ttlMs, isRenewed } of this.#leases.values())
      if (isRenewed) along = Math.min(along, ttlMs * ALONG_SHARE);
    for (const lease of this.#leases.values()) {
      if (endsAtMs(lease) <= nowMs) this.#lose(lease, notKept(lease));
      else if (!this.#underWay.has(lease) && dueMs(lease) - along <= nowMs) due.push(lease);
    }
    if (nowMs >= this.#notBeforeMs)
      for (let first = 0; first < due.length; first += MAX_LEASES)
        void this.#renew(due.slice(first, first + MAX_LEASES));
    this.#plan();
  }

  async #renew(leases: readonly KeptLease[]): Promise<void> {
    const sentAtMs = this.#core.clock.monotonicMs();
    for (const lease of leases) this.#underWay.add(lease);
    try {
      const ttls = await this.#call(leases);
      this.#failures = 0;
      for (const [index, lease] of leases.entries()) this.#kept(lease, sentAtMs, ttls[index] ?? 0);
    } catch (cause) {
      this.#pause(asHoldfastError(cause));
    }
    for (const lease of leases) this.#underWay.delete(lease);
    this.#plan();
  }

  /** Times to live as the cluster gives them anew; 0: there is no such lease. */
  async #call(leases: readonly KeptLease[]): Promise<number[]> {
    const shortest = leases.reduce((least, { ttlMs }) => Math.min(least, ttlMs), Infinity);
    const share = Math.min(MOST_ATTEMPT_MS, Math.max(LEAST_ATTEMPT_MS, shortest * ATTEMPT_SHARE));
    const request = { leases: leases.map(({ id }) => id) };
    const more = { timeoutMs: share, once: true };
    const answer = await callCoordinator(this.#core, LeaseService.method.keepAlive, request, {}, more);
    return answer.leases.map(({ ttlMs }) => Number(ttlMs));
  }

  /** Invariant K1: too late is too late, whoever holds was told. */
  #kept(lease: KeptLease, sentAtMs: number, ttlMs: number): void {
    if (this.#leases.get(lease.id) !== lease) return;
    if (ttlMs === 0) this.#lose(lease, gone(lease));
    else if (endsAtMs(lease) > this.#core.clock.monotonicMs()) lease.renewedAtMs = sentAtMs;
  }

  #pause(error: HoldfastError): void {
    const isLed = error.leader !== undefined && this.#failures === 0;
    const pauseMs = isLed ? 0 : Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 10);
    this.#notBeforeMs = this.#core.clock.monotonicMs() + pauseMs * (0.5 + this.#core.random.float() / 2);
  }

  /** Invariant K2. */
  #lose(lease: KeptLease, error: HoldfastError): void {
    this.#leases.delete(lease.id);
    lease.lost(error);
  }
}

function dueMs({ isRenewed, renewedAtMs, ttlMs }: KeptLease): number {
  return isRenewed ? renewedAtMs + ttlMs * RENEWAL_SHARE : Infinity;
}

function notKept({ id, ttlMs }: KeptLease): HoldfastError {
  const message = `lease ${id} was not kept alive within its ${ttlMs} ms, and may have ended`;
  return new HoldfastError({ reason: 'LEASE_LOST', message });
}

function gone({ id }: KeptLease): HoldfastError {
  const message = `lease ${id} has ended, and what hung on it is gone`;
  return new HoldfastError({ reason: 'LEASE_UNKNOWN', message });
}
