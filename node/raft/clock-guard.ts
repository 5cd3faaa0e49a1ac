/** Keeps leaders off nodes whose clock is far from the others'. */
import type { Clock } from '@holdfast/client/clock';
import type { ClockComparison } from './clock-comparison.ts';
import type { RaftCore } from './core/raft-core.ts';

/** A leader's clock may be this far from the median of all. */
const MAX_OFFSET_MS = 500;
/** After a handover that came to nothing the leader goes on leading for this long. */
const PAUSE_MS = 3_000;

export class ClockGuard {
  readonly #clock: Clock;
  readonly #clocks: ClockComparison;
  /** When, and in which term, a handover was begun. */
  readonly #tried = new WeakMap<RaftCore, { readonly atMs: number; readonly term: number }>();

  constructor(clock: Clock, clocks: ClockComparison) {
    this.#clock = clock;
    this.#clocks = clocks;
  }

  /** Whether this node must not stamp entries, as long as another one can. */
  get isOff(): boolean {
    return Math.abs(this.#clocks.offsetMs()) > MAX_OFFSET_MS;
  }

  /** Whether a peer's clock is fit for one that stamps entries. */
  isFit(peer: number): boolean {
    return this.#clocks.within(MAX_OFFSET_MS).includes(peer);
  }

  /**
   * Hands leadership to whoever has most of the log and a better clock. False when there is
   * nobody, or when that was tried a moment ago: a leader there must be.
   */
  handOver(core: RaftCore): boolean {
    const { followers, configuration, transferee } = core.status;
    if (transferee !== 0) return true;
    const nowMs = this.#clock.monotonicMs();
    const tried = this.#tried.get(core);
    // One that was taken over, and came back, was not in vain.
    if (tried?.term === core.term && nowMs - tried.atMs < PAUSE_MS) return false;
    let best = 0;
    let bestMatch = -1;
    for (const peer of this.#clocks.within(MAX_OFFSET_MS)) {
      const follower = followers.get(peer);
      const isFit = follower?.isActive === true && follower.state !== 'snapshot';
      if (isFit && configuration.voters.includes(peer) && follower.match > bestMatch)
        [best, bestMatch] = [peer, follower.match];
    }
    if (best === 0 || core.transferLeader(best) !== undefined) return false;
    this.#tried.set(core, { atMs: nowMs, term: core.term });
    return true;
  }
}
