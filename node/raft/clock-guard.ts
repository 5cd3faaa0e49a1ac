/** Keeps leaders off nodes whose clock is far from the others'. */
import type { ClockComparison } from './clock-comparison.ts';
import type { RaftCore } from './core/raft-core.ts';

/** A leader's clock may be this far from the median of all. */
const MAX_OFFSET_MS = 500;

export class ClockGuard {
  readonly #clocks: ClockComparison;

  constructor(clocks: ClockComparison) {
    this.#clocks = clocks;
  }

  /** Whether this node must not stamp entries, as long as another one can. */
  get isOff(): boolean {
    return Math.abs(this.#clocks.offsetMs()) > MAX_OFFSET_MS;
  }

  /** Hands leadership to somebody whose clock is better; false when there is nobody: a leader there must be. */
  handOver(core: RaftCore): boolean {
    const { followers, configuration, transferee } = core.status;
    if (transferee !== 0) return true;
    for (const peer of this.#clocks.within(MAX_OFFSET_MS)) {
      if (!configuration.voters.includes(peer) || followers.get(peer)?.isActive !== true) continue;
      if (core.transferLeader(peer) === undefined) return true;
    }
    return false;
  }
}
