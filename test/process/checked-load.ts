/**
 * Clients of a real cluster that work on few keys and write down all that they ask and are
 * told. Keys are used for a while and then left for others, so that each part of the history
 * is short enough to be checked; that is done by the checkers of the simulated worlds, after
 * the keys were read once more when nobody wrote them any longer.
 */
import { HoldfastError, type ConnectOptions, type Holdfast, type Keyspace } from '@holdfast/client';
import { between } from '@holdfast/client/random';
import { keyHash } from '@holdfast/client/key-hash';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { checkKvHistory } from '../simulation/checkers/kv-checks.ts';
import { KvHistory, REFUSALS, type KvCall, type KvRequest } from '../simulation/checkers/kv-history.ts';
import { until } from './real-node.ts';
import { StallWatch } from './stall-watch.ts';
import type { RealCluster } from './real-cluster.ts';

/** The client looks at deadlines in ticks; the rest is for a machine that has other work. */
const SLACK_MS = 1_000;
const REGISTERS = 6;
const COUNTERS = 2;
const READ_MS = 60_000;
const TIMEOUT_MS = 3_000;

export interface LoadOptions {
  readonly seed: number;
  /** Clients, each with connections of its own. Default 4. */
  readonly clients?: number;
  /** Callers of each client, one call at a time each. Default 3. */
  readonly callers?: number;
  /** Mean pause of a caller between two calls, in milliseconds. Default 10. */
  readonly thinkMs?: number;
  /** Time of most calls of the client with this number, in milliseconds; some have less. Default 3,000. */
  readonly timeoutMs?: (number: number) => number;
  /** Default `default`. */
  readonly keyspace?: string;
  /** All keys are of this group. Default: of any. */
  readonly group?: bigint;
  /** Before all keys, for loads that follow each other. Default: nothing. */
  readonly keys?: string;
  /** How the client with this number connects; default: to all nodes. */
  readonly connect?: (number: number) => ConnectOptions;
}

/** What became of the operations. */
export interface LoadCounts {
  operations: number;
  acknowledged: number;
  /** Refused by the condition that the caller set. */
  refused: number;
  notApplied: number;
  unknown: number;
  failedReads: number;
  checkedOperations: number;
  checkedWindows: number;
}

/** Keys that are used together for a while. */
class Window {
  readonly history = new KvHistory();
  readonly #registers: readonly string[];
  readonly #counters: readonly string[];
  pending = 0;

  /** `fits`: which keys may be used. */
  constructor(name: string, fits: (key: string) => boolean) {
    const named = (prefix: string) => {
      for (let serial = 0; ; serial++) if (fits(`${prefix}.${serial}`)) return `${prefix}.${serial}`;
    };
    const several = (letter: string, count: number) =>
      Array.from({ length: count }, (_, at) => named(`${name}/${letter}${at}`));
    this.#registers = several('r', REGISTERS);
    this.#counters = several('n', COUNTERS);
  }

  register(random: SeededRandom): string {
    return this.#registers[between(random, 0, REGISTERS - 1)]!;
  }

  counter(random: SeededRandom): string {
    return this.#counters[between(random, 0, COUNTERS - 1)]!;
  }

  get keys(): string[] {
    return [...new Set(this.history.operations.map(({ key }) => key))];
  }
}

export class CheckedLoad implements AsyncDisposable {
  readonly counts: LoadCounts = {
    operations: 0,
    acknowledged: 0,
    refused: 0,
    notApplied: 0,
    unknown: 0,
    failedReads: 0,
    checkedOperations: 0,
    checkedWindows: 0,
  };
  /** How often each reason ended a call. */
  readonly reasons = new Map<string, number>();
  /** The longest time between two acknowledged writes, of all callers together. */
  longestGapMs = 0;
  readonly #options: LoadOptions;
  readonly #clients: readonly Holdfast[];
  readonly #reader: Holdfast;
  readonly #partitionOf: (key: string) => string;
  readonly #stalls = new StallWatch();
  #window: Window;
  #windows = 0;
  #serial = 0;
  #failure: Error | undefined;
  #isOver = false;
  #lastMs = performance.now();
  #callers: Promise<void>[] = [];

