/** From runs to comparisons: ratios of runs that stood side by side, and their medians. */
import type { RunFigures } from './workload.ts';

/** One run of one system. A system with several modes of its client has a run for each. */
export interface Measured {
  readonly system: string;
  readonly description: string;
  readonly round: number;
  readonly figures: RunFigures;
}

/** How the first system does beside another. Ratios are of op/s, the first's by the other's. */
export interface Comparison {
  readonly workload: string;
  readonly nodes: number;
  readonly clients: number;
  readonly system: string;
  readonly baseline: string;
  readonly ratio_median: number;
  readonly ratio_min: number;
  readonly ratio_max: number;
  /** Median of the first's p50 by the other's. */
  readonly p50_ratio: number;
}

/** Compares the first of `systems` with each other. A run with errors does not count. */
export function comparisons(
  measured: readonly Measured[],
  systems: readonly string[],
  workload: string,
  { nodes, clients }: { nodes: number; clients: number },
): Comparison[] {
  const [system, ...others] = systems;
  const own = best(measured, system!);
  return others.flatMap((baseline) => {
    const other = best(measured, baseline);
    const pairs = own.flatMap((run) => {
      const beside = other.find(({ round }) => round === run.round);
      return beside === undefined ? [] : [{ run: run.figures, beside: beside.figures }];
    });
    if (pairs.length === 0) return [];
    const ratios = pairs.map(({ run, beside }) => run.opsPerSecond / beside.opsPerSecond);
    const round = (value: number) => Number(value.toFixed(3));
    return [
      {
        workload,
        nodes,
        clients,
        system: system!,
        baseline,
        ratio_median: round(medianOf(ratios)),
        ratio_min: round(Math.min(...ratios)),
        ratio_max: round(Math.max(...ratios)),
        p50_ratio: round(medianOf(pairs.map(({ run, beside }) => run.p50Us / beside.p50Us))),
      },
    ];
  });
}

/** A system's sound runs in its best mode: the one with the greater median. */
function best(measured: readonly Measured[], system: string): Measured[] {
  const sound = measured.filter((run) => run.system === system && run.figures.errors === 0);
  const modes = [...new Set(sound.map(({ description }) => description))];
  const runsOf = (mode: string) => sound.filter(({ description }) => description === mode);
  const speed = (mode: string) => medianOf(runsOf(mode).map(({ figures }) => figures.opsPerSecond));
  const fastest = modes.sort((a, b) => speed(b) - speed(a))[0];
  return fastest === undefined ? [] : runsOf(fastest);
}

/** The median; of an even number the mean of the middle two. */
export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
