/**
 * `npm run -s bench -- growth`: what operations, memory and a restart cost as one thing
 * grows and the others stay. Each point has a cluster of its own; only keys grow within one,
 * so that they are loaded once.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GrowingCluster, type Round, type Setting } from './growing-cluster.ts';
import { growthPlot, growthTable } from './growth-report.ts';
import { startProgress } from './progress.ts';
import { medianOf } from './report.ts';

export interface GrowthOptions {
  readonly axis?: Axis;
  readonly points?: readonly number[];
  readonly keys: number;
  readonly seconds: number;
  readonly repeat: number;
  readonly plots?: string;
  readonly json: boolean;
}

export const AXES = {
  groups: [1, 8, 64, 256],
  keys: [10_000, 100_000, 1_000_000, 5_000_000],
  callers: [1, 8, 64, 256, 1_024],
  nodes: [3, 5],
} as const satisfies Record<string, readonly number[]>;
export type Axis = keyof typeof AXES;

/** A point of an axis: medians of its rounds, and the errors of all. */
export type Point = Setting & Round & { readonly axis: Axis; readonly first_error?: string };

const DEFAULT_COPIES = 3;
/** For the progress: what a round takes besides its runs, and how fast keys are loaded, roughly. */
const SECONDS_BESIDE_RUNS = 5;
const KEYS_A_SECOND = 20_000;

export async function growth(options: GrowthOptions): Promise<void> {
  const axes = options.axis === undefined ? (Object.keys(AXES) as Axis[]) : [options.axis];
  const plans = axes.map((axis) => ({ axis, settings: settingsOf(axis, options) }));
  const bench = new GrowthBench(
    options,
    plans.flatMap(({ settings }) => settings),
  );
  const interrupted = () => void bench.stop().finally(() => process.exit(130));
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    for (const { axis, settings } of plans) {
      const points = await bench.measure(axis, settings);
      if (!options.json) console.log(growthTable(axis, points));
      if (options.plots !== undefined)
        writeFileSync(join(options.plots, `growth-${axis}.svg`), growthPlot(axis, points));
      if (points.some(({ errors }) => errors > 0)) process.exitCode = 1;
    }
  } finally {
    await bench.stop();
  }
}

/** With more nodes than a group has copies by default, there are two ways to use them. */
function settingsOf(axis: Axis, { points = AXES[axis], keys }: GrowthOptions): Setting[] {
  // Upwards: a cluster does not lose the keys that it has.
  return points
    .toSorted((a, b) => a - b)
    .flatMap((at) => {
      const setting = { groups: 8, keys, callers: 64, nodes: 3, copies: DEFAULT_COPIES, [axis]: at };
      const least = Math.min(DEFAULT_COPIES, setting.nodes);
      const copies = axis === 'nodes' ? [...new Set([least, setting.nodes])] : [least];
      return copies.map((each) => ({ ...setting, copies: each }));
    });
}

class GrowthBench {
  readonly #options: GrowthOptions;
  readonly #bar: ReturnType<typeof startProgress>;
  #cluster: GrowingCluster | undefined;

  constructor(options: GrowthOptions, settings: readonly Setting[]) {
    this.#options = options;
    const keys = settings.reduce((sum, setting) => sum + setting.keys, 0);
    const rounds = settings.length * options.repeat * this.#roundSeconds;
    this.#bar = startProgress(options.json, Math.ceil(rounds + keys / KEYS_A_SECOND));
  }

  async stop(): Promise<void> {
    this.#bar.stop();
    await this.#stopCluster();
  }

  async measure(axis: Axis, settings: readonly Setting[]): Promise<Point[]> {
    const points: Point[] = [];
    for (const setting of settings) {
      const point = await this.#point(axis, setting);
      points.push(point);
      if (this.#options.json) console.log(JSON.stringify(point));
    }
    await this.#stopCluster();
    return points;
  }

  async #point(axis: Axis, setting: Setting): Promise<Point> {
    const rounds: Awaited<ReturnType<GrowingCluster['round']>>[] = [];
    for (let round = 0; round < this.#options.repeat; round++) {
      const cluster = await this.#clusterFor(axis, setting);
      await cluster.growTo(setting.keys, (more) => this.#bar.increment(more / KEYS_A_SECOND));
      rounds.push(await cluster.round(setting.callers, this.#options.seconds));
      this.#bar.increment(this.#roundSeconds);
    }
    const figures = rounds.map((round) => round.figures);
    const errors = figures.reduce((sum, each) => sum + each.errors, 0);
    const firstError = rounds.find((round) => round.firstError !== undefined)?.firstError;
    const failed = firstError !== undefined && { first_error: firstError };
    return { axis, ...setting, ...medians(figures), errors, ...failed };
  }

  /** One for the whole axis of keys, a fresh one for every other round. */
  async #clusterFor(axis: Axis, setting: Setting): Promise<GrowingCluster> {
    if (axis === 'keys' && this.#cluster !== undefined) return this.#cluster;
    await this.#stopCluster();
    this.#cluster = new GrowingCluster(setting);
    await this.#cluster.start();
    return this.#cluster;
  }

  async #stopCluster(): Promise<void> {
    await this.#cluster?.stop();
    this.#cluster = undefined;
  }

  get #roundSeconds(): number {
    return 2 * this.#options.seconds + SECONDS_BESIDE_RUNS;
  }
}

function medians(rounds: readonly Round[]): Round {
  const names = Object.keys(rounds[0]!) as (keyof Round)[];
  const pairs = names.map((name) => [name, medianOf(rounds.map((round) => round[name]))]);
  return Object.fromEntries(pairs) as Round;
}
