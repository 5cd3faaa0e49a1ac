/** What a node's figures do in the course of a long run: sampled each second, drawn as a plot. */
import { readFileSync, writeFileSync } from 'node:fs';
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
    writeFileSync(file, plot(this.#samples));
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

function anonymousBytes(pids: readonly number[]): number {
  const kib = pids.map(
    (pid) => /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1],
  );
  return kib.reduce((sum, each) => sum + Number(each) * 1_024, 0);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

const WIDTH = 720;
const HEIGHT = 150;
const LEFT = 70;
const PANELS: readonly {
  readonly name: Figure;
  readonly title: string;
  readonly unit: number;
}[] = [
  { name: 'memoryBytes', title: 'resident memory of the node, MiB', unit: 2 ** 20 },
  { name: 'anonymousBytes', title: 'of that without mapped files, MiB', unit: 2 ** 20 },
  { name: 'overlayBytes', title: 'applied and not yet in the store, MiB', unit: 2 ** 20 },
  { name: 'storeLagEntries', title: 'log entries not yet in the store', unit: 1 },
];

/** One panel a figure, time to the right. */
function plot(samples: readonly Sample[]): string {
  const end = samples.at(-1)?.seconds ?? 1;
  const panels = PANELS.map(({ name, title, unit }, position) => {
    const top = 20 + position * (HEIGHT + 40);
    const greatest = Math.max(1, ...samples.map((sample) => sample[name] / unit));
    const x = (seconds: number) => (LEFT + (seconds / end) * (WIDTH - LEFT - 20)).toFixed(1);
    const y = (value: number) => (top + HEIGHT - (value / greatest) * HEIGHT).toFixed(1);
    const points = samples.map((sample) => `${x(sample.seconds)},${y(sample[name] / unit)}`).join(' ');
    return [
      `<text x="${LEFT}" y="${top - 6}">${title}</text>`,
      `<path d="M${LEFT},${top}V${top + HEIGHT}H${WIDTH - 20}" fill="none" stroke="#999"/>`,
      `<text x="${LEFT - 6}" y="${top + 8}" text-anchor="end">${Math.round(greatest)}</text>`,
      `<text x="${LEFT - 6}" y="${top + HEIGHT}" text-anchor="end">0</text>`,
      `<text x="${WIDTH - 20}" y="${top + HEIGHT + 14}" text-anchor="end">${Math.round(end)} s</text>`,
      `<polyline points="${points}" fill="none" stroke="#07c"/>`,
    ].join('\n');
  });
  const height = 20 + PANELS.length * (HEIGHT + 40);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n${panels.join('\n')}\n</svg>\n`;
}
