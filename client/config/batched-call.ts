import type { Call, CallResult } from '@holdfast/proto/config/v1/config';
import { Expiring } from '../deadlines.ts';
import type { HoldfastError } from '../error.ts';
import type { Refusals, RetriedCall } from '../retry.ts';

/** What is called: a get, put, delete or transaction. */
export type BatchableCall = Exclude<Call['call'], { case: undefined }>;

/** What a call was answered with. */
export type BatchedResult = Exclude<CallResult['result'], { case: 'error' } | { case: undefined }>;

/** What a batched call is made of. */
export interface BatchedCallInit {
  readonly call: BatchableCall;
  /** About its size on the wire. */
  readonly bytes: number;
  /** A read that any node may answer. */
  readonly isStale: boolean;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly onResult: (result: BatchedResult) => void;
  readonly onError: (error: HoldfastError) => void;
}

/** Who is told when a call's time is over. */
export interface BatchedCallOwner {
  onExpired(call: BatchedCall): void;
  onAborted(call: BatchedCall): void;
  onAbandoned(call: BatchedCall): void;
}

/** One call of a caller, over all its attempts. */
export class BatchedCall extends Expiring implements RetriedCall {
  readonly init: BatchedCallInit;
  readonly isWrite: boolean;
  readonly #owner: BatchedCallOwner;
  /** Drawn at the first attempt and kept; 0 before, and for reads. */
  sequence = 0;
  attempts = 0;
  lost = false;
  reopened = false;
  unled: HoldfastError | undefined = undefined;
  refusedBy: Refusals | undefined = undefined;
  settled = false;
  /** Its answer is too large to come with others. */
  isAlone = false;
  /** The node it was sent to and not yet answered by. */
  outTo: string | undefined = undefined;

  constructor(init: BatchedCallInit, nowMs: number, owner: BatchedCallOwner) {
    super(nowMs + init.timeoutMs);
    this.init = init;
    this.isWrite = init.call.case !== 'get';
    this.#owner = owner;
    init.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  reopen(): void {
    const { call } = this.init;
    if (call.case !== 'get') call.value.sequence!.open = true;
  }

  /** It has ended; it may stay in lists for a while. */
  release(): void {
    this.settled = true;
    this.init.signal?.removeEventListener('abort', this.#onAbort);
  }

  override expire(): void {
    this.#owner.onExpired(this);
  }

  override abandon(): void {
    this.#owner.onAbandoned(this);
  }

  readonly #onAbort = () => this.#owner.onAborted(this);
}
