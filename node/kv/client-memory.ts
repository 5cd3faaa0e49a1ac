/**
 * What a partition remembers of one client, so that a write that is sent again is
 * decided once: every sequence from `ackedBelow` on that was applied or refused, with its result.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { LiveRow } from '../storage/row-store.ts';
import type { Reason } from '@holdfast/client/reasons';
import type { MutationOutcome, Refusal, TransactOutcome } from './kv-outcome.ts';

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
  if (result === 'too large') writer.u8(0);
  else if ('results' in result) writeTransact(writer.u8(2), result);
  else if ('refused' in result) writeRefusal(writer.u8(3), result);
  else writeMutation(writer.u8(1), result);
}

function readKept(reader: ByteReader): KeptResult {
  const kind = reader.u8();
  if (kind === 0) return 'too large';
  if (kind === 3) return readRefusal(reader);
  return kind === 1 ? readMutation(reader) : readTransact(reader);
}

function writeRefusal(writer: ByteWriter, { refused, currentVersion, actual }: Refusal): void {
  writer
    .latin1(refused)
    .u64(currentVersion ?? 0)
    .latin1(actual ?? '');
}

function readRefusal(reader: ByteReader): Refusal {
  const refused = reader.latin1() as Reason;
  const currentVersion = reader.u64() || undefined;
  return { refused, currentVersion, actual: reader.latin1() || undefined };
}

function writeMutation(writer: ByteWriter, outcome: MutationOutcome): void {
  const flags =
    (outcome.counter === undefined ? 0 : 1) |
    (outcome.existed === undefined ? 0 : 2) |
    (outcome.existed ? 4 : 0);
  writer.u8(flags).u64(outcome.version);
  if (outcome.counter !== undefined) writer.i64(outcome.counter);
}

function readMutation(reader: ByteReader): MutationOutcome {
  const flags = reader.u8();
  return {
    version: reader.u64(),
    counter: flags & 1 ? reader.i64() : undefined,
    existed: flags & 2 ? (flags & 4) !== 0 : undefined,
  };
}

function writeTransact(writer: ByteWriter, outcome: TransactOutcome): void {
  writer.u8(outcome.succeeded ? 1 : 0).u32(outcome.results.length);
  for (const result of outcome.results) {
    if (result.case === 'mutation') writeMutation(writer.u8(1), result.outcome);
    else if (result.found === undefined) writer.u8(2);
    else {
      const { version, expiresAtMs, value } = result.found;
      writer
        .u8(3)
        .bytes(result.key)
        .u64(version)
        .u64(expiresAtMs ?? 0)
        .bytes(value);
    }
  }
}

function readTransact(reader: ByteReader): TransactOutcome {
  const succeeded = reader.u8() === 1;
  const results: TransactOutcome['results'][number][] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const kind = reader.u8();
    if (kind === 1) results.push({ case: 'mutation', outcome: readMutation(reader) });
    else if (kind === 2) results.push({ case: 'get', key: new Uint8Array(0), found: undefined });
    else {
      const key = Uint8Array.from(reader.bytes());
      const version = reader.u64();
      const expiresAtMs = reader.u64() || undefined;
      results.push({
        case: 'get',
        key,
        found: { version, expiresAtMs, value: Uint8Array.from(reader.bytes()) },
      });
    }
  }
  return { succeeded, results };
}
