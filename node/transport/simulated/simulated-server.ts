/**
 * Serves handlers over simulated connections, as grpc-server.ts does over HTTP/2: the same
 * edge before every call, the same bytes of messages and errors.
 */
import { fromBinary, toBinary, type DescMessage, type DescMethod, type Message } from '@bufbuild/protobuf';
import type { Clock, Timer } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { EventQueue } from '../../runtime/simulated/simulated-scheduler.ts';
import type { CallContext, MessageStream, ServedService } from '../../services/handler.ts';
import type { AdmittedCall, CallEdge } from '../call-edge.ts';
import { ConnectionBudget } from '../connection-budget.ts';
import { Keepalive } from './keepalive.ts';
import { methodPath, sendError, type ServedCall } from './served-call.ts';
import type { ConnectionEnd, Frame } from './simulated-connection.ts';
import type { Listener } from './simulated-links.ts';
import { SimulatedStream } from './simulated-stream.ts';

/** As in grpc-server.ts. */
const KEEPALIVE_MS = 20_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

export interface SimulatedServerOptions {
  readonly process: EventQueue;
  readonly clock: Clock;
  readonly edge: CallEdge;
  readonly services: readonly ServedService[];
  readonly connectionInFlightBytes: number;
  /** Bytes of answers of one stream that may wait to be read. */
  readonly sendQueueBytes: number;
}

interface ServedMethod {
  readonly method: DescMethod;
  readonly handler: unknown;
}

export class SimulatedServer implements Listener {
  readonly process: EventQueue;
  readonly #options: SimulatedServerOptions;
  readonly #methods = new Map<string, ServedMethod>();
  readonly #connections = new Set<ConnectionEnd>();

  constructor(options: SimulatedServerOptions) {
    this.process = options.process;
    this.#options = options;
    for (const { service, handlers } of options.services) {
      for (const method of service.methods) {
        this.#methods.set(methodPath(method), { method, handler: handlers[method.localName] });
      }
    }
  }

  accept(end: ConnectionEnd): void {
    const { clock, edge, connectionInFlightBytes } = this.#options;
    const calls = new Map<number, ServedCall>();
    const budget = new ConnectionBudget(edge.budget, connectionInFlightBytes);
    const lose = () => {
      keepalive.stop();
      this.#connections.delete(end);
      for (const call of calls.values()) call.onBroken();
      calls.clear();
    };
    const keepalive = new Keepalive(end, clock, KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, lose);
    this.#connections.add(end);
    end.onBroken(lose);
    end.onFrame((frame) => {
      if (keepalive.take(frame) || !('stream' in frame)) return;
      if (frame.kind === 'call') this.#begin(end, frame, budget, calls);
      else calls.get(frame.stream)?.onFrame(frame);
    });
  }

  /** Breaks every connection, as a node that has stopped does. */
  close(): void {
    for (const end of this.#connections) end.close();
    this.#connections.clear();
  }

  #begin(
    end: ConnectionEnd,
    frame: Extract<Frame, { kind: 'call' }>,
    budget: ConnectionBudget,
    calls: Map<number, ServedCall>,
  ): void {
    const { edge } = this.#options;
    const served = this.#methods.get(frame.path);
    const { stream } = frame;
    let admitted: AdmittedCall | undefined;
    try {
      if (served === undefined) throw unknownMethod(frame.path);
      admitted = edge.admit({
        transport: 'grpc',
        method: frame.path.slice(1),
        requestBytes: frame.bytes?.length ?? 0,
        budget,
        timeoutMs: frame.timeoutMs,
        isStream: served.method.methodKind !== 'unary',
        routes: frame.routes,
        requestId: undefined,
        traceparent: undefined,
        token: undefined,
        authorization: undefined,
        peer: () => '',
      });
      this.#serve(end, frame, served, admitted, budget, calls);
    } catch (error) {
      const ours = edge.mapError(frame.path, admitted?.context.requestId ?? '', error);
      calls.delete(stream);
      sendError(end, stream, ours);
      admitted?.end(ours.code, 0);
    }
  }

