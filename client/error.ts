import { type Reason, reasonInfo, StatusCode, type StatusName, statusName } from './reasons.ts';

/** What became of a write that ended in an error. */
export type Outcome = 'NOT_APPLIED' | 'UNKNOWN';

/** What a HoldfastError is made of. */
export interface HoldfastErrorInit {
  /** Stable cause. Reasons of newer nodes are kept as they came. */
  reason: Reason | (string & {});
  /** For people: what was wrong, actual and allowed value, what happened to the data, what to do. */
  message: string;
  /** For writes: what became of it. */
  outcome?: Outcome | undefined;
  /** The offending field, as written in the proto file. */
  field?: string | undefined;
  /** The offending value. */
  actual?: string | undefined;
  /** What is allowed. */
  limit?: string | undefined;
  /** Least time to wait before the next attempt, in milliseconds. */
  retryAfterMs?: number | undefined;
  /** With a mismatch or KEY_EXISTS: the version the key has now; absent when there is no such key. */
  currentVersion?: bigint | undefined;
  /** With NOT_LEADER: where the leader takes calls. */
  leader?: string | undefined;
  /** What lies behind it. */
  cause?: unknown;
  /** gRPC status number; used only for a reason that is not in the table. */
  code?: number | undefined;
}

/**
 * Everything Holdfast refuses or fails with, in the client and in the node. Programs
 * look at `reason` (the cause) or `code` (its class), and for writes at `outcome`;
 * people read `message`, which always ends with the reason in brackets.
 */
export class HoldfastError extends Error {
  override readonly name = 'HoldfastError';
  /** Stable cause, such as `VERSION_MISMATCH`; see `REASONS`. */
  readonly reason: Reason | (string & {});
  /** gRPC status by name, such as `ABORTED`. */
  readonly code: StatusName;
  /**
   * For writes. `NOT_APPLIED`: it did not happen and never will. `UNKNOWN`: it may have
   * happened, or may still happen. Undefined when the call was not a write.
   */
  readonly outcome: Outcome | undefined;
  /** The offending field, as written in the proto file. */
  readonly field: string | undefined;
  /** The offending value. */
  readonly actual: string | undefined;
  /** What is allowed. */
  readonly limit: string | undefined;
  /** Least time to wait before the next attempt, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** With VERSION_MISMATCH, VALUE_MISMATCH, KEY_EXISTS: what the key is now; undefined: it does not exist. */
  readonly current: { readonly version: bigint } | undefined;
  /** With NOT_LEADER: where the leader takes calls, as `host:port`; undefined: not known. */
  readonly leader: string | undefined;

  constructor(init: HoldfastErrorInit) {
    super(
      withReason(init.message, init.reason),
      init.cause === undefined ? undefined : { cause: init.cause },
    );
    this.reason = init.reason;
    this.code = statusName(reasonInfo(init.reason)?.code ?? init.code ?? StatusCode.UNKNOWN);
    this.outcome = init.outcome;
    this.field = init.field;
    this.actual = init.actual;
    this.limit = init.limit;
    this.retryAfterMs = init.retryAfterMs;
    this.current = init.currentVersion === undefined ? undefined : { version: init.currentVersion };
    this.leader = init.leader;
  }

  /** The same error with another outcome: who knows whether a write was sent says so. */
  withOutcome(outcome: Outcome | undefined): HoldfastError {
    if (outcome === this.outcome) return this;
    return new HoldfastError({
      reason: this.reason,
      code: StatusCode[this.code],
      message: this.message,
      outcome,
      field: this.field,
      actual: this.actual,
      limit: this.limit,
      retryAfterMs: this.retryAfterMs,
      currentVersion: this.current?.version,
      leader: this.leader,
      cause: this.cause,
    });
  }
}

function withReason(message: string, reason: string): string {
  const suffix = ` [${reason}]`;
  return message.endsWith(suffix) ? message : message + suffix;
}
