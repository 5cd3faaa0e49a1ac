import { sleep } from '../clock.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { reasonInfo } from '../reasons.ts';
import { retryDelayMs } from '../retry.ts';
import { asHoldfastError } from '../unary.ts';
import type { ResolvedConsumerOptions } from './consumer-options.ts';
import { nameOf } from './fetcher.ts';
import type { TopicPartition } from './groups.ts';
import { findStarts } from './start-offsets.ts';
import type { KnownTopic, TopicDirectory } from './topic-directory.ts';

/** How often it looks for partitions that were added. */
const LOOK_MS = 10_000;

/** Who reads the partitions. */
export interface FreeReaderHost {
  /** It is to be read from an offset on. */
  onFound(partition: TopicPartition, offset: number): void;
  /** The topic of this name is another one now: what was read of it is over. */
  onReplaced(topic: string): void;
  onError(error: HoldfastError): void;
  fail(error: HoldfastError): void;
}

/**
 * Reads all partitions of some topics for a consumer without a group; those that are added later
 * from their first record on, so that none is missed.
 */
export class FreeReader {
  readonly #core: ClientCore;
  readonly #directory: TopicDirectory;
  readonly #options: ResolvedConsumerOptions;
  readonly #host: FreeReaderHost;
  readonly #ended = new AbortController();
  readonly #topics = new Map<string, KnownTopic>();
  readonly #found = new Set<string>();

  constructor(
    core: ClientCore,
    directory: TopicDirectory,
    options: ResolvedConsumerOptions,
    host: FreeReaderHost,
  ) {
    this.#core = core;
    this.#directory = directory;
    this.#options = options;
    this.#host = host;
  }

  start(): void {
    for (const topic of this.#options.topics) void this.#follow(topic);
  }

  stop(): void {
    this.#ended.abort();
  }

  async #follow(topic: string): Promise<void> {
    const { signal } = this.#ended;
    for (let failures = 0; !signal.aborted;) {
      let delayMs = LOOK_MS;
      try {
        await this.#look(topic);
        failures = 0;
      } catch (cause) {
        const error = asHoldfastError(cause);
        failures += 1;
        if (signal.aborted) return;
        if (!mayPass(error)) return this.#host.fail(error);
        this.#host.onError(error);
        delayMs = retryDelayMs(error, failures, this.#core.random);
      }
      await sleep(this.#core.clock, delayMs, signal).catch(() => undefined);
    }
  }

  async #look(name: string): Promise<void> {
    const known = await this.#directory.load(name);
    const before = this.#topics.get(name);
    if (this.#ended.signal.aborted) return;
    if (before !== undefined && before.id !== known.id) {
      for (let partition = 0; partition < before.partitions; partition += 1)
        this.#found.delete(nameOf({ topic: name, partition }));
      this.#host.onReplaced(name);
    }
    this.#topics.set(name, known);
    const added = Array.from({ length: known.partitions }, (_, partition) => ({
      topic: name,
      partition,
    })).filter((one) => !this.#found.has(nameOf(one)));
    if (added.length === 0) return;
    const from = before === undefined ? this.#options.from : 'earliest';
    const starts = await findStarts(this.#core, added, from, 'latest');
    if (this.#ended.signal.aborted) return;
    let failure: HoldfastError | undefined;
    for (const [index, start] of starts.entries()) {
      if (start instanceof HoldfastError) failure = start;
      else {
        this.#found.add(nameOf(added[index]!));
        this.#host.onFound(added[index]!, start);
      }
    }
    if (failure === undefined) return;
    // What has begun goes on; the others are looked for again, as they were the first time.
    if (before === undefined) this.#topics.delete(name);
    throw failure;
  }
}

function mayPass(error: HoldfastError): boolean {
  if (error.reason === 'DEADLINE_EXCEEDED' || error.reason === 'PARTITION_UNKNOWN') return true;
  return (reasonInfo(error.reason)?.retry ?? 'never') !== 'never';
}
