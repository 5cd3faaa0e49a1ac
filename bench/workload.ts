/** The workloads, and one measured run: closed loops of callers in this process. */
import { cpuMicroseconds } from './server-process.ts';
import type { Driver, ServerCounters } from './system.ts';

export const WORKLOADS = [
  'kv-put',
  'kv-get',
  'kv-mixed',
  'kv-incr',
  'kv-scan',
  'config-put',
  'lock-cycle',
  'watch-delivery',
  'watch-fanout',
  'id-next',
  'produce',
  'consume',
  'end-to-end',
] as const;
export type Workload = (typeof WORKLOADS)[number];

export interface RunOptions {
  readonly workload: Workload;
  readonly callers: number;
  readonly seconds: number;
  readonly valueBytes: number;
  readonly keys: number;
}

/** Figures of one run. Times are in microseconds. */
export interface RunFigures {
  readonly operations: number;
  readonly seconds: number;
  readonly opsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  /** CPU time of this process (client and harness) and of the servers, by operation. */
  readonly clientCpuUs: number;
  readonly serverCpuUs: number;
  readonly server: ServerFigures | undefined;
}

/** What the server says of the same time. */
export interface ServerFigures {
  readonly operations: number;
  readonly meanUs: number;
  readonly syncMeanUs: number;
  readonly recordsPerBatch: number;
  readonly bytesPerBatch: number;
}

/** Mixed load: this part of the operations reads. */
const READ_SHARE = 0.7;
const SCAN_ENTRIES = 100;
/** Values that are loaded at a time. */
const LOADING_BYTES = 1024 * 1024;

/** The i-th key, 50 bytes long. */
export function keyName(i: number): string {
  return `key/${i.toString().padStart(12, '0')}/`.padEnd(50, 'k');
}

/** Loads the keys from `from` on, up to 2,048 at a time, of large values fewer. */
export async function load(
  driver: Driver,
  keys: number,
  valueBytes: number,
  onProgress: (done: number) => void,
  from = 0,
  put: Driver['put'] = (key, value) => driver.put(key, value),
): Promise<void> {
  const values = randomValues(valueBytes);
  let next = from;
  const loader = async () => {
    for (let i = next++; i < keys; i = next++) {
      await put(keyName(i), values[i % values.length]!);
      if (i % 1_000 === 0) onProgress(i);
    }
  };
  const callers = Math.max(1, Math.min(2_048, Math.floor(LOADING_BYTES / valueBytes)));
  await Promise.all(Array.from({ length: callers }, loader));
  onProgress(keys);
}

/** Runs the workload for some time. */
export async function run(
  driver: Driver,
  options: RunOptions,
  pids: readonly number[] = [],
): Promise<RunFigures> {
  if (options.workload === 'watch-fanout') return fanOut(driver, options, pids);
  const deliveries = options.workload === 'watch-delivery' ? new Deliveries() : undefined;
  const unfollow = await deliveries?.follow(driver, 1);
  try {
    return await closedLoops(driver, options, operations(driver, options, deliveries), pids);
  } finally {
    await unfollow?.();
  }
}

async function closedLoops(
  driver: Driver,
  options: RunOptions,
  operation: () => Promise<unknown>,
  pids: readonly number[],
): Promise<RunFigures> {
  const latencies: number[] = [];
  let errors = 0;
  let firstError: string | undefined;
  const before = await driver.metrics?.();
  const cpuBefore = cpuMicroseconds(pids);
  const started = performance.now();
  const end = started + options.seconds * 1_000;
  const caller = async () => {
    for (let now = performance.now(); now < end;) {
      try {
        await operation();
      } catch (error) {
        errors++;
        firstError ??= String(error);
      }
      const done = performance.now();
      latencies.push(done - now);
      now = done;
    }
  };
  await Promise.all(Array.from({ length: options.callers }, caller));
  const seconds = (performance.now() - started) / 1_000;
  const cpuAfter = cpuMicroseconds(pids);
  const after = await driver.metrics?.();
  return {
    ...summary(latencies),
    seconds,
    opsPerSecond: latencies.length / seconds,
    errors,
    firstError,
    clientCpuUs: (cpuAfter.client - cpuBefore.client) / latencies.length,
    serverCpuUs: (cpuAfter.servers - cpuBefore.servers) / latencies.length,
    server: before && after && difference(before, after),
  };
}

function operations(
  driver: Driver,
  { workload, keys, valueBytes }: RunOptions,
  deliveries: Deliveries | undefined,
): () => Promise<unknown> {
  const values = randomValues(valueBytes);
  const key = () => keyName(Math.floor(Math.random() * keys));
  let turn = 0;
  const put = () => driver.put(key(), values[turn++ % values.length]!);
  switch (workload) {
    case 'kv-put':
      return put;
    case 'kv-get':
      return () => driver.get(key());
    case 'kv-mixed':
      return () => (Math.random() < READ_SHARE ? driver.get(key()) : put());
    case 'kv-incr':
      return () => driver.increment(key());
    case 'kv-scan':
      if (driver.scan === undefined) throw new Error('this system has no ordered scan');
      return () => driver.scan!(key(), SCAN_ENTRIES);
    case 'config-put':
      if (driver.configPut === undefined) throw new Error('this system has no configuration');
      return () => driver.configPut!(key(), values[turn++ % values.length]!);
    case 'lock-cycle':
      if (driver.lockCycle === undefined) throw new Error('this system has no locks');
      return () => driver.lockCycle!(`lock/${turn++ % 1_000}`);
    case 'watch-delivery':
      return () => deliveries!.put(driver, values[turn++ % values.length]!);
    case 'id-next':
      if (driver.id === undefined) throw new Error('this system has no IDs');
      return () => driver.id!();
    case 'produce':
      if (driver.produce === undefined) throw new Error('this system has no topics');
      return () => driver.produce!(values[turn++ % values.length]!);
    case 'watch-fanout':
    case 'consume':
    case 'end-to-end':
      throw new Error('not a closed loop');
  }
}

