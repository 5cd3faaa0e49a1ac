/**
 * Leases:
 *
 *  1. A lease expires only when its whole time has passed since the last request was sent that
 *     gave it its time and was answered: by the clock of the world, but for how fast nodes' clocks ran.
 *  2. Who keeps a lease alive does not believe in it when it ends.
 *  3. A lease that nobody keeps alive has ended by a bound after the faults.
 */
import { CheckFailed } from './check-failed.ts';

/** A lease as its holder sees it. */
export interface HeldLease {
  readonly who: string;
  readonly lease: bigint;
  readonly ttlMs: number;
  /** When the last request that was answered had been sent, in ms of the world. */
  keptAtMs: number;
  isAlive(): boolean;
  hasSignalled(): boolean;
  isAwake(): boolean;
}

export interface ClockFacts {
  nowMs(): number;
  /** Greatest rate of a node's clock so far, 1 for a right one. */
  fastest(): number;
  /** A clock ran so fast that holders may believe for too long. */
  mayOutlast(): boolean;
}

/** Rounding of clocks. */
const ROUNDING_MS = 1;

export class LeaseChecker {
  readonly #clock: ClockFacts;
  readonly #held = new Map<bigint, HeldLease>();
  /** All that there are, and when they were granted. */
  readonly #granted = new Map<bigint, number>();
  expired = 0;
  revoked = 0;

  constructor(clock: ClockFacts) {
    this.#clock = clock;
  }

  /** Leases that have not ended. */
  get living(): readonly bigint[] {
    return [...this.#granted.keys()];
  }

  onGranted(lease: bigint): void {
    this.#granted.set(lease, this.#clock.nowMs());
  }

  holds(held: HeldLease): void {
    this.#held.set(held.lease, held);
  }

  /** It was kept alive by a request that had been sent then. */
  kept(lease: bigint, sentAtMs: number): void {
    const held = this.#held.get(lease);
    if (held !== undefined) held.keptAtMs = Math.max(held.keptAtMs, sentAtMs);
  }

  /** It is given up. */
  over(lease: bigint): void {
    this.#held.delete(lease);
  }

  onEnded(lease: bigint, hasExpired: boolean): void {
    this.#granted.delete(lease);
    if (hasExpired) this.expired++;
    else this.revoked++;
    const held = this.#held.get(lease);
    this.#held.delete(lease);
    if (held === undefined) return;
    const { who, ttlMs, keptAtMs } = held;
    if (!hasExpired) throw new CheckFailed('leases', `lease ${lease} of ${who} was revoked by nobody`);
    const livedMs = this.#clock.nowMs() - keptAtMs;
    if (livedMs < ttlMs / this.#clock.fastest() - ROUNDING_MS)
      throw new CheckFailed('leases', `lease ${lease} of ${who} lived ${livedMs} ms of ${ttlMs}`);
    if (this.#clock.mayOutlast()) return;
    if (held.isAlive())
      throw new CheckFailed('leases', `lease ${lease} of ${who} has expired, and is kept alive`);
    if (!held.hasSignalled() && held.isAwake())
      throw new CheckFailed('leases', `lease ${lease} of ${who} has expired, and its signal has not fired`);
  }
}
