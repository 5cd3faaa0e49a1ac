/** A cluster under measurement for `growth`: what a round of load and a restart cost it. */
import type { Driver } from './system.ts';
import { HoldfastSystem } from './systems/holdfast.ts';
import { anonymousBytes } from './trace.ts';
import { load, run, type RunFigures } from './workload.ts';

/** What a point is measured with. */
export interface Setting {
  readonly groups: number;
  readonly keys: number;
  readonly callers: number;
  readonly nodes: number;
  /** Of each group. */
  readonly copies: number;
}

/** Figures of one round. Memory is that of the node that has most. */
export interface Round {
  readonly put_ops_per_second: number;
  readonly put_p50_ms: number;
  readonly put_p99_ms: number;
  /** CPU time of all nodes for an operation. */
  readonly put_server_cpu_us: number;
  readonly get_ops_per_second: number;
  readonly get_p50_ms: number;
  readonly get_p99_ms: number;
  readonly get_server_cpu_us: number;
  readonly rss_mib: number;
  /** Of that what is not pages of mapped files. */
  readonly anonymous_mib: number;
  /** Groups led by the node that leads most, when the runs began. */
  readonly most_led: number;
  /** From the start of a process after kill -9 until it is ready. */
  readonly start_ms: number;
  /** Of that the recovery of what it has on its disk. */
  readonly recovery_ms: number;
  readonly replayed_entries: number;
  readonly errors: number;
}

const VALUE_BYTES = 100;
const WARM_UP_SECONDS = 1;
/** For leaders to spread over the nodes: each hands over two groups a second at most. */
const MOST_SETTLING_MS = 15_000;
const LOOK_MS = 250;

export class GrowingCluster {
  readonly #setting: Setting;
  readonly #system: HoldfastSystem;
  #driver: Driver | undefined;
  #keys = 0;

  constructor(setting: Setting) {
    this.#setting = setting;
    this.#system = new HoldfastSystem({ ...setting, valueBytes: VALUE_BYTES });
  }

  async start(): Promise<void> {
    await this.#system.start();
    await this.#system.partition(this.#setting.groups, this.#setting.copies);
    this.#driver = await this.#system.connect();
  }

  async stop(): Promise<void> {
    await this.#driver?.close();
    await this.#system.stop();
  }

  /** Loads what it has not yet; `onLoaded` is told how many keys more there are. */
  async growTo(keys: number, onLoaded: (more: number) => void): Promise<void> {
    const onProgress = (done: number) => {
      onLoaded(Math.max(0, done - this.#keys));
      this.#keys = Math.max(this.#keys, done);
    };
    await load(this.#driver!, keys, VALUE_BYTES, onProgress, this.#keys);
  }

  /** Gets, then puts, so that the node that is killed then has something to recover. */
  async round(callers: number, seconds: number): Promise<{ figures: Round; firstError: string | undefined }> {
    const mostLed = await this.#settle();
    const shape = { callers, valueBytes: VALUE_BYTES, keys: this.#keys };
    const driver = this.#driver!;
    const { pids } = this.#system;
    await run(driver, { ...shape, workload: 'kv-mixed', seconds: WARM_UP_SECONDS });
    const get = await run(driver, { ...shape, workload: 'kv-get', seconds }, pids);
    const put = await run(driver, { ...shape, workload: 'kv-put', seconds }, pids);
    const figures = {
      ...putFigures(put),
      ...getFigures(get),
      rss_mib: mebibytes(Math.max(...(await this.#all('process_resident_memory_bytes')))),
      anonymous_mib: mebibytes(Math.max(...pids.map((pid) => anonymousBytes([pid])))),
      most_led: mostLed,
      ...(await this.#restart()),
      errors: get.errors + put.errors,
    };
    return { figures, firstError: get.firstError ?? put.firstError };
  }

  async #restart(): Promise<Pick<Round, 'start_ms' | 'recovery_ms' | 'replayed_entries'>> {
    const last = this.#setting.nodes - 1;
    await this.#system.stopNode(last, 'SIGKILL');
    const begun = performance.now();
    await this.#system.startNode(last);
    const startMs = performance.now() - begun;
    const own = await this.#system.scrape(last);
    return {
      start_ms: Math.round(startMs),
      recovery_ms: Math.round(own('holdfast_recovery_seconds') * 1_000),
      replayed_entries: own('holdfast_recovery_replayed_entries'),
    };
  }

  /** Waits until every group has a leader and none leads more than its share; says how many one leads. */
  async #settle(): Promise<number> {
    const { groups, nodes } = this.#setting;
    const all = groups + 1; // with that of the cluster itself
    const bound = performance.now() + MOST_SETTLING_MS;
    for (;;) {
      const led = await this.#all('holdfast_groups_led');
      const sum = led.reduce((total, each) => total + each, 0);
      const most = Math.max(...led);
      if ((sum === all && most <= Math.ceil(all / nodes) + 1) || performance.now() > bound) return most;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  async #all(metric: string): Promise<number[]> {
    const nodes = Array.from({ length: this.#setting.nodes }, (_, at) => this.#system.scrape(at));
    return (await Promise.all(nodes)).map((scraped) => scraped(metric));
  }
}

function putFigures(put: RunFigures) {
  return {
    put_ops_per_second: Math.round(put.opsPerSecond),
    put_p50_ms: put.p50Us / 1_000,
    put_p99_ms: put.p99Us / 1_000,
    put_server_cpu_us: Math.round(put.serverCpuUs),
  };
}

function getFigures(get: RunFigures) {
  return {
    get_ops_per_second: Math.round(get.opsPerSecond),
    get_p50_ms: get.p50Us / 1_000,
    get_p99_ms: get.p99Us / 1_000,
    get_server_cpu_us: Math.round(get.serverCpuUs),
  };
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
