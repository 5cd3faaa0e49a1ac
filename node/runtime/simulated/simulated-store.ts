import type { OrderedStore, RowChange, RowIterator } from '../ordered-store.ts';
import type { CrashPolicy } from './crash-policy.ts';
import { InjectionCounts } from './injection-counts.ts';
import type { SeededRandom } from './seeded-random.ts';
import type { EventQueue } from './simulated-scheduler.ts';
import { SortedRows } from './sorted-rows.ts';

/** Batches that `rollBack` can take back. */
const MAX_HISTORY = 64;

/** About so many bytes are read at a time. */
const STEP_BYTES = 1024 * 1024;

/** Keeps a batch after the one before it when the sum of times is rounded. */
const ROUNDING_MS = 1e-6;

/** What a simulated store leaves on its disk: it outlives the store, its process and crashes. */
export class SimulatedStoreMedium {
  /** The rows that are durable. */
  rows = SortedRows.empty;
  readonly injections: InjectionCounts;
  /** The states before each of the last batches, oldest first. */
  readonly #history: SortedRows[] = [];

  constructor(injections = new InjectionCounts()) {
    this.injections = injections;
  }

  /** Puts the outcome of a batch in place of the rows. */
  commit(changes: readonly RowChange[]): void {
    this.#history.push(this.rows);
    if (this.#history.length > MAX_HISTORY) this.#history.shift();
    this.rows = this.rows.with(changes);
  }

  /** Turns over one bit of a row's value. False when there is no such row or its value is empty. */
  flipBit(key: Uint8Array, bit: number): boolean {
    const value = this.rows.get(key)?.slice();
    if (value === undefined || value.length === 0) return false;
    value[(bit >> 3) % value.length]! ^= 1 << (bit & 7);
    this.rows = this.rows.with([[key, value]]);
    this.injections.note('flip-row-bit');
    return true;
  }

  /** Loses every row, as a LevelDB whose MANIFEST was cut does without a word. */
  empty(): void {
    this.rows = SortedRows.empty;
    this.injections.note('empty-store');
  }

  /** Takes the last `batches` completed batches back, as far as they are remembered. */
  rollBack(batches: number): void {
    for (let i = 0; i < batches && this.#history.length > 0; i++) this.rows = this.#history.pop()!;
    this.injections.note('roll-back-store');
  }
}

/** Settings of a simulated store. */
export interface SimulatedStoreOptions {
  /** Shortest and longest time of a batch, in milliseconds of virtual time. Default 0.5 to 3. */
  readonly batchLatencyMs?: readonly [least: number, most: number];
  /** The same for reads that are not synchronous. Default 0.02 to 0.2. */
  readonly readLatencyMs?: readonly [least: number, most: number];
}

/**
 * An ordered store in memory, opened on a medium. A batch becomes durable and visible
 * when its promise resolves, in the order of the calls. `crash` ends the store: batches
 * in flight are on the medium wholly or not at all, an earlier one before a later one,
 * and no promise settles any more. Open another one on the same medium to go on.
 */
export class SimulatedOrderedStore implements OrderedStore {
  readonly medium: SimulatedStoreMedium;
  readonly #queue: EventQueue;
  readonly #random: SeededRandom;
  readonly #batchLatencyMs: readonly [number, number];
  readonly #readLatencyMs: readonly [number, number];
  #inFlight: (readonly RowChange[])[] = [];
  #lastBatchAtMs = 0;
  #state: 'open' | 'closed' | 'crashed' = 'open';
  #failures: { code: string; kept: boolean }[] = [];

  constructor(
    queue: EventQueue,
    random: SeededRandom,
    medium: SimulatedStoreMedium,
    options: SimulatedStoreOptions = {},
  ) {
    this.#queue = queue;
    this.#random = random;
    this.medium = medium;
    this.#batchLatencyMs = options.batchLatencyMs ?? [0.5, 3];
    this.#readLatencyMs = options.readLatencyMs ?? [0.02, 0.2];
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#checkOpen();
    return this.medium.rows.get(key)?.slice();
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const rows = this.medium.rows;
    return this.#later(this.#readLatencyMs, () => keys.map((key) => rows.get(key)?.slice()));
  }

  writeBatch(changes: readonly RowChange[]): Promise<void> {
    const failure = this.#failures.shift();
    // LevelDB copies a batch before it returns; the caller may use its buffers again.
    const copy = changes.map(([key, value]): RowChange => [
      Uint8Array.from(key),
      value && Uint8Array.from(value),
    ]);
    this.#inFlight.push(copy);
    return this.#later(
      this.#batchLatencyMs,
      () => this.#complete(copy, failure),
      this.#lastBatchAtMs + ROUNDING_MS,
    );
  }

  iterate(start: Uint8Array, end: Uint8Array): RowIterator {
    this.#checkOpen();
    const rows = this.medium.rows;
    let from = start;
    let isAfter = false;
    let isClosed = false;
    const next = (count: number) => {
      if (isClosed) return Promise.reject(closedIteratorError());
      return this.#later(this.#readLatencyMs, () => {
        const found = fitting(rows.slice(from, end, count, isAfter));
        if (found.length > 0) [from, isAfter] = [found.at(-1)![0], true];
        return found.map(([key, value]): [Uint8Array, Uint8Array] => [
          Uint8Array.from(key),
          Uint8Array.from(value),
        ]);
      });
    };
    const close = () => {
      isClosed = true;
      return Promise.resolve();
    };
    return { next, close };
  }

  compact(): Promise<void> {
    return this.#later(this.#batchLatencyMs, () => undefined);
  }

  approximateBytes(): Promise<number> {
    const rows = this.medium.rows.slice(new Uint8Array(0), new Uint8Array(16).fill(255), Infinity, false);
    return this.#later(this.#readLatencyMs, () =>
      rows.reduce((sum, [key, value]) => sum + key.length + value.length, 0),
    );
  }

  close(): Promise<void> {
    if (this.#state === 'closed') return Promise.resolve();
    const closing = this.#later([0, 0], () => undefined, this.#lastBatchAtMs + ROUNDING_MS);
    if (this.#state === 'open') this.#state = 'closed';
    return closing;
  }

  /** Makes the next batch fail with `code`; when `kept`, it is on the medium all the same. */
  failNextBatch(code = 'EIO', kept = false): void {
    this.#failures.push({ code, kept });
  }

  /** The process or machine dies. Batches in flight: a chance number of the first of them is kept. */
  crash(policy: CrashPolicy = 'seeded'): void {
    const batches = this.#inFlight;
    const chosen = Math.floor(this.#random.float() * (batches.length + 1));
    const kept = policy === 'lose-all' ? 0 : policy === 'keep-all' ? batches.length : chosen;
    for (const batch of batches.slice(0, kept)) this.medium.commit(batch);
    this.#inFlight = [];
    this.#state = 'crashed';
    this.medium.injections.note('crash-store');
  }

  #complete(batch: readonly RowChange[], failure: { code: string; kept: boolean } | undefined): void {
    this.#inFlight = this.#inFlight.filter((other) => other !== batch);
    if (failure === undefined || failure.kept) this.medium.commit(batch);
    if (failure === undefined) return;
    this.medium.injections.note('fail-batch');
    throw Object.assign(new Error(`${failure.code}: injected failure of a batch`), { code: failure.code });
  }

  /** Runs `effect` after a chance time, not before `earliestMs`; never once the store has crashed. */
  #later<T>(latencyMs: readonly [number, number], effect: () => T, earliestMs = 0): Promise<T> {
    if (this.#state === 'crashed') return new Promise<T>(() => undefined);
    if (this.#state === 'closed') return Promise.reject(closedError());
    const delayMs = latencyMs[0] + (latencyMs[1] - latencyMs[0]) * this.#random.float();
    const nowMs = this.#queue.nowMs();
    const atMs = Math.max(nowMs + delayMs, earliestMs);
    if (latencyMs === this.#batchLatencyMs) this.#lastBatchAtMs = atMs;
    return new Promise((resolve, reject) => {
      this.#queue.after(atMs - nowMs, () => {
        if (this.#state === 'crashed') return;
        try {
          resolve(effect());
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  }

  #checkOpen(): void {
    if (this.#state !== 'open') throw closedError();
  }
}

/** Fewer if they are large, at least one. */
function fitting<T extends readonly [Uint8Array, Uint8Array]>(rows: T[]): T[] {
  let bytes = 0;
  const end = rows.findIndex(([key, value]) => (bytes += key.length + value.length) > STEP_BYTES);
  return end < 0 ? rows : rows.slice(0, Math.max(1, end));
}

function closedIteratorError(): Error {
  return Object.assign(new Error('the iterator is closed'), { code: 'LEVEL_ITERATOR_NOT_OPEN' });
}

function closedError(): Error {
  return Object.assign(new Error('the store is closed'), { code: 'LEVEL_DATABASE_NOT_OPEN' });
}
