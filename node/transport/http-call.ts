/**
 * One call over HTTP, from admission until its answer is sent or its connection gone.
 * The plain resources and Connect share it, so that limits, deadlines and metrics are
 * the same. The call ends with the answer, not with the handler: a caller that reads
 * slowly keeps the call's bytes charged, and loses the connection after the deadline.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock, Timer } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { MAX_TOKEN_CHARACTERS } from '../coordination/tokens.ts';
import type { CallContext } from '../services/handler.ts';
import type { AdmittedCall, CallEdge } from './call-edge.ts';

/** Time that an answer has to leave the node after the call's deadline. */
const GRACE_MS = 1_000;
const VISIBLE_ASCII = /^[\x21-\x7e]{1,256}$/;
const READS = /\/(Get|BatchGet|Scan|Describe|List)[A-Za-z]*$/;

/** What calls over HTTP need of the node. */
export interface HttpCallPort {
  readonly edge: CallEdge;
  readonly clock: Clock;
}

/** What is known of an arriving call. */
export interface HttpCallInit {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** `holdfast.kv.v1.KvService/Put`. */
  readonly method: string;
  readonly requestBytes: number;
  readonly timeoutMs: number | undefined;
  readonly isStream: boolean;
}

export class HttpCall {
  readonly context: CallContext;
  /** Bytes of the answer so far; whoever writes it counts. */
  responseBytes = 0;
  readonly #port: HttpCallPort;
  readonly #init: HttpCallInit;
  readonly #admitted: AdmittedCall;
  readonly #over = Promise.withResolvers<never>();
  #timer: Timer;
  #code = 'OK';

  /** Lets the call in. Errors: those of `CallEdge.admit`; CANCELLED when the caller has left. */
  constructor(port: HttpCallPort, init: HttpCallInit) {
    if (init.response.closed) throw this.#cancelled('NOT_APPLIED');
    this.#port = port;
    this.#init = init;
    const { headers } = init.request;
    this.#admitted = port.edge.admit({
      transport: 'http',
      method: init.method,
      requestBytes: init.requestBytes,
      timeoutMs: init.timeoutMs,
      isStream: init.isStream,
      routes: textHeader(headers['holdfast-routes']),
      requestId: requestId(init.request),
      traceparent: textHeader(headers['traceparent']),
      token: textHeader(headers['token']),
      authorization: textHeader(headers.authorization),
      peer: () => init.request.socket.remoteAddress ?? '',
    });
    this.context = this.#admitted.context;
    this.#over.promise.catch(() => undefined); // often nobody waits for it any more
    if (!init.response.headersSent) init.response.setHeader('X-Request-Id', this.context.requestId);
    const leftMs = this.context.deadlineMs - port.clock.monotonicMs();
    this.#timer = port.clock.setTimer(leftMs, () => this.#onDeadline());
    init.response.once('close', () => this.#onClose());
  }

  /** What `work` gives, unless the deadline passes or the caller leaves before. */
  settle<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#over.promise]);
  }

  /** Whatever went wrong, as an error of ours; it becomes the code of the call. */
  fail(error: unknown): HoldfastError {
    const ours = this.#port.edge.mapError(this.#init.method, this.context.requestId, error);
    this.#code = ours.code;
    return READS.test(this.#init.method) ? ours.withOutcome(undefined) : ours;
  }

  #onDeadline(): void {
    const message = 'the call was not done by its deadline; a write may still be applied.';
    this.#over.reject(new HoldfastError({ reason: 'DEADLINE_EXCEEDED', message, outcome: 'UNKNOWN' }));
    this.#admitted.cancel();
    this.#timer = this.#port.clock.setTimer(GRACE_MS, () => this.#init.response.destroy());
  }

  #onClose(): void {
    this.#timer.cancel();
    if (!this.#init.response.writableFinished) {
      if (this.#code === 'OK') this.#code = 'CANCELLED';
      this.#over.reject(this.#cancelled('UNKNOWN'));
      this.#admitted.cancel();
    }
    this.#admitted.end(this.#code, this.responseBytes);
  }

  #cancelled(outcome: 'NOT_APPLIED' | 'UNKNOWN'): HoldfastError {
    return new HoldfastError({ reason: 'CANCELLED', message: 'the caller has left.', outcome });
  }
}

/** The id that the caller gave its request. */
export function requestId({ headers }: IncomingMessage): string | undefined {
  const id = textHeader(headers['x-request-id']);
  return id !== undefined && VISIBLE_ASCII.test(id) ? id : undefined;
}

function textHeader(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value.slice(0, MAX_TOKEN_CHARACTERS + 16) : undefined;
}
