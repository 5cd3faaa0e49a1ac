/**
 * `npm run -s bench -- catch-up`: a node of three is away while much is written, comes back
 * under steady load, and gets what it lacks as snapshots. What that costs the load, and how
 * long it takes.
 */
import { writeFileSync } from 'node:fs';
import { plot, type Mark } from './plot.ts';
import type { Driver } from './system.ts';
import { HoldfastSystem, type Scraped } from './systems/holdfast.ts';
import { keyName, load, randomValues } from './workload.ts';

export interface CatchUpOptions {
  readonly values: number;
  readonly valueBytes: number;
  readonly clients: number;
  /** Steady load before the node comes back, and after it has caught up. */
  readonly seconds: number;
  readonly json: boolean;
  readonly trace: string | undefined;
}

/** Counted from 0. */
const AWAY = 2;
const NAME = `n${AWAY + 1}`;
const SAMPLE_MS = 250;
const MOST_SECONDS = 600;

interface Call {
  readonly endMs: number;
  readonly ms: number;
}

interface Sample {
  readonly seconds: number;
  readonly lag: number;
}

/** What happened, as callers saw it. Times are in ms since the load began. */
interface Course {
  readonly calls: readonly Call[];
  readonly samples: readonly Sample[];
  readonly startMs: number;
  readonly readyMs: number;
  readonly caughtUpMs: number;
  readonly endMs: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly snapshots: number;
  readonly bytes: number;
}

export async function catchUp(options: CatchUpOptions): Promise<void> {
  const system = new HoldfastSystem({ nodes: 3, callers: options.clients, valueBytes: options.valueBytes });
  const driver = await system.connect();
  const interrupted = () => void system.stop().finally(() => process.exit(130));
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await system.stopNode(AWAY);
    await load(driver, options.values, options.valueBytes, () => undefined);
    const course = await follow(system, driver, options);
    report(course, options);
    if (options.trace !== undefined) writeFileSync(options.trace, drawing(course));
    if (course.errors > 0 || course.snapshots === 0) process.exitCode = 1;
  } finally {
    await driver.close();
    await system.stop();
  }
}

/** Steady load, during which the node comes back. */
async function follow(system: HoldfastSystem, driver: Driver, options: CatchUpOptions): Promise<Course> {
  const steady = new SteadyLoad(driver, options);
  const pause = () => new Promise((resolve) => setTimeout(resolve, options.seconds * 1_000));
  const lags = new LagWatch(system, steady);
  try {
    await pause();
    const startMs = steady.nowMs;
    await system.startNode(AWAY);
    const readyMs = steady.nowMs;
    const caughtUpMs = await lags.caughtUp(options.clients);
    const own = await system.scrape(AWAY);
    await pause();
    const endMs = steady.nowMs;
    const { errors, firstError } = steady;
    return {
      calls: await steady.stop(),
      samples: lags.stop(),
      startMs,
      readyMs,
      caughtUpMs,
      endMs,
      errors,
      firstError,
      snapshots: own('holdfast_snapshots_received_total'),
      bytes: bulkBytes(own),
    };
  } finally {
    lags.stop();
    await steady.stop();
  }
}

/** What a node got from others on the lane of entries and parts of snapshots. */
function bulkBytes(own: Scraped): number {
  const lanes = ['n1', 'n2'].map((peer) =>
    own('holdfast_peer_bytes_total', `peer="${peer}",lane="bulk",direction="received"`),
  );
  return lanes.reduce((sum, each) => sum + each, 0);
}

/** Callers that put one value after the other, at random over what there is. */
class SteadyLoad {
  readonly #driver: Driver;
  readonly #started = performance.now();
  readonly #calls: Call[] = [];
  readonly #callers: Promise<void[]>;
  #isStopped = false;
  errors = 0;
  firstError: string | undefined;

  constructor(driver: Driver, { clients, values, valueBytes }: CatchUpOptions) {
    this.#driver = driver;
    const contents = randomValues(valueBytes);
    this.#callers = Promise.all(Array.from({ length: clients }, () => this.#call(values, contents)));
  }

  get nowMs(): number {
    return performance.now() - this.#started;
  }

  async stop(): Promise<readonly Call[]> {
    this.#isStopped = true;
    await this.#callers;
    return this.#calls;
  }

  async #call(values: number, contents: readonly Uint8Array[]): Promise<void> {
    for (let turn = 0; !this.#isStopped; turn++) {
      const begun = this.nowMs;
      try {
        await this.#driver.put(
          keyName(Math.floor(Math.random() * values)),
          contents[turn % contents.length]!,
        );
      } catch (error) {
        this.errors++;
        this.firstError ??= String(error);
      }
      const endMs = this.nowMs;
      this.#calls.push({ endMs, ms: endMs - begun });
    }
  }
}

