import { Expiring } from './deadlines.ts';
import type { HoldfastError } from './error.ts';
import type { Answer, EncodableCall } from './pipeline-codec.ts';
import type { Refusals, RetriedCall } from './retry.ts';

const EMPTY = new Uint8Array(0);

/** What a pipeline call is made of. */
export interface PipelineCallInit {
  keyspace: string;
  /** Encoded operation, see pipeline-codec. */
  operation: Uint8Array;
  isWrite: boolean;
  /** A read that any replica may answer. */
  isStale?: boolean | undefined;
  /** Hash of the key. */
  hash: number;
  timeoutMs: number;
  signal: AbortSignal | undefined;
  onAnswer: (answer: Answer) => void;
  onError: (error: HoldfastError) => void;
}

/** Who is told when a call's time is over. */
export interface CallOwner {
  onExpired(call: PipelineCall): void;
  onAborted(call: PipelineCall): void;
  onAbandoned(call: PipelineCall): void;
}

/** A stream, as a call that is on its way knows it. */
export interface CallCarrier {
  readonly endpoint: string;
  /** The call no longer waits for its answer. */
  forget(call: PipelineCall): void;
}

/** One call of a caller, over all its attempts. */
export class PipelineCall extends Expiring implements EncodableCall, RetriedCall {
  readonly keyspace: string;
  operation: Uint8Array;
  readonly isWrite: boolean;
  readonly isStale: boolean;
  readonly hash: number;
  readonly totalMs: number;
  readonly onAnswer: (answer: Answer) => void;
  readonly onError: (error: HoldfastError) => void;
  readonly #owner: CallOwner;
  readonly #signal: AbortSignal | undefined;
  /** Drawn at the first attempt and kept; 0 before, and for reads. */
  sequence = 0;
  /** Decided at the first attempt and kept, unless that one is known to be refused for it. */
  open = false;
  /** On the stream that carries it. */
  id = 0;
  /** Left at the current attempt. */
  timeoutMs = 0;
  sentAtMs = 0;
  attempts = 0;
  lost = false;
  reopened = false;
  unled: HoldfastError | undefined = undefined;
  refusedBy: Refusals | undefined = undefined;
  settled = false;
  /** The leader that a node named for it, for the next attempt. */
  leader: string | undefined = undefined;
  /** The stream it was sent on and not yet answered by. */
  carrier: CallCarrier | undefined = undefined;

  constructor(init: PipelineCallInit, nowMs: number, owner: CallOwner) {
    super(nowMs + init.timeoutMs);
    this.keyspace = init.keyspace;
    this.operation = init.operation;
    this.isWrite = init.isWrite;
    this.isStale = init.isStale ?? false;
    this.hash = init.hash;
    this.totalMs = init.timeoutMs;
    this.onAnswer = init.onAnswer;
    this.onError = init.onError;
    this.#owner = owner;
    this.#signal = init.signal;
    if (init.signal !== undefined) init.signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  get signal(): AbortSignal | undefined {
    return this.#signal;
  }

  /** Bytes that the call holds while it is pending. */
  get bytes(): number {
    return this.operation.length + 64;
  }

  reopen(): void {
    this.open = true;
  }

  /** Lets go of what a settled call holds; it may stay in lists for a while. */
  release(): void {
    this.settled = true;
    this.operation = EMPTY;
    this.carrier?.forget(this);
    this.carrier = undefined;
    if (this.#signal !== undefined) this.#signal.removeEventListener('abort', this.#onAbort);
  }

  override expire(): void {
    this.#owner.onExpired(this);
  }

  override abandon(): void {
    this.#owner.onAbandoned(this);
  }

  // An accessor-made closure, so that calls without a signal allocate none.
  get #onAbort(): () => void {
    return (this.#abortListener ??= () => this.#owner.onAborted(this));
  }
  #abortListener: (() => void) | undefined = undefined;
}
