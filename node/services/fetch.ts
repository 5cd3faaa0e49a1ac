/**
 * Answers a fetch: what there is of the wanted partitions, or, while there is nothing, what
 * comes first within the time that the caller gives.
 *
 *  1. At least one batch comes if there is one, and then about as many bytes as are wanted.
 *  2. Whoever was told nothing is told so by a replica that still hears its leader.
 */
import type { Clock } from '@holdfast/client/clock';
import type { FetchPartition, FetchResult } from '@holdfast/proto/broker/v1/broker';
import { batchHeader } from '../broker/batch-check.ts';
import type { Broker, ReadFrames } from '../broker/broker.ts';
import type { TopicPartition } from '../broker/topic-partition.ts';
import type { Topics } from '../broker/topics.ts';
import { fetchError, fetchResult, type FetchTerms } from './broker-messages.ts';
import type { CallContext } from './handler.ts';

/** Time that is kept for the answer. */
const ANSWER_MS = 50;

export interface FetchOptions {
  readonly broker: Broker;
  readonly topics: Topics;
  readonly clock: Clock;
  /** Aborted when the node stops. */
  readonly stopping: AbortSignal;
  readonly observe: (operation: 'fetch', code: string, durationMs: number) => void;
}

/** Reads a partition of which no replica is here. */
export type ReadElsewhere = (wanted: FetchPartition, maxBytes: number) => Promise<FetchResult>;

type Caller = Pick<CallContext, 'deadlineMs' | 'signal'>;

export class Fetch {
  readonly #options: FetchOptions;
  readonly #terms: FetchTerms;
  readonly #caller: Caller;
  readonly #elsewhere: ReadElsewhere | undefined;
  /** Of those that are read here. */
  readonly #moving: TopicPartition[] = [];

  constructor(
    options: FetchOptions,
    terms: FetchTerms,
    caller: Caller,
    elsewhere: ReadElsewhere | undefined,
  ) {
    this.#options = options;
    this.#terms = terms;
    this.#caller = caller;
    this.#elsewhere = elsewhere;
  }

  /** Results of partitions that have anything to say, in turn. */
  async run(wanted: readonly FetchPartition[]): Promise<FetchResult[]> {
    const { clock, stopping, observe } = this.#options;
    const { deadlineMs, signal } = this.#caller;
    const startedMs = clock.monotonicMs();
    let hasWaited = false;
    const untilMs = Math.min(clock.monotonicMs() + this.#terms.waitMs, deadlineMs - ANSWER_MS);
    for (;;) {
      const results = await this.#readAll(wanted);
      const isOver = clock.monotonicMs() >= untilMs || signal.aborted || stopping.aborted;
      const news = results.filter((result, at) => hasNews(result, wanted[at]!));
      if (news.length > 0 && !hasWaited) observe('fetch', 'OK', clock.monotonicMs() - startedMs);
      if (news.length > 0) return news;
      if (isOver) return this.#confirmed(wanted, results);
      hasWaited = true;
      await this.#wait(untilMs);
    }
  }

  /** Invariant 1. */
  async #readAll(wanted: readonly FetchPartition[]): Promise<FetchResult[]> {
    const results: FetchResult[] = [];
    let left = this.#terms.maxBytes;
    this.#moving.length = 0;
    for (const one of wanted) {
      if (left <= 0) break;
      const read = this.#read(one, left);
      const result = read instanceof Promise ? await read : read;
      left -= sizeOf(result);
      results.push(result);
    }
    return results;
  }

  #read(wanted: FetchPartition, maxBytes: number): FetchResult | Promise<FetchResult> {
    const { topics, broker } = this.#options;
    try {
      const found = topics.partition(wanted.topic, wanted.partition);
      if (found instanceof Promise)
        return found.then(
          (partition) => this.#readIn(partition, wanted, maxBytes),
          (error: unknown) => fetchError(wanted, error),
        );
      if (!found.isServed && this.#elsewhere !== undefined) return this.#elsewhere(wanted, maxBytes);
      this.#moving.push(found);
      const frames = broker.read(found, Number(wanted.offset), maxBytes);
      return frames instanceof Promise ? this.#settled(wanted, frames) : this.#result(wanted, frames);
    } catch (error) {
      return fetchError(wanted, error);
    }
  }

  async #readIn(partition: TopicPartition, wanted: FetchPartition, maxBytes: number): Promise<FetchResult> {
    if (!partition.isServed && this.#elsewhere !== undefined) return this.#elsewhere(wanted, maxBytes);
    this.#moving.push(partition);
    try {
      return this.#result(
        wanted,
        await this.#options.broker.read(partition, Number(wanted.offset), maxBytes),
      );
    } catch (error) {
      return fetchError(wanted, error);
    }
  }

  async #settled(wanted: FetchPartition, frames: Promise<ReadFrames>): Promise<FetchResult> {
    try {
      return this.#result(wanted, await frames);
    } catch (error) {
      return fetchError(wanted, error);
    }
  }

  #result(wanted: FetchPartition, frames: ReadFrames): FetchResult {
    if (frames.frames.length > 0) this.#count(wanted.topic, frames);
    return fetchResult(wanted, frames, this.#terms.isDecoded);
  }

  #count(topic: string, { frames }: ReadFrames): void {
    const traffic = this.#options.broker.trafficOf(topic);
    for (const { batch } of frames) {
      traffic.recordsOut += batchHeader(batch).count;
      traffic.bytesOut += batch.byteLength;
    }
  }

  /** Invariant 2. */
  #confirmed(wanted: readonly FetchPartition[], results: readonly FetchResult[]): Promise<FetchResult[]> {
    const confirm = async (result: FetchResult, at: number): Promise<FetchResult> => {
      const partition = this.#moving.find(
        ({ topic, number }) => topic === result.topic && number === result.partition,
      );
      if (partition === undefined) return result;
      try {
        await this.#options.broker.confirm(partition);
        return result;
      } catch (error) {
        return fetchError(wanted[at]!, error);
      }
    };
    return Promise.all(results.map(confirm));
  }

  /** Until one of the partitions has another end, or the time is over. */
  #wait(untilMs: number): Promise<void> {
    const { clock, stopping } = this.#options;
    const { signal } = this.#caller;
    // One that is read elsewhere tells nobody here when something comes.
    const isAnyElsewhere = this.#moving.length === 0;
    const leftMs = Math.max(1, untilMs - clock.monotonicMs());
    return new Promise((resolve) => {
      const callOff: (() => void)[] = [];
      const end = () => {
        timer.cancel();
        for (const off of callOff) off();
        signal.removeEventListener('abort', end);
        stopping.removeEventListener('abort', end);
        resolve();
      };
      const timer = clock.setTimer(isAnyElsewhere ? Math.min(leftMs, 100) : leftMs, end);
      for (const partition of this.#moving) callOff.push(partition.onMove(end));
      signal.addEventListener('abort', end);
      stopping.addEventListener('abort', end);
    });
  }
}

/** Also where compaction has left nothing: there is somewhere to go on. */
function hasNews({ error, nextOffset }: FetchResult, { offset }: FetchPartition): boolean {
  return error !== undefined || nextOffset > offset;
}

function sizeOf({ batches, records }: FetchResult): number {
  let bytes = 0;
  for (const { batch } of batches) bytes += batch.byteLength;
  for (const { key, value } of records) bytes += 32 + (key?.byteLength ?? 0) + (value?.byteLength ?? 0);
  return bytes;
}
