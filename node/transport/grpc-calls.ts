/**
 * grpc-js as the maker of calls out of HTTP/2 streams, and no more: ports and connections
 * are ours (grpc-port.ts), because grpc-js neither bounds what a connection may hold nor
 * gives a way to. It hands a stream over through the emitter that it takes for its server.
 */
import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import * as grpc from '@grpc/grpc-js';
import type { ByteBudget } from '../services/handler.ts';
import { methodUnknown, refusalHeaders, refusalStatus, withReason } from './grpc-refusal.ts';
import { ReceivedBytes } from './received-bytes.ts';

/** What a handler can learn of the connection that its call came over, through `getAuthContext`. */
export interface ArrivalContext extends AuthContext {
  /** What the call's bytes are charged against. */
  readonly budget: ByteBudget;
  /** Bytes of this call that were charged before the handler was called. */
  readonly received: ReceivedBytes;
}

type AuthContext = ReturnType<grpc.ServerUnaryCall<unknown, unknown>['getAuthContext']>;
type InterceptedCall = Parameters<grpc.ServerInterceptor>[1];

/** A call of grpc-js that is being made; `call` is set by the interceptor. */
interface Arrival extends ArrivalContext {
  readonly isStream: boolean;
  call: InterceptedCall | undefined;
}

export class GrpcCalls extends grpc.Server {
  /** By path: whether more than one request may come. */
  readonly #methods = new Map<string, boolean>();
  readonly #streams = new EventEmitter();
  /** Set while grpc-js makes a call, which it does before it returns. */
  #arrival: Arrival | undefined;

  constructor(options: grpc.ServerOptions) {
    super({ ...options, interceptors: [(_, call) => this.#intercept(call) as grpc.ServerInterceptingCall] });
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
  addStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, budget: ByteBudget): void {
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
    const received = new ReceivedBytes(budget, isStream ?? false);
    const arrival: Arrival = { budget, received, isStream: isStream ?? false, call: undefined };
    stream.on('data', (chunk: Buffer) => {
      if (!received.add(chunk)) arrival.call?.sendStatus(refusalStatus(budget.refusal()));
    }); // before grpc-js does the same, so that it drops what does not fit
    stream.once('close', () => received.release());
    this.#arrival = arrival;
    this.#streams.emit('stream', stream, headers);
    this.#arrival = undefined;
  }

  #intercept(call: InterceptedCall): InterceptedCall {
    const arrival = this.#arrival!;
    arrival.call = call;
    const { isStream } = arrival;
    const sendStatus = call.sendStatus.bind(call);
    // On the call itself, since grpc-js refuses by itself without asking interceptors.
    call.sendStatus = (status) => sendStatus(withReason(status as grpc.StatusObject, isStream));
    call.getAuthContext = () => arrival;
    return call;
  }
}

/** An answer that is headers and nothing else. */
function answer(stream: ServerHttp2Stream, headers: OutgoingHttpHeaders): void {
  stream.on('error', () => undefined); // the caller has gone
  stream.respond(headers, { endStream: true });
  stream.resume();
}
