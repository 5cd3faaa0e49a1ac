/**
 * The time that leases have left, as the node that leads counts it. Counted by ticks: a
 * tick that comes late counts as little, so a node that slept ends nothing when it wakes.
 *
 * Time is *lease time*: milliseconds during which somebody led and was awake. What is stored
 * of a lease is either that it has its whole time whenever a leader begins (it is *afloat*), or
 * the lease time at which it ends (it is *anchored*). A lease that is kept alive in good time
 * stays afloat and costs no write. One that is not is anchored once, by exactly what it has
 * left; a new leader goes on from the stored lease time, so it is right by as much as that is old.
 *
 *  1. A lease ends only when its whole time has been counted since it was last kept alive.
 *  2. Nothing ends at a tick that came late.
 *  3. An anchored lease has to be set afloat in the log before it is told to be alive.
 *  4. One that is about to end says so: whoever wants to keep it alive has to wait for what becomes of it.
 *
 * Leases wait in a wheel by the time of their next event. To keep one afloat moves nothing: the
 * wheel finds it where it was and puts it where it belongs.
 */

/** How often the leader counts. */
export const TICK_MS = 200;
/** A tick later than that comes from a node that slept, or had too much to do. */
const LATE_MS = 5 * TICK_MS;
/** Part of the checkpoint interval after which a lease that was not kept alive is anchored. */
const SLACK = 0.4;
/**
 * The same of one that was afloat when this leader began, and was not kept alive since: leaders
 * that follow each other quickly would each give it its whole time anew, and together too much.
 */
const TAKEN_OVER_SLACK = 0.15;

/** A lease as it is stored. */
export interface StoredLease {
  readonly ttlMs: number;
  /** Lease time at which it ends; undefined: it is afloat. */
  readonly endsMs: number | undefined;
}

/** A lease and the lease time at which it ends. */
export interface Anchor {
  readonly lease: bigint;
  readonly endsMs: number;
}

/** What is to be proposed. */
export interface DueLeases {
  /** Their time is up. */
  readonly ended: readonly bigint[];
  /** They were not kept alive for a while. */
  readonly late: readonly Anchor[];
}

interface Counted {
  readonly lease: bigint;
  readonly ttlMs: number;
  endsMs: number;
  /** Lease time without being kept alive after which it is anchored. */
  slackMs: number;
  /** As proposed last. */
  isAnchored: boolean;
  isEnding: boolean;
  /** Where the wheel has it: found anywhere else, it has been moved. */
  slot: number;
}

export class LeaseCountdown {
  readonly #slackMs: number;
  readonly #takenOverSlackMs: number;
  readonly #leases = new Map<bigint, Counted>();
  /** By number of the slot, each `TICK_MS` of lease time. */
  readonly #wheel = new Map<number, Counted[]>();
  /** What is due and has not been taken. */
  readonly #due: Counted[] = [];
  #anchored = 0;
  #nowMs: number;
  #lastTickMs: number;
  #nextSlot: number;

  /** Begins at the stored lease time. `monotonicMs` is the node's own clock. */
  constructor(checkpointMs: number, leaseTimeMs: number, monotonicMs: number) {
    this.#slackMs = checkpointMs * SLACK;
    this.#takenOverSlackMs = checkpointMs * TAKEN_OVER_SLACK;
    this.#nowMs = leaseTimeMs;
    this.#lastTickMs = monotonicMs;
    this.#nextSlot = slotOf(leaseTimeMs);
  }

  /** Lease time as of the last tick. */
  get nowMs(): number {
    return this.#nowMs;
  }

  get size(): number {
    return this.#leases.size;
  }

  /** Leases that a new leader would count on from the stored lease time: it has to be kept up. */
  get anchored(): number {
    return this.#anchored;
  }

  has(lease: bigint): boolean {
    return this.#leases.has(lease);
  }

  /** Counts a lease that was granted just now; one that is counted already stays as it is. */
  add(lease: bigint, stored: StoredLease, monotonicMs: number): void {
    this.#add(lease, stored, monotonicMs, this.#slackMs);
  }

  /** Counts a lease that was there before this leader, as it is stored; else as `add`. */
  takeOver(lease: bigint, stored: StoredLease, monotonicMs: number): void {
    this.#add(lease, stored, monotonicMs, this.#takenOverSlackMs);
  }

  #add(lease: bigint, { ttlMs, endsMs }: StoredLease, monotonicMs: number, slackMs: number): void {
    if (this.#leases.has(lease)) return;
    const isAnchored = endsMs !== undefined;
    const counted = {
      lease,
      ttlMs,
      endsMs: endsMs ?? this.#timeMs(monotonicMs) + ttlMs,
      slackMs,
      isAnchored,
      isEnding: false,
      slot: 0,
    };
    this.#leases.set(lease, counted);
    if (isAnchored) this.#anchored++;
    this.#place(counted);
  }

