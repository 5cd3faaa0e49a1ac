/**
 * grpc-js as the maker of calls out of HTTP/2 streams, and no more: ports and connections
 * are ours (grpc-port.ts), because grpc-js neither bounds what a connection may hold nor
 * gives a way to. It hands a stream over through the emitter that it takes for its server.
 */
import { EventEmitter } from 'node:events';
import {
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import * as grpc from '@grpc/grpc-js';
import type { HoldfastError } from '@holdfast/client/error';
import type { ByteBudget } from '../services/handler.ts';
import type { ConnectionBudget } from './connection-budget.ts';
import {
  methodUnknown,
  refusalHeaders,
  receivedTooSlowly,
  refusalStatus,
  sentTooSlowly,
  streamCut,
  withReason,
} from './grpc-refusal.ts';
import { ReceivedBytes } from './received-bytes.ts';
import { StallCount } from './stall-count.ts';

const { NGHTTP2_CANCEL } = constants;

/** What a handler can learn of the connection that its call came over, through `getAuthContext`. */
export interface ArrivalContext extends AuthContext {
  /** What the call's bytes are charged against. */
  readonly budget: ByteBudget;
  /** Bytes of this call that were charged before the handler was called. */
  readonly received: ReceivedBytes;
  /** Ends the call at once, for a caller to whom no status would get through. */
  reset(): void;
  /** The call stands for as long as the port does: a port that closes waits for the others alone. */
  stand(): void;
}

type AuthContext = ReturnType<grpc.ServerUnaryCall<unknown, unknown>['getAuthContext']>;
type InterceptedCall = Parameters<grpc.ServerInterceptor>[1];

/**
 * Why a call was cut: `bytes`: what it sent did not fit; `late`: a message did not become
 * whole; `unread`: the caller of a stream did not take an answer.
 */
export type CallCutCause = 'bytes' | 'late' | 'unread';

/** A call of grpc-js that is being made; `call` is set by the interceptor. */
interface Arrival extends ArrivalContext {
  readonly isStream: boolean;
  isStanding: boolean;
  readonly stream: ServerHttp2Stream;
  readonly budget: ConnectionBudget;
  /** Bytes of its answer that were charged and have not left. */
  unsent: number;
  /** Of a stream with several requests: answers that were begun to be sent, and that have left. */
  begun: number;
  left: number;
  readonly sending: StallCount;
  /** Sweeps since it was cut, if it was. */
  sinceCut: number | undefined;
  call: InterceptedCall | undefined;
}

export class GrpcCalls extends grpc.Server {
  /** By path: whether more than one request may come. */
  readonly #methods = new Map<string, boolean>();
  readonly #streams = new EventEmitter();
  readonly #arrivals = new Set<Arrival>();
  readonly #onCut: (cause: CallCutCause) => void;
  /** The port closes. */
  #isEnding = false;
  /** Set while grpc-js makes a call, which it does before it returns. */
  #arrival: Arrival | undefined;

  constructor(options: grpc.ServerOptions, onCut: (cause: CallCutCause) => void) {
    super({ ...options, interceptors: [(_, call) => this.#intercept(call) as grpc.ServerInterceptingCall] });
    this.#onCut = onCut;
    const server = Object.assign(this.#streams, { address: () => null });
    this['_setupHandlers'](server as never, []); // the version is pinned, and tests go through here
  }

  override addService(service: grpc.ServiceDefinition, methods: grpc.UntypedServiceImplementation): void {
    for (const { path, requestStream } of Object.values(service)) this.#methods.set(path, requestStream);
    super.addService(service, methods);
  }

  /** Keeps a connection alive by pings, and closes it when nothing was asked for very long. */
  addSession(session: ServerHttp2Session): void {
    this.#streams.emit('session', session);
  }

  /** Makes a call of a stream. */
  addStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, budget: ConnectionBudget): void {
    if (headers[':method'] !== 'POST') {
      answer(stream, { ':status': 405, allow: 'POST' }); // of CONNECT not even a path comes
      return;
    }
    const path = headers[':path'] ?? '';
    const isStream = this.#methods.get(path);
    if (isStream === undefined && headers['content-type']?.startsWith('application/grpc')) {
      answer(stream, refusalHeaders(methodUnknown(path)));
      return;
    }
    const arrival = newArrival(stream, isStream ?? false, budget);
    const { received } = arrival;
    this.#arrivals.add(arrival);
    stream.on('data', (chunk: Buffer) => {
      if (received.add(chunk)) return;
      const refusal = budget.refusal();
      this.#cut(arrival, 'bytes', arrival.isStream ? streamCut(refusal) : refusal);
    }); // before grpc-js does the same, so that it drops what does not fit
    stream.once('close', () => {
      this.#arrivals.delete(arrival);
      this.#endStanding();
      received.release();
      budget.answered(arrival.unsent);
      arrival.unsent = 0;
    });
    this.#arrival = arrival;
    this.#streams.emit('stream', stream, headers);
    this.#arrival = undefined;
  }

  /** Ends calls that stand as soon as no other is left. */
  end(): void {
    this.#isEnding = true;
    this.#endStanding();
  }

  /**
   * Cuts calls of which a message was unfinished at this and `times` earlier sweeps, `everyMs`
   * apart, be it one that arrives or, of a stream that holds requests meanwhile, one that leaves.
   */
  sweep(times: number, everyMs: number): void {
    for (const arrival of this.#arrivals) {
      const { received, sending, begun, left, isStream } = arrival;
      if (arrival.sinceCut !== undefined) {
        if (arrival.sinceCut++ > 0) arrival.stream.close(NGHTTP2_CANCEL);
      } else if (received.sweep() >= times) {
        this.#cut(arrival, 'late', receivedTooSlowly(times * everyMs, isStream));
      } else if (sending.sweep(begun > left, left) >= times) {
        this.#cut(arrival, 'unread', sentTooSlowly(times * everyMs));
      }
    }
  }

  #endStanding(): void {
    if (!this.#isEnding || [...this.#arrivals].some(({ isStanding }) => !isStanding)) return;
    for (const arrival of this.#arrivals) arrival.reset();
  }

  #cut(arrival: Arrival, cause: CallCutCause, error: HoldfastError): void {
    this.#onCut(cause);
    arrival.received.refuse();
    cut(arrival, error);
  }

  #intercept(call: InterceptedCall): InterceptedCall {
    const arrival = this.#arrival!;
    arrival.call = call;
    const { isStream } = arrival;
    const sendStatus = call.sendStatus.bind(call);
    // On the call itself, since grpc-js refuses by itself without asking interceptors.
    call.sendStatus = (status) => sendStatus(withReason(status as grpc.StatusObject, isStream));
    if (isStream) countAnswers(arrival, call);
    else chargeAnswers(arrival, call);
    call.getAuthContext = () => arrival;
    return call;
  }
}

function newArrival(stream: ServerHttp2Stream, isStream: boolean, budget: ConnectionBudget): Arrival {
  const arrival: Arrival = {
    budget,
    received: new ReceivedBytes(budget, isStream),
    reset: () => stream.close(NGHTTP2_CANCEL),
    stream,
    stand: () => (arrival.isStanding = true),
    isStream,
    isStanding: false,
    unsent: 0,
    begun: 0,
    left: 0,
    sending: new StallCount(),
    sinceCut: undefined,
    call: undefined,
  };
  return arrival;
}

/**
 * Counts the answers of a stream that leave, one after the other. Their bytes are bounded by
 * its handler, which takes no more requests while they wait; those it has are charged as long.
 */
function countAnswers(arrival: Arrival, call: InterceptedCall): void {
  const sendMessage = call.sendMessage.bind(call);
  call.sendMessage = (message: Buffer, sent) => {
    arrival.begun++;
    sendMessage(message, () => {
      arrival.left++;
      sent();
    });
  };
}

/** Charges answers until they have left, which they may never do if the caller does not read. */
function chargeAnswers(arrival: Arrival, call: InterceptedCall): void {
  const { budget, stream } = arrival;
  const sendMessage = call.sendMessage.bind(call);
  call.sendMessage = (message: Buffer, sent) => {
    if (stream.destroyed) return;
    const bytes = message.length;
    if (!budget.tryAnswer(bytes)) {
      call.sendStatus(refusalStatus(budget.unread()));
      return;
    }
    arrival.unsent += bytes;
    sendMessage(message, () => {
      if (arrival.unsent > 0) budget.answered(bytes); // else given back when the stream closed
      arrival.unsent = Math.max(0, arrival.unsent - bytes);
      sent();
    });
  };
}

/**
 * Ends a call whose caller is still sending. The second sweep from now resets the stream, since grpc-js
 * keeps what it has of a message until the caller ends; a reset at once would overtake the status.
 */
function cut(arrival: Arrival, error: HoldfastError): void {
  const { stream, call } = arrival;
  const isBlocked = stream.writableLength > 0;
  arrival.sinceCut = 0;
  call?.sendStatus(refusalStatus(error));
  if (isBlocked) stream.close(NGHTTP2_CANCEL); // the status would wait behind answers that nobody reads
}

/** An answer that is headers and nothing else. */
function answer(stream: ServerHttp2Stream, headers: OutgoingHttpHeaders): void {
  stream.on('error', () => undefined); // the caller has gone
  stream.respond(headers, { endStream: true });
  stream.resume();
}