/** How many entries the node lacks of the group of which it lacks most, as the leaders say. */
class LagWatch {
  readonly #system: HoldfastSystem;
  readonly #steady: SteadyLoad;
  readonly #samples: Sample[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(system: HoldfastSystem, steady: SteadyLoad) {
    this.#system = system;
    this.#steady = steady;
    this.#timer = setInterval(() => void this.#look().catch(() => undefined), SAMPLE_MS);
  }

  stop(): readonly Sample[] {
    clearInterval(this.#timer);
    return this.#samples;
  }

  /** When it lacks no more than what is on its way: as many entries as there are callers. */
  async caughtUp(callers: number): Promise<number> {
    const boundMs = this.#steady.nowMs + MOST_SECONDS * 1_000;
    for (;;) {
      const { lag, seconds } = await this.#look();
      if (lag <= callers) return seconds * 1_000;
      if (this.#steady.nowMs > boundMs)
        throw new Error(`${NAME} lacks ${lag} entries after ${MOST_SECONDS} s`);
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    }
  }

  async #look(): Promise<Sample> {
    const others = await Promise.all([0, 1].map((at) => this.#system.scrape(at)));
    const lags = others.map((other) => other('holdfast_follower_lag_entries', `peer="${NAME}"`));
    const sample = { seconds: this.#steady.nowMs / 1_000, lag: Math.max(...lags) };
    this.#samples.push(sample);
    return sample;
  }
}

interface Phase {
  readonly ops_per_second: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
}

function phase(calls: readonly Call[], fromMs: number, toMs: number): Phase {
  const own = calls.filter(({ endMs }) => endMs >= fromMs && endMs < toMs);
  const sorted = own.map(({ ms }) => ms).sort((a, b) => a - b);
  const at = (share: number) =>
    tenths(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  const seconds = Math.max(0.001, (toMs - fromMs) / 1_000);
  return {
    ops_per_second: Math.round(own.length / seconds),
    p50_ms: at(0.5),
    p99_ms: at(0.99),
    max_ms: at(1),
  };
}

function report(course: Course, { values, valueBytes, clients, json }: CatchUpOptions): void {
  const { calls, startMs, readyMs, caughtUpMs, endMs, errors, firstError, snapshots, bytes } = course;
  const away = phase(calls, 0, startMs);
  const catching = phase(calls, startMs, caughtUpMs);
  const after = phase(calls, caughtUpMs, endMs);
  const dip = (than: Phase) => Math.round((1 - catching.ops_per_second / than.ops_per_second) * 100);
  const line = {
    workload: 'catch-up',
    values,
    value_bytes: valueBytes,
    clients,
    ready_seconds: tenths((readyMs - startMs) / 1_000),
    caught_up_seconds: tenths((caughtUpMs - startMs) / 1_000),
    snapshots,
    mebibytes: tenths(bytes / 2 ** 20),
    dip_percent: dip(away),
    dip_percent_of_after: dip(after),
    errors,
    ...(firstError !== undefined && { first_error: firstError }),
    away,
    catching_up: catching,
    after,
  };
  if (json) return console.log(JSON.stringify(line));
  console.table({ 'node away': away, 'catching up': catching, afterwards: after });
  console.log(
    `${NAME} was ready after ${line.ready_seconds} s and had caught up after ${line.caught_up_seconds} s: ` +
      `${snapshots} snapshots, ${line.mebibytes} MiB; ${line.dip_percent}% fewer writes meanwhile than before, ${errors} errors`,
  );
}

function drawing({ calls, samples, startMs, caughtUpMs, endMs }: Course): string {
  const windowMs = 1_000;
  const seconds = Array.from({ length: Math.floor(endMs / windowMs) }, (_, second) => {
    const { ops_per_second, p99_ms } = phase(calls, second * windowMs, (second + 1) * windowMs);
    const lag = samples.findLast((sample) => sample.seconds <= second + 1)?.lag ?? 0;
    return { seconds: second, writes: ops_per_second, p99: p99_ms, lag };
  });
  const marks: Mark[] = [
    { seconds: startMs / 1_000, text: 'started' },
    { seconds: caughtUpMs / 1_000, text: 'caught up' },
  ];
  return plot(
    [
      { title: 'writes a second', value: ({ writes }) => writes },
      { title: 'p99 of a write, ms', value: ({ p99 }) => p99 },
      { title: 'entries that the node lacks of one group', value: ({ lag }) => lag },
    ],
    seconds,
    marks,
  );
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10;
}
