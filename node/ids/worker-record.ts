/**
 * Who has which worker number, and how far its IDs may have come: a key of the cluster's own
 * for each number that was ever used.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';

/** Keys are this and four digits. */
export const WORKERS_PREFIX = '/holdfast/ids/workers/';

const VERSION = 1;

/** The process that has a number. */
export interface WorkerOwner {
  /** Number of the member; 0: nobody has it. */
  readonly member: number;
  /** How often the member's process had started. */
  readonly incarnation: number;
  /** Drawn by the process: a copy of its data directory has another. */
  readonly process: string;
}

/** A number's stretch of time, in milliseconds of IDs: from `floorMs` on, below `highWaterMs`, its owner's alone. */
export interface WorkerRecord extends WorkerOwner {
  /** Whoever had it before did not give it up. */
  readonly isTakenOver: boolean;
  readonly floorMs: number;
  readonly highWaterMs: number;
}

/** A record as it stands in the tree. */
export interface StoredWorker {
  readonly worker: number;
  readonly record: WorkerRecord;
  readonly modRevision: number;
}

export function workerKey(worker: number): string {
  return `${WORKERS_PREFIX}${String(worker).padStart(4, '0')}`;
}

export function workerOf(key: string): number {
  return Number(key.slice(WORKERS_PREFIX.length));
}

export function encodeWorker(record: WorkerRecord): Uint8Array {
  const { member, incarnation, process, isTakenOver, floorMs, highWaterMs } = record;
  const writer = new ByteWriter(64).u8(VERSION).u64(member).u64(incarnation).latin1(process);
  writer.u8(isTakenOver ? 1 : 0);
  return writer.u64(floorMs).u64(highWaterMs).finish();
}

/** Error: RangeError. */
export function decodeWorker(content: Uint8Array): WorkerRecord {
  const reader = new ByteReader(content);
  const version = reader.u8();
  if (version !== VERSION) throw new RangeError(`a worker number's record of version ${version}`);
  return {
    member: reader.u64(),
    incarnation: reader.u64(),
    process: reader.latin1(),
    isTakenOver: reader.u8() === 1,
    floorMs: reader.u64(),
    highWaterMs: reader.u64(),
  };
}

export function isOwn(record: WorkerOwner, own: WorkerOwner): boolean {
  return record.member === own.member && record.process === own.process;
}
