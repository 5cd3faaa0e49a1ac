import {
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { DescMethodServerStreaming, DescMethodUnary } from '@bufbuild/protobuf';
import {
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  connectivityState,
  credentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { ClientTls } from './client-tls.ts';
import { tlsProblem } from './connection-diagnosis.ts';
import { HoldfastError } from './error.ts';
import { errorFromGrpc } from './error-mapping.ts';
import type { TlsOptions } from './options.ts';
import { StatusCode } from './reasons.ts';
import type { CallOptions, StreamConnection, StreamEvents, StreamMethod, Transport } from './transport.ts';

// Defaults of grpc-js that would bite: no keepalive (a dead peer is never noticed), a
// reconnect back-off that grows to two minutes, a 64 KiB receive window, 4 MiB messages.
const CHANNEL_OPTIONS: ChannelOptions & Record<string, number> = {
  'grpc.keepalive_time_ms': 15_000,
  'grpc.keepalive_timeout_ms': 8_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 500,
  'grpc.client_idle_timeout_ms': 30 * 60_000,
  'grpc-node.flow_control_window': 1_048_576,
  'grpc.max_receive_message_length': 16 * 1_048_576,
  'grpc.max_send_message_length': 16 * 1_048_576,
  'grpc.enable_channelz': 0,
  'grpc.use_local_subchannel_pool': 1,
};

const CONNECT_TIMEOUT_MS = 3_000;
const MAX_QUEUED_BYTES = 1_048_576;

/** How a transport behaves. */
export interface GrpcTransportOptions {
  /** How many nodes must be wrong in TLS for calls to fail for good; default 2. */
  readonly endpointCount?: number;
  /** A stream to a node that is away waits for it, as there is no other; default: there is one node. */
  readonly patient?: boolean | (() => boolean);
  /** What calls show of who makes them; undefined: nothing. */
  readonly token?: (() => string | undefined) | undefined;
}

/** The network, by grpc-js: one channel a node. */
export class GrpcTransport implements Transport {
  readonly #tls: ClientTls | undefined;
  readonly #clients = new Map<string, Client>();
  readonly #streams = new Set<GrpcStream>();
  readonly #endpointCount: number;
  readonly #patient: () => boolean;
  readonly #token: (() => string | undefined) | undefined;
  /** Nodes with which the last connection failed for TLS. */
  readonly #mistrusted = new Set<string>();
  readonly #diagnoses = new Map<string, Promise<string | undefined>>();
  #closed = false;

  constructor(tls?: TlsOptions, options: GrpcTransportOptions = {}) {
    const { endpointCount = 2, patient = endpointCount === 1, token } = options;
    this.#token = token;
    this.#patient = typeof patient === 'boolean' ? () => patient : patient;
    this.#tls = tls === undefined ? undefined : new ClientTls(tls);
    this.#endpointCount = endpointCount;
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const startMs = Date.now();
    const client = await this.#connected(endpoint, options.timeoutMs);
    if (options.signal?.aborted) throw abandoned();
    const deadline = startMs + options.timeoutMs;
    return new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(
        methodPath(method),
        (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        request,
        callMetadata(this.#token?.()),
        { deadline },
        (error, response) => {
          options.signal?.removeEventListener('abort', onAbort);
          if (error === null) resolve(response!);
          else reject(failure(error, endpoint, options.signal?.aborted ?? false));
        },
      );
      const onAbort = () => call.cancel();
      options.signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  async *serverStream<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodServerStreaming<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    const deadline = Date.now() + options.timeoutMs;
    const client = await this.#connected(endpoint, options.timeoutMs);
    if (options.signal?.aborted) throw abandoned();
    const call = client.makeServerStreamRequest(
      methodPath(method),
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes: Buffer) => fromBinary(method.output, bytes),
      request,
      callMetadata(this.#token?.()),
      { deadline },
    );
    const onAbort = () => call.cancel();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    try {
      for await (const message of call) yield message as MessageShape<O>;
    } catch (error) {
      throw failure(error as ServiceError, endpoint, options.signal?.aborted ?? false);
    } finally {
      options.signal?.removeEventListener('abort', onAbort);
      call.cancel();
    }
  }

  openStream(endpoint: string, method: StreamMethod, events: StreamEvents): StreamConnection {
    const stream: GrpcStream = new GrpcStream(endpoint, method, events, {
      connect: () => this.#connected(endpoint, CONNECT_TIMEOUT_MS, this.#patient()),
      metadata: () => callMetadata(this.#token?.()),
      onOver: () => this.#streams.delete(stream),
    });
    this.#streams.add(stream);
    return stream;
  }

  close(): void {
    this.#closed = true;
    for (const stream of this.#streams) stream.cancel();
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  /**
   * Waits until the connection stands, so that what fails before is known not to have been
   * sent: grpc-js by itself takes calls into a queue and does not say how far they came.
   */
  async #connected(endpoint: string, timeoutMs: number, patient = false): Promise<Client> {
    const client = this.#client(endpoint);
    const channel = client.getChannel();
    const deadline = Date.now() + Math.min(timeoutMs, CONNECT_TIMEOUT_MS);
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) {
        this.#mistrusted.delete(endpoint);
        return client;
      }
      if (state === connectivityState.SHUTDOWN) throw unreachable(endpoint, 'the client is closed');
      if (state === connectivityState.TRANSIENT_FAILURE) {
        const problem = await this.#diagnose(endpoint);
        if (problem !== undefined) throw this.#tlsFailure(endpoint, problem);
        if (!patient) throw unreachable(endpoint, 'it cannot be reached');
        if (channel.getConnectivityState(true) !== state) continue;
      }
      await new Promise<void>((resolve, reject) => {
        channel.watchConnectivityState(state, deadline, (error) => {
          if (error === undefined) resolve();
          else reject(unreachable(endpoint, 'connecting takes too long', error));
        });
      });
    }
  }

  /** One connection at a time to find out. */
  #diagnose(endpoint: string): Promise<string | undefined> {
    let diagnosis = this.#diagnoses.get(endpoint);
    if (diagnosis === undefined) {
      diagnosis = tlsProblem(endpoint, this.#tls?.attempt).finally(() => this.#diagnoses.delete(endpoint));
      this.#diagnoses.set(endpoint, diagnosis);
    }
    return diagnosis;
  }

  /** While another node may be right, the call is to go there; when all are wrong it fails for good. */
  #tlsFailure(endpoint: string, problem: string): HoldfastError {
    this.#mistrusted.add(endpoint);
    if (this.#mistrusted.size < this.#endpointCount) return unreachable(endpoint, problem);
    const message = `${endpoint}: ${problem}. The call was not sent.`;
    return new HoldfastError({ reason: 'TLS_FAILED', message, outcome: 'NOT_APPLIED' });
  }

  #client(endpoint: string): Client {
    if (this.#closed) throw unreachable(endpoint, 'the client is closed');
    let client = this.#clients.get(endpoint);
    if (client === undefined) {
      client = new Client(endpoint, this.#tls?.credentials(endpoint) ?? credentials.createInsecure(), {
        ...CHANNEL_OPTIONS,
        ...this.#tls?.channelOptions(endpoint),
      });
      this.#clients.set(endpoint, client);
    }
    return client;
  }
}

interface StreamOwner {
  connect(): Promise<Client>;
  metadata(): Metadata;
  onOver(): void;
}

class GrpcStream implements StreamConnection {
  readonly #endpoint: string;
  readonly #method: StreamMethod;
  readonly #events: StreamEvents;
  readonly #owner: StreamOwner;
  #call: ClientDuplexStream<Uint8Array, Buffer> | undefined;
  #over = false;
  #queuedBytes = 0;
  #blocked = false;

  constructor(endpoint: string, method: StreamMethod, events: StreamEvents, owner: StreamOwner) {
    this.#endpoint = endpoint;
    this.#method = method;
    this.#events = events;
    this.#owner = owner;
    void this.#open();
  }

  send(message: Uint8Array): boolean {
    const call = this.#call;
    if (call === undefined || this.#over) return false;
    this.#queuedBytes += message.length;
    call.write(message, () => this.#onWritten(message.length));
    // By bytes: grpc-js itself counts messages, whatever their size.
    this.#blocked = this.#queuedBytes >= MAX_QUEUED_BYTES;
    return !this.#blocked;
  }

  halfClose(): void {
    if (!this.#over) this.#call?.end();
  }

  cancel(): void {
    if (!this.#end()) return;
    this.#call?.cancel();
  }

  async #open(): Promise<void> {
    try {
      const client = await this.#owner.connect();
      if (this.#over) return;
      const received = (bytes: Buffer) => bytes;
      const metadata = this.#owner.metadata();
      this.#call = client.makeBidiStreamRequest(methodPath(this.#method), asBuffer, received, metadata);
    } catch (error) {
      if (this.#end()) this.#events.onEnd(error as HoldfastError);
      return;
    }
    this.#call.on('data', (message: Buffer) => this.#onData(message));
    this.#call.on('error', (error) => this.#onError(error as ServiceError));
    this.#call.on('status', () => undefined);
    this.#call.on('end', () => this.#onEnd());
    this.#events.onOpen();
  }

  #onData(message: Buffer): void {
    if (!this.#over) this.#events.onMessage(message);
  }

  #onError(error: ServiceError): void {
    if (this.#end()) this.#events.onEnd(failure(error, this.#endpoint, false));
  }

  #onEnd(): void {
    // With an error status `error` follows in the same turn; only a good end ends here.
    setImmediate(() => {
      if (this.#end()) this.#events.onEnd(undefined);
    });
  }

  #onWritten(length: number): void {
    this.#queuedBytes -= length;
    if (!this.#blocked || this.#over || this.#queuedBytes > MAX_QUEUED_BYTES / 2) return;
    this.#blocked = false;
    this.#events.onDrain();
  }

  #end(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#owner.onOver();
    return true;
  }
}

/** grpc-js sends nothing but buffers. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Says that this client asks the leader that an error names, so that no node needs to pass its calls on; and who calls. */
function callMetadata(token: string | undefined): Metadata {
  const metadata = new Metadata();
  metadata.set('holdfast-routes', '1');
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

function methodPath(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function failure(error: ServiceError, endpoint: string, byUs: boolean): HoldfastError {
  if (byUs) return abandoned(error);
  const [statusDetails] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const bytes = typeof statusDetails === 'string' ? undefined : statusDetails;
  // A reset by a dying peer shows as CANCELLED or INTERNAL, though nobody here cancelled.
  const reset = error.code === StatusCode.CANCELLED || /RST_STREAM|ECONN|EPIPE/.test(error.details ?? '');
  const code = bytes === undefined && reset ? StatusCode.UNAVAILABLE : (error.code ?? StatusCode.INTERNAL);
  const details = bytes === undefined ? `${endpoint}: ${error.details || error.message}` : error.details;
  return errorFromGrpc({ code, details, statusDetails: bytes }, error);
}

function unreachable(endpoint: string, why: string, cause?: unknown): HoldfastError {
  const message = `${endpoint}: ${why}; the call was not sent`;
  return new HoldfastError({ reason: 'UNAVAILABLE', message, outcome: 'NOT_APPLIED', cause });
}

function abandoned(cause?: unknown): HoldfastError {
  return new HoldfastError({ reason: 'CANCELLED', message: 'the call was cancelled', cause });
}
