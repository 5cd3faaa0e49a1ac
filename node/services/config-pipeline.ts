/**
 * One stream of `ConfigService.Pipeline`: takes batches of calls, and answers each by itself.
 *
 *  1. Every batch that is taken is answered once, unless the stream is gone.
 *  2. What is taken and unanswered is bounded: above it, and while the caller does not read its
 *     answers, no more is taken.
 */
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { errorFromMessage, errorToMessage } from '@holdfast/client/error-mapping';
import {
  PipelineRequestSchema,
  PipelineResponseSchema,
  type Call,
  type CallResult,
  type PipelineRequest,
} from '@holdfast/proto/config/v1/config';
import {
  DEFAULT_DEADLINE_MS,
  MAX_BATCH_OPERATIONS,
  MAX_DEADLINE_MS,
  checkBatch,
  refuse,
} from '../kv/limits.ts';
import type { CallContext, MessageStream } from './handler.ts';
import { asHoldfastError } from './kv-messages.ts';

/** Calls of one stream that may be unanswered. */
const MAX_UNANSWERED = 4 * MAX_BATCH_OPERATIONS;
/** Their bytes. */
const MAX_UNANSWERED_BYTES = 16 * 1024 * 1024;
/** What a call holds in memory besides its bytes, about. */
const CALL_BYTES = 256;

/** What a batch has in common. */
export type BatchContext = Pick<CallContext, 'deadlineMs' | 'isRouted' | 'access' | 'budget'>;

/** Does a batch: one result a call. */
export type DoBatch = (calls: readonly Call[], context: BatchContext) => Promise<CallResult[]>;

export interface ConfigPipelineOptions {
  readonly clock: Clock;
  /** Aborted when the node is to stop: streams take no more, answer what they took, and end. */
  readonly stopping: AbortSignal;
  readonly batch: DoBatch;
  /** Told of each call: which, its gRPC status, and how long it took. */
  readonly observe: (operation: string, code: string, durationMs: number) => void;
}

export class ConfigPipeline {
  readonly #options: ConfigPipelineOptions;
  readonly #stream: MessageStream;
  readonly #context: Pick<CallContext, 'budget' | 'isRouted' | 'access'>;
  #unanswered = 0;
  #unansweredBytes = 0;
  /** Bytes that the node's budget was charged. */
  #charged = 0;
  #isBlocked = false;
  #isPaused = false;
  /** The caller sends no more, or the node stops. */
  #hasEnded = false;
  /** Undefined: well. */
  #endsWith: HoldfastError | undefined;
  #isClosed = false;

  constructor(
    options: ConfigPipelineOptions,
    stream: MessageStream,
    context: Pick<CallContext, 'budget' | 'isRouted' | 'access'>,
  ) {
    this.#options = options;
    this.#stream = stream;
    this.#context = context;
    const { stopping } = options;
    stream.onMessage((message) => this.#take(message));
    stream.onDrain(() => {
      this.#isBlocked = false;
      this.#throttle();
    });
    const end = () => {
      this.#hasEnded = true;
      this.#throttle();
      this.#endIfDone();
    };
    stream.onEnd(end);
    stopping.addEventListener('abort', end);
    stream.onClose(() => {
      this.#isClosed = true;
      this.#context.budget.give(this.#charged);
      stopping.removeEventListener('abort', end);
    });
    if (stopping.aborted) end();
  }

  #take(bytes: Buffer): void {
    const request = decode(bytes);
    const { id, calls } = request;
    const startedMs = this.#options.clock.monotonicMs();
    const held = bytes.length + calls.length * CALL_BYTES;
    let deadlineMs: number;
    try {
      this.#checkCaller();
      checkBatch(calls.length, bytes.length, 'calls');
      deadlineMs = startedMs + timeoutOf(request);
      if (!this.#context.budget.tryTake(held)) throw this.#context.budget.refusal();
    } catch (error) {
      return this.#send({ id, error: errorToMessage(asHoldfastError(error).withOutcome('NOT_APPLIED')) });
    }
    this.#count(calls.length, held);
    this.#throttle();
    const done = (response: MessageInitShape<typeof PipelineResponseSchema>) => {
      if (this.#isClosed) return;
      this.#context.budget.give(held);
      this.#count(-calls.length, -held);
      this.#send(response);
      this.#throttle();
      this.#endIfDone();
    };
    const { isRouted, access, budget } = this.#context;
    this.#options.batch(calls, { deadlineMs, isRouted, access, budget }).then(
      (results) => {
        this.#observe(calls, results, startedMs);
        done({ id, results });
      },
      (error: unknown) => done({ id, error: errorToMessage(asHoldfastError(error)) }),
    );
  }

  /** A caller that is none any more is answered, and then the stream ends: another one begins with a login. */
  #checkCaller(): void {
    try {
      this.#context.access.requireLogin();
    } catch (error) {
      this.#endsWith = asHoldfastError(error);
      this.#hasEnded = true;
      this.#options.clock.afterTurn(() => this.#endIfDone());
      throw error;
    }
  }

  #observe(calls: readonly Call[], results: readonly CallResult[], startedMs: number): void {
    const { clock, observe } = this.#options;
    const durationMs = clock.monotonicMs() - startedMs;
    for (const [at, { result }] of results.entries()) {
      const code = result.case === 'error' ? errorFromMessage(result.value).code : 'OK';
      observe(`config_${calls[at]!.call.case ?? 'unknown'}`, code, durationMs);
    }
  }

  #count(calls: number, bytes: number): void {
    this.#unanswered += calls;
    this.#unansweredBytes += bytes;
    this.#charged += bytes;
  }

  #send(response: MessageInitShape<typeof PipelineResponseSchema>): void {
    if (this.#isClosed) return;
    const message = create(PipelineResponseSchema, response);
    this.#isBlocked = !this.#stream.send(toBinary(PipelineResponseSchema, message));
    this.#throttle();
  }

  /** Invariant 2. */
  #throttle(): void {
    const isFull =
      this.#hasEnded ||
      this.#isBlocked ||
      this.#unanswered >= MAX_UNANSWERED ||
      this.#unansweredBytes >= MAX_UNANSWERED_BYTES;
    if (isFull === this.#isPaused || this.#isClosed) return;
    this.#isPaused = isFull;
    if (isFull) this.#stream.pause();
    else this.#stream.resume();
  }

  #endIfDone(): void {
    if (this.#hasEnded && this.#unanswered === 0 && !this.#isClosed) this.#stream.end(this.#endsWith);
  }
}

/** In milliseconds. Error: INVALID_FIELD. */
function timeoutOf({ timeoutMs }: PipelineRequest): number {
  if (timeoutMs <= MAX_DEADLINE_MS) return timeoutMs === 0 ? DEFAULT_DEADLINE_MS : timeoutMs;
  const message = `timeout_ms is ${timeoutMs}, limit ${MAX_DEADLINE_MS}. Nothing was done.`;
  throw refuse('INVALID_FIELD', 'timeout_ms', message, String(timeoutMs), `0..${MAX_DEADLINE_MS}`);
}

/** What is no message ends the stream, for nobody can say which calls it had. */
function decode(bytes: Buffer): PipelineRequest {
  try {
    return fromBinary(PipelineRequestSchema, bytes);
  } catch (cause) {
    const message = `the ${bytes.length} bytes of the message are not a holdfast.config.v1.PipelineRequest. Nothing of it was done.`;
    throw new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, outcome: 'NOT_APPLIED', cause });
  }
}
