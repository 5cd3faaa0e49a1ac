import type { GossipSettings } from './settings.ts';

/**
 * One node under suspicion: it is dead when the time is over. It begins long, and shrinks with
 * each other node that finds the same, in logarithmic steps: the first confirmations tell most.
 * Lifeguard, section IV-B.
 */
export class Suspicion {
  readonly #startMs: number;
  readonly #shortestMs: number;
  readonly #longestMs: number;
  /** How many confirmations bring it to its shortest. */
  readonly #wanted: number;
  readonly #accusers: Set<string>;
  #isHastened = false;

  /** `nodes`: how many there are, with this one and the suspected one. */
  constructor(settings: GossipSettings, startMs: number, nodes: number, accuser: string) {
    this.#startMs = startMs;
    this.#accusers = new Set([accuser]);
    // Beside the accuser and the accused nobody else could confirm.
    this.#wanted = Math.max(0, Math.min(settings.suspicionConfirmations, nodes - 2));
    this.#shortestMs = shortestSuspicionMs(settings, nodes);
    this.#longestMs = this.#shortestMs * (this.#wanted === 0 ? 1 : settings.suspicionStretch);
  }

  /** When the suspected node is to be held for dead. */
  get deadlineMs(): number {
    if (this.#isHastened) return this.#startMs + this.#shortestMs;
    const confirmations = Math.min(this.#accusers.size - 1, this.#wanted);
    const share = this.#wanted === 0 ? 0 : Math.log(confirmations + 1) / Math.log(this.#wanted + 1);
    return this.#startMs + this.#longestMs - (this.#longestMs - this.#shortestMs) * share;
  }

  /** Somebody has waited for long enough already. */
  hasten(): void {
    this.#isHastened = true;
  }

  /** Somebody finds the same. Returns whether that is worth telling. */
  confirm(accuser: string): boolean {
    if (this.#accusers.has(accuser) || this.#accusers.size > this.#wanted) return false;
    this.#accusers.add(accuser);
    return true;
  }
}

/** Grows like the time that news take to reach everybody, and a contradiction to come back. */
export function shortestSuspicionMs(settings: GossipSettings, nodes: number): number {
  return settings.suspicionIntervals * settings.probeIntervalMs * Math.max(1, Math.log10(nodes));
}
