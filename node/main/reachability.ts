import type {
  DescMessage,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageShape,
} from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { SystemClock } from '@holdfast/client/system-clock';
import type {
  CallOptions,
  StreamConnection,
  StreamEvents,
  StreamMethod,
  Transport,
} from '@holdfast/client/transport';

/**
 * A transport that notices when no node can be reached. A long-lived client keeps trying
 * until the call's time is over, because nodes come back; somebody at a terminal wants to
 * hear at once that nothing listens there.
 */
export class ReachabilityTransport implements Transport {
  readonly #inner: Transport;
  readonly #unreached: Set<string>;
  readonly #hopeless = new AbortController();
  readonly #clock = new SystemClock();
  #answered = false;

  constructor(inner: Transport, endpoints: readonly string[]) {
    this.#inner = inner;
    this.#unreached = new Set(endpoints);
  }

  /** Aborted when every node was tried and none could be reached. */
  get hopeless(): AbortSignal {
    return this.#hopeless.signal;
  }

  /** Whether any node gave any answer, an error included. */
  get answered(): boolean {
    return this.#answered;
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    try {
      const response = await this.#inner.unary(endpoint, method, request, options);
      this.#answered = true;
      return response;
    } catch (error) {
      throw this.#noted(endpoint, error);
    }
  }

  async *serverStream<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodServerStreaming<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    try {
      for await (const message of this.#inner.serverStream(endpoint, method, request, options)) {
        this.#answered = true;
        yield message;
      }
      this.#answered = true;
    } catch (error) {
      throw this.#noted(endpoint, error);
    }
  }

  openStream(endpoint: string, method: StreamMethod, events: StreamEvents): StreamConnection {
    return this.#inner.openStream(endpoint, method, {
      onOpen: () => events.onOpen(),
      onDrain: () => events.onDrain(),
      onMessage: (message) => {
        this.#answered = true;
        events.onMessage(message);
      },
      onEnd: (error) => {
        events.onEnd(error);
        if (error !== undefined) this.#noted(endpoint, error);
      },
    });
  }

  close(): void {
    this.#inner.close();
  }

  #noted(endpoint: string, error: unknown): unknown {
    if (!(error instanceof HoldfastError)) return error;
    const silent = ['UNAVAILABLE', 'TLS_FAILED', 'DEADLINE_EXCEEDED', 'CANCELLED'].includes(error.reason);
    if (!silent) this.#answered = true;
    if (error.reason === 'UNAVAILABLE' && error.outcome === 'NOT_APPLIED') this.#unreached.delete(endpoint);
    // In a turn of its own: the client is still noting that what failed just now was not sent.
    if (this.#unreached.size === 0 && !this.#answered)
      this.#clock.afterTurn(() => this.#hopeless.abort(error));
    return error;
  }
}
