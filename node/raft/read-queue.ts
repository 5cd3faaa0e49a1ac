/**
 * Linearizable reads of one group that wait: for the next turn, which asks the leader for
 * an index on behalf of all of them; for the answer; for that index to be applied here.
 *
 *  1. A read joins a request that has not been made yet, never one under way.
 *  2. A request that was dropped is not repeated: its reads fail, and may be asked anew.
 *  3. A replica that is cut off, or not a member any more, may never apply what was
 *     confirmed: its reads fail after `PATIENCE_TICKS`.
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

interface ConfirmedReads {
  readonly index: number;
  readonly waiters: readonly ReadWaiter[];
  ticks: number;
}

export class ReadQueue {
  #arrived: ReadWaiter[] = [];
  readonly #asked = new Map<number, readonly ReadWaiter[]>();
  #confirmed: ConfirmedReads[] = [];
  #context = 0;

  get hasArrived(): boolean {
    return this.#arrived.length > 0;
  }

  add(waiter: ReadWaiter): void {
    this.#arrived.push(waiter);
  }

  /** Makes one request of all that arrived; `request` says whether it was taken. Invariant 1. */
  ask(request: (context: number) => boolean): void {
    const waiters = this.#arrived;
    this.#arrived = [];
    const context = ++this.#context;
    if (request(context)) this.#asked.set(context, waiters);
    else for (const waiter of waiters) waiter.onFailed();
  }

  /** Requests were answered: their reads wait for `index` to be applied. */
  confirm(reads: readonly ReadState[]): void {
    for (const { context, index } of reads) {
      const waiters = this.#asked.get(context);
      this.#asked.delete(context);
      if (waiters !== undefined) this.#confirmed.push({ index, waiters, ticks: 0 });
    }
  }

  /** Requests were dropped. Invariant 2. */
  drop(contexts: readonly number[]): void {
    for (const context of contexts) {
      const waiters = this.#asked.get(context) ?? [];
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
    for (const { waiters } of served) for (const waiter of waiters) waiter.onReady();
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
    const all = [...this.#arrived, ...[...this.#asked.values()].flat()];
    all.push(...this.#confirmed.flatMap(({ waiters }) => waiters));
    this.#arrived = [];
    this.#asked.clear();
    this.#confirmed = [];
    for (const waiter of all) waiter.onFailed();
  }
}
