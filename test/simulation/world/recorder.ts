/** Records what callers do: into the history that is checked, and as figures for the report. */
import { CheckFailure } from '../../raft/check-failure.ts';
import { HoldfastError } from '../../../client/error.ts';
import { KvHistory, type KvCall, type KvRequest } from '../checkers/kv-history.ts';
import type { Trace } from './trace.ts';

export interface OperationCounts {
  operations: number;
  writes: number;
  ok: number;
  refused: number;
  notApplied: number;
  unknown: number;
  unknownWrites: number;
  /** Pairs of operations on one key that were under way at one time. */
  concurrentPairs: number;
}

/** Anything but these says that a call could not be served; these are answers. */
const ANSWERS = new Set([
  'KEY_EXISTS',
  'VERSION_MISMATCH',
  'VALUE_MISMATCH',
  'NOT_A_COUNTER',
  'COUNTER_OVERFLOW',
]);

/**
 * Nobody is told so: keyspaces were created before anybody called and are not dropped, no client
 * is silent for long, and a client does not say that it has an answer for which it waits.
 */
const NEVER = new Set(['KEYSPACE_UNKNOWN', 'CLIENT_EXPIRED', 'SEQUENCE_STALE']);

/** One operation on its way. */
export class RecordedCall {
  readonly #recorder: Recorder;
  readonly #call: KvCall;
  readonly #who: string;
  readonly #what: string;
  readonly #key: string;
  readonly #isWrite: boolean;
  readonly #onEnded: () => void;

  constructor(
    recorder: Recorder,
    call: KvCall,
    who: string,
    key: string,
    request: KvRequest,
    onEnded: () => void,
  ) {
    this.#onEnded = onEnded;
    this.#recorder = recorder;
    this.#call = call;
    this.#who = who;
    this.#key = key;
    this.#what = `${request.kind} ${key}`;
    this.#isWrite = request.kind !== 'get';
  }

  read(found: { readonly value: string; readonly version?: bigint } | undefined): void {
    this.#call.read(found);
    this.#done('ok', found === undefined ? 'absent' : `${found.value} version ${found.version ?? '?'}`);
  }

  applied(result: {
    readonly version?: bigint | undefined;
    readonly counter?: bigint | undefined;
    readonly existed?: boolean | undefined;
  }): void {
    this.#call.applied(result);
    const { version, counter, existed } = result;
    this.#done('ok', `applied version ${version ?? '-'} counter ${counter ?? '-'} existed ${existed ?? '-'}`);
  }

  /** It was one of two alternatives, and the other was taken. */
  notTaken(): void {
    this.#call.notApplied();
    this.#recorder.counts.operations--;
    if (this.#isWrite) this.#recorder.counts.writes--;
    this.#done(undefined, 'not taken');
  }

  failed(error: unknown): void {
    const ours = asHoldfastError(error);
    this.#call.failed(ours);
    const { reason, outcome } = ours;
    if (NEVER.has(reason))
      throw new CheckFailure('reasons', `${this.#who} was told ${reason}: ${this.#what}`);
    const isRead = !this.#isWrite;
    const kind = ANSWERS.has(reason)
      ? 'refused'
      : outcome === 'NOT_APPLIED' || isRead
        ? 'notApplied'
        : 'unknown';
    this.#done(kind, `${reason} ${outcome ?? ''}`);
    this.#recorder.noteReason(reason);
  }

  #done(kind: 'ok' | 'refused' | 'notApplied' | 'unknown' | undefined, result: string): void {
    this.#recorder.ended(this.#key);
    this.#onEnded();
    const { counts, trace } = this.#recorder;
    if (kind !== undefined) counts[kind]++;
    if (kind === 'unknown') counts.unknownWrites++;
    trace.note(this.#who, `${this.#what} → ${result}`);
  }
}

export class Recorder {
  readonly history = new KvHistory();
  readonly counts: OperationCounts = {
    operations: 0,
    writes: 0,
    ok: 0,
    refused: 0,
    notApplied: 0,
    unknown: 0,
    unknownWrites: 0,
    concurrentPairs: 0,
  };
  /** How often each reason ended a call. */
  readonly reasons = new Map<string, number>();
  readonly trace: Trace;
  readonly #pending = new Map<string, number>();

  constructor(trace: Trace) {
    this.trace = trace;
  }

  /** Operations that have not ended. */
  get pending(): number {
    return [...this.#pending.values()].reduce((sum, count) => sum + count, 0);
  }

  /** `onEnded` is called when it ends, however that may be. */
  begin(who: string, key: string, request: KvRequest, onEnded: () => void): RecordedCall {
    const underWay = this.#pending.get(key) ?? 0;
    this.#pending.set(key, underWay + 1);
    this.counts.concurrentPairs += underWay;
    this.counts.operations++;
    if (request.kind !== 'get') this.counts.writes++;
    return new RecordedCall(this, this.history.begin(who, key, request), who, key, request, onEnded);
  }

  ended(key: string): void {
    this.#pending.set(key, this.#pending.get(key)! - 1);
  }

  noteReason(reason: string): void {
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
  }
}

function asHoldfastError(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  throw new Error(`a call failed with something that is no HoldfastError: ${(error as Error).stack}`, {
    cause: error,
  });
}