  /** It is over. */
  remove(lease: bigint): void {
    const counted = this.#leases.get(lease);
    if (counted === undefined) return;
    this.#leases.delete(lease); // the wheel finds out by itself
    if (counted.isAnchored) this.#anchored--;
  }

  /**
   * Gives a lease its whole time anew. `afloat`: that is all; `anchored`: it has to be set
   * afloat first; `ending`: its end is on its way. Invariants 3, 4.
   */
  keep(lease: bigint, monotonicMs: number): 'afloat' | 'anchored' | 'ending' | 'unknown' {
    const counted = this.#leases.get(lease);
    if (counted === undefined) return 'unknown';
    if (counted.isEnding) return 'ending';
    counted.endsMs = this.#timeMs(monotonicMs) + counted.ttlMs;
    counted.slackMs = this.#slackMs;
    if (!counted.isAnchored) return 'afloat';
    counted.isAnchored = false;
    this.#anchored--;
    this.#place(counted);
    return 'anchored';
  }

  /** Setting a lease afloat failed: it may be anchored still. */
  noteAnchored(lease: bigint): void {
    const counted = this.#leases.get(lease);
    if (counted === undefined || counted.isAnchored) return;
    counted.isAnchored = true;
    this.#anchored++;
  }

  /** Ending or anchoring leases failed: they come due again. */
  putBack(leases: readonly bigint[]): void {
    for (const lease of leases) {
      const counted = this.#leases.get(lease);
      if (counted === undefined) continue;
      if (counted.isEnding) counted.isEnding = false;
      else if (counted.isAnchored) {
        counted.isAnchored = false;
        this.#anchored--;
      }
      this.#place(counted);
    }
  }

  /** Its whole time; undefined: it is not counted. */
  ttlMs(lease: bigint): number | undefined {
    return this.#leases.get(lease)?.ttlMs;
  }

  /** What a lease has left; undefined: it is not counted. */
  remainingMs(lease: bigint, monotonicMs: number): number | undefined {
    const counted = this.#leases.get(lease);
    const timeMs = Math.min(this.#timeMs(monotonicMs), this.#nowMs + TICK_MS);
    // Kept alive while a tick is overdue, it ends later than that: it is not said to have more than its time.
    return counted && Math.min(counted.ttlMs, Math.max(0, counted.endsMs - timeMs));
  }

  /** Time has passed by the node's own clock. Invariant 2. */
  tick(monotonicMs: number): void {
    const passedMs = monotonicMs - this.#lastTickMs;
    this.#lastTickMs = monotonicMs;
    if (passedMs > LATE_MS) return;
    this.#nowMs += Math.min(passedMs, 2 * TICK_MS);
    for (; this.#nextSlot < slotOf(this.#nowMs); this.#nextSlot++) {
      const slot = this.#wheel.get(this.#nextSlot);
      if (slot === undefined) continue;
      this.#wheel.delete(this.#nextSlot);
      for (const counted of slot) if (counted.slot === this.#nextSlot) this.#due.push(counted);
    }
  }

  /** Takes up to `limit` leases that may be due, and says which are. */
  takeDue(limit: number): DueLeases {
    const ended: bigint[] = [];
    const late: Anchor[] = [];
    for (let left = Math.min(limit, this.#due.length); left > 0; left--) {
      const counted = this.#due.pop()!;
      if (this.#leases.get(counted.lease) !== counted || counted.isEnding) continue;
      if (counted.endsMs <= this.#nowMs) {
        counted.isEnding = true; // invariant 4
        ended.push(counted.lease);
        continue;
      }
      if (!counted.isAnchored && this.#lateAtMs(counted) <= this.#nowMs) {
        counted.isAnchored = true;
        this.#anchored++;
        late.push({ lease: counted.lease, endsMs: Math.ceil(counted.endsMs) });
      }
      this.#place(counted);
    }
    return { ended, late };
  }

  /** Lease time between two ticks: what has passed since the last one is yet to be counted. Invariant 1. */
  #timeMs(monotonicMs: number): number {
    return this.#nowMs + Math.max(0, monotonicMs - this.#lastTickMs);
  }

  #lateAtMs({ endsMs, ttlMs, slackMs }: Counted): number {
    return endsMs - ttlMs + slackMs;
  }

  #place(counted: Counted): void {
    const dueMs = counted.isAnchored ? counted.endsMs : Math.min(counted.endsMs, this.#lateAtMs(counted));
    counted.slot = Math.max(slotOf(dueMs), this.#nextSlot);
    const waiting = this.#wheel.get(counted.slot);
    if (waiting === undefined) this.#wheel.set(counted.slot, [counted]);
    else waiting.push(counted);
  }
}

/** The slot that is passed when a time has come. */
function slotOf(timeMs: number): number {
  return Math.floor(timeMs / TICK_MS);
}
