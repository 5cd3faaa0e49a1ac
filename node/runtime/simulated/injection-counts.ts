/** How often each kind of fault was injected, so that a test can show that it happened at all. */
export class InjectionCounts {
  readonly #counts = new Map<string, number>();

  /** Counts `times` injections of `kind`. */
  note(kind: string, times = 1): void {
    this.#counts.set(kind, this.of(kind) + times);
  }

  /** Injections of `kind` so far. */
  of(kind: string): number {
    return this.#counts.get(kind) ?? 0;
  }

  /** All kinds that were injected at least once, sorted by name. */
  all(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
