/**
 * What a partition remembers of one client, so that a write that is sent again is
 * decided once: every sequence from `ackedBelow` on that was applied or refused, with its result.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { LiveRow } from '../storage/row-store.ts';
import type { MutationOutcome, Refusal, TransactOutcome } from './kv-outcome.ts';
import { readOutcome, writeOutcome } from './outcome-codec.ts';

/** Longest memory after a client's last write; longer than the longest deadline (5 min). */
export const CLIENT_MEMORY_MS = 15 * 60_000;
/** Unacknowledged results kept for a client; a client with more in flight is refused. */
export const CLIENT_RESULTS = 16_384;
/** A transaction's result above this is not kept. */
export const KEPT_RESULT_BYTES = 4_096;

/** A result as kept. */
export type KeptResult = MutationOutcome | TransactOutcome | Refusal | 'too large';

export class ClientMemory implements LiveRow {
  #ackedBelow: number;
  #lastSeenMs: number;
  readonly #results: Map<number, KeptResult>;

  constructor(ackedBelow = 0, lastSeenMs = 0, results = new Map<number, KeptResult>()) {
    this.#ackedBelow = ackedBelow;
    this.#lastSeenMs = lastSeenMs;
    this.#results = results;
  }

  get ackedBelow(): number {
    return this.#ackedBelow;
  }

  /** Log time of the client's last write. */
  get lastSeenMs(): number {
    return this.#lastSeenMs;
  }

  get isFull(): boolean {
    return this.#results.size >= CLIENT_RESULTS;
  }

  /** The result of an applied sequence. */
  result(sequence: number): KeptResult | undefined {
    return this.#results.get(sequence);
  }

  keep(sequence: number, result: KeptResult): void {
    this.#results.set(sequence, result);
  }

  /** Notes a sign of life, and forgets results that the client has received. */
  touch(ackedBelow: number, stampMs: number): void {
    this.#lastSeenMs = Math.max(this.#lastSeenMs, stampMs);
    if (ackedBelow <= this.#ackedBelow) return;
    this.#ackedBelow = ackedBelow;
    // Oldest first; one that came out of order goes when those before it have gone.
    for (const sequence of this.#results.keys()) {
      if (sequence >= ackedBelow) break;
      this.#results.delete(sequence);
    }
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(32 + this.#results.size * 24);
    writer.u8(1).u64(this.#ackedBelow).u64(this.#lastSeenMs).u32(this.#results.size);
    for (const [sequence, result] of this.#results) writeKept(writer.u64(sequence), result);
    return Uint8Array.from(writer.finish());
  }

  static decode(content: Uint8Array): ClientMemory {
    const reader = new ByteReader(content);
    const format = reader.u8();
    if (format !== 1) throw new RangeError(`client row of unknown format ${format}`);
    const ackedBelow = reader.u64();
    const lastSeenMs = reader.u64();
    const results = new Map<number, KeptResult>();
    for (let left = reader.u32(); left > 0; left--) results.set(reader.u64(), readKept(reader));
    return new ClientMemory(ackedBelow, lastSeenMs, results);
  }
}

function writeKept(writer: ByteWriter, result: KeptResult): void {
  writeOutcome(writer, result === 'too large' ? undefined : result);
}

function readKept(reader: ByteReader): KeptResult {
  return readOutcome(reader) ?? 'too large';
}
