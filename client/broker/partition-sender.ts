import type { HoldfastError } from '../error.ts';
import { leavesDoubt } from '../retry.ts';
import { type BatchOwner, type EncodedRecord, ProducerBatch } from './producer-batch.ts';
import { confirmedTooLate, endOfName, mayGoAgain, outcomeOf } from './batch-outcome.ts';
import type { ResolvedProducerOptions } from './producer-options.ts';
import type { ProducerIdentity } from './producer-identity.ts';

/** A batch takes no records that come later than this share of their time after its first. */
const GATHERING_SHARE = 1 / 16;

/** What a sender needs of its producer. */
export interface SenderHost {
  readonly options: ResolvedProducerOptions;
  /** Undefined: batches carry none. */
  readonly identity: ProducerIdentity | undefined;
  /** Until the next attempt of a batch, in ms. */
  delayMs(error: HoldfastError, attempts: number): number;
  /** Somebody else was named as leader, or the topic may be gone. */
  onRefused(sender: PartitionSender, error: HoldfastError): void;
  /** Of the buffer, so much is free again. */
  onReleased(bytes: number): void;
  /** It is over with the whole producer. */
  fail(error: HoldfastError): void;
  /** The batch that gathered takes no more. */
  onFull(sender: PartitionSender): void;
}

/**
 * The batches of a producer for one partition: one that gathers, those that wait, and those in
 * flight, which have a sequence.
 *
 * Invariants:
 *  Q1. Batches get their sequences in the order in which their records came, without gaps, and are
 *      sent in that order. A batch that is sent again keeps bytes and sequence, so the partition
 *      keeps it once, and none behind it before it.
 *  Q2. When an attempt fails, nothing is sent until the others in flight are answered; then what
 *      is left is sent again, in order.
 *  Q3. The place of a batch that is given up is taken by another one only if no attempt of it, nor
 *      of any behind it, can still arrive: else the epoch grows first, and the partition takes
 *      nothing of the lower one once it has seen the greater one.
 *  Q4. A batch gets another sequence only if it is known that it was not kept and never will be: it
 *      was refused each time, or one before it was.
 *  Q5. All records of a batch are answered once, with outcome UNKNOWN if an attempt may have been kept.
 */
export class PartitionSender implements BatchOwner {
  readonly topic: string;
  readonly partition: number;
  /** Node to which what is out was sent. */
  endpoint: string | undefined;
  readonly #host: SenderHost;
  #maxBytes: number;
  #gathering: ProducerBatch | undefined;
  #waiting: ProducerBatch[] = [];
  #flight: ProducerBatch[] = [];
  #out = 0;
  #isRecovering = false;
  #retryAtMs = 0;
  #failures = 0;
  #nextSequence = 0;
  /** Added to the epoch of the producer: each partition looks at epochs by itself. */
  #epochs = 0;
  /** The partition lacks what it had confirmed: sequences are to begin anew. */
  #hasGap = false;

  constructor(topic: string, partition: number, maxBatchBytes: number, host: SenderHost) {
    this.topic = topic;
    this.partition = partition;
    this.#host = host;
    this.#maxBytes = Math.min(host.options.batchBytes, maxBatchBytes);
  }

  /** Attempts under way. */
  get out(): number {
    return this.#out;
  }

  /** Something is not settled yet. */
  get isBusy(): boolean {
    return this.#gathering !== undefined || this.#waiting.length > 0 || this.#flight.length > 0;
  }

  /** It waits for a node that refuses or is away. */
  get isHeldUp(): boolean {
    return this.#isRecovering;
  }

