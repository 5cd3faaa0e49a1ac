/**
 * One stream of `BrokerService.ProduceStream`: takes requests, and answers each by itself.
 *
 *  1. Every request that is taken is answered once, unless the stream is gone.
 *  2. What is taken and unanswered is bounded in bytes: above it, and while the caller does not
 *     read its answers, no more is taken.
 *  3. Requests are handed on in the order in which they came.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import {
  ProduceResponseSchema,
  ProduceStreamRequestSchema,
  ProduceStreamResponseSchema,
  type ProduceRequest,
  type ProduceResult,
  type ProduceStreamRequest,
} from '@holdfast/proto/broker/v1/broker';
import { DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS } from '../kv/limits.ts';
import { refuse } from '../broker/topic-limits.ts';
import { produceError } from './broker-messages.ts';
import type { CallContext, MessageStream } from './handler.ts';

/** Bytes of one stream that may be unanswered. */
const MAX_UNANSWERED_BYTES = 32 * 1024 * 1024;
const MAX_UNANSWERED = 4_096;
/** What a request holds in memory besides its bytes, about. */
const REQUEST_BYTES = 512;

export type ProduceContext = Pick<CallContext, 'deadlineMs' | 'isRouted' | 'access'>;

export interface ProduceStreamOptions {
  readonly clock: Clock;
  /** Aborted when the node is to stop: streams take no more, answer what they took, and end. */
  readonly stopping: AbortSignal;
  /** One result a partition. */
  readonly produce: (request: ProduceRequest, context: ProduceContext) => Promise<ProduceResult[]>;
}

export class ProduceStream {
  readonly #options: ProduceStreamOptions;
  readonly #stream: MessageStream;
  readonly #context: Pick<CallContext, 'budget' | 'isRouted' | 'access'>;
  #unanswered = 0;
  #unansweredBytes = 0;
  #isBlocked = false;
  #isPaused = false;
  /** The caller sends no more, or the node stops. */
  #hasEnded = false;
  #isClosed = false;

  constructor(
    options: ProduceStreamOptions,
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
      this.#context.budget.give(this.#unansweredBytes);
      stopping.removeEventListener('abort', end);
    });
    if (stopping.aborted) end();
  }

  #take(bytes: Buffer): void {
    const { id, request, timeoutMs } = decode(bytes);
    const held = bytes.length + REQUEST_BYTES;
    const { budget, isRouted, access } = this.#context;
    if (request === undefined) throw malformed(bytes);
    const refuseAll = (error: unknown) =>
      this.#answer(
        id,
        request.partitions.map(() => produceError(error)),
      );
    if (!budget.tryTake(held)) return refuseAll(budget.refusal().withOutcome('NOT_APPLIED'));
    this.#count(1, held);
    const done = (answer: () => void) => {
      if (this.#isClosed) return;
      budget.give(held);
      this.#count(-1, -held);
      answer();
      this.#throttle();
      this.#endIfDone();
    };
    const produce = () => {
      const deadlineMs = this.#options.clock.monotonicMs() + timeoutOf(timeoutMs);
      return this.#options.produce(request, { deadlineMs, isRouted, access });
    };
    settle(produce).then(
      (results) => done(() => this.#answer(id, results)),
      (error: unknown) => done(() => refuseAll(error)),
    );
    this.#throttle();
  }

  #answer(id: bigint, results: readonly ProduceResult[]): void {
    if (this.#isClosed) return;
    const response = create(ProduceResponseSchema, { results: [...results] });
    const message = create(ProduceStreamResponseSchema, { id, response });
    this.#isBlocked = !this.#stream.send(toBinary(ProduceStreamResponseSchema, message));
    this.#throttle();
  }

  #count(requests: number, bytes: number): void {
    this.#unanswered += requests;
    this.#unansweredBytes += bytes;
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
    if (this.#hasEnded && this.#unanswered === 0 && !this.#isClosed) this.#stream.end();
  }
}

/** What is thrown at once is a rejection too. Invariant 3: nothing is put off. */
function settle<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call();
  } catch (error) {
    return Promise.reject(error as Error);
  }
}

/** In milliseconds. Error: INVALID_FIELD. */
function timeoutOf(timeoutMs: number): number {
  if (timeoutMs <= MAX_DEADLINE_MS) return timeoutMs === 0 ? DEFAULT_DEADLINE_MS : timeoutMs;
  const message = `timeout_ms is ${timeoutMs}, limit ${MAX_DEADLINE_MS}. Nothing was kept.`;
  throw refuse('INVALID_FIELD', 'timeout_ms', message, String(timeoutMs), `0..${MAX_DEADLINE_MS}`);
}

/** What is no message ends the stream, for nobody can say what it was to do. */
function decode(bytes: Buffer): ProduceStreamRequest {
  try {
    return fromBinary(ProduceStreamRequestSchema, bytes);
  } catch (cause) {
    throw malformed(bytes, cause);
  }
}

function malformed(bytes: Buffer, cause?: unknown): HoldfastError {
  const message = `the ${bytes.length} bytes of the message are not a holdfast.broker.v1.ProduceStreamRequest with a request. Nothing of it was done.`;
  return new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, outcome: 'NOT_APPLIED', cause });
}
