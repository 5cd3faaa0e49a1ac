import type { FetchedBatch } from '@holdfast/proto/broker/v1/broker';
import { HoldfastError } from '../error.ts';
import { ConsumerMessage, type MessageSource } from './consumer-message.ts';
import { checkBatch, readBatchHeader } from './record-batch.ts';
import { RecordReader } from './record-reader.ts';

/** Done messages at the head of the window that are cut off together. */
const MOST_DONE = 1_024;

interface BufferedBatch {
  readonly base: number;
  readonly bytes: Uint8Array;
  reader: RecordReader | undefined;
  /** Not even its head is sound. */
  readonly defect: unknown;
}

/** How messages of a partition are made and counted. */
export interface PartitionSettings {
  readonly decode: ((value: Uint8Array | undefined) => unknown) | undefined;
  /** A message is done when it is given. */
  readonly isDoneWhenGiven: boolean;
}

/**
 * A partition that a consumer reads: what was fetched and not given, and what was given and is not
 * done.
 *
 * Invariants:
 *  C1. Offsets that are given grow strictly, but for a `seek` by the caller.
 *  C2. What is fetched is taken in only if it was asked for since the last `seek`, `pause` or loss.
 *  C3. `committable` is never behind a message that was given and is not done.
 *  C4. Of a partition that is suspended or gone no message is started.
 */
export class ConsumedPartition implements MessageSource {
  readonly topic: string;
  readonly partition: number;
  /** Of the group, in which the member got it; 0: no group. */
  readonly generation: bigint;
  /** Its first offset is known, and it may be fetched. */
  isStarted = false;
  isPaused = false;
  /** It is to move: nothing of it is started. */
  isSuspended = false;
  isGone = false;
  /** Invariant C2. */
  token = 0;
  /** Fetches that its partition is part of: 0 or 1. */
  isFetching = false;
  retryAtMs = 0;
  failures = 0;
  /** Stored, as far as is known. */
  committed: number | undefined;
  /** Started and not done. */
  inHand = 0;
  readonly #settings: PartitionSettings;
  #batches: BufferedBatch[] = [];
  #bufferedBytes = 0;
  /** Next offset to fetch. */
  #position = 0;
  /** Least offset that may be given: invariant C1. */
  #next = 0;
  #round = 0;
  /** Given and not cut off, in order; done ones at the head are passed over by `#head`. */
  #window: ConsumerMessage<unknown>[] = [];
  #head = 0;
  #onIdle: (() => void)[] = [];

