/**
 * What a partition remembers of a producer: its epoch, and its last batches, so that one that
 * comes again is known.
 *
 *  1. A sequence is appended once: what came before is a duplicate, what would leave a gap is refused.
 *  2. Epochs only grow; a greater one begins with sequence 0.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { LiveRow } from '../storage/row-store.ts';

/** Batches whose offsets are remembered: more than a producer has on its way. */
const REMEMBERED = 16;

/** A batch of a producer, as its header says. */
export interface ProducedBatch {
  readonly epoch: number;
  /** Of its first record. */
  readonly sequence: number;
  readonly count: number;
}

/** What is to be done with a batch. */
export type Verdict =
  | { readonly case: 'append' }
  | { readonly case: 'duplicate'; readonly baseOffset: number | undefined }
  | { readonly case: 'fenced' }
  | { readonly case: 'gap'; readonly expected: number };

interface RememberedBatch {
  readonly sequence: number;
  readonly count: number;
  readonly baseOffset: number;
}

const APPEND: Verdict = { case: 'append' };

export class ProducerMemory implements LiveRow {
  lastSeenMs = 0;
  #epoch: number;
  #next: number;
  #batches: RememberedBatch[];

  private constructor(epoch: number, next: number, batches: RememberedBatch[]) {
    this.#epoch = epoch;
    this.#next = next;
    this.#batches = batches;
  }

  /** Of one that was not heard of before: it begins with sequence 0. */
  static begin(epoch: number): ProducerMemory {
    return new ProducerMemory(epoch, 0, []);
  }

  /** Invariants 1, 2. */
  judge({ epoch, sequence, count }: ProducedBatch): Verdict {
    if (epoch < this.#epoch) return { case: 'fenced' };
    const expected = epoch > this.#epoch ? 0 : this.#next;
    if (sequence === expected) return APPEND;
    if (epoch > this.#epoch || sequence > expected) return { case: 'gap', expected };
    const known = this.#batches.find((one) => one.sequence === sequence && one.count === count);
    return { case: 'duplicate', baseOffset: known?.baseOffset };
  }

  note({ epoch, sequence, count }: ProducedBatch, baseOffset: number, stampMs: number): void {
    if (epoch > this.#epoch) this.#batches = [];
    this.#epoch = epoch;
    this.#next = sequence + count;
    this.#batches.push({ sequence, count, baseOffset });
    if (this.#batches.length > REMEMBERED) this.#batches.shift();
    this.lastSeenMs = stampMs;
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(24 + 20 * this.#batches.length);
    writer.u64(this.lastSeenMs).u32(this.#epoch).u64(this.#next);
    for (const { sequence, count, baseOffset } of this.#batches)
      writer.u64(sequence).u32(count).u64(baseOffset);
    return writer.finish();
  }

  static decode(content: Uint8Array): ProducerMemory {
    const reader = new ByteReader(content);
    const lastSeenMs = reader.u64();
    const [epoch, next] = [reader.u32(), reader.u64()];
    const batches: RememberedBatch[] = [];
    while (!reader.done)
      batches.push({ sequence: reader.u64(), count: reader.u32(), baseOffset: reader.u64() });
    const memory = new ProducerMemory(epoch, next, batches);
    memory.lastSeenMs = lastSeenMs;
    return memory;
  }
}
