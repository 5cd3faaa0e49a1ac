import { clientClosed, type ClientCore } from '../core.ts';
import { type Duration, durationMs } from '../duration.ts';
import { HoldfastError } from '../error.ts';
import type { Leases } from '../session/leases.ts';
import { asHoldfastError } from '../unary.ts';
import { integer64 } from '../values.ts';
import { ConsumerCore } from './consumer-core.ts';
import type { ConsumerMessage } from './consumer-message.ts';
import type { ResolvedConsumerOptions, TopicPartitionOffset } from './consumer-options.ts';
import type { TopicPartition } from './groups.ts';
import { MessageRunner, type TakenMessage } from './message-runner.ts';
import { within } from './producer-options.ts';
import type { TopicDirectory } from './topic-directory.ts';

const CLOSING_MS = 5_000;

/** Options of `run`. */
export interface RunOptions {
  /** Messages that are handled at the same time, 1 to 10,000. Default: 1. */
  parallelism?: number | undefined;
  /**
   * Whether messages of one partition are handled at the same time if they have other keys; those
   * without a key then follow nothing. False: each partition is handled in order. Default: false.
   */
  byKey?: boolean | undefined;
}

/**
 * Reads topics: all their partitions, or as a member of a group its share of them. Messages of a
 * partition come in order, each once as long as the consumer has the partition; after a failure
 * what was not done is given again, here or to another member.
 *
 * Iterate it (`for await`), once and in one place, or `run` a handler. It begins when it is made, and
 * what is not read waits, up to a bound.
 */
export class Consumer<T = Uint8Array | undefined> implements AsyncIterableIterator<ConsumerMessage<T>> {
  readonly #client: ClientCore;
  readonly #core: ConsumerCore;
  readonly #options: ResolvedConsumerOptions;
  readonly #onClosed: (consumer: Consumer<T>) => void;
  #inHand: TakenMessage | undefined;
  #taker: { resolve(item: IteratorResult<ConsumerMessage<T>>): void; reject(error: Error): void } | undefined;
  #runner: MessageRunner | undefined;
  #failure: HoldfastError | undefined;
  #isOver = false;
  #closed: Promise<void> | undefined;
  #ended: (() => void)[] = [];

