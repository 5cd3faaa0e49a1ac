import type { Operation } from './call-list.ts';

/** Operations that can be linearized only in the order of their ranks; those of one rank in any order. */
export class RankOrder {
  readonly #groups: (number | undefined)[];
  /** Operations of each group that are still to come. */
  readonly #left: number[] = [];
  /** The first group with some left. */
  #current = 0;

  /** Ranks by operation; undefined: at any time. */
  constructor(ranks: readonly (number | undefined)[]) {
    const sorted = [...new Set(ranks)].filter((rank) => rank !== undefined).sort((a, b) => a - b);
    const groups = new Map(sorted.map((rank, group) => [rank, group]));
    this.#groups = ranks.map((rank) => (rank === undefined ? undefined : groups.get(rank)));
    for (const group of this.#groups) {
      if (group !== undefined) this.#left[group] = (this.#left[group] ?? 0) + 1;
    }
  }

  allows(operation: number): boolean {
    const group = this.#groups[operation];
    return group === undefined || group === this.#current;
  }

  take(operation: number): void {
    const group = this.#groups[operation];
    if (group === undefined) return;
    this.#left[group]!--;
    while (this.#left[this.#current] === 0) this.#current++;
  }

  giveBack(operation: number): void {
    const group = this.#groups[operation];
    if (group === undefined) return;
    this.#left[group]!++;
    this.#current = Math.min(this.#current, group);
  }
}

/** Two operations of which the first had returned when the second was called, and the second ranks lower. */
export function againstRank<O extends Operation>(
  operations: readonly O[],
  rankOf: (operation: O) => number | undefined,
): readonly [O, O] | undefined {
  const ranked = operations.filter((one) => one.returned !== undefined && rankOf(one) !== undefined);
  const byReturn = ranked.toSorted((a, b) => a.returned! - b.returned!);
  let highest: O | undefined;
  let at = 0;
  for (const operation of ranked.toSorted((a, b) => a.called - b.called)) {
    for (; byReturn[at]!.returned! < operation.called; at++) {
      if (highest === undefined || rankOf(byReturn[at]!)! > rankOf(highest)!) highest = byReturn[at]!;
    }
    if (highest !== undefined && rankOf(highest)! > rankOf(operation)!) return [highest, operation];
  }
  return undefined;
}
