import { HoldfastError } from '../error.ts';

// 64 bits: 1 that is 0, 41 of milliseconds, 10 of the worker, 12 of the sequence.

/** Beginning of the milliseconds of IDs: 2020-01-01T00:00:00Z, in milliseconds since 1970. */
export const ID_EPOCH_MS = Date.UTC(2020, 0, 1);
/** IDs of one worker and one millisecond. */
export const IDS_PER_MS = 4_096;
/** Numbers of workers: 0 to 1,023. */
export const WORKERS = 1_024;
/** Milliseconds that IDs have room for: until September 2089. */
export const ID_MS_END = 2 ** 41;
/** IDs of one call. */
export const MAX_IDS = 65_536;
const MAX_ID = 2n ** 63n - 1n;

/** What an ID says. */
export interface IdDescription {
  readonly id: bigint;
  /** When it was made, in milliseconds since 1970, by the clock of the node that made it. */
  readonly timeMs: number;
  /** Who made it, 0 to 1,023. */
  readonly worker: number;
  /** Number within the millisecond, 0 to 4,095. */
  readonly sequence: number;
}

/** An ID of its parts; `ms`: since the beginning. */
export function composeId(ms: number, worker: number, sequence: number): bigint {
  return (BigInt(ms) << 22n) | BigInt((worker << 12) | sequence);
}

/** Takes an ID apart. Error: ID_INVALID, not greater than 0 and below 2^63. */
export function describeId(id: bigint): IdDescription {
  if (typeof id !== 'bigint' || id <= 0n || id > MAX_ID)
    throw new HoldfastError({
      reason: 'ID_INVALID',
      message: `id is ${String(id)}, IDs are greater than 0 and below 2^63. Nothing was done.`,
      field: 'id',
      actual: String(id),
      limit: `1..${MAX_ID}`,
    });
  const low = Number(id & 0x3f_ffffn);
  return { id, timeMs: Number(id >> 22n) + ID_EPOCH_MS, worker: low >> 12, sequence: low & 0xfff };
}
