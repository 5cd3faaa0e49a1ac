const STALL_EVERY_MS = 20;

/** Measures how long calls take, without the time during which this process could not run. */
export class StallWatch implements Disposable {
  #stalledMs = 0;
  #beatMs = performance.now();
  readonly #timer = setInterval(() => {
    this.#stalledMs += this.#lateMs();
    this.#beatMs = performance.now();
  }, STALL_EVERY_MS);

  begin(): () => number {
    const startMs = performance.now() - this.#stalledMs - this.#lateMs();
    return () => performance.now() - this.#stalledMs - this.#lateMs() - startMs;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #lateMs(): number {
    return Math.max(0, performance.now() - this.#beatMs - STALL_EVERY_MS);
  }
}
