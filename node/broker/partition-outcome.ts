/** What commands of a partition result in. */
import type { Reason } from '@holdfast/client/reasons';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';

/** A batch is in the partition. */
export interface Appended {
  readonly case: 'appended';
  /** Of its first record; undefined: it came before, so long ago that it is not remembered where. */
  readonly baseOffset: number | undefined;
  /** It had been appended before. */
  readonly isDuplicate: boolean;
}

/** Where a group is. */
export interface OffsetState {
  readonly case: 'offset';
  /** The next record to read; undefined: none was stored. */
  readonly offset: number | undefined;
  readonly metadata: string;
  /** Greatest that was seen. */
  readonly generation: number;
}

/** It is done. */
export interface Done {
  readonly case: 'done';
}

/** Nothing was changed. */
export interface PartitionRefusal {
  readonly case: 'refused';
  readonly refused: Extract<
    Reason,
    'PRODUCER_FENCED' | 'SEQUENCE_GAP' | 'GENERATION_FENCED' | 'OFFSET_OUT_OF_RANGE'
  >;
  readonly actual: number;
  readonly limit: number;
}

export type PartitionOutcome = Appended | OffsetState | Done | PartitionRefusal;

export const DONE: Done = { case: 'done' };

/** A number that is not there. */
const NONE = Number.MAX_SAFE_INTEGER;

const REFUSALS = ['PRODUCER_FENCED', 'SEQUENCE_GAP', 'GENERATION_FENCED', 'OFFSET_OUT_OF_RANGE'] as const;

export function encodeOutcome(outcome: PartitionOutcome): Uint8Array {
  switch (outcome.case) {
    case 'done':
      return new ByteWriter(1).u8(0).finish();
    case 'appended': {
      const { baseOffset = NONE, isDuplicate } = outcome;
      return new ByteWriter(10)
        .u8(1)
        .u64(baseOffset)
        .u8(isDuplicate ? 1 : 0)
        .finish();
    }
    case 'offset': {
      const { offset = NONE, metadata, generation } = outcome;
      return new ByteWriter(64).u8(2).u64(offset).u64(generation).bytes(Buffer.from(metadata)).finish();
    }
    case 'refused': {
      const { refused, actual, limit } = outcome;
      return new ByteWriter(18).u8(3).u8(REFUSALS.indexOf(refused)).u64(actual).u64(limit).finish();
    }
  }
}

/** Error: RangeError. */
export function decodeOutcome(bytes: Uint8Array): PartitionOutcome {
  const reader = new ByteReader(bytes);
  const kind = reader.u8();
  if (kind === 0) return DONE;
  if (kind === 1) {
    const baseOffset = present(reader.u64());
    return { case: 'appended', baseOffset, isDuplicate: reader.u8() === 1 };
  }
  if (kind === 2) {
    const [offset, generation] = [present(reader.u64()), reader.u64()];
    return { case: 'offset', offset, generation, metadata: reader.bytes().toString() };
  }
  const refused = kind === 3 ? REFUSALS[reader.u8()] : undefined;
  if (refused === undefined) throw new RangeError(`an outcome of kind ${kind}`);
  return { case: 'refused', refused, actual: reader.u64(), limit: reader.u64() };
}

function present(value: number): number | undefined {
  return value === NONE ? undefined : value;
}