  #serve(
    end: ConnectionEnd,
    { stream, path, bytes }: Extract<Frame, { kind: 'call' }>,
    { method, handler }: ServedMethod,
    admitted: AdmittedCall,
    budget: ConnectionBudget,
    calls: Map<number, ServedCall>,
  ): void {
    const { edge, clock, sendQueueBytes } = this.#options;
    const over = () => calls.delete(stream);
    if (method.methodKind === 'bidi_streaming') {
      const mapError = (error: unknown) => edge.mapError(method.name, admitted.context.requestId, error);
      const limits = { budget, sendQueueBytes, mapError, over };
      const call = new SimulatedStream(end, stream, admitted, limits);
      calls.set(stream, call);
      (handler as (context: CallContext, stream: MessageStream) => void)(admitted.context, call);
      return;
    }
    if (bytes === undefined) throw malformed(method.input, 0);
    const answer = new SimulatedAnswer(end, stream, admitted, clock, over);
    calls.set(stream, answer);
    const request = decode(method.input, bytes);
    const answering =
      method.methodKind === 'unary'
        ? (handler as UnaryHandler)(admitted.context, request).then((response) =>
            answer.finish(encode(method.output, response)),
          )
        : this.#stream(method, (handler as StreamingHandler)(admitted.context, request), answer);
    answering.catch((error: unknown) => answer.fail(edge.mapError(path, admitted.context.requestId, error)));
  }

  async #stream(
    method: DescMethod,
    responses: AsyncIterable<Message>,
    answer: SimulatedAnswer,
  ): Promise<void> {
    for await (const response of responses) {
      if (answer.isOver) return;
      await answer.send(encode(method.output, response));
    }
    answer.finish(undefined);
  }
}

type UnaryHandler = (context: CallContext, request: Message) => Promise<Message>;
type StreamingHandler = (context: CallContext, request: Message) => AsyncIterable<Message>;

/** The answer to one request: one message, or several of which each is taken before the next is made. */
class SimulatedAnswer implements ServedCall {
  readonly #end: ConnectionEnd;
  readonly #stream: number;
  readonly #admitted: AdmittedCall;
  readonly #over: () => void;
  readonly #deadline: Timer;
  #sentBytes = 0;
  #taken: () => void = () => undefined;
  isOver = false;

  constructor(end: ConnectionEnd, stream: number, admitted: AdmittedCall, clock: Clock, over: () => void) {
    this.#end = end;
    this.#stream = stream;
    this.#admitted = admitted;
    this.#over = over;
    const leftMs = admitted.context.deadlineMs - clock.monotonicMs();
    this.#deadline = clock.setTimer(leftMs, () => this.#expire());
  }

  onFrame(frame: Frame): void {
    if (frame.kind === 'cancel') this.onBroken();
    else if (frame.kind === 'credit') this.#taken();
  }

  onBroken(): void {
    this.#admitted.cancel();
    this.#finish('CANCELLED');
  }

  /** Sends one of several messages; resolves when it was taken or nobody takes it any more. */
  send(bytes: Uint8Array): Promise<void> {
    this.#sentBytes += bytes.length;
    return new Promise((resolve) => {
      this.#taken = resolve;
      this.#end.send({ kind: 'message', stream: this.#stream, bytes });
    });
  }

  finish(bytes: Uint8Array | undefined): void {
    if (this.isOver) return;
    if (bytes !== undefined) {
      this.#sentBytes += bytes.length;
      this.#end.send({ kind: 'message', stream: this.#stream, bytes });
    }
    this.#end.send({ kind: 'status', stream: this.#stream, code: 0, details: '', statusDetails: undefined });
    this.#finish('OK');
  }

  fail(error: HoldfastError): void {
    if (this.isOver) return;
    sendError(this.#end, this.#stream, error);
    this.#finish(error.code);
  }

  /** What grpc-js does by itself when the time of a call is over. */
  #expire(): void {
    if (this.isOver) return;
    this.#admitted.cancel();
    const message = 'the deadline of the call has passed';
    this.fail(new HoldfastError({ reason: 'DEADLINE_EXCEEDED', message }));
  }

  #finish(code: string): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#deadline.cancel();
    this.#over();
    this.#admitted.end(code, this.#sentBytes);
    this.#taken();
  }
}

function decode(schema: DescMessage, bytes: Uint8Array): Message {
  try {
    return fromBinary(schema, bytes);
  } catch (cause) {
    throw malformed(schema, bytes.length, cause);
  }
}

function encode(schema: DescMessage, message: Message): Uint8Array {
  return toBinary(schema, message as Message & Record<string, unknown>);
}

function malformed(schema: DescMessage, length: number, cause?: unknown): HoldfastError {
  const message = `the ${length} bytes of the request are not a ${schema.typeName}. Nothing was done.`;
  return new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, outcome: 'NOT_APPLIED', cause });
}

function unknownMethod(path: string): HoldfastError {
  const message = `there is no method ${path}. Nothing was done.`;
  return new HoldfastError({ reason: 'UNIMPLEMENTED', message, outcome: 'NOT_APPLIED' });
}
