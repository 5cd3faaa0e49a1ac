/** What commands of leases, locks and elections result in, unless they are refused. */
import type { ByteReader, ByteWriter } from '../storage/byte-codec.ts';

/** A lease was granted. */
export interface LeaseOutcome {
  readonly case: 'lease';
  readonly lease: bigint;
  readonly ttlMs: number;
  readonly revision: number;
}

/** It was done, at this revision of the tree. */
export interface DoneOutcome {
  readonly case: 'done';
  readonly revision: number;
}

/** Whether a leader still counts, and the stored lease time. */
export interface CountedOutcome {
  readonly case: 'counted';
  readonly isCurrent: boolean;
  readonly timeMs: number;
}

/** The session holds the lock, or leads. */
export interface HeldOutcome {
  readonly case: 'held';
  readonly token: number;
  readonly holds: number;
}

/** It waits, as of this revision. */
export interface WaitingOutcome {
  readonly case: 'waiting';
  readonly revision: number;
}

/** How often the session still holds the lock; with `wasFound` false it neither held it nor waited. */
export interface ReleasedOutcome {
  readonly case: 'released';
  readonly holds: number;
  readonly wasFound: boolean;
}

export type SessionOutcome =
  LeaseOutcome | DoneOutcome | CountedOutcome | HeldOutcome | WaitingOutcome | ReleasedOutcome;

export function writeSessionOutcome(writer: ByteWriter, outcome: SessionOutcome): void {
  switch (outcome.case) {
    case 'lease':
      writer.u8(1).i64(outcome.lease).u64(outcome.ttlMs).u64(outcome.revision);
      return;
    case 'done':
      writer.u8(2).u64(outcome.revision);
      return;
    case 'counted':
      writer
        .u8(3)
        .u8(outcome.isCurrent ? 1 : 0)
        .u64(outcome.timeMs);
      return;
    case 'held':
      writer.u8(4).u64(outcome.token).u32(outcome.holds);
      return;
    case 'waiting':
      writer.u8(5).u64(outcome.revision);
      return;
    case 'released':
      writer
        .u8(6)
        .u32(outcome.holds)
        .u8(outcome.wasFound ? 1 : 0);
  }
}

/** Error: RangeError. */
export function readSessionOutcome(reader: ByteReader): SessionOutcome {
  const kind = reader.u8();
  switch (kind) {
    case 1:
      return { case: 'lease', lease: reader.i64(), ttlMs: reader.u64(), revision: reader.u64() };
    case 2:
      return { case: 'done', revision: reader.u64() };
    case 3:
      return { case: 'counted', isCurrent: reader.u8() === 1, timeMs: reader.u64() };
    case 4:
      return { case: 'held', token: reader.u64(), holds: reader.u32() };
    case 5:
      return { case: 'waiting', revision: reader.u64() };
    case 6:
      return { case: 'released', holds: reader.u32(), wasFound: reader.u8() === 1 };
  }
  throw new RangeError(`a session outcome of kind ${kind}`);
}
