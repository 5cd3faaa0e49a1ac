/** How far this node's wall clock is from those of its peers, by what their messages say. */
import type { Clock } from '@holdfast/client/clock';

/** A reading older than this says nothing any more. */
const FRESH_MS = 5_000;

export class ClockComparison {
  readonly #clock: Clock;
  /** What a peer's clock showed, and when that came; by its number. */
  readonly #heard = new Map<number, { readonly wallMs: number; readonly atMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A peer's message says what its clock showed when it left; the way here is taken for nothing. */
  heard(peer: number, wallMs: number): void {
    this.#heard.set(peer, { wallMs, atMs: this.#clock.monotonicMs() });
  }

  /**
   * How far the median of all clocks, this one among them, is ahead of this one, in ms.
   * Reckoned anew from the clock as it is now, so that a step shows at once.
   */
  offsetMs(): number {
    const offsets = [0, ...this.#offsets().values()].sort((a, b) => a - b);
    return offsets[Math.floor((offsets.length - 1) / 2)]!;
  }

  /** The peers whose clocks are no further than this from the median. */
  within(mostMs: number): number[] {
    const medianMs = this.offsetMs();
    return [...this.#offsets()].flatMap(([peer, offsetMs]) =>
      Math.abs(offsetMs - medianMs) <= mostMs ? [peer] : [],
    );
  }

  /** How far each peer's clock is ahead of this one. */
  #offsets(): Map<number, number> {
    const wallMs = this.#clock.wallMs();
    const nowMs = this.#clock.monotonicMs();
    const offsets = new Map<number, number>();
    for (const [peer, { wallMs: theirs, atMs }] of this.#heard)
      if (nowMs - atMs < FRESH_MS) offsets.set(peer, theirs + (nowMs - atMs) - wallMs);
    return offsets;
  }
}