  /** @internal Use `client.consumer`. */
  constructor(
    client: ClientCore,
    directory: TopicDirectory,
    leases: Leases,
    options: ResolvedConsumerOptions,
    onClosed: (consumer: Consumer<T>) => void,
  ) {
    this.#client = client;
    this.#options = options;
    this.#onClosed = onClosed;
    this.#core = new ConsumerCore(client, directory, leases, options, {
      onMessages: () => this.#serve(),
      onFailure: (error) => this.#fail(error),
    });
    this.#core.start();
  }

  /** The partitions that are read now, as far as it is known where they begin. */
  get assignment(): TopicPartition[] {
    return [...this.#core.partitions]
      .filter(({ isStarted, isSuspended }) => isStarted && !isSuspended)
      .map(({ topic, partition }) => ({ topic, partition }));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * The next message; asking for it says that the one before is done, unless `commit` is `manual`.
   * One at a time. Errors: those that end the consumer, once: TOPIC_UNKNOWN (without a group),
   * RECORDS_UNREADABLE, OFFSET_OUT_OF_RANGE, GROUP_MEMBER_FENCED, and those of nodes.
   */
  next(): Promise<IteratorResult<ConsumerMessage<T>, undefined>> {
    const before = this.#inHand;
    this.#inHand = undefined;
    if (before !== undefined && this.#options.commit !== 'manual') before.message.ack();
    const message = this.#deliver();
    if (message !== undefined) return Promise.resolve({ value: message, done: false });
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) return Promise.reject(failure);
    if (this.#isOver) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => (this.#taker = { resolve, reject }));
  }

  /** Ends it: `close`, without the message in hand, which does not count as done. */
  async return(): Promise<IteratorResult<ConsumerMessage<T>, undefined>> {
    const before = this.#inHand;
    this.#inHand = undefined;
    if (before !== undefined) before.partition.abandon(before.message);
    await this.close();
    return { value: undefined, done: true };
  }

  /**
   * Handles messages until the consumer is closed; resolves then. A message is done when its handler
   * resolves, unless `commit` is `manual`; what is stored goes on behind those that are all done. A
   * handler that fails ends the consumer: what was done is stored, and this rejects with its error.
   */
  async run(handler: (message: ConsumerMessage<T>) => unknown, options: RunOptions = {}): Promise<void> {
    const parallelism = within(options.parallelism ?? 1, 'parallelism', 1, 10_000);
    let failure: { readonly error: unknown } | undefined;
    const settings = {
      parallelism,
      byKey: options.byKey ?? false,
      isDoneWhenHandled: this.#options.commit !== 'manual',
    };
    this.#runner = new MessageRunner(
      settings,
      () => this.#take(),
      (message) => handler(message as ConsumerMessage<T>),
      (error) => {
        failure ??= { error };
        void this.close();
      },
    );
    this.#runner.pump();
    await new Promise<void>((resolve) => {
      if (this.#isOver) resolve();
      else this.#ended.push(resolve);
    });
    await this.#closed;
    if (failure !== undefined) throw failure.error;
    const ended = this.#failure;
    this.#failure = undefined;
    if (ended !== undefined) throw ended;
  }

  /** Gives and fetches no more of these partitions, by default of all that it has now. */
  pause(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.#chosen(partitions)) partition.pause();
  }

  /** Goes on with these partitions, by default with all, behind the last message that was given. */
  resume(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.#chosen(partitions)) partition.isPaused = false;
    this.#core.fetchMore();
  }

  /**
   * Goes on at an offset, also an earlier one. What was given of the partition before counts no
   * more. False: the partition is not read by this consumer now.
   */
  seek({ topic, partition, offset }: TopicPartitionOffset): boolean {
    const to = Number(integer64(offset, 'offset', false));
    const found = this.#core.partitions.get({ topic, partition });
    if (found?.isStarted !== true || found.isSuspended) return false;
    found.seek(to);
    this.#core.fetchMore();
    return true;
  }

  /** Stores what is done now. What fails is told to `onError`, and tried again. */
  commit(): Promise<void> {
    return this.#core.commit();
  }

  /**
   * Ends the loop or `run`: fetches nothing more, waits for messages in hand up to `timeout` (default
   * 5 s), stores what is done, and leaves the group. In a loop over the consumer use `break`: this
   * would wait for the message in hand. Calling it again gives the same promise.
   */
  close(options: { timeout?: Duration } = {}): Promise<void> {
    this.#closed ??= this.#close(durationMs(options.timeout ?? CLOSING_MS, 'timeout'));
    return this.#closed;
  }

  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(waitMs: number): Promise<void> {
    this.#isOver = true;
    this.#runner?.stop();
    const taker = this.#taker;
    this.#taker = undefined;
    taker?.resolve({ value: undefined, done: true });
    await this.#core.stop(Math.max(0, waitMs)).catch(() => undefined);
    for (const end of this.#ended.splice(0)) end();
    this.#onClosed(this);
  }

  #chosen(partitions: readonly TopicPartition[] | undefined) {
    if (partitions === undefined) return [...this.#core.partitions];
    return partitions.flatMap((one) => this.#core.partitions.get(one) ?? []);
  }

  /** There may be something for whoever waits. */
  #serve(): void {
    if (this.#runner !== undefined) this.#runner.pump();
    const taker = this.#taker;
    if (taker === undefined) return;
    const message = this.#deliver();
    if (message === undefined) return;
    this.#taker = undefined;
    taker.resolve({ value: message, done: false });
  }

  /** A message that whoever iterates begins with. */
  #deliver(): ConsumerMessage<T> | undefined {
    const taken = this.#take();
    if (taken === undefined) return undefined;
    taken.partition.start(taken.message);
    this.#inHand = taken;
    return taken.message as ConsumerMessage<T>;
  }

  #take(): TakenMessage | undefined {
    if (this.#isOver || this.#client.closing.aborted) return undefined;
    try {
      const taken = this.#core.partitions.take();
      this.#core.fetchMore();
      return taken;
    } catch (cause) {
      this.#fail(asHoldfastError(cause));
      return undefined;
    }
  }

  #fail(error: HoldfastError): void {
    if (this.#isOver) return;
    this.#failure = error.reason === 'CLIENT_CLOSED' ? clientClosed() : error;
    const taker = this.#taker;
    this.#taker = undefined;
    if (taker !== undefined) {
      this.#failure = undefined;
      taker.reject(error);
    }
    void this.close();
  }
}
