/** What a node's figures do in the course of a long run: sampled each second, drawn as a plot. */
import { readFileSync, writeFileSync } from 'node:fs';
import { plot, type Panel } from './plot.ts';
import type { Driver, ServerGauges } from './system.ts';

const EVERY_MS = 1_000;

interface Sample extends ServerGauges {
  readonly seconds: number;
  /** Of the resident memory what is not the pages of mapped files, which LevelDB reads its tables by. */
  readonly anonymousBytes: number;
}

type Figure = Exclude<keyof Sample, 'seconds'>;

/** Samples a driver's gauges until it is stopped. */
export class Trace {
  readonly #driver: Driver;
  readonly #pids: readonly number[];
  readonly #samples: Sample[] = [];
  readonly #started = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #sampling: Promise<void> = Promise.resolve();

  constructor(driver: Driver, pids: readonly number[]) {
    this.#driver = driver;
    this.#pids = pids;
    this.#timer = setInterval(() => (this.#sampling = this.#sample()), EVERY_MS);
  }

  /** Ends sampling; `file` gets the plot. Returns the greatest of each figure, and memory after a minute and at the end. */
  async stop(file: string): Promise<object> {
    clearInterval(this.#timer);
    await this.#sampling;
    writeFileSync(file, plot(PANELS, this.#samples));
    const most = (name: Figure) => Math.max(0, ...this.#samples.map((sample) => sample[name]));
    const memory = (from: number, to: number) =>
      Math.round(mean(this.#samples.slice(from, to).map(({ anonymousBytes }) => anonymousBytes)));
    return {
      samples: this.#samples.length,
      max_memory_bytes: most('memoryBytes'),
      max_anonymous_bytes: most('anonymousBytes'),
      max_overlay_bytes: most('overlayBytes'),
      max_store_lag_entries: most('storeLagEntries'),
      // Means of half a minute each: memory rises and falls with every collection.
      anonymous_bytes_after_a_minute: memory(60, 90),
      anonymous_bytes_at_the_end: memory(-30, this.#samples.length),
    };
  }

  async #sample(): Promise<void> {
    const gauges = await this.#driver.gauges?.();
    if (gauges === undefined) return;
    const seconds = (performance.now() - this.#started) / 1_000;
    this.#samples.push({ seconds, anonymousBytes: anonymousBytes(this.#pids), ...gauges });
  }
}

/** Resident memory without mapped files, all processes together. */
export function anonymousBytes(pids: readonly number[]): number {
  const kib = pids.map(
    (pid) => /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1],
  );
  return kib.reduce((sum, each) => sum + Number(each) * 1_024, 0);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

const PANELS: readonly Panel<Sample>[] = [
  { title: 'resident memory of the node, MiB', value: ({ memoryBytes }) => memoryBytes / 2 ** 20 },
  {
    title: 'of that without mapped files, MiB',
    value: ({ anonymousBytes }) => anonymousBytes / 2 ** 20,
  },
  { title: 'applied and not yet in the store, MiB', value: ({ overlayBytes }) => overlayBytes / 2 ** 20 },
  { title: 'log entries not yet in the store', value: ({ storeLagEntries }) => storeLagEntries },
];
