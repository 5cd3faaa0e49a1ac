/** Commands of the coordination that changed nothing, and outcomes on their way to the node that was asked. */
import type { Reason } from '@holdfast/client/reasons';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';

/** Why a command changed nothing. */
export interface Refusal {
  readonly refused: Reason;
  /** The offending value, where it helps and is not the user's data. */
  readonly actual?: string | undefined;
  readonly limit?: string | undefined;
  /** With a mismatch: what is there now; undefined: nothing is. */
  readonly current?: number | undefined;
}

/** What a refusal means to the caller. */
export interface Meaning {
  /** The field of the request that it is about. */
  readonly field?: string;
  readonly message: (refusal: Refusal) => string;
}

/** What a command results in: an outcome as its part has encoded it, or a refusal. */
export type Outcome = Uint8Array | Refusal;

export function isRefusal(outcome: Outcome): outcome is Refusal {
  return !(outcome instanceof Uint8Array);
}

/** Bytes that an outcome takes. */
export function outcomeBytes(outcome: Outcome): number {
  return isRefusal(outcome) ? 64 : outcome.byteLength;
}

/** An outcome as bytes, with which of the two it is. */
export function encodeOutcome(outcome: Outcome): Uint8Array {
  const writer = new ByteWriter(5 + outcomeBytes(outcome));
  writeOutcome(writer, outcome);
  return writer.finish();
}

/** Error: RangeError. */
export function decodeOutcome(bytes: Uint8Array): Outcome {
  return readOutcome(new ByteReader(bytes));
}

export function writeOutcome(writer: ByteWriter, outcome: Outcome): void {
  if (!isRefusal(outcome)) {
    writer.u8(0).bytes(outcome);
    return;
  }
  const { refused, actual = '', limit = '', current } = outcome;
  writer.u8(current === undefined ? 1 : 2).latin1(refused);
  writer.bytes(Buffer.from(actual)).bytes(Buffer.from(limit));
  if (current !== undefined) writer.u64(current);
}

/** Error: RangeError. */
export function readOutcome(reader: ByteReader): Outcome {
  const kind = reader.u8();
  if (kind === 0) return Uint8Array.from(reader.bytes());
  if (kind > 2) throw new RangeError(`outcome of unknown kind ${kind}`);
  const refused = reader.latin1() as Reason;
  const actual = reader.bytes().toString('utf8') || undefined;
  const limit = reader.bytes().toString('utf8') || undefined;
  return { refused, actual, limit, current: kind === 2 ? reader.u64() : undefined };
}
