/**
 * Serves handlers over gRPC with grpc-js. protobuf-es emits no definitions for
 * grpc-js, so they are made here from the descriptors, for any service.
 */
import { fromBinary, toBinary, type DescMessage, type DescMethod, type Message } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import { HoldfastError } from '@holdfast/client/error';
import { StatusCode } from '@holdfast/client/reasons';
import { MAX_TOKEN_CHARACTERS } from '../coordination/tokens.ts';
import type { CallContext, MessageStream, ServedService } from '../services/handler.ts';
import type { AdmittedCall, ArrivingCall, CallEdge } from './call-edge.ts';
import { errorStatus } from './error-status.ts';
import { type ArrivalContext, type CallCutCause, GrpcCalls } from './grpc-calls.ts';

/** Largest message taken: a full batch and its frame. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Answers of one stream that may wait in the transport. */
const SEND_QUEUE_BYTES = 4 * 1024 * 1024;

/** A connection on which nothing was called for so long is closed; clients open another when they need it. */
const IDLE_MS = 3_600_000;

type Anything = Message & Record<string, unknown>;

/** grpc-js with our limits and no services. */
export function createGrpcCalls(onCut: (cause: CallCutCause) => void): GrpcCalls {
  const options = {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': 20_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.max_connection_idle_ms': IDLE_MS,
    'grpc.enable_channelz': 0,
  };
  return new GrpcCalls(options, onCut);
}

/** Adds a service to a server. */
export function addService(server: grpc.Server, edge: CallEdge, { service, handlers }: ServedService): void {
  const definition: Record<string, grpc.MethodDefinition<Buffer, Buffer>> = {};
  const implementation: grpc.UntypedServiceImplementation = {};
  for (const method of service.methods) {
    const handler = handlers[method.localName];
    definition[method.localName] = methodDefinition(method);
    implementation[method.localName] = adapt(method, handler, edge);
  }
  server.addService(definition, implementation);
}

/** Messages cross grpc-js as bytes; they are decoded here, where an error can be a clear one. */
function methodDefinition(method: DescMethod): grpc.MethodDefinition<Buffer, Buffer> {
  const asIs = (bytes: Buffer) => bytes;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  };
}

function adapt(method: DescMethod, handler: unknown, edge: CallEdge): grpc.UntypedHandleCall {
  switch (method.methodKind) {
    case 'unary':
      return unary(method, handler as UnaryHandler, edge);
    case 'server_streaming':
      return serverStreaming(method, handler as ServerStreamingHandler, edge);
    case 'bidi_streaming':
      return bidiStreaming(method, handler as BidiHandler, edge);
    default:
      throw new Error(`${method.name}: ${method.methodKind} methods are not served`);
  }
}

type UnaryHandler = (context: CallContext, request: Message) => Promise<Message>;
type ServerStreamingHandler = (context: CallContext, request: Message) => AsyncIterable<Message>;
type BidiHandler = (context: CallContext, stream: MessageStream) => void;

function unary(
  method: DescMethod,
  handler: UnaryHandler,
  edge: CallEdge,
): grpc.handleUnaryCall<Buffer, Buffer> {
  return (call, callback) => {
    let admitted: AdmittedCall | undefined;
    const fail = (error: unknown) => {
      const ours = edge.mapError(method.name, admitted?.context.requestId ?? '', error);
      callback(serviceError(ours));
      admitted?.end(ours.code, 0);
    };
    try {
      admitted = edge.admit(arriving(method, call, call.request.length));
      const { context, end, cancel } = admitted;
      call.on('cancelled', cancel);
      handler(context, decode(method.input, call.request))
        .then((response) => {
          const bytes = encode(method.output, response);
          callback(null, bytes);
          end('OK', bytes.length);
        })
        .catch(fail);
    } catch (error) {
      fail(error);
    }
  };
}

function serverStreaming(
  method: DescMethod,
  handler: ServerStreamingHandler,
  edge: CallEdge,
): grpc.handleServerStreamingCall<Buffer, Buffer> {
  return (call) => void streamResponses(method, handler, edge, call);
}

async function streamResponses(
  method: DescMethod,
  handler: ServerStreamingHandler,
  edge: CallEdge,
  call: grpc.ServerWritableStream<Buffer, Buffer>,
): Promise<void> {
  let admitted: AdmittedCall | undefined;
  let sent = 0;
  try {
    admitted = edge.admit({ ...arriving(method, call, call.request.length), isStream: true });
    call.on('cancelled', admitted.cancel);
    const { signal } = admitted.context;
    for await (const response of handler(admitted.context, decode(method.input, call.request))) {
      if (signal.aborted) break;
      const bytes = encode(method.output, response);
      sent += bytes.length;
      await written(call, bytes, signal);
    }
    call.end();
    admitted.end(signal.aborted ? 'CANCELLED' : 'OK', sent);
  } catch (error) {
    const ours = edge.mapError(method.name, admitted?.context.requestId ?? '', error);
    call.emit('error', serviceError(ours)); // destroying it would send no status
    admitted?.end(ours.code, sent);
  }
}

/**
 * Sends one part of an answer; resolves when it has left, or the caller has. What `write`
 * returns would say that there is room for 16 parts, whatever their size.
 */
function written(
  call: grpc.ServerWritableStream<Buffer, Buffer>,
  bytes: Buffer,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done, { once: true });
    call.write(bytes, done);
  });
}

