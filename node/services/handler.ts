/**
 * What a handler is: written once, served by every transport. A handler checks and
 * maps messages and calls a feature; it holds no logic of its own.
 */
import type { HoldfastError } from '@holdfast/client/error';
import type { Grant } from '../coordination/grant.ts';
import type { Access } from './access.ts';
import type {
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageShape,
} from '@bufbuild/protobuf';

/** What comes with a call. */
export interface CallContext {
  /** Monotonic time by which the call must have ended. */
  readonly deadlineMs: number;
  /** Aborted when the caller has gone or the deadline has passed. */
  readonly signal: AbortSignal;
  /**
   * The caller asks whoever leads a partition, as our client does, and wants to be told who
   * that is. For any other the node has it done elsewhere.
   */
  readonly isRouted: boolean;
  /** Who calls, for logs. */
  readonly principal: string;
  /** Who calls, and what it may do: what streams ask for each thing that is said on them. */
  readonly access: Access;
  /** That the call was let in, for what it has changed: the same as `access`. */
  readonly grant: Grant;
  /** Address of the caller, without its port. */
  readonly peer: () => string;
  /** Names the call in logs, here and at the caller. */
  readonly requestId: string;
  /** W3C trace context, if the caller sent one. */
  readonly traceparent: string | undefined;
  /** What streams charge for the messages that they hold. */
  readonly budget: ByteBudget;
}

/** Bytes of all requests that the node is handling, against one bound. */
export interface ByteBudget {
  /** Charges bytes; false: they do not fit. */
  tryTake(bytes: number): boolean;
  /** Gives charged bytes back. */
  give(bytes: number): void;
  /** The error for what did not fit. */
  refusal(): HoldfastError;
}

/**
 * Both directions of a stream, as encoded messages: streams are where throughput matters,
 * and their handlers have better codecs than the generic one. In order, both ways.
 */
export interface MessageStream {
  /** Sets who takes the messages. What it throws ends the stream. */
  onMessage(receive: (message: Buffer) => void): void;
  /** The caller sends no more. */
  onEnd(ended: () => void): void;
  /** The stream is gone, whoever ended it; nothing can be sent. */
  onClose(closed: () => void): void;
  /** Sends; false: the transport's buffer is full, wait for `onDrain`. */
  send(message: Uint8Array): boolean;
  onDrain(drained: () => void): void;
  /** Bytes that were sent and have not left for the caller, who may not read. */
  readonly unsentBytes: number;
  /** Stops and resumes the delivery of messages; the caller is slowed down by the transport. */
  pause(): void;
  resume(): void;
  /** Ends the stream, with an error or well. */
  end(error?: Error): void;
}

type Handler<M> =
  M extends DescMethodUnary<infer I, infer O>
    ? (context: CallContext, request: MessageShape<I>) => Promise<MessageShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (context: CallContext, request: MessageShape<I>) => AsyncIterable<MessageShape<O>>
      : M extends DescMethodBiDiStreaming
        ? (context: CallContext, stream: MessageStream) => void
        : never;

/** A handler for every method of a service. */
export type Handlers<S extends DescService> = { [K in keyof S['method']]: Handler<S['method'][K]> };

/** A service with its handlers, for a transport to serve. */
export interface ServedService {
  readonly service: DescService;
  readonly handlers: Readonly<Record<string, unknown>>;
}

/** Pairs a service with its handlers; the types of both must agree. */
export function serve<S extends DescService>(service: S, handlers: Handlers<S>): ServedService {
  return { service, handlers };
}
