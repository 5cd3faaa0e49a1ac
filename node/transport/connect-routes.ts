/**
 * Serves handlers over Connect (JSON and binary) and gRPC-web with connect-node: for
 * browsers, and for curl on any method. Bidirectional streams need HTTP/2 and stay with
 * gRPC. Protocol matters are the library's; calls go through the edge like all others.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRegistry, type DescMethod, type DescService, type Message } from '@bufbuild/protobuf';
import {
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type ConnectRouter,
  type HandlerContext,
  type MethodImpl,
} from '@connectrpc/connect';
import type { UniversalHandler, UniversalServerResponse } from '@connectrpc/connect/protocol';
import {
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node';
import { HoldfastError } from '@holdfast/client/error';
import { ErrorSchema } from '@holdfast/proto/error/v1/error';
import { ErrorInfoSchema, RetryInfoSchema } from '@holdfast/proto/google/rpc/error_details';
import type { CallContext } from '../services/handler.ts';
import { connectError, unsupportedType } from './connect-error.ts';
import { MAX_BODY_BYTES } from './http-body.ts';
import { HttpCall, requestId } from './http-call.ts';
import type { PlainPort } from './plain-exchange.ts';

const MAX_TIMEOUT_MS = 300_000;

/** One request and its answer, as the library carries it to the handlers. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  requestBytes: number;
  call: HttpCall | undefined;
}

const EXCHANGE = createContextKey<Exchange | undefined>(undefined, { description: 'holdfast exchange' });

type UnaryHandler = (context: CallContext, request: Message) => Promise<Message>;
type StreamHandler = (context: CallContext, request: Message) => AsyncIterable<Message>;

export class ConnectRoutes {
  readonly #port: PlainPort;
  readonly #handlers = new Map<string, UniversalHandler>();

  constructor(port: PlainPort) {
    this.#port = port;
    const router = createConnectRouter({
      grpc: false,
      acceptCompression: [compressionGzip],
      readMaxBytes: MAX_BODY_BYTES,
      maxTimeoutMs: MAX_TIMEOUT_MS,
      // So that error details are shown readably beside their bytes.
      jsonOptions: { registry: createRegistry(ErrorSchema, ErrorInfoSchema, RetryInfoSchema) },
    });
    for (const { service, handlers } of port.services) this.#add(router, service, handlers);
    for (const handler of router.handlers) this.#handlers.set(handler.requestPath, handler);
  }

  /** Whether a path is a method's. */
  has(path: string): boolean {
    return this.#handlers.has(path);
  }

  /** Answers a request to a method. Errors: those of a connection that broke. */
  async serve(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const handler = this.#handlers.get(path)!;
    const id = requestId(request);
    if (id !== undefined) response.setHeader('X-Request-Id', id);
    request.headers.host = 'localhost'; // the library builds a URL with it, which fails on odd ones and none
    const exchange: Exchange = { request, response, requestBytes: 0, call: undefined };
    const values = createContextValues().set(EXCHANGE, exchange);
    const universal = universalRequestFromNodeRequest(request, response, undefined, values);
    // The library refuses bidirectional streams over HTTP/1.1 with a bare 505; our handler says what to do instead.
    const httpVersion = handler.method.methodKind === 'bidi_streaming' ? '2.0' : universal.httpVersion;
    const answer = await handler({ ...universal, httpVersion, body: this.#counted(exchange) });
    if (answer.status === 415) throw unsupportedType(handler.method);
    await universalResponseToNodeResponse(counted(answer, exchange), response);
  }

  async *#counted(exchange: Exchange): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of this.#port.bodies.chunks(exchange.request)) {
        exchange.requestBytes += chunk.length;
        yield chunk;
      }
    } catch (error) {
      throw error instanceof HoldfastError ? connectError(error) : error;
    }
  }

  #add(router: ConnectRouter, service: DescService, handlers: Readonly<Record<string, unknown>>): void {
    for (const method of service.methods) {
      router.rpc(method, this.#implementation(method, handlers[method.localName]) as MethodImpl<DescMethod>);
    }
  }

  #implementation(method: DescMethod, handler: unknown): unknown {
    switch (method.methodKind) {
      case 'unary':
        return (message: Message, context: HandlerContext) =>
          this.#unary(method, handler as UnaryHandler, message, context);
      case 'server_streaming':
        return (message: Message, context: HandlerContext) =>
          this.#stream(method, handler as StreamHandler, message, context);
      default:
        return () => refusing(method);
    }
  }

  async #unary(
    method: DescMethod,
    handler: UnaryHandler,
    message: Message,
    context: HandlerContext,
  ): Promise<Message> {
    try {
      const call = this.#admit(method, context);
      return await call.settle(handler(call.context, message));
    } catch (error) {
      throw this.#failed(method, context, error);
    }
  }

  async *#stream(
    method: DescMethod,
    handler: StreamHandler,
    message: Message,
    context: HandlerContext,
  ): AsyncGenerator<Message> {
    let parts: AsyncIterator<Message> | undefined;
    const stop = () => void parts?.return?.().then(undefined, () => undefined);
    try {
      const call = this.#admit(method, context);
      parts = handler(call.context, message)[Symbol.asyncIterator]();
      // When the caller leaves while its buffer is full, the library never asks for another part.
      call.context.signal.addEventListener('abort', stop, { once: true });
      for (;;) {
        const part = await call.settle(parts.next());
        if (part.done === true) return;
        yield part.value;
      }
    } catch (error) {
      throw this.#failed(method, context, error);
    } finally {
      stop();
    }
  }

  #admit({ parent, name, methodKind }: DescMethod, context: HandlerContext): HttpCall {
    const exchange = context.values.get(EXCHANGE)!;
    const { request, response, requestBytes } = exchange;
    const timeoutMs = context.timeoutMs();
    exchange.call = new HttpCall(this.#port, {
      request,
      response,
      method: `${parent.typeName}/${name}`,
      requestBytes,
      timeoutMs,
      isStream: methodKind !== 'unary',
    });
    return exchange.call;
  }

  #failed({ parent, name }: DescMethod, context: HandlerContext, error: unknown): ConnectError {
    const { call, request } = context.values.get(EXCHANGE)!;
    const ours =
      call?.fail(error) ??
      this.#port.edge.mapError(`${parent.typeName}/${name}`, requestId(request) ?? '', error);
    return connectError(ours);
  }
}

function counted(answer: UniversalServerResponse, exchange: Exchange): UniversalServerResponse {
  const { body } = answer;
  return body === undefined ? answer : { ...answer, body: countedBody(body, exchange) };
}

async function* countedBody(body: AsyncIterable<Uint8Array>, exchange: Exchange): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    // A streamed answer has its call only from the first part on.
    if (exchange.call !== undefined) exchange.call.responseBytes += chunk.length;
    yield chunk;
  }
}

/** Fails before it takes a message. */
function refusing({ parent, name }: DescMethod): AsyncIterable<Message> {
  const message =
    `${parent.typeName}/${name} is a stream in both directions, which this port does not serve. ` +
    'Nothing was done; use gRPC, or the methods for single calls and batches.';
  const error = new HoldfastError({ reason: 'UNIMPLEMENTED', message, outcome: 'NOT_APPLIED' });
  return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(connectError(error)) }) };
}
