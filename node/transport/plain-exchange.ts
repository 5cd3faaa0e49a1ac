/** One request to a plain resource and its answer: what the routes have in common. */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageShape,
} from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import type { CallContext, MessageStream, ServedService } from '../services/handler.ts';
import type { BodyReader } from './http-body.ts';
import { HttpCall, requestId, type HttpCallPort } from './http-call.ts';
import {
  HttpRefusal,
  errorHeaders,
  errorJson,
  httpStatus,
  malformed,
  type Conditions,
} from './http-error.ts';
import { OneSidedStream } from './one-sided-stream.ts';
import { Query } from './plain-query.ts';

/** What plain resources need of the node. */
export interface PlainPort extends HttpCallPort {
  readonly services: readonly ServedService[];
  readonly bodies: BodyReader;
}

type UnaryHandler<I extends DescMessage, O extends DescMessage> = (
  context: CallContext,
  request: MessageShape<I>,
) => Promise<MessageShape<O>>;
type StreamHandler<I extends DescMessage, O extends DescMessage> = (
  context: CallContext,
  request: MessageShape<I>,
) => AsyncIterable<MessageShape<O>>;

type PlainMethod = DescMethodUnary | DescMethodServerStreaming | DescMethodBiDiStreaming;

export class PlainExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly #port: PlainPort;
  readonly #rawQuery: string;
  #timeoutMs: number | undefined;
  #body: Buffer | undefined;
  #call: HttpCall | undefined;

  constructor(port: PlainPort, request: IncomingMessage, response: ServerResponse, rawQuery: string) {
    this.#port = port;
    this.request = request;
    this.response = response;
    this.#rawQuery = rawQuery;
    const id = requestId(request);
    if (id !== undefined) response.setHeader('X-Request-Id', id);
  }

  /** The query, of which the route knows these parameters, and every route `timeout`. */
  query(...known: string[]): Query {
    const query = new Query(this.#rawQuery, [...known, 'timeout']);
    this.#timeoutMs = this.#timeout(query);
    return query;
  }

  /** The conditional headers that there are. */
  get conditions(): Conditions {
    const { headers } = this.request;
    return {
      ifMatch: headers['if-match'] !== undefined,
      ifNoneMatch: headers['if-none-match'] !== undefined,
    };
  }

  async body(): Promise<Buffer> {
    this.#body = await this.#port.bodies.read(this.request);
    return this.#body;
  }

  /** Calls a unary handler. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
  ): Promise<MessageShape<O>> {
    const handler = this.#handler(method) as UnaryHandler<I, O>;
    const call = this.#admit(method);
    return call.settle(handler(call.context, request));
  }

  /** Calls a streaming handler. Its answers stop with an error at the deadline, and when the caller leaves. */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageShape<I>,
  ): AsyncGenerator<MessageShape<O>> {
    const handler = this.#handler(method) as StreamHandler<I, O>;
    const call = this.#admit(method);
    const parts = handler(call.context, request)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const part = await call.settle(parts.next());
        if (part.done === true) return;
        yield part.value;
      }
    } finally {
      // Not awaited: a handler that hangs must not hang the answer.
      parts.return?.().then(undefined, () => undefined);
    }
  }

  /** Opens a stream both ways with a handler, says one thing, and gives what is answered until it ends. */
  async *converse(method: DescMethodBiDiStreaming, said: Uint8Array): AsyncGenerator<Uint8Array> {
    const handler = this.#handler(method) as (context: CallContext, stream: MessageStream) => void;
    const call = this.#admit(method);
    const stream = new OneSidedStream();
    try {
      handler(call.context, stream);
      stream.say(said);
      for (;;) {
        const message = await call.settle(stream.next());
        if (message === undefined) return;
        yield message;
      }
    } finally {
      stream.close();
    }
  }

  /** Sends a part of the answer; resolves when the caller has room for more, or fails when it does not take it in time. */
  async write(bytes: Buffer): Promise<void> {
    const call = this.#call!;
    call.responseBytes += bytes.length;
    if (this.response.write(bytes)) return;
    await call.settle(new Promise<void>((resolve) => this.response.once('drain', resolve)));
  }

  json(status: number, value: object, headers: OutgoingHttpHeaders = {}): void {
    this.send(status, Buffer.from(`${JSON.stringify(value)}\n`), {
      'Content-Type': 'application/json',
      ...headers,
    });
  }

  send(status: number, body: Uint8Array, headers: OutgoingHttpHeaders): void {
    const isEmpty = this.request.method === 'HEAD' || status === 304;
    if (this.#call !== undefined && !isEmpty) this.#call.responseBytes += body.length;
    this.response.writeHead(status, status === 304 ? headers : { ...headers, 'Content-Length': body.length });
    this.response.end(isEmpty ? undefined : body);
  }

  /** Answers with an error; if the answer has begun, its last line says it and the connection is cut. */
  fail(thrown: unknown): void {
    if (this.response.destroyed) return; // the caller has left, which is often why something failed
    const error = this.#asOurs(thrown);
    if (this.response.headersSent) {
      this.response.write(`${JSON.stringify(errorJson(error))}\n`, () => this.response.destroy());
      return;
    }
    const status = thrown instanceof HttpRefusal ? thrown.status : httpStatus(error, this.conditions);
    const headers = thrown instanceof HttpRefusal ? thrown.headers : errorHeaders(error, status);
    this.json(status, errorJson(error), headers);
  }

  #asOurs(thrown: unknown): HoldfastError {
    if (thrown instanceof HttpRefusal) return thrown.error;
    if (this.#call !== undefined) return this.#call.fail(thrown);
    const error = this.#port.edge.mapError(
      `${this.request.method} ${this.request.url}`,
      requestId(this.request) ?? '',
      thrown,
    );
    const isRead = this.request.method === 'GET' || this.request.method === 'HEAD';
    return isRead ? error.withOutcome(undefined) : error;
  }

  #admit({ parent, name, methodKind }: PlainMethod): HttpCall {
    this.#call = new HttpCall(this.#port, {
      request: this.request,
      response: this.response,
      method: `${parent.typeName}/${name}`,
      requestBytes: this.#body?.length ?? 0,
      timeoutMs: this.#timeoutMs,
      isStream: methodKind !== 'unary',
    });
    return this.#call;
  }

  #handler({ parent, name, localName }: PlainMethod): unknown {
    const served = this.#port.services.find(({ service }) => service.typeName === parent.typeName);
    if (served !== undefined) return served.handlers[localName];
    const message = `this node does not serve ${parent.typeName}/${name}. Nothing was done.`;
    throw new HoldfastError({ reason: 'UNIMPLEMENTED', message, outcome: 'NOT_APPLIED' });
  }

  #timeout(query: Query): number | undefined {
    const header = this.request.headers['holdfast-timeout-ms'];
    if (header === undefined) return positive(query.duration('timeout'), 'timeout');
    if (query.has('timeout'))
      throw malformed('timeout', 'the timeout stands in both the query and Holdfast-Timeout-Ms; give one.');
    if (typeof header === 'string' && /^\d{1,12}$/.test(header))
      return positive(Number(header), 'Holdfast-Timeout-Ms');
    throw malformed(
      'Holdfast-Timeout-Ms',
      'Holdfast-Timeout-Ms is not a whole number of milliseconds.',
      String(header).slice(0, 80),
      '1..300000',
    );
  }
}

/** Longer timeouts than the longest are cut to it, as over gRPC. */
function positive(timeoutMs: number | undefined, field: string): number | undefined {
  if (timeoutMs !== 0) return timeoutMs;
  throw malformed(field, `${field} is 0, allowed are 1 ms to 5 minutes.`, '0', '1..300000');
}
