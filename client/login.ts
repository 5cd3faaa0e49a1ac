/**
 * Logs in to a cluster that asks who calls, and shows the token with every call: a transport
 * around another one.
 *
 *  1. It logs in before the first call, before a token ends, and when a node does not take it any
 *     more: what was refused for that alone was not done, and is sent once more.
 *  2. One login is under way at a time, whoever waits for it.
 *  3. Where nobody is asked, no token is shown, until a node asks.
 */
import {
  create,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
} from '@bufbuild/protobuf';
import type { MessageShape } from '@bufbuild/protobuf';
import { AuthService, LoginRequestSchema } from '@holdfast/proto/auth/v1/auth';
import type { Clock } from './clock.ts';
import { HoldfastError } from './error.ts';
import type { LoginOptions } from './options.ts';
import type { CallOptions, StreamConnection, StreamEvents, StreamMethod, Transport } from './transport.ts';
import { asHoldfastError } from './unary.ts';

/** A token is renewed when this part of its time is over. */
const RENEWED_AFTER = 0.8;
/** Time of a login, which is not that of one call: others may wait for it as well. */
const LOGIN_MS = 10_000;

/** Makes the transport that calls go over; `token`: what they show. */
export type TransportWithToken = (token: () => string | undefined) => Transport;

export class LoginTransport implements Transport {
  readonly #credentials: LoginOptions;
  readonly #clock: Clock;
  readonly #inner: Transport;
  #token: string | undefined;
  /** Until when no login is needed. */
  #untilMs = -Infinity;
  #login: Promise<void> | undefined;

  constructor(credentials: LoginOptions, clock: Clock, make: TransportWithToken) {
    this.#credentials = credentials;
    this.#clock = clock;
    this.#inner = make(() => this.#token);
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const left = this.#left(options);
    await this.#loggedIn(endpoint);
    const token = this.#token;
    try {
      return await this.#inner.unary(endpoint, method, request, left());
    } catch (error) {
      if (!this.#isOver(error, token)) throw error;
    }
    await this.#loggedIn(endpoint); // invariant 1
    return this.#inner.unary(endpoint, method, request, left());
  }

  async *serverStream<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodServerStreaming<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    const left = this.#left(options);
    await this.#loggedIn(endpoint);
    const token = this.#token;
    let hasBegun = false;
    try {
      for await (const message of this.#inner.serverStream(endpoint, method, request, left())) {
        hasBegun = true;
        yield message;
      }
      return;
    } catch (error) {
      if (!this.#isOver(error, token) || hasBegun) throw error;
    }
    await this.#loggedIn(endpoint); // invariant 1
    yield* this.#inner.serverStream(endpoint, method, request, left());
  }

  openStream(endpoint: string, method: StreamMethod, events: StreamEvents): StreamConnection {
    const open = (): StreamConnection => {
      const token = this.#token;
      const onEnd = (error: HoldfastError | undefined) =>
        events.onEnd(this.#isOver(error, token) ? outdated(error!) : error);
      const { onOpen, onMessage, onDrain } = bound(events);
      return this.#inner.openStream(endpoint, method, { onOpen, onMessage, onDrain, onEnd });
    };
    return new LoggedInStream(this.#loggedIn(endpoint), open, (error) => events.onEnd(error));
  }

  close(): void {
    this.#inner.close();
  }

  /** What is left of a call's time, whenever it is asked for. */
  #left({ timeoutMs, signal }: CallOptions): () => CallOptions {
    const endMs = this.#clock.monotonicMs() + timeoutMs;
    return () => ({ timeoutMs: Math.max(1, endMs - this.#clock.monotonicMs()), signal });
  }

  /** Whether a call was refused for the token that it showed, or for showing none. */
  #isOver(error: unknown, token: string | undefined): boolean {
    const reason = error instanceof HoldfastError ? error.reason : '';
    if (reason !== 'TOKEN_INVALID' && reason !== 'UNAUTHENTICATED') return false;
    if (this.#token === token) this.#untilMs = -Infinity; // else there is a newer one by now
    return true;
  }

  /** Error: HoldfastError; nothing was sent but the login. */
  async #loggedIn(endpoint: string): Promise<void> {
    if (this.#clock.monotonicMs() < this.#untilMs) return;
    this.#login ??= this.#logIn(endpoint).finally(() => (this.#login = undefined)); // invariant 2
    await this.#login;
  }

  async #logIn(endpoint: string): Promise<void> {
    this.#token = undefined;
    const { user, password } = this.#credentials;
    try {
      const shown = typeof password === 'function' ? await password() : password;
      const request = create(LoginRequestSchema, { user, password: shown });
      const { login } = AuthService.method;
      const { token, ttlMs } = await this.#inner.unary(endpoint, login, request, { timeoutMs: LOGIN_MS });
      this.#token = token;
      this.#untilMs = this.#clock.monotonicMs() + Number(ttlMs) * RENEWED_AFTER;
    } catch (caught) {
      const error = asHoldfastError(caught);
      if (error.reason !== 'AUTH_NOT_ENABLED') throw error.withOutcome('NOT_APPLIED');
      this.#untilMs = Infinity; // invariant 3
    }
  }
}

function bound(events: StreamEvents): Omit<StreamEvents, 'onEnd'> {
  return {
    onOpen: () => events.onOpen(),
    onMessage: (message) => events.onMessage(message),
    onDrain: () => events.onDrain(),
  };
}

/** A stream that begins when somebody has logged in. */
class LoggedInStream implements StreamConnection {
  /** Set before anything is told of it. */
  #inner: StreamConnection | undefined;
  #isCancelled = false;

  constructor(login: Promise<void>, open: () => StreamConnection, onFailed: (error: HoldfastError) => void) {
    login.then(
      () => {
        if (!this.#isCancelled) this.#inner = open();
      },
      (error: unknown) => {
        if (!this.#isCancelled) onFailed(asHoldfastError(error));
      },
    );
  }

  send(message: Uint8Array): boolean {
    return this.#inner?.send(message) ?? false;
  }

  halfClose(): void {
    this.#inner?.halfClose();
  }

  cancel(): void {
    this.#isCancelled = true;
    this.#inner?.cancel();
  }
}

/** Whoever uses streams opens another one after this; it begins with a login. */
function outdated(cause: HoldfastError): HoldfastError {
  return new HoldfastError({
    reason: 'UNAVAILABLE',
    message: 'the token of the stream is not taken any more; another stream begins with a new one.',
    outcome: cause.outcome,
    cause,
  });
}
