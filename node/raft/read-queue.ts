/**
 * Linearizable reads of one group that wait: for the next turn, which asks the leader for
 * an index on behalf of all of them; for the answer; for that index to be applied here.
 *
 *  1. A read joins a request that has not been made yet, never one under way.
 *  2. A request that was dropped is not repeated: its reads fail, and may be asked anew.
 *  3. A replica that is cut off, or not a member any more, may never apply what was
 *     confirmed: its reads fail after `PATIENCE_TICKS`.
 *  4. What is applied once a request's index is holds everything that was acknowledged before
 *     the request was made: so the state is as fresh as that moment, by this node's own clock
 *     alone. Reads that may be stale within a bound need nothing else.
 */
import type { ReadState } from './core/ready.ts';

/** Somebody who waits to read. Exactly one of the callbacks is called, once. */
export interface ReadWaiter {
  /** What is applied now may be read. */
  onReady(): void;
  /** No leader has confirmed it. */
  onFailed(): void;
}

/** Ticks that a confirmed read waits for its index to be applied. */
const PATIENCE_TICKS = 40;

/** Reads that share a request, and the monotonic time at which it was made. */
interface AskedReads {
  readonly waiters: readonly ReadWaiter[];
  readonly askedMs: number;
}

interface ConfirmedReads extends AskedReads {
  readonly index: number;
  ticks: number;
}

export class ReadQueue {
  #arrived: ReadWaiter[] = [];
  readonly #asked = new Map<number, AskedReads>();
  #confirmed: ConfirmedReads[] = [];
  #context = 0;
  #freshAsOfMs = -Infinity;

  /** Monotonic time before which everything that was acknowledged is applied here. Invariant 4. */
  get freshAsOfMs(): number {
    return this.#freshAsOfMs;
  }

  get hasArrived(): boolean {
    return this.#arrived.length > 0;
  }

  add(waiter: ReadWaiter): void {
    this.#arrived.push(waiter);
  }

  /** Makes one request of all that arrived; `request` says whether it was taken. Invariant 1. */
  ask(nowMs: number, request: (context: number) => boolean): void {
    const waiters = this.#arrived;
    this.#arrived = [];
    const context = ++this.#context;
    if (request(context)) this.#asked.set(context, { waiters, askedMs: nowMs });
    else for (const waiter of waiters) waiter.onFailed();
  }

  /** Requests were answered: their reads wait for `index` to be applied. */
  confirm(reads: readonly ReadState[]): void {
    for (const { context, index } of reads) {
      const asked = this.#asked.get(context);
      this.#asked.delete(context);
      if (asked !== undefined) this.#confirmed.push({ ...asked, index, ticks: 0 });
    }
  }

  /** Requests were dropped. Invariant 2. */
  drop(contexts: readonly number[]): void {
    for (const context of contexts) {
      const waiters = this.#asked.get(context)?.waiters ?? [];
      this.#asked.delete(context);
      for (const waiter of waiters) waiter.onFailed();
    }
  }

  /** Everything up to `applied` is applied. */
  serve(applied: number): void {
    if (this.#confirmed.length === 0) return;
    const served = this.#confirmed.filter(({ index }) => index <= applied);
    if (served.length === 0) return;
    this.#confirmed = this.#confirmed.filter(({ index }) => index > applied);
    for (const { waiters, askedMs } of served) {
      this.#freshAsOfMs = Math.max(this.#freshAsOfMs, askedMs);
      for (const waiter of waiters) waiter.onReady();
    }
  }

  /** Time has passed. Invariant 3. */
  tick(): void {
    if (this.#confirmed.length === 0) return;
    for (const reads of this.#confirmed) reads.ticks++;
    const late = this.#confirmed.filter(({ ticks }) => ticks > PATIENCE_TICKS);
    if (late.length === 0) return;
    this.#confirmed = this.#confirmed.filter(({ ticks }) => ticks <= PATIENCE_TICKS);
    for (const { waiters } of late) for (const waiter of waiters) waiter.onFailed();
  }

  /** Fails everything that waits. */
  fail(): void {
    const all = [...this.#arrived, ...[...this.#asked.values()].flatMap(({ waiters }) => waiters)];
    all.push(...this.#confirmed.flatMap(({ waiters }) => waiters));
    this.#arrived = [];
    this.#asked.clear();
    this.#confirmed = [];
    for (const waiter of all) waiter.onFailed();
  }
}