  private constructor(
    options: LoadOptions,
    clients: readonly Holdfast[],
    reader: Holdfast,
    partitionOf: (key: string) => string,
  ) {
    this.#options = options;
    this.#clients = clients;
    this.#reader = reader;
    this.#partitionOf = partitionOf;
    this.#window = this.#nextWindow();
  }

  /** Begins at once. */
  static async begin(cluster: RealCluster, options: LoadOptions): Promise<CheckedLoad> {
    const {
      clients = 4,
      callers = 3,
      seed,
      keyspace = 'default',
      connect = () => ({}),
      timeoutMs = () => TIMEOUT_MS,
    } = options;
    const connected: Holdfast[] = [];
    for (let at = 0; at < clients; at++) connected.push(await cluster.connect(connect(at), at));
    const reader = await cluster.connect();
    const { partitions } = await reader.keyspaces.describe(keyspace, { timeout: 30_000 });
    const partitionOf = (key: string) => {
      const hash = keyHash(Buffer.from(key));
      return String(partitions.find(({ lastHash }) => hash <= lastHash)!.group);
    };
    const load = new CheckedLoad(options, connected, reader, partitionOf);
    const random = new SeededRandom(seed);
    load.#callers = connected.flatMap((client, number) =>
      Array.from({ length: callers }, (_, caller) =>
        load.#work(
          client.keyspace(keyspace),
          `c${number}.${caller}`,
          timeoutMs(number),
          random.fork(`${number}.${caller}`),
        ),
      ),
    );
    return load;
  }

  /** Resolves when so many more calls were acknowledged. */
  async progress(count: number, withinMs = 60_000): Promise<void> {
    const goal = this.counts.acknowledged + count;
    await until(
      () => this.#failure !== undefined || this.counts.acknowledged >= goal,
      withinMs,
      () => `${goal} acknowledged: ${this.report()}`,
    );
    this.#throwFailure();
  }

  /**
   * Has all callers go on with other keys, waits for the last call on the former ones, and
   * judges these. Throws what was found wrong; `withinMs`: for the last reads.
   */
  async checkWindow(withinMs = READ_MS): Promise<void> {
    const window = this.#window;
    this.#window = this.#nextWindow();
    await until(
      () => window.pending === 0,
      READ_MS,
      () => `${window.pending} calls do not settle`,
    );
    this.#throwFailure();
    const kv = this.#reader.keyspace(this.#options.keyspace ?? 'default');
    for (const key of window.keys) await this.#readFinally(kv, window, key, withinMs);
    checkKvHistory(window.history.operations, { partitionOf: this.#partitionOf });
    this.counts.checkedOperations += window.history.operations.length;
    this.counts.checkedWindows++;
  }

  /** Lets each caller finish its call, and judges what was not judged yet. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#callers);
    await this.checkWindow();
  }

  report(): string {
    const { operations, acknowledged, refused, notApplied, unknown, failedReads } = this.counts;
    const reasons = [...this.reasons].map(([reason, count]) => `${reason} ${count}`).join(', ');
    return (
      `${operations} operations: ${acknowledged} acknowledged, ${refused} refused by their conditions, ` +
      `${notApplied} not applied, ${unknown} unknown, ${failedReads} reads failed (${reasons || 'no errors'})`
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#stalls[Symbol.dispose]();
    await Promise.all([...this.#clients, this.#reader].map((client) => client.close({ timeout: 0 })));
    await Promise.all(this.#callers);
  }

  #nextWindow(): Window {
    const { keys = '', group } = this.#options;
    const fits = (key: string) => group === undefined || this.#partitionOf(key) === String(group);
    return new Window(`${keys}w${++this.#windows}`, fits);
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #work(kv: Keyspace, name: string, timeoutMs: number, random: SeededRandom): Promise<void> {
    const { thinkMs = 10 } = this.#options;
    const known = new Map<string, Known>();
    while (!this.#isOver && this.#failure === undefined) {
      await pause(-Math.log(1 - random.float()) * thinkMs);
      const window = this.#window;
      const [key, request] = drawn(random, window, known, () => `${++this.#serial}`);
      const timeout = random.chance(0.15) ? between(random, 50, timeoutMs) : timeoutMs;
      try {
        await this.#call(kv, window, name, key, request, known, timeout);
      } catch (error) {
        if (!this.#isOver) this.#failure ??= error as Error;
      }
    }
  }

  async #call(
    kv: Keyspace,
    window: Window,
    name: string,
    key: string,
    request: KvRequest,
    known: Map<string, Known>,
    timeout: number,
  ): Promise<void> {
    const call = window.history.begin(name, key, request);
    const time = this.#stalls.begin();
    window.pending++;
    this.counts.operations++;
    try {
      await perform(kv, key, request, timeout, call, known);
      this.#acknowledged(request);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      call.failed(error);
      this.#failed(request, error);
    } finally {
      window.pending--;
    }
    const tookMs = time();
    if (tookMs > timeout + SLACK_MS)
      throw new Error(`${name} waited ${tookMs.toFixed(0)} ms for ${request.kind} ${key}, limit ${timeout}`);
  }

  #acknowledged(request: KvRequest): void {
    this.counts.acknowledged++;
    if (request.kind === 'get') return;
    const nowMs = performance.now();
    this.longestGapMs = Math.max(this.longestGapMs, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
  }

  #failed(request: KvRequest, { reason, outcome, message }: HoldfastError): void {
    if (REFUSALS.some((refusal) => refusal === reason)) {
      this.counts.refused++;
      return;
    }
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
    if (request.kind === 'get') this.counts.failedReads++;
    else if (outcome === 'NOT_APPLIED') this.counts.notApplied++;
    else if (outcome === 'UNKNOWN') this.counts.unknown++;
    else throw new Error(`a write failed without an outcome: ${message}`);
  }

  async #readFinally(kv: Keyspace, window: Window, key: string, withinMs: number): Promise<void> {
    const call = window.history.begin('reader', key, { kind: 'get' });
    call.read(toldOf(await kv.get(key, { timeout: withinMs })));
  }
}

/** What a caller remembers of a key, perhaps outdated. */
interface Known {
  readonly value: string;
  readonly version: number;
}

function drawn(
  random: SeededRandom,
  window: Window,
  known: ReadonlyMap<string, Known>,
  newValue: () => string,
): [string, KvRequest] {
  const kind = between(random, 0, 99);
  if (kind < 20) {
    const request: KvRequest =
      kind < 12 ? { kind: 'increment', delta: BigInt(between(random, 1, 3)) } : { kind: 'get' };
    return [window.counter(random), request];
  }
  const key = window.register(random);
  return [key, registerRequest(kind, known.get(key), newValue)];
}

function registerRequest(kind: number, known: Known | undefined, newValue: () => string): KvRequest {
  if (kind < 50) return { kind: 'get' };
  if (kind < 65) return { kind: 'put', value: newValue() };
  if (kind < 73) return { kind: 'create', value: newValue() };
  if (kind < 81) return { kind: 'setIfVersion', expectedVersion: known?.version ?? 1, value: newValue() };
  if (kind < 89) return { kind: 'setIfValue', expectedValue: known?.value ?? '1', value: newValue() };
  if (kind < 95) return { kind: 'delete' };
  return { kind: 'deleteIfVersion', expectedVersion: known?.version ?? 1 };
}

async function perform(
  kv: Keyspace,
  key: string,
  request: KvRequest,
  timeout: number,
  call: KvCall,
  known: Map<string, Known>,
): Promise<void> {
  switch (request.kind) {
    case 'get': {
      const found = toldOf(await kv.get(key, { timeout }));
      if (found !== undefined) known.set(key, { value: found.value, version: Number(found.version) });
      return call.read(found);
    }
    case 'increment':
      return call.applied({ counter: await kv.increment(key, request.delta, { timeout }) });
    case 'delete':
      return call.applied(await kv.delete(key, { timeout }));
    case 'deleteIfVersion':
      return call.applied(await kv.delete(key, { timeout, ifVersion: request.expectedVersion }));
    default: {
      const { version } = await kv.put(key, request.value, {
        timeout,
        ...('expectedVersion' in request && { ifVersion: request.expectedVersion }),
        ...('expectedValue' in request && { ifValue: request.expectedValue }),
        ...(request.kind === 'create' && { ifAbsent: true }),
      });
      known.set(key, { value: request.value, version: Number(version) });
      call.applied({ version });
    }
  }
}

function toldOf(entry: Awaited<ReturnType<Keyspace['get']>>): { value: string; version: bigint } | undefined {
  return entry && { value: entry.text(), version: entry.version };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