function bidiStreaming(
  method: DescMethod,
  handler: BidiHandler,
  edge: CallEdge,
): grpc.handleBidiStreamingCall<Buffer, Buffer> {
  return (call) => {
    let admitted: AdmittedCall | undefined;
    try {
      admitted = edge.admit({ ...arriving(method, call, 0), isStream: true });
      call.sendMetadata(new grpc.Metadata()); // tells the client that the stream stands
      handler(admitted.context, new GrpcStream(method, call, admitted, edge));
    } catch (error) {
      const ours = edge.mapError(method.name, admitted?.context.requestId ?? '', error);
      call.emit('error', serviceError(ours)); // destroying it would send no status
      admitted?.end(ours.code, 0);
    }
  };
}

/** A bidirectional grpc-js call as a handler sees it. */
class GrpcStream implements MessageStream {
  readonly #method: DescMethod;
  readonly #call: grpc.ServerDuplexStream<Buffer, Buffer>;
  readonly #admitted: AdmittedCall;
  readonly #edge: CallEdge;
  #sentBytes = 0;
  #queuedBytes = 0;
  #isBlocked = false;
  #drained: () => void = () => undefined;
  #closed: () => void = () => undefined;
  #over = false;

  constructor(
    method: DescMethod,
    call: grpc.ServerDuplexStream<Buffer, Buffer>,
    admitted: AdmittedCall,
    edge: CallEdge,
  ) {
    this.#method = method;
    this.#call = call;
    this.#admitted = admitted;
    this.#edge = edge;
    call.on('cancelled', () => this.#finish('CANCELLED'));
    call.on('close', () => this.#finish('CANCELLED'));
    call.on('error', () => this.#finish('UNKNOWN'));
  }

  onMessage(receive: (message: Buffer) => void): void {
    const { received } = this.#call.getAuthContext() as ArrivalContext;
    this.#call.on('data', (bytes: Buffer) => {
      received.handOver(); // from here on the handler charges for it
      if (this.#over) return;
      try {
        receive(bytes);
      } catch (error) {
        this.end(this.#edge.mapError(this.#method.name, this.#admitted.context.requestId, error));
      }
    });
  }

  onEnd(ended: () => void): void {
    this.#call.on('end', ended);
  }

  onClose(closed: () => void): void {
    this.#closed = closed;
  }

  /** grpc-js counts messages, whatever their size; what must be bounded is bytes. */
  send(message: Uint8Array): boolean {
    if (this.#over) return true;
    const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
    this.#sentBytes += bytes.length;
    this.#queuedBytes += bytes.length;
    this.#call.write(bytes, () => this.#onWritten(bytes.length));
    this.#isBlocked ||= this.#queuedBytes >= SEND_QUEUE_BYTES;
    return !this.#isBlocked;
  }

  get unsentBytes(): number {
    return this.#queuedBytes;
  }

  onDrain(drained: () => void): void {
    this.#drained = drained;
  }

  pause(): void {
    this.#call.pause();
  }

  resume(): void {
    this.#call.resume();
  }

  end(error?: Error): void {
    if (this.#over) return;
    if (error === undefined) {
      this.#call.end();
      this.#finish('OK');
    } else {
      const ours =
        error instanceof HoldfastError
          ? error
          : this.#edge.mapError(this.#method.name, this.#admitted.context.requestId, error);
      this.#finish(ours.code); // before the stream says that it failed, of which it knows no code
      this.#call.emit('error', serviceError(ours));
    }
  }

  #onWritten(bytes: number): void {
    this.#queuedBytes -= bytes;
    if (!this.#isBlocked || this.#queuedBytes > SEND_QUEUE_BYTES / 2) return;
    this.#isBlocked = false;
    this.#drained();
  }

  #finish(code: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#admitted.cancel();
    this.#admitted.end(code, this.#sentBytes);
    this.#closed();
  }
}

function arriving(
  method: DescMethod,
  call: {
    metadata: grpc.Metadata;
    getDeadline(): Date | number;
    getAuthContext(): object;
    getPeer(): string;
  },
  requestBytes: number,
): ArrivingCall {
  const { budget, received } = call.getAuthContext() as ArrivalContext;
  if (method.methodKind !== 'bidi_streaming') received.release(); // from here on the call is charged for
  const deadline = call.getDeadline();
  const atMs = deadline instanceof Date ? deadline.getTime() : deadline;
  return {
    transport: 'grpc',
    method: `${method.parent.typeName}/${method.name}`,
    requestBytes,
    budget,
    timeoutMs: Number.isFinite(atMs) ? Math.max(0, atMs - Date.now()) : undefined,
    routes: text(call.metadata, 'holdfast-routes'),
    requestId: text(call.metadata, 'x-request-id'),
    traceparent: text(call.metadata, 'traceparent'),
    token: text(call.metadata, 'token', MAX_TOKEN_CHARACTERS + 1),
    authorization: text(call.metadata, 'authorization', MAX_TOKEN_CHARACTERS + 16),
    peer: () => call.getPeer().replace(/:\d+$/, ''),
  };
}

function text(metadata: grpc.Metadata, name: string, most = 256): string | undefined {
  const value = metadata.get(name)[0];
  return typeof value === 'string' ? value.slice(0, most) : undefined;
}

function decode(schema: DescMessage, bytes: Buffer): Message {
  try {
    return fromBinary(schema, bytes);
  } catch (cause) {
    throw new HoldfastError({
      reason: 'MESSAGE_MALFORMED',
      message: `the ${bytes.length} bytes of the request are not a ${schema.typeName}. Nothing was done.`,
      outcome: 'NOT_APPLIED',
      cause,
    });
  }
}

function encode(schema: DescMessage, message: Message): Buffer {
  const bytes = toBinary(schema, message as Anything);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function serviceError(error: HoldfastError): grpc.ServiceError {
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(errorStatus(error)));
  return Object.assign(new Error(error.message), {
    code: StatusCode[error.code] as grpc.status,
    details: error.message,
    metadata,
  });
}
