import type { HoldfastError, Outcome } from '../error.ts';
import type { Compression } from './compression.ts';
import type { RecordLocation } from './producer-options.ts';
import { type BatchSeal, sealBatch } from './record-batch.ts';
import { RecordBatchWriter, type RecordHeader } from './record-writer.ts';

/** What a record costs beside its bytes while it waits for its answer. */
const RECORD_OVERHEAD = 100;

/** What its caller waits for. */
export interface Waiter {
  resolve(location: RecordLocation): void;
  reject(error: HoldfastError): void;
}

/** A record as it is put into a batch. */
export interface EncodedRecord extends Waiter {
  readonly key: Uint8Array | undefined;
  readonly value: Uint8Array | string | undefined;
  readonly headers: readonly RecordHeader[];
  readonly timeMs: number;
  /** At most, in any batch. */
  readonly bytes: number;
  /** Counts the records of a producer. */
  readonly number: number;
  /** When it was sent, in monotonic ms. */
  readonly atMs: number;
}

/** Who sees a batch to its end. */
export interface BatchOwner {
  readonly topic: string;
  readonly partition: number;
  /** An attempt was answered: the batch is kept. `base` undefined: the offsets are not known. */
  onKept(batch: ProducerBatch, base: bigint | undefined): void;
  /** An attempt failed. */
  onFailed(batch: ProducerBatch, error: HoldfastError, nowMs: number): void;
  /** It was handed back before a byte of it was sent. */
  onUnsent(batch: ProducerBatch): void;
}

/** Records of one partition that travel together, and those who wait for them. */
export class ProducerBatch {
  readonly owner: BatchOwner;
  /** Of its first record. */
  readonly firstNumber: number;
  /** When its first record was sent, in monotonic ms. */
  readonly firstAtMs: number;
  /** Of the producer's buffer. */
  heldBytes = 0;
  /** Of the first record; -1: it has none. */
  sequence = -1;
  /** An attempt is under way. */
  isOut = false;
  /** What became of some attempt is not known. */
  hasDoubt = false;
  /** Nobody waits for it any more. */
  isSettled = false;
  /** Of its attempts that failed, the last. */
  error: HoldfastError | undefined;
  attempts = 0;
  readonly #writer = new RecordBatchWriter();
  readonly #waiters: Waiter[] = [];
  #bytes: Uint8Array | undefined;

  constructor(owner: BatchOwner, first: EncodedRecord) {
    this.owner = owner;
    this.firstNumber = first.number;
    this.firstAtMs = first.atMs;
  }

  get topic(): string {
    return this.owner.topic;
  }

  get partition(): number {
    return this.owner.partition;
  }

  /** Number of records. */
  get count(): number {
    return this.#writer.count;
  }

  /** Bytes so far, before compression. */
  get size(): number {
    return this.#writer.size;
  }

  /** The batch as it travels; there once it was sealed. */
  get bytes(): Uint8Array {
    return this.#bytes!;
  }

  /** Gives back what the buffer holds for it. */
  append(record: EncodedRecord): number {
    this.#writer.append(record.timeMs, record.key, record.value, record.headers);
    this.#waiters.push(record);
    const held = record.bytes + RECORD_OVERHEAD;
    this.heldBytes += held;
    return held;
  }

  /** Gives it its place among the batches of the producer. */
  seal(seal: BatchSeal | undefined, compression: Compression): void {
    if (this.#bytes === undefined)
      this.#bytes = this.#writer.finish(seal === undefined ? { compression } : { compression, seal });
    else if (seal !== undefined) sealBatch(this.#bytes, seal);
  }

  /** `base` undefined: the offsets are not known. */
  resolve(base: bigint | undefined): void {
    if (this.isSettled) return;
    this.isSettled = true;
    const { topic, partition } = this;
    for (const [index, waiter] of this.#waiters.entries()) {
      const offset = base === undefined ? undefined : base + BigInt(index);
      waiter.resolve({ topic, partition, offset });
    }
    this.#waiters.length = 0;
  }

  /** Every record gets the same error: none of them can be told apart. */
  reject(error: HoldfastError, outcome: Outcome): void {
    if (this.isSettled) return;
    this.isSettled = true;
    const told = error.withOutcome(outcome);
    for (const waiter of this.#waiters) waiter.reject(told);
    this.#waiters.length = 0;
  }
}
