import * as grpc from '@grpc/grpc-js';
import type { Clock } from '@holdfast/client/clock';
import type { ReceiveRequest } from '@holdfast/proto/raft/v1/peer';
import type { ArrivalContext } from './grpc-calls.ts';
import { encodeResponse, MAX_RESPONSE_BYTES, refusal, responseBytes } from './peer-service.ts';

/**
 * Messages that wait go out together up to so many bytes. More costs fewer responses under
 * load; less lets the receiver begin earlier.
 */
const RESPONSE_BYTES = 256 * 1024;
const LONGEST_SCRATCH_BYTES = 2 * RESPONSE_BYTES;
/** What a waiting message takes beside its bytes: without it, empty ones would queue without bound. */
const MESSAGE_OVERHEAD_BYTES = 64;

/** A stream that a peer has opened. */
export type ReceiveCall = grpc.ServerWritableStream<ReceiveRequest, Buffer>;

/** What is known of the way to a peer. */
export interface OutgoingStats {
  /** Whether the peer has a stream open. */
  readonly isOpen: boolean;
  /** When that changed last, in monotonic milliseconds; undefined: it never was. */
  readonly sinceMs: number | undefined;
  /** Streams after the first. */
  readonly reconnects: number;
  readonly messages: number;
  readonly bytes: number;
  readonly droppedMessages: number;
  readonly droppedBytes: number;
  readonly queuedBytes: number;
}

interface Stream {
  readonly call: ReceiveCall;
  /** Bytes that were handed to gRPC and have not left. */
  writing: number;
}

/**
 * What one node has for one peer on one lane. grpc-js sends one response after the other,
 * so one at a time is handed over and the rest waits here, where it is counted. When
 * the stream ends, all that waits is dropped: old messages help nobody, and whoever sent
 * them sends again.
 */
export class PeerOutlet {
  readonly #clock: Clock;
  readonly #maxQueuedBytes: number;
  #stream: Stream | undefined;
  #sinceMs: number | undefined;
  #streams = 0;
  #queue: Uint8Array[] = [];
  #queueBytes = 0;
  #scratch = Buffer.alloc(0);
  readonly #sent = { messages: 0, bytes: 0 };
  readonly #dropped = { messages: 0, bytes: 0 };

  constructor(clock: Clock, maxQueuedBytes: number) {
    this.#clock = clock;
    this.#maxQueuedBytes = maxQueuedBytes;
  }

  /** Bytes that the connection has not taken yet. */
  get queuedBytes(): number {
    return this.#queueBytes + (this.#stream?.writing ?? 0);
  }

  get stats(): OutgoingStats {
    return {
      isOpen: this.#stream !== undefined,
      sinceMs: this.#sinceMs,
      reconnects: Math.max(0, this.#streams - 1),
      ...this.#sent,
      droppedMessages: this.#dropped.messages,
      droppedBytes: this.#dropped.bytes,
      queuedBytes: this.queuedBytes,
    };
  }

  send(message: Uint8Array): void {
    const cost = costOf(message);
    const fits = cost <= MAX_RESPONSE_BYTES && this.queuedBytes + cost <= this.#maxQueuedBytes;
    if (this.#stream === undefined || !fits) {
      this.#dropped.messages++;
      this.#dropped.bytes += message.length;
      return;
    }
    this.#queue.push(message);
    this.#queueBytes += cost;
    this.#pump();
  }

  /** Sends through this call from now on, in place of an earlier one. */
  open(call: ReceiveCall): void {
    this.end(refusal(grpc.status.ABORTED, `node "${call.request.from}" has called again`));
    const stream: Stream = { call, writing: 0 };
    this.#stream = stream;
    this.#sinceMs = this.#clock.monotonicMs();
    this.#streams++;
    const onGone = () => {
      if (this.#stream === stream) this.#becomeClosed();
    };
    for (const event of ['cancelled', 'close', 'error']) call.on(event, onGone);
    call.sendMetadata(new grpc.Metadata());
  }

  /** Ends the stream, if there is one. */
  end(reason: grpc.ServiceError): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#becomeClosed();
    // A status would wait behind a response that may never leave.
    if (stream.writing > 0) (stream.call.getAuthContext() as ArrivalContext).reset();
    else stream.call.emit('error', reason);
  }

  #becomeClosed(): void {
    this.#stream = undefined;
    this.#sinceMs = this.#clock.monotonicMs();
    this.#dropped.messages += this.#queue.length;
    for (const { length } of this.#queue) this.#dropped.bytes += length;
    this.#queue = [];
    this.#queueBytes = 0;
  }

  /** Hands over what waits, unless a response is on its way; it goes on when that has left. */
  #pump(): void {
    const stream = this.#stream;
    if (stream === undefined || stream.writing > 0 || this.#queue.length === 0) return;
    const messages = this.#takeSome();
    for (const message of messages) {
      stream.writing += costOf(message);
      this.#sent.bytes += message.length;
    }
    this.#queueBytes -= stream.writing;
    this.#sent.messages += messages.length;
    stream.call.write(this.#encoded(messages), () => {
      stream.writing = 0;
      if (this.#stream === stream) this.#pump();
    });
  }

  /** Written over by the next response, which is encoded when this one has left. */
  #encoded(messages: readonly Uint8Array[]): Buffer {
    const bytes = responseBytes(messages);
    if (bytes > LONGEST_SCRATCH_BYTES) return encodeResponse(messages, Buffer.allocUnsafe(bytes));
    if (bytes > this.#scratch.length)
      this.#scratch = Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(bytes)));
    return encodeResponse(messages, this.#scratch);
  }

  /** The first message that waits, however large, and as many more as a response is to hold. */
  #takeSome(): Uint8Array[] {
    let count = 0;
    let bytes = 0;
    for (const message of this.#queue) {
      bytes += costOf(message);
      if (count > 0 && bytes > RESPONSE_BYTES) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }
}

function costOf(message: Uint8Array): number {
  return message.length + MESSAGE_OVERHEAD_BYTES;
}
