import { clientClosed, type ClientCore } from '../core.ts';
import { type Duration, durationMs } from '../duration.ts';
import type { HoldfastError } from '../error.ts';
import { keyHash } from '../key-hash.ts';
import { retryDelayMs, mayRetry } from '../retry.ts';
import { asHoldfastError } from '../unary.ts';
import { invalid } from '../values.ts';
import { PartitionSender } from './partition-sender.ts';
import { ProduceDispatcher } from './produce-dispatcher.ts';
import type { ProducerRecord, RecordLocation, ResolvedProducerOptions } from './producer-options.ts';
import {
  checkSize,
  encodeRecord,
  keptRecord,
  partitionUnknown,
  takenTooLate,
  type WaitingRecord,
} from './producer-record.ts';
import type { KnownTopic, TopicDirectory } from './topic-directory.ts';

const CLOSING_MS = 5_000;

interface TopicState {
  readonly name: string;
  known: KnownTopic | undefined;
  readonly senders: (PartitionSender | undefined)[];
  /** Takes records without a key. */
  sticky: number;
  /** In the order in which they were sent. */
  waiting: WaitingRecord[];
  isLoading: boolean;
  loadAtMs: number;
  failures: number;
}

/**
 * Sends records to topics. Records that are sent in one turn of the event loop travel together,
 * and those for one partition are kept in the order in which they were sent; by default each is
 * kept at most once, whatever fails on the way.
 *
 * A record whose error has outcome NOT_APPLIED is not kept; one with UNKNOWN may be. Either way
 * those that were sent behind it may be kept.
 */
export class Producer implements AsyncDisposable {
  readonly #core: ClientCore;
  readonly #options: ResolvedProducerOptions;
  readonly #directory: TopicDirectory;
  readonly #dispatcher: ProduceDispatcher;
  readonly #topics = new Map<string, TopicState>();
  readonly #onClosed: (producer: Producer) => void;
  #buffered = 0;
  #waiting = 0;
  #lastNumber = 0;
  #drained: (() => void)[] = [];
  #flushes: { readonly number: number; resolve(): void }[] = [];
  #failure: HoldfastError | undefined;
  #closed: Promise<void> | undefined;
  /** Closed, and all is settled. */
  #isOver = false;