  /** Number of the first record that nobody has been told of; Infinity: there is none. */
  get firstNumber(): number {
    const batches = [...this.#flight, ...this.#waiting, ...(this.#gathering ? [this.#gathering] : [])];
    return batches.find(({ isSettled }) => !isSettled)?.firstNumber ?? Infinity;
  }

  /** Greatest batch of the topic, as it is now. */
  limit(maxBatchBytes: number): void {
    this.#maxBytes = Math.min(this.#host.options.batchBytes, maxBatchBytes);
  }

  /** Takes a record that some batch can take. Gives what the buffer holds for it. */
  append(record: EncodedRecord): number {
    const open = this.#gathering;
    const ageMs = this.#host.options.deliveryTimeoutMs * GATHERING_SHARE;
    if (open !== undefined && (!this.#fits(record, open) || record.atMs - open.firstAtMs > ageMs))
      this.#close();
    this.#gathering ??= new ProducerBatch(this, record);
    const held = this.#gathering.append(record);
    if (this.#gathering.size >= this.#maxBytes) this.#close();
    return held;
  }

  /** When it wants to be asked for a batch, in monotonic ms; Infinity: when something happens. */
  get dueAtMs(): number {
    if (this.#isRecovering) return this.#out > 0 ? Infinity : this.#retryAtMs;
    const { maxInFlight, lingerMs } = this.#host.options;
    if (this.#flight.length >= maxInFlight || this.#gathering === undefined) return Infinity;
    return this.#gathering.firstAtMs + lingerMs;
  }

  /**
   * The batch that is to be sent now, which then counts as under way; undefined: none. `most`: so
   * many may be under way. `isHurried`: does not linger.
   */
  take(nowMs: number, most: number, isHurried: boolean): ProducerBatch | undefined {
    if (this.#out >= most || !this.#mayGoOn(nowMs)) return undefined;
    const again = this.#flight.find(({ isOut, isSettled }) => !isOut || isSettled);
    // What stands behind a batch that was given up waits for what becomes of those before it: invariant Q3.
    const batch = again === undefined ? this.#next(nowMs, isHurried) : again.isSettled ? undefined : again;
    if (batch === undefined) return undefined;
    batch.isOut = true;
    batch.attempts += 1;
    this.#out += 1;
    return batch;
  }

  onKept(batch: ProducerBatch, base: bigint | undefined): void {
    if (!this.#returned(batch)) return;
    this.#failures = 0;
    this.#flight.splice(this.#flight.indexOf(batch), 1);
    batch.resolve(base);
    this.#release(batch);
    if (this.#flight[0]?.isSettled === true) this.#isRecovering = true;
  }

  onUnsent(batch: ProducerBatch): void {
    this.#returned(batch);
  }

  onFailed(batch: ProducerBatch, error: HoldfastError, nowMs: number): void {
    if (!this.#returned(batch)) return;
    const { isIdempotent } = this.#host.options;
    const isGap = error.reason === 'SEQUENCE_GAP' && isIdempotent;
    if (isGap ? error.outcome === 'UNKNOWN' : leavesDoubt(error)) batch.hasDoubt = true;
    batch.error = error;
    // Behind others that failed it only comes too early.
    const isEarly = isGap && batch !== this.#flight[0];
    if (!isEarly) this.#pause(error, nowMs);
    this.#isRecovering = true;
    this.#host.onRefused(this, error);
    if (error.reason === 'PRODUCER_FENCED' && isIdempotent) {
      batch.reject(error, outcomeOf(batch));
      this.#host.fail(error);
    } else if (isGap) this.#hasGap ||= !isEarly;
    else if (!mayGoAgain(error, batch) || (!isIdempotent && batch.hasDoubt))
      batch.reject(error, outcomeOf(batch));
  }

  /** Gives up what has taken too long. */
  expire(nowMs: number): void {
    const lastMs = nowMs - this.#host.options.deliveryTimeoutMs;
    for (const batch of this.#flight) {
      if (batch.firstAtMs > lastMs || batch.isSettled) continue;
      batch.reject(confirmedTooLate(batch, this.#host.options.deliveryTimeoutMs), outcomeOf(batch));
      if (!batch.isOut) this.#isRecovering = true;
    }
    if (this.#gathering !== undefined && this.#gathering.firstAtMs <= lastMs) this.#close();
    while (this.#waiting[0] !== undefined && this.#waiting[0].firstAtMs <= lastMs) {
      const batch = this.#waiting.shift()!;
      batch.reject(confirmedTooLate(batch, this.#host.options.deliveryTimeoutMs), 'NOT_APPLIED');
      this.#release(batch);
    }
  }

  /** Ends everything. */
  failAll(error: HoldfastError): void {
    this.#close();
    for (const batch of this.#waiting.splice(0)) this.#drop(batch, error, 'NOT_APPLIED');
    for (const batch of this.#flight.splice(0)) this.#drop(batch, error, outcomeOf(batch));
    this.#out = 0;
    this.#isRecovering = false;
  }

  #fits({ bytes }: EncodedRecord, { size }: ProducerBatch): boolean {
    return size + bytes <= this.#maxBytes;
  }

  #close(): void {
    if (this.#gathering === undefined) return;
    this.#waiting.push(this.#gathering);
    this.#gathering = undefined;
    this.#host.onFull(this);
  }

  /** Invariants Q2 and Q3. */
  #mayGoOn(nowMs: number): boolean {
    if (!this.#isRecovering) return true;
    if (this.#out > 0 || nowMs < this.#retryAtMs) return false;
    this.#isRecovering = false;
    if (this.#flight[0]?.isSettled === true || this.#hasGap) this.#cut();
    return true;
  }

  #next(nowMs: number, isHurried: boolean): ProducerBatch | undefined {
    const { maxInFlight, lingerMs } = this.#host.options;
    if (this.#flight.length >= maxInFlight) return undefined;
    const open = this.#gathering;
    const isRipe = open !== undefined && (isHurried || nowMs >= open.firstAtMs + lingerMs);
    if (this.#waiting.length === 0 && isRipe) this.#close();
    const batch = this.#waiting.shift();
    if (batch === undefined) return undefined;
    this.#seal(batch);
    this.#flight.push(batch);
    return batch;
  }

  #seal(batch: ProducerBatch): void {
    const { identity, options } = this.#host;
    batch.sequence = this.#nextSequence;
    this.#nextSequence += batch.count;
    const seal = identity && {
      producerId: identity.id,
      producerEpoch: identity.epoch + this.#epochs,
      sequence: BigInt(batch.sequence),
    };
    batch.seal(seal, options.compression);
  }

  /** The first in flight was given up, or does not follow: those behind it begin anew. Invariants Q3 and Q4. */
  #cut(): void {
    const first = this.#flight[0]!.sequence;
    const again: ProducerBatch[] = [];
    let mayBeKept = true;
    let mayArrive = this.#hasGap;
    for (const batch of this.#flight) {
      // Without the one before it none is kept.
      mayBeKept &&= batch.hasDoubt;
      mayArrive ||= batch.hasDoubt;
      if (mayBeKept)
        batch.reject(batch.error ?? confirmedTooLate(batch, this.#host.options.deliveryTimeoutMs), 'UNKNOWN');
      if (batch.isSettled) this.#release(batch);
      else again.push(batch);
    }
    this.#flight = [];
    this.#hasGap = false;
    for (const batch of again) batch.hasDoubt = false;
    this.#waiting.unshift(...again);
    if (!mayArrive) this.#nextSequence = first;
    else this.#beginEpoch();
  }

  #beginEpoch(): void {
    const { identity, options } = this.#host;
    if (identity !== undefined && options.name !== '') {
      this.#host.fail(endOfName(options.name));
      return;
    }
    this.#epochs += 1;
    this.#nextSequence = 0;
  }

  #pause(error: HoldfastError, nowMs: number): void {
    if (!this.#isRecovering) this.#failures += 1;
    this.#retryAtMs = Math.max(this.#retryAtMs, nowMs + this.#host.delayMs(error, this.#failures));
  }

  /** False: everything was ended meanwhile. */
  #returned(batch: ProducerBatch): boolean {
    if (!batch.isOut || !this.#flight.includes(batch)) return false;
    batch.isOut = false;
    this.#out -= 1;
    return true;
  }

  #drop(batch: ProducerBatch, error: HoldfastError, outcome: 'NOT_APPLIED' | 'UNKNOWN'): void {
    batch.reject(error, outcome);
    this.#release(batch);
  }

  #release(batch: ProducerBatch): void {
    this.#host.onReleased(batch.heldBytes);
    batch.heldBytes = 0;
  }
}
