import { create } from '@bufbuild/protobuf';
import { type IdBlock, IdService, NextRequestSchema } from '@holdfast/proto/id/v1/id';
import { clientClosed, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { callUnary } from '../unary.ts';
import { MAX_IDS } from './id-layout.ts';

/** IDs are used no later than this after they were asked for. */
export const MAX_AGE_MS = 1_000;
/** IDs of the first fetch. */
const LEAST_FETCH = 16;
/** Used up sooner than this, IDs are fetched twice as many at a time. */
const SHORT_MS = 250;

/** What one fetch brought, as far as it is not used. */
class Batch {
  readonly size: number;
  readonly sentAtMs: number;
  left: number;
  readonly #blocks: readonly IdBlock[];
  #at = 0;
  #next: bigint;
  #leftOfBlock: number;

  /** At least one block, none empty. */
  constructor(blocks: readonly IdBlock[], size: number, sentAtMs: number) {
    this.#blocks = blocks;
    this.size = size;
    this.left = size;
    this.sentAtMs = sentAtMs;
    this.#next = blocks[0]!.first;
    this.#leftOfBlock = blocks[0]!.count;
  }

  /** Only while something is left. */
  take(): bigint {
    const id = this.#next;
    this.left -= 1;
    this.#leftOfBlock -= 1;
    if (this.#leftOfBlock > 0) this.#next = id + 1n;
    else if (this.left > 0) {
      this.#at += 1;
      const block = this.#blocks[this.#at]!;
      this.#next = block.first;
      this.#leftOfBlock = block.count;
    }
    return id;
  }
}

interface Waiter {
  resolve(id: bigint): void;
  reject(error: unknown): void;
}

/**
 * IDs in stock: what is in use, and what was fetched ahead when half of that was used.
 *
 * Invariants:
 *  S1. An ID is given to one caller.
 *  S2. One that was asked for longer than MAX_AGE_MS ago is given to none, but to those who
 *      waited for it.
 *  S3. One fetch at a time. Who waits gets an ID of one of the next fetches, or the error that
 *      the fetch ended in.
 *  S4. Nothing is fetched while nobody asks.
 */
export class IdStock {
  readonly #core: ClientCore;
  #current: Batch | undefined;
  #ahead: Batch | undefined;
  #waiters: Waiter[] = [];
  #isFetching = false;
  #fetchSize = LEAST_FETCH;

  constructor(core: ClientCore) {
    this.#core = core;
    core.closing.addEventListener('abort', () => (this.#current = this.#ahead = undefined), { once: true });
  }

  /** An ID in stock; has some fetched when there are few or none. */
  take(): bigint | undefined {
    const batch = this.#usable();
    if (batch === undefined) {
      void this.#fetch();
      return undefined;
    }
    const id = batch.take();
    if (batch.left * 2 <= batch.size && this.#ahead === undefined && !this.#isFetching) void this.#fetch();
    return id;
  }

  /** An ID as soon as there is one. */
  wait(): Promise<bigint> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      void this.#fetch();
    });
  }

  #usable(): Batch | undefined {
    while (this.#current !== undefined) {
      const ageMs = this.#core.clock.monotonicMs() - this.#current.sentAtMs;
      if (this.#current.left > 0 && ageMs <= MAX_AGE_MS) return this.#current; // invariant S2
      this.#learn(this.#current, ageMs);
      this.#current = this.#ahead;
      this.#ahead = undefined;
    }
    return undefined;
  }

  /** How many the next fetch brings follows from how fast this one was used. */
  #learn({ left, size }: Batch, ageMs: number): void {
    if (left === 0 && ageMs < SHORT_MS)
      this.#fetchSize = Math.min(MAX_IDS, Math.max(size, this.#fetchSize) * 2);
    else if (left * 2 > size) this.#fetchSize = Math.max(LEAST_FETCH, Math.floor(this.#fetchSize / 2));
  }

  async #fetch(): Promise<void> {
    if (this.#isFetching) return; // invariant S3
    this.#isFetching = true;
    const sentAtMs = this.#core.clock.monotonicMs();
    try {
      const count = Math.min(MAX_IDS, Math.max(this.#fetchSize, this.#waiters.length));
      const blocks = await fetchIds(this.#core, count);
      this.#isFetching = false;
      this.#onFetched(new Batch(blocks, count, sentAtMs));
    } catch (error) {
      this.#isFetching = false;
      for (const { reject } of this.#waiters.splice(0)) reject(error);
    }
  }

  #onFetched(batch: Batch): void {
    const served = this.#waiters.splice(0, batch.size);
    for (const { resolve } of served) resolve(batch.take());
    if (this.#waiters.length > 0) void this.#fetch();
    if (this.#core.closing.aborted) return;
    if (this.#usable() === undefined) this.#current = batch;
    else this.#ahead = batch;
  }
}

/** Asks a node for IDs. Error: HoldfastError. */
export async function fetchIds(
  core: ClientCore,
  count: number,
  options: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined } = {},
): Promise<IdBlock[]> {
  if (core.closing.aborted) throw clientClosed();
  const request = create(NextRequestSchema, { count });
  const answer = await callUnary(core, IdService.method.next, request, { ...options, isQuick: true });
  const blocks = answer.blocks.filter((block) => block.count > 0);
  const given = blocks.reduce((sum, block) => sum + block.count, 0);
  if (given === count) return blocks;
  const message = `the node answered with ${given} IDs for ${count}. None is used.`;
  throw new HoldfastError({ reason: 'INTERNAL', message });
}