  /** @internal Use `client.producer`. */
  constructor(
    core: ClientCore,
    directory: TopicDirectory,
    options: ResolvedProducerOptions,
    onClosed: (producer: Producer) => void,
  ) {
    this.#core = core;
    this.#directory = directory;
    this.#options = options;
    this.#onClosed = onClosed;
    this.#dispatcher = new ProduceDispatcher(core, directory, options, {
      isWaiting: () => this.#waiting > 0 || this.#flushes.length > 0,
      onReleased: (bytes) => (this.#buffered -= bytes),
      onFull: (sender) => this.#turnSticky(sender),
      onFailure: (error, isFinal) => this.#fail(error, isFinal),
      onTurn: (nowMs) => this.#onTurn(nowMs),
    });
  }

  /**
   * Sends a record, and resolves when it is kept as `acks` says, in order with others of its
   * partition. With the buffer full it is taken later: see `isFull`. Errors: TOPIC_UNKNOWN,
   * PARTITION_UNKNOWN, RECORD_TOO_LARGE, INVALID_FIELD, PRODUCER_FENCED, DEADLINE_EXCEEDED (within
   * `deliveryTimeout`), CLIENT_CLOSED, and those of nodes; each with an outcome.
   */
  send(record: ProducerRecord): Promise<RecordLocation> {
    // What throws in here rejects the promise: a bad record is an error like any other.
    return new Promise((resolve, reject) => this.#submit(record, resolve, reject));
  }

  /** Records wait to be taken into the buffer: who sends much awaits `drained` first. */
  get isFull(): boolean {
    return this.#waiting > 0 || this.#buffered >= this.#options.maxBufferedBytes;
  }

  /** Resolves when the buffer has room; it does not reject. */
  drained(): Promise<void> {
    if (!this.isFull) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** Sends what lingers, and resolves when all that was sent until now is settled; it does not reject. */
  flush(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    return new Promise((resolve) => {
      this.#flushes.push({ number: this.#lastNumber, resolve });
      this.#dispatcher.isHurried = true;
      this.#dispatcher.schedule();
      for (const { senders } of this.#topics.values())
        for (const sender of senders) if (sender?.isBusy === true) this.#dispatcher.touch(sender);
    });
  }

  /**
   * Refuses new records, waits for those under way up to `timeout` (default 5 s), and ends the
   * rest with CLIENT_CLOSED. Calling it again gives the same promise.
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
    await new Promise<void>((resolve) => {
      const timer = this.#core.clock.setTimer(Math.max(0, waitMs), resolve);
      void this.flush().then(() => {
        timer.cancel();
        resolve();
      });
    });
    this.#fail(clientClosed(), true);
    this.#dispatcher.close();
    this.#settleWaits();
    this.#isOver = true;
    this.#onClosed(this);
  }

  #submit(
    record: ProducerRecord,
    resolve: (location: RecordLocation) => void,
    reject: (error: HoldfastError) => void,
  ): void {
    const refusal = this.#closed !== undefined || this.#core.closing.aborted ? clientClosed() : this.#failure;
    if (refusal !== undefined) throw refusal.withOutcome('NOT_APPLIED');
    const state = this.#topic(record.topic ?? this.#options.topic);
    const encoded = encodeRecord(record, this.#core.clock, this.#lastNumber + 1, { resolve, reject });
    this.#lastNumber += 1;
    state.known = this.#directory.known(state.name);
    if (state.known !== undefined && !this.isFull && state.waiting.length === 0)
      if (this.#isPlaced(state, state.known, encoded)) return;
    state.waiting.push(keptRecord(encoded));
    this.#waiting += 1;
    this.#dispatcher.schedule();
  }

  /** False: it waits for the topic, which may have changed. Throws what is wrong with the record. */
  #isPlaced(state: TopicState, known: KnownTopic, record: WaitingRecord): boolean {
    try {
      this.#place(state, known, record);
      return true;
    } catch (error) {
      if (!this.#directory.doubt(state.name)) throw error;
      this.#dispatcher.schedule();
      return false;
    }
  }

  /** Puts a record into the batch of its partition. Throws what is wrong with it. */
  #place(state: TopicState, known: KnownTopic, record: WaitingRecord): void {
    const partition = record.partition ?? this.#partitionOf(state, known, record.key);
    if (!(Number.isInteger(partition) && partition >= 0 && partition < known.partitions))
      throw partitionUnknown(known, partition);
    checkSize(record, known);
    let sender = state.senders[partition];
    if (sender === undefined) {
      sender = new PartitionSender(known.name, partition, known.maxBatchBytes, this.#dispatcher);
      state.senders[partition] = sender;
    }
    sender.limit(known.maxBatchBytes);
    this.#buffered += sender.append(record);
    this.#dispatcher.touch(sender);
  }

  #partitionOf(state: TopicState, { name, partitions }: KnownTopic, key: Uint8Array | undefined): number {
    const { partitioner } = this.#options;
    if (partitioner !== undefined) return partitioner(name, key, partitions);
    if (key !== undefined) return keyHash(key) % partitions;
    if (state.sticky < 0) state.sticky = this.#core.random.u32();
    return (state.sticky %= partitions);
  }

  /** Records without a key go on to the next partition, to one that takes them if there is any. */
  #turnSticky({ topic, partition }: PartitionSender): void {
    const state = this.#topics.get(topic);
    if (state?.known === undefined || state.sticky !== partition) return;
    const { partitions } = state.known;
    for (let step = 1; step <= partitions; step += 1) {
      state.sticky = (partition + step) % partitions;
      if (state.senders[state.sticky]?.isHeldUp !== true) return;
    }
  }

  #topic(name: string | undefined): TopicState {
    if (name === undefined)
      throw invalid('topic', 'neither the record nor the producer names a topic. Not sent.');
    let state = this.#topics.get(name);
    if (state === undefined) {
      state = {
        name,
        known: undefined,
        senders: [],
        sticky: -1,
        waiting: [],
        isLoading: false,
        loadAtMs: 0,
        failures: 0,
      };
      this.#topics.set(name, state);
    }
    return state;
  }

  #onTurn(nowMs: number): void {
    if (this.#waiting > 0)
      for (const state of Array.from(this.#topics.values()))
        if (state.waiting.length > 0) this.#serve(state, nowMs);
    this.#settleWaits();
  }

  #serve(state: TopicState, nowMs: number): void {
    this.#expire(state, nowMs);
    state.known = this.#directory.known(state.name);
    if (state.known === undefined) void this.#load(state, nowMs);
    else this.#admit(state, state.known);
    if (state.waiting.length === 0) return;
    // The others come first the next time.
    this.#topics.delete(state.name);
    this.#topics.set(state.name, state);
  }

  /** Takes records that waited, in order, as long as there is room. */
  #admit(state: TopicState, known: KnownTopic): void {
    let taken = 0;
    for (const record of state.waiting) {
      if (this.#buffered >= this.#options.maxBufferedBytes) break;
      taken += 1;
      try {
        if (this.#isPlaced(state, known, record)) continue;
        taken -= 1;
        break;
      } catch (error) {
        record.reject(asHoldfastError(error));
      }
    }
    state.waiting.splice(0, taken);
    this.#waiting -= taken;
  }

  #expire(state: TopicState, nowMs: number): void {
    const { deliveryTimeoutMs } = this.#options;
    const isLate = ({ atMs }: WaitingRecord) => nowMs - atMs >= deliveryTimeoutMs;
    const late = state.waiting.findIndex((record) => !isLate(record));
    this.#refuse(state, late < 0 ? state.waiting.length : late, takenTooLate(state.name, deliveryTimeoutMs));
  }

  #refuse(state: TopicState, count: number, error: HoldfastError): void {
    if (count === 0) return;
    this.#waiting -= count;
    for (const { reject } of state.waiting.splice(0, count)) reject(error.withOutcome('NOT_APPLIED'));
  }

  async #load(state: TopicState, nowMs: number): Promise<void> {
    if (state.isLoading || nowMs < state.loadAtMs) return;
    state.isLoading = true;
    try {
      state.known = await this.#directory.load(state.name);
      state.failures = 0;
    } catch (cause) {
      const error = asHoldfastError(cause);
      state.failures += 1;
      state.loadAtMs =
        this.#core.clock.monotonicMs() + retryDelayMs(error, state.failures, this.#core.random);
      const mayPass = error.reason === 'DEADLINE_EXCEEDED' || mayRetry(error, READ);
      if (!mayPass) this.#refuse(state, state.waiting.length, error);
    }
    state.isLoading = false;
    this.#dispatcher.schedule();
  }

  #fail(error: HoldfastError, isFinal: boolean): void {
    if (isFinal) this.#failure ??= error;
    for (const state of this.#topics.values()) this.#refuse(state, state.waiting.length, error);
    this.#dispatcher.failAll(error);
  }

  #settleWaits(): void {
    if (!this.isFull && this.#drained.length > 0) for (const resolve of this.#drained.splice(0)) resolve();
    if (this.#flushes.length === 0) return;
    let first = this.#dispatcher.firstNumber;
    for (const { waiting } of this.#topics.values()) first = Math.min(first, waiting[0]?.number ?? Infinity);
    for (const { number, resolve } of this.#flushes) if (number < first) resolve();
    this.#flushes = this.#flushes.filter(({ number }) => number >= first);
    this.#dispatcher.isHurried = this.#flushes.length > 0;
  }
}

const READ = { isWrite: false, sequence: 0, attempts: 1, lost: false };
