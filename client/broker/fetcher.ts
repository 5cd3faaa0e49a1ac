import { create } from '@bufbuild/protobuf';
import {
  BrokerService,
  FetchFormat,
  FetchRequestSchema,
  type FetchResult,
} from '@holdfast/proto/broker/v1/broker';
import type { Timer } from '../clock.ts';
import { blamesEndpoint, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { errorFromMessage } from '../error-mapping.ts';
import { reasonInfo } from '../reasons.ts';
import { retryDelayMs } from '../retry.ts';
import { asHoldfastError } from '../unary.ts';
import type { ConsumedPartition } from './consumed-partition.ts';
import type { ResolvedConsumerOptions } from './consumer-options.ts';
import { MAX_PARTITIONS } from './start-offsets.ts';
import type { TopicDirectory } from './topic-directory.ts';

/** What a node may take to answer, beside the time that it waits for records. */
const SPARE_MS = 2_000;
/** Calls to one node at a time: what is to be read anew does not wait for those that wait. */
const MOST_CALLS = 4;

/** Who reads what is fetched. */
export interface FetchHost {
  readonly partitions: Iterable<ConsumedPartition>;
  readonly bufferedBytes: number;
  /** Something has come. */
  onFetched(): void;
  /** Records that were to come next are gone. */
  onOutOfRange(partition: ConsumedPartition, logStart: number, logEnd: number, error: HoldfastError): void;
  /** It is tried again. */
  onError(error: HoldfastError): void;
  /** It is over: what came cannot be read, or may not. */
  fail(error: HoldfastError): void;
}

interface Asked {
  readonly partition: ConsumedPartition;
  readonly token: number;
}

/**
 * Fetches for all partitions of a consumer: from each node what it leads, by calls that wait for
 * records, and only what there is room for. A partition is part of one call at a time.
 */
export class Fetcher {
  readonly #core: ClientCore;
  readonly #directory: TopicDirectory;
  readonly #options: ResolvedConsumerOptions;
  readonly #host: FetchHost;
  readonly #ended = new AbortController();
  /** By endpoint: calls under way. */
  readonly #calls = new Map<string, number>();
  #askedBytes = 0;
  /** By endpoint: number of its last call. Where there is not room for all, those are asked that waited longest. */
  readonly #turns = new Map<string, number>();
  #turn = 0;
  #isScheduled = false;
  #timer: Timer | undefined;

  constructor(
    core: ClientCore,
    directory: TopicDirectory,
    options: ResolvedConsumerOptions,
    host: FetchHost,
  ) {
    this.#core = core;
    this.#directory = directory;
    this.#options = options;
    this.#host = host;
  }

  /** There may be something to ask for, or room for it. */
  schedule(): void {
    if (this.#isScheduled || this.#ended.signal.aborted) return;
    this.#isScheduled = true;
    this.#core.clock.afterTurn(() => {
      this.#isScheduled = false;
      if (!this.#ended.signal.aborted) this.#fetch();
    });
  }

  close(): void {
    this.#timer?.cancel();
    this.#ended.abort();
  }

  #fetch(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const nowMs = this.#core.clock.monotonicMs();
    const byNode = new Map<string, ConsumedPartition[]>();
    let againAtMs = Infinity;
    for (const partition of this.#host.partitions) {
      if (!partition.wantsRecords || partition.bufferedBytes >= this.#options.fetchBytes) continue;
      if (partition.retryAtMs > nowMs) againAtMs = Math.min(againAtMs, partition.retryAtMs);
      else this.#sort(partition, byNode);
    }
    const turnOf = (endpoint: string) => this.#turns.get(endpoint) ?? 0;
    for (const [endpoint, partitions] of [...byNode].sort(([a], [b]) => turnOf(a) - turnOf(b)))
      if (this.#hasRoom() && (this.#calls.get(endpoint) ?? 0) < MOST_CALLS)
        void this.#call(endpoint, partitions.slice(0, MAX_PARTITIONS));
    if (againAtMs < Infinity)
      this.#timer = this.#core.clock.setTimer(againAtMs - nowMs, () => this.schedule());
  }

  #sort(partition: ConsumedPartition, byNode: Map<string, ConsumedPartition[]>): void {
    const leader = this.#directory.leaderOf(partition.topic, partition.partition);
    if (leader === undefined) this.#directory.refresh(partition.topic);
    const endpoint = this.#core.endpoints.pick(leader);
    const others = byNode.get(endpoint);
    if (others === undefined) byNode.set(endpoint, [partition]);
    else others.push(partition);
  }

  #hasRoom(): boolean {
    const bytes = this.#host.bufferedBytes + this.#askedBytes;
    return bytes === 0 || bytes + this.#options.fetchBytes <= this.#options.maxBufferedBytes;
  }

  async #call(endpoint: string, partitions: readonly ConsumedPartition[]): Promise<void> {
    const { fetchBytes, fetchWaitMs } = this.#options;
    const asked = partitions.map((partition) => ({ partition, token: partition.token }));
    for (const partition of partitions) partition.isFetching = true;
    this.#calls.set(endpoint, (this.#calls.get(endpoint) ?? 0) + 1);
    this.#askedBytes += fetchBytes;
    this.#turns.set(endpoint, ++this.#turn);
    const request = create(FetchRequestSchema, {
      partitions: partitions.map(({ topic, partition, position }) => ({
        topic,
        partition,
        offset: BigInt(position),
      })),
      waitMs: fetchWaitMs,
      maxBytes: fetchBytes,
      format: FetchFormat.BATCHES,
    });
    const options = { timeoutMs: fetchWaitMs + SPARE_MS, signal: this.#ended.signal };
    let results: readonly FetchResult[] | HoldfastError;
    try {
      const { fetch } = BrokerService.method;
      ({ results } = await this.#core.transport.unary(endpoint, fetch, request, options));
    } catch (cause) {
      results = asHoldfastError(cause);
    }
    this.#askedBytes -= fetchBytes;
    this.#calls.set(endpoint, this.#calls.get(endpoint)! - 1);
    if (this.#ended.signal.aborted) return;
    for (const { partition, token } of asked) if (partition.token === token) partition.isFetching = false;
    if (results instanceof HoldfastError) this.#failed(endpoint, asked, results);
    else this.#answered(endpoint, asked, results);
    this.schedule();
  }

  #answered(endpoint: string, asked: readonly Asked[], results: readonly FetchResult[]): void {
    this.#core.endpoints.answered(endpoint);
    const byName = new Map(asked.map((one) => [nameOf(one.partition), one]));
    for (const result of results) {
      const found = byName.get(nameOf(result));
      if (found !== undefined && found.partition.token === found.token) this.#take(found, result);
    }
    this.#host.onFetched();
  }

  #take({ partition, token }: Asked, result: FetchResult): void {
    if (result.error !== undefined) {
      this.#refused(partition, errorFromMessage(result.error), result);
      return;
    }
    partition.failures = 0;
    partition.add(token, result.batches, Number(result.nextOffset));
  }

  #refused(partition: ConsumedPartition, error: HoldfastError, { logStart, logEnd }: FetchResult): void {
    const { topic, partition: number } = partition;
    if (error.reason === 'OFFSET_OUT_OF_RANGE' && partition.position < Number(logStart)) {
      this.#host.onOutOfRange(partition, Number(logStart), Number(logEnd), error);
      return;
    }
    this.#pause(partition, error);
    if (error.leader !== undefined) this.#core.endpoints.answered(error.leader);
    if (error.leader !== undefined || error.reason === 'NOT_LEADER')
      this.#directory.noteLeader(topic, number, error.leader);
    else this.#directory.refresh(topic);
    // What lies behind the end, or is not there, may come with a node that knows more; the rest says itself.
    const mayPass = error.code === 'NOT_FOUND' || error.reason === 'OFFSET_OUT_OF_RANGE';
    if (!mayPass && (reasonInfo(error.reason)?.retry ?? 'never') === 'never') this.#host.fail(error);
    else if (partition.failures === 5) this.#host.onError(error);
  }

  #failed(endpoint: string, asked: readonly Asked[], error: HoldfastError): void {
    const isSilent = error.reason === 'DEADLINE_EXCEEDED';
    if (isSilent || blamesEndpoint(error)) {
      this.#core.endpoints.failed(endpoint);
      this.#directory.forgetEndpoint(endpoint);
    } else if ((reasonInfo(error.reason)?.retry ?? 'never') === 'never') {
      this.#host.fail(error);
      return;
    }
    for (const { partition, token } of asked) if (partition.token === token) this.#pause(partition, error);
  }

  #pause(partition: ConsumedPartition, error: HoldfastError): void {
    partition.failures += 1;
    const delayMs = retryDelayMs(error, partition.failures, this.#core.random);
    partition.retryAtMs = this.#core.clock.monotonicMs() + delayMs;
  }
}

/** Names a partition of any topic. */
export function nameOf({ topic, partition }: { topic: string; partition: number }): string {
  return `${topic}/${partition}`;
}
