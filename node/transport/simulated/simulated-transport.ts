/**
 * The network of a simulated client: calls over simulated connections, with the outcomes
 * that client/grpc-transport.ts gives.
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import type {
  DescMessage,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageShape,
} from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { errorFromGrpc } from '@holdfast/client/error-mapping';
import { StatusCode } from '@holdfast/client/reasons';
import type {
  CallOptions,
  StreamConnection,
  StreamEvents,
  StreamMethod,
  Transport,
} from '@holdfast/client/transport';
import {
  SimulatedChannel,
  type CallerConnection,
  type CallerPlace,
  type MadeCall,
} from './simulated-channel.ts';
import type { Frame } from './simulated-connection.ts';
import { SimulatedCallerStream } from './simulated-caller-stream.ts';
import { methodPath } from './served-call.ts';

export interface SimulatedTransportOptions extends CallerPlace {
  /** A stream to a node that is away waits for it, as there is no other. */
  readonly isPatient: boolean;
  /** Bytes that a node takes of a stream ahead of its handler. */
  readonly windowBytes: number;
  /** Bytes of a stream that may wait to leave. */
  readonly maxQueuedBytes: number;
  /** Value of the header `holdfast-routes`; undefined: as of a caller that does not know of leaders. */
  readonly routes: string | undefined;
}

export class SimulatedTransport implements Transport {
  readonly #options: SimulatedTransportOptions;
  readonly #channels = new Map<string, SimulatedChannel>();
  readonly #streams = new Set<SimulatedCallerStream>();

  constructor(options: SimulatedTransportOptions) {
    this.#options = options;
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const answers = this.#call(endpoint, methodPath(method), toBinary(method.input, request), options);
    try {
      const { value } = await answers.next();
      if (value === undefined) throw new HoldfastError({ reason: 'INTERNAL', message: 'no answer came' });
      // Its status comes behind it, and can still be lost: only then is the call over.
      await answers.next();
      return fromBinary(method.output, value);
    } finally {
      await answers.return(undefined);
    }
  }

  async *serverStream<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodServerStreaming<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    const bytes = toBinary(method.input, request);
    for await (const message of this.#call(endpoint, methodPath(method), bytes, options)) {
      yield fromBinary(method.output, message);
    }
  }

  openStream(endpoint: string, method: StreamMethod, events: StreamEvents): StreamConnection {
    const stream: SimulatedCallerStream = new SimulatedCallerStream(
      methodPath(method),
      events,
      this.#options,
      {
        connecting: this.#channel(endpoint).connected(Infinity, this.#options.isPatient),
        failure: (frame) => failure(frame, endpoint),
        over: () => this.#streams.delete(stream),
      },
    );
    this.#streams.add(stream);
    return stream;
  }

  close(): void {
    for (const stream of this.#streams) stream.cancel();
    for (const channel of this.#channels.values()) channel.close();
  }

  /** One request and its answers; leaving the loop cancels the call. */
  async *#call(
    endpoint: string,
    path: string,
    bytes: Uint8Array,
    { timeoutMs, signal }: CallOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    const connection = await this.#channel(endpoint).connected(timeoutMs, false);
    if (signal?.aborted) throw abandoned();
    const call = new AnsweredCall(connection, endpoint);
    const leftMs = timeoutMs - (clock.monotonicMs() - startedMs);
    const timer = clock.setTimer(leftMs, () => call.end(expired(endpoint)));
    const onAbort = () => call.end(abandoned());
    signal?.addEventListener('abort', onAbort, { once: true });
    call.start(path, leftMs, bytes, this.#options.routes);
    try {
      for (let next = await call.next(); next !== undefined; next = await call.next()) yield next;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
      call.end(undefined);
    }
  }

  #channel(endpoint: string): SimulatedChannel {
    let channel = this.#channels.get(endpoint);
    if (channel === undefined) {
      channel = new SimulatedChannel(this.#options, endpoint);
      this.#channels.set(endpoint, channel);
    }
    return channel;
  }
}

/** A call with one request: its answers in order, then its end. */
class AnsweredCall implements MadeCall {
  readonly #connection: CallerConnection;
  readonly #endpoint: string;
  readonly #stream: number;
  #answers: Uint8Array[] = [];
  #isOver = false;
  #error: HoldfastError | undefined;
  #wake: () => void = () => undefined;

  constructor(connection: CallerConnection, endpoint: string) {
    this.#connection = connection;
    this.#endpoint = endpoint;
    this.#stream = connection.begin(this);
  }

  start(path: string, timeoutMs: number, bytes: Uint8Array, routes: string | undefined): void {
    this.#connection.send({
      kind: 'call',
      stream: this.#stream,
      path,
      timeoutMs: Math.max(0, timeoutMs),
      routes,
      bytes,
    });
  }

  /** The next answer; undefined: the call ended well. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.#answers.length === 0 && !this.#isOver) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const answer = this.#answers.shift();
    if (answer === undefined && this.#error !== undefined) throw this.#error;
    if (answer !== undefined)
      this.#connection.send({ kind: 'credit', stream: this.#stream, bytes: answer.length });
    return answer;
  }

  /** Ends the call from this side, unless it is over. */
  end(error: HoldfastError | undefined): void {
    if (this.#isOver) return;
    this.#connection.send({ kind: 'cancel', stream: this.#stream });
    this.#finish(error);
  }

  onFrame(frame: Frame): void {
    if (frame.kind === 'message') {
      this.#answers.push(frame.bytes);
      this.#wake();
    } else if (frame.kind === 'status') {
      this.#finish(frame.code === 0 ? undefined : failure(frame, this.#endpoint));
    }
  }

  onBroken(): void {
    this.#finish(failure(undefined, this.#endpoint));
  }

  #finish(error: HoldfastError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#error = error;
    this.#connection.forget(this.#stream);
    this.#wake();
  }
}

/** The error of a call that the node ended, or (without a status) whose connection broke. */
function failure(status: Extract<Frame, { kind: 'status' }> | undefined, endpoint: string): HoldfastError {
  if (status === undefined) {
    return errorFromGrpc({ code: StatusCode.UNAVAILABLE, details: `${endpoint}: the connection broke` });
  }
  return errorFromGrpc({ code: status.code, details: status.details, statusDetails: status.statusDetails });
}

function expired(endpoint: string): HoldfastError {
  return errorFromGrpc({ code: StatusCode.DEADLINE_EXCEEDED, details: `${endpoint}: Deadline exceeded` });
}

function abandoned(): HoldfastError {
  return new HoldfastError({ reason: 'CANCELLED', message: 'the call was cancelled' });
}
