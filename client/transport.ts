import type {
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescMessage,
  MessageShape,
} from '@bufbuild/protobuf';
import type { HoldfastError } from './error.ts';

/**
 * How calls reach a node: all that the client's core knows of the network. The grpc-js
 * adapter is one implementation, a simulated network another.
 *
 * Every failure is a HoldfastError. Its outcome says what the transport knows:
 * `NOT_APPLIED` when not one byte of the call left this process, otherwise what the
 * node said, or undefined; the core fills in the rest.
 */
export interface Transport {
  /** One request, one response. Fails with DEADLINE_EXCEEDED after `timeoutMs`. */
  unary<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>>;

  /** One request, many responses. Leaving the loop early cancels the call. */
  serverStream<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: DescMethodServerStreaming<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
  ): AsyncIterable<MessageShape<O>>;

  /** Opens a stream of messages both ways, which pass as encoded bytes. */
  openStream(endpoint: string, method: StreamMethod, events: StreamEvents): StreamConnection;

  /** Ends all calls and connections; nothing of it keeps the process alive afterwards. */
  close(): void;
}

/** Limits of one call. */
export interface CallOptions {
  /** Time left in milliseconds. */
  timeoutMs: number;
  /** Ends the call early with CANCELLED. */
  signal?: AbortSignal | undefined;
}

/** A method with messages both ways. */
export type StreamMethod = DescMethodBiDiStreaming<DescMessage, DescMessage>;

/** What a stream tells its user. None is called before openStream has returned. */
export interface StreamEvents {
  /** The connection stands: messages can be sent. Once. */
  onOpen(): void;
  /** An encoded response. The bytes may be kept. */
  onMessage(message: Uint8Array): void;
  /** After `send` returned false: there is room again. */
  onDrain(): void;
  /** The stream is over; once, and nothing follows. Undefined: the node ended it in order. */
  onEnd(error: HoldfastError | undefined): void;
}

/** A stream as its user holds it. */
export interface StreamConnection {
  /**
   * Queues an encoded request; allowed from `onOpen` to `onEnd`. False: the bytes
   * waiting to leave are over the bound, send no more until `onDrain`.
   */
  send(message: Uint8Array): boolean;
  /** Says that no more is sent; the node answers what it took, then ends. */
  halfClose(): void;
  /** Ends the stream now; `onEnd` is not called. */
  cancel(): void;
}