  constructor(topic: string, partition: number, generation: bigint, settings: PartitionSettings) {
    this.topic = topic;
    this.partition = partition;
    this.generation = generation;
    this.#settings = settings;
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** Next offset to fetch. */
  get position(): number {
    return this.#position;
  }

  /** Whether it may be asked for. */
  get wantsRecords(): boolean {
    return this.isStarted && !this.isPaused && !this.isSuspended && !this.isGone && !this.isFetching;
  }

  /** The next offset to store: everything before it is done, or was passed over. Invariant C3. */
  get committable(): number {
    const first = this.#window[this.#head];
    if (first !== undefined) return first.at;
    return this.#batches.length === 0 ? this.#position : this.#next;
  }

  /** Offsets that were given and are not done. */
  get unfinished(): bigint[] {
    return this.#window.slice(this.#head).flatMap(({ isDone, offset }) => (isDone ? [] : [offset]));
  }

  /** Goes on at an offset: what was given before counts no more. */
  seek(offset: number): void {
    this.#position = this.#next = offset;
    this.#round += 1;
    this.#window = [];
    this.#head = 0;
    this.inHand = 0;
    this.isStarted = true;
    this.#forget();
    this.#idle();
  }

  /** Fetches on at a greater offset, as what is between is gone; what was given or is here still counts. */
  skipTo(offset: number): void {
    if (offset > this.#position) this.#position = offset;
  }

  /** Stops; what is fetched is fetched again later. */
  pause(): void {
    this.isPaused = true;
    this.#forget();
    this.#position = this.#next;
  }

  /** Takes in what was asked for with this token. What is wrong with it shows when it is to be given. */
  add(token: number, batches: readonly FetchedBatch[], nextOffset: number): void {
    if (token !== this.token || this.isGone) return;
    for (const { baseOffset, batch } of batches) {
      const base = Number(baseOffset);
      const { lastDelta, defect } = headOf(batch);
      const last = base + lastDelta;
      if (last < this.#position) continue;
      this.#batches.push({ base, bytes: batch, reader: undefined, defect });
      this.#bufferedBytes += batch.length;
      this.#position = last + 1;
    }
    if (nextOffset > this.#position) this.#position = nextOffset;
  }

  /** The next message; undefined: none is here, or none may be given. Error: RECORDS_UNREADABLE. */
  take(): ConsumerMessage<unknown> | undefined {
    if (this.isPaused || this.isSuspended || this.isGone) return undefined;
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      const message = this.#read(batch);
      if (message !== undefined) return message;
      this.#batches.shift();
      this.#bufferedBytes -= batch.bytes.length;
    }
    return undefined;
  }

  /** Whoever took a message begins with it; false: it is to be forgotten. Invariant C4. */
  start(message: ConsumerMessage<unknown>): boolean {
    if (!this.owns(message) || this.isSuspended) return false;
    if (message.isDone) return true;
    message.isStarted = true;
    this.inHand += 1;
    return true;
  }

  owns(message: ConsumerMessage<unknown>): boolean {
    return !this.isGone && message.round === this.#round;
  }

  onDone(message: ConsumerMessage<unknown>): void {
    if (message.isDone || !this.owns(message)) return;
    message.isDone = true;
    if (message.isStarted) this.inHand -= 1;
    while (this.#window[this.#head]?.isDone === true) this.#head += 1;
    if (this.#head === this.#window.length || this.#head >= MOST_DONE) {
      this.#window = this.#window.slice(this.#head);
      this.#head = 0;
    }
    this.#idle();
  }

  /** Whoever began with a message will not finish it. */
  abandon(message: ConsumerMessage<unknown>): void {
    if (message.isDone || !message.isStarted || !this.owns(message)) return;
    message.isStarted = false;
    this.inHand -= 1;
    this.#idle();
  }

  /** Calls back when nothing is in hand, at once if that is so now. */
  whenIdle(callback: () => void): void {
    this.#onIdle.push(callback);
    this.#idle();
  }

  /** It is not this consumer's any more. */
  drop(): void {
    this.isGone = true;
    this.#forget();
    this.inHand = 0;
    this.#idle();
  }

  #read(batch: BufferedBatch): ConsumerMessage<unknown> | undefined {
    try {
      if (batch.defect !== undefined) throw batch.defect;
      batch.reader ??= new RecordReader(batch.bytes, checkBatch(batch.bytes));
      for (let record = batch.reader.next(); record !== undefined; record = batch.reader.next()) {
        const at = batch.base + record.delta;
        if (at < this.#next) continue;
        this.#next = at + 1;
        const message = new ConsumerMessage<unknown>(this, at, this.#round, record, this.#settings.decode);
        if (this.#settings.isDoneWhenGiven) message.isDone = true;
        else this.#window.push(message);
        return message;
      }
      return undefined;
    } catch (cause) {
      throw unreadable(this, batch.base, cause);
    }
  }

  #forget(): void {
    this.token += 1;
    this.isFetching = false;
    this.#batches = [];
    this.#bufferedBytes = 0;
  }

  #idle(): void {
    if (this.inHand > 0 || this.#onIdle.length === 0) return;
    for (const callback of this.#onIdle.splice(0)) callback();
  }
}

/** Distance of the last offset of a batch, or what is wrong with its head. */
function headOf(batch: Uint8Array): { readonly lastDelta: number; readonly defect: unknown } {
  try {
    return { lastDelta: readBatchHeader(batch).lastDelta, defect: undefined };
  } catch (defect) {
    // Wherever it ends, it is not passed over.
    return { lastDelta: Number.MAX_SAFE_INTEGER / 2, defect };
  }
}

function unreadable({ topic, partition }: ConsumedPartition, base: number, cause: unknown): HoldfastError {
  const why = cause instanceof HoldfastError ? cause.message : String(cause);
  return new HoldfastError({
    reason: 'RECORDS_UNREADABLE',
    message: `${topic}/${partition} at ${base}: ${why} To go on, begin behind this batch.`,
    field: 'offset',
    actual: String(base),
    cause,
  });
}

/** Why a partition is lost that its member was not told to give up. */
export function notAssigned(): HoldfastError {
  const message = 'the partition is not assigned to this member any more';
  return new HoldfastError({ reason: 'GENERATION_FENCED', message });
}

/** Why a partition is lost that its member was to give up. */
export function heldTooLong(timeoutMs: number): HoldfastError {
  const message = `messages in hand took too long for their partition to move within ${timeoutMs} ms`;
  return new HoldfastError({ reason: 'DEADLINE_EXCEEDED', message });
}