const WATCHED = 'watched/';
/** Puts of a second of `watch-fanout`. */
const FANOUT_PUTS = 1_000;
/** Pace of its puts, in milliseconds. */
const FANOUT_EVERY_MS = 5;
/** For what is still on its way at the end. */
const FANOUT_REST_MS = 5_000;

/** Puts of one connection as another is told of them. */
class Deliveries {
  readonly #awaited = new Map<string, () => void>();
  #count = 0;

  follow(driver: Driver, watchers: number): Promise<() => Promise<void>> {
    if (driver.follow === undefined) throw new Error('this system has no watches');
    return driver.follow(WATCHED, watchers, (key) => {
      this.#awaited.get(key)?.();
      this.#awaited.delete(key);
    });
  }

  /** Resolves when the watcher has been told. */
  async put(driver: Driver, value: Uint8Array): Promise<void> {
    const key = `${WATCHED}${(this.#count++ % 10_000).toString()}`;
    const told = new Promise<void>((resolve) => this.#awaited.set(key, resolve));
    await driver.configPut!(key, value);
    await told;
  }
}

/** Puts at a steady rate that many watchers are told of: each change, to each watcher, is one operation. */
async function fanOut(driver: Driver, options: RunOptions, pids: readonly number[]): Promise<RunFigures> {
  if (driver.follow === undefined) throw new Error('this system has no watches');
  const { callers: watchers, seconds: length, valueBytes } = options;
  const values = randomValues(valueBytes);
  const begun = new Map<string, number>();
  const latencies: number[] = [];
  let [errors, firstError] = [0, undefined as string | undefined];
  const unfollow = await driver.follow(WATCHED, watchers, (key) => {
    const at = begun.get(key);
    if (at !== undefined) latencies.push(performance.now() - at);
  });
  const cpuBefore = cpuMicroseconds(pids);
  const started = performance.now();
  let puts = 0;
  const putOne = () => {
    const key = `${WATCHED}${process.pid}/${puts}`;
    begun.set(key, performance.now());
    driver.configPut!(key, values[puts++ % values.length]!).catch((error: unknown) => {
      errors++;
      firstError ??= String(error);
    });
  };
  while (performance.now() - started < length * 1_000) {
    const due = Math.floor(((performance.now() - started) * FANOUT_PUTS) / 1_000);
    while (puts < due) putOne();
    await new Promise((resolve) => setTimeout(resolve, FANOUT_EVERY_MS));
  }
  const seconds = (performance.now() - started) / 1_000;
  const restEnds = performance.now() + FANOUT_REST_MS;
  while (latencies.length < puts * watchers && performance.now() < restEnds)
    await new Promise((resolve) => setTimeout(resolve, FANOUT_EVERY_MS));
  const cpuAfter = cpuMicroseconds(pids);
  await unfollow();
  const missing = puts * watchers - latencies.length;
  return {
    ...summary(latencies),
    seconds,
    opsPerSecond: latencies.length / seconds,
    errors: errors + missing,
    firstError: firstError ?? (missing > 0 ? `${missing} changes were not told in time` : undefined),
    clientCpuUs: (cpuAfter.client - cpuBefore.client) / latencies.length,
    serverCpuUs: (cpuAfter.servers - cpuBefore.servers) / latencies.length,
    server: undefined,
  };
}

/** Values that do not compress. */
export function randomValues(bytes: number): Uint8Array[] {
  return Array.from({ length: 64 }, () =>
    Uint8Array.from({ length: bytes }, () => Math.floor(Math.random() * 256)),
  );
}

/** Percentiles of times in milliseconds. */
export function percentiles(latencies: readonly number[]): {
  p50: number;
  p99: number;
  max: number;
  of: number;
} {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) => {
    const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return Number(value.toFixed(2));
  };
  return { p50: at(0.5), p99: at(0.99), max: at(1), of: sorted.length };
}

export function summary(latencies: number[]): Pick<RunFigures, 'operations' | 'p50Us' | 'p99Us' | 'maxUs'> {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) =>
    Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 1_000);
  return { operations: sorted.length, p50Us: at(0.5), p99Us: at(0.99), maxUs: at(1) };
}

function difference(before: ServerCounters, after: ServerCounters): ServerFigures {
  const change = (name: keyof ServerCounters) => after[name] - before[name];
  const mean = (sum: keyof ServerCounters, count: keyof ServerCounters) =>
    change(count) === 0 ? 0 : change(sum) / change(count);
  return {
    operations: change('operations'),
    meanUs: Math.round(mean('operationSeconds', 'operations') * 1e6),
    syncMeanUs: Math.round(mean('syncSeconds', 'syncs') * 1e6),
    recordsPerBatch: mean('batchRecords', 'batches'),
    bytesPerBatch: Math.round(mean('batchBytes', 'batches')),
  };
}
