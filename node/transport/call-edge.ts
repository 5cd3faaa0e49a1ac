/**
 * What every transport does with a call before and after its handler: context,
 * authorisation, admission by bytes, metrics, and errors turned into statuses.
 */
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { Random } from '@holdfast/client/random';
import type { Access } from '../services/access.ts';
import type { ByteBudget, CallContext } from '../services/handler.ts';
import { StandingBytes } from './standing-budget.ts';

/** Longest deadline of a call; a longer one is cut to it. */
const MAX_TIMEOUT_MS = 300_000;
/** Deadline of a call that brings none. */
const DEFAULT_TIMEOUT_MS = 5_000;
/** Calls that hold what they charge for as long as the caller likes, and which part of the budget they may hold together. */
const STANDING = /\/(?:Watch|Observe)$/;
const STANDING_PART = 0.5;

/** Says who calls. What the call needs is asked for later, when its request is known. */
export type Authoriser = (call: {
  readonly token: string | undefined;
  readonly authorization: string | undefined;
}) => Access;

/** One finished call, for metrics and logs. */
export interface CallRecord {
  readonly transport: 'grpc' | 'http';
  readonly method: string;
  readonly code: string;
  readonly durationMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly requestId: string;
}

export interface CallEdgeOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly authorise: Authoriser;
  /** Bound on the bytes of requests being handled. */
  readonly inFlightBytes: number;
  /** Why calls of a method are refused now, if they are. */
  readonly refusal: (method: string) => HoldfastError | undefined;
  readonly observe: (record: CallRecord) => void;
  /** An error that is not one of ours: a defect. */
  readonly onDefect: (method: string, requestId: string, error: unknown) => void;
}

/** What a transport knows of an arriving call. */
export interface ArrivingCall {
  readonly transport: 'grpc' | 'http';
  readonly method: string;
  readonly requestBytes: number;
  /** What its bytes are charged against; default: the node's budget alone. */
  readonly budget?: ByteBudget;
  readonly timeoutMs: number | undefined;
  /** A stream without a deadline may take as long as the longest. */
  readonly isStream?: boolean;
  /** Value of the header `holdfast-routes`, which says `1`: the caller finds leaders itself. */
  readonly routes: string | undefined;
  readonly requestId: string | undefined;
  readonly traceparent: string | undefined;
  /** Headers `token` and `authorization`. */
  readonly token: string | undefined;
  readonly authorization: string | undefined;
  /** Address of the caller, without its port. */
  readonly peer: () => string;
}

/** A call that was let in. Exactly one `end` follows. */
export interface AdmittedCall {
  readonly context: CallContext;
  /** The caller is gone. */
  cancel(): void;
  /** Gives the call's bytes back and records it. */
  end(code: string, responseBytes: number): void;
}

export class CallEdge {
  readonly #options: CallEdgeOptions;
  readonly #standing: StandingBytes;
  #inFlightBytes = 0;
  #inFlight = 0;
  #idle: (() => void)[] = [];

  constructor(options: CallEdgeOptions) {
    this.#options = options;
    this.#standing = new StandingBytes(options.inFlightBytes * STANDING_PART);
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** The bytes that streams hold, charged against the same bound. */
  readonly budget: ByteBudget = {
    tryTake: (bytes) => {
      if (this.#inFlightBytes + bytes > this.#options.inFlightBytes && this.#inFlightBytes > 0) return false;
      this.#inFlightBytes += bytes;
      return true;
    },
    give: (bytes) => {
      this.#inFlightBytes -= bytes;
    },
    refusal: () => this.#overloaded(),
  };

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Lets a call in. Errors: OVERLOADED, SHUTTING_DOWN, STARTING, those of the authoriser. */
  admit(call: ArrivingCall): AdmittedCall {
    const { clock, random, authorise, refusal } = this.#options;
    const refused = refusal(call.method);
    if (refused !== undefined) throw refused;
    const access = authorise(call);
    const budget = call.budget ?? this.budget;
    if (!budget.tryTake(call.requestBytes)) throw budget.refusal();
    const startedMs = clock.monotonicMs();
    const timeoutMs = Math.min(
      call.timeoutMs ?? (call.isStream ? MAX_TIMEOUT_MS : DEFAULT_TIMEOUT_MS),
      MAX_TIMEOUT_MS,
    );
    const requestId = call.requestId ?? Buffer.from(random.bytes(8)).toString('hex');
    // Made for who asks: most calls end without a look at it.
    let controller: AbortController | undefined;
    this.#inFlight++;
    let isCancelled = false;
    let ended = false;
    return {
      context: {
        deadlineMs: startedMs + timeoutMs,
        get signal() {
          controller ??= new AbortController();
          if (isCancelled && !controller.signal.aborted) controller.abort(cancelled());
          return controller.signal;
        },
        isRouted: call.routes === '1',
        principal: access.name,
        access,
        grant: access,
        peer: call.peer,
        requestId,
        traceparent: call.traceparent,
        budget: STANDING.test(call.method) ? this.#standing.of(budget) : budget,
      },
      cancel: () => {
        if (ended) return; // told of every call that is over
        isCancelled = true;
        controller?.abort(cancelled());
      },
      end: (code, responseBytes) => {
        if (ended) return;
        ended = true;
        budget.give(call.requestBytes);
        this.#release();
        const durationMs = clock.monotonicMs() - startedMs;
        const { transport, method, requestBytes } = call;
        this.#options.observe({
          transport,
          method,
          code,
          durationMs,
          requestBytes,
          responseBytes,
          requestId,
        });
      },
    };
  }

  /** Whatever a handler threw, as an error of ours. */
  mapError(method: string, requestId: string, error: unknown): HoldfastError {
    if (error instanceof HoldfastError) return error;
    this.#options.onDefect(method, requestId, error);
    return new HoldfastError({
      reason: 'INTERNAL',
      message: `the node failed to handle the call; its log has the cause under request id ${requestId}`,
      outcome: 'UNKNOWN',
    });
  }

  /** Resolves when no call is being handled. */
  async drained(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #release(): void {
    this.#inFlight--;
    if (this.#inFlight === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #overloaded(): HoldfastError {
    const { inFlightBytes } = this.#options;
    return new HoldfastError({
      reason: 'OVERLOADED',
      message: `requests of ${this.#inFlightBytes} bytes are being handled, limit ${inFlightBytes}. Nothing was done; try again later.`,
      outcome: 'NOT_APPLIED',
      actual: String(this.#inFlightBytes),
      limit: String(inFlightBytes),
      retryAfterMs: 100,
    });
  }
}

/** What a handler that goes on waiting is told; nobody hears its answer. */
function cancelled(): HoldfastError {
  return new HoldfastError({ reason: 'CANCELLED', message: 'the caller has given up the call' });
}
