import * as grpc from '@grpc/grpc-js';
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { LinkRequest, LinkResponse } from '@holdfast/proto/raft/v1/peer';

/** Longest message on a link, with its envelope. */
export const MAX_MESSAGE_BYTES = 64 * 2 ** 20;

/** Room for cluster id, sender and framing; a longer message would break the stream for all. */
const ENVELOPE_BYTES = 4096;

const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 2000;

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.max_reconnect_backoff_ms': LONGEST_BACKOFF_MS,
  // Links must not share a connection: what is bulk to one is a delay to the other.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
  // A message that may have been sent is not sent again, and waits in no buffer that cannot be counted.
  'grpc.enable_retries': 0,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
};

/** What a link needs to dial. */
export interface PeerLinkOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly link: grpc.MethodDefinition<LinkRequest, LinkResponse>;
  /** `host:port` of the peer, looked up at each dial; undefined when it is not known now. */
  readonly address: () => string | undefined;
  readonly wrap: (payload: Uint8Array) => LinkRequest;
  readonly maxQueuedBytes: number;
  readonly onDropped: (messages: number) => void;
  readonly onBroken: (error: Error) => void;
}

/** A link is `idle` until something is to be sent; after a broken stream it waits in `backoff`, and drops. */
type Phase =
  | { readonly name: 'idle' }
  | {
      readonly name: 'streaming';
      readonly client: grpc.Client;
      readonly call: Call;
      readonly sinceMs: number;
      unflushed: number;
    }
  | { readonly name: 'backoff'; readonly cancel: () => void }
  | { readonly name: 'closed' };

type Call = grpc.ClientWritableStream<LinkRequest>;

/**
 * One direction of the traffic with one peer: a lazily dialled stream with a queue
 * bounded in bytes. When the stream breaks, everything queued is dropped: old messages
 * help nobody, and whoever sent them sends again. Each dial makes a new channel, so that
 * the only backoff is the one here and a changed address is seen.
 */
export class PeerLink {
  readonly #options: PeerLinkOptions;
  #phase: Phase = { name: 'idle' };
  #queue: Uint8Array[] = [];
  #queueBytes = 0;
  #failures = 0;

  constructor(options: PeerLinkOptions) {
    this.#options = options;
  }

  /** Bytes that the connection has not taken yet. */
  get queuedBytes(): number {
    return this.#queueBytes + (this.#phase.name === 'streaming' ? this.#phase.unflushed : 0);
  }

  send(payload: Uint8Array): void {
    if (this.#phase.name === 'idle') this.#dial();
    const isTooLong = payload.length > MAX_MESSAGE_BYTES - ENVELOPE_BYTES;
    const isFull = isTooLong || this.queuedBytes + payload.length > this.#options.maxQueuedBytes;
    if (this.#phase.name !== 'streaming' || isFull) {
      this.#options.onDropped(1);
      return;
    }
    this.#queue.push(payload);
    this.#queueBytes += payload.length;
    this.#pump();
  }

  close(): void {
    this.#becomeStopped({ name: 'closed' });
  }

  #dial(): void {
    const address = this.#options.address();
    if (address === undefined) return;
    const { path, requestSerialize, responseDeserialize } = this.#options.link;
    const client = new grpc.Client(address, grpc.credentials.createInsecure(), CHANNEL_OPTIONS);
    const call = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, (error) => {
      if (this.#isCurrent(call)) this.#becomeBackoff(error ?? new Error('the peer ended the link'));
    });
    this.#phase = {
      name: 'streaming',
      client,
      call,
      sinceMs: this.#options.clock.monotonicMs(),
      unflushed: 0,
    };
    // A failed write is told here as well as to the callback above, which deals with it.
    call.on('error', () => undefined);
    call.on('drain', () => {
      if (this.#isCurrent(call)) this.#pump();
    });
  }

  #isCurrent(call: Call): boolean {
    return this.#phase.name === 'streaming' && this.#phase.call === call;
  }

  /** Hands over what the stream takes; it goes on with the stream's `drain`. */
  #pump(): void {
    const phase = this.#phase;
    if (phase.name !== 'streaming') return;
    let sent = 0;
    while (sent < this.#queue.length && !phase.call.writableNeedDrain) {
      const payload = this.#queue[sent++]!;
      this.#queueBytes -= payload.length;
      phase.unflushed += payload.length;
      phase.call.write(this.#options.wrap(payload), () => {
        phase.unflushed -= payload.length;
      });
    }
    this.#queue.splice(0, sent);
  }

  #becomeBackoff(error: Error): void {
    const phase = this.#phase;
    const livedMs = phase.name === 'streaming' ? this.#options.clock.monotonicMs() - phase.sinceMs : 0;
    if (livedMs > LONGEST_BACKOFF_MS) this.#failures = 0;
    const ceilingMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#failures++);
    const delayMs = ceilingMs * (0.5 + this.#options.random.float() / 2);
    const timer = this.#options.clock.setTimer(delayMs, () => (this.#phase = { name: 'idle' }));
    this.#becomeStopped({ name: 'backoff', cancel: () => timer.cancel() });
    this.#options.onBroken(error);
  }

  /** Leaves the phase with all that belongs to it. */
  #becomeStopped(next: Phase): void {
    const phase = this.#phase;
    this.#phase = next;
    if (phase.name === 'backoff') phase.cancel();
    if (phase.name === 'streaming') {
      phase.call.cancel();
      phase.client.close();
    }
    if (this.#queue.length > 0) this.#options.onDropped(this.#queue.length);
    this.#queue = [];
    this.#queueBytes = 0;
  }
}
