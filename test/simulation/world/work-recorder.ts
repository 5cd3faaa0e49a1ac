/** Counts what callers of the coordination do, by kind, and notes it in the trace. */
import { CheckFailure } from '../../raft/check-failure.ts';
import { HoldfastError } from '../../../client/error.ts';
import type { Recorder } from './recorder.ts';

/** Nobody is told so: the callers ask for what may be asked for, and give back what they have. */
const NEVER = new Set([
  'INTERNAL',
  'UNIMPLEMENTED',
  'INVALID_FIELD',
  'LOCK_MODE_MISMATCH',
  'LOCK_QUEUE_FULL',
  'LEASE_EXISTS',
  'LEASE_FULL',
  'TTL_OUT_OF_RANGE',
  'CLIENT_EXPIRED',
  'SEQUENCE_STALE',
]);

export class WorkRecorder {
  readonly counts = new Map<string, number>();
  readonly #recorder: Recorder;

  constructor(recorder: Recorder) {
    this.#recorder = recorder;
  }

  /** Something was done. */
  did(who: string, kind: string, what: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    this.#recorder.trace.note(who, `${kind} ${what}`);
  }

  /** A call failed, as it may. */
  failed(who: string, kind: string, what: string, error: unknown): HoldfastError {
    if (error instanceof CheckFailure) throw error;
    if (!(error instanceof HoldfastError))
      throw new Error(`${kind} failed with something that is no HoldfastError: ${(error as Error).stack}`, {
        cause: error,
      });
    const { reason } = error;
    if (NEVER.has(reason))
      throw new CheckFailure('reasons', `${who} was told ${reason}: ${kind} ${what}: ${error.message}`);
    this.#recorder.noteReason(reason);
    this.did(who, `${kind} failed`, `${what}: ${reason}`);
    return error;
  }
}
