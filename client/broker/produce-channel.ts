import { fromBinary } from '@bufbuild/protobuf';
import {
  BrokerService,
  type ProduceResponse,
  ProduceStreamResponseSchema,
} from '@holdfast/proto/broker/v1/broker';
import { HoldfastError } from '../error.ts';
import type { StreamConnection, Transport } from '../transport.ts';
import { asHoldfastError } from '../unary.ts';
import { type Acks, encodeStreamRequest, produceRequest } from './produce-codec.ts';
import type { ProducerBatch } from './producer-batch.ts';

/** What a node may take for a request, in ms; whatever the partition is at then, it is asked again. */
const REQUEST_MS = 3_000;
/** So long after a request a node that has not answered it is given up. */
const SILENCE_MS = 4_000;

/** Who sends batches. */
export interface ChannelOwner {
  /** The channel takes requests (again). */
  onReady(): void;
  /** One result for each batch, in their order. */
  onAnswer(channel: ProduceChannel, batches: readonly ProducerBatch[], answer: ProduceResponse): void;
  /** It is over; these were sent and not answered. */
  onBroken(channel: ProduceChannel, batches: readonly ProducerBatch[], error: HoldfastError): void;
  nowMs(): number;
}

/** A way to a node. */
export interface ProduceChannel {
  readonly endpoint: string;
  /** Requests can be sent now. */
  readonly isReady: boolean;
  /** Nothing has come through it yet. */
  readonly isFresh: boolean;
  /** Batches of one partition that may be under way on it and still keep their order. */
  readonly mostInFlight: number;
  send(batches: readonly ProducerBatch[]): void;
  /** Gives up a node that is silent. */
  look(nowMs: number): void;
  /** Ends it; its owner is not told. */
  close(): void;
}

interface Sent {
  readonly batches: readonly ProducerBatch[];
  readonly atMs: number;
}

/** A stream of batches to one node, which takes those of a partition in the order in which they are sent. */
export class ProduceStream implements ProduceChannel {
  readonly endpoint: string;
  readonly mostInFlight = Infinity;
  isFresh = true;
  readonly #acks: Acks;
  readonly #owner: ChannelOwner;
  readonly #connection: StreamConnection;
  readonly #sent = new Map<number, Sent>();
  #lastId = 0;
  #phase: 'opening' | 'ready' | 'blocked' | 'ended' = 'opening';

  constructor(endpoint: string, transport: Transport, acks: Acks, owner: ChannelOwner) {
    this.endpoint = endpoint;
    this.#acks = acks;
    this.#owner = owner;
    this.#connection = transport.openStream(endpoint, BrokerService.method.produceStream, {
      onOpen: () => this.#becomeReady(),
      onDrain: () => this.#becomeReady(),
      onMessage: (message) => this.#onMessage(message),
      onEnd: (error) => this.#onEnd(error ?? ended(this.endpoint)),
    });
  }

  get isReady(): boolean {
    return this.#phase === 'ready';
  }

  send(batches: readonly ProducerBatch[]): void {
    this.#lastId += 1;
    this.#sent.set(this.#lastId, { batches, atMs: this.#owner.nowMs() });
    const message = encodeStreamRequest(this.#lastId, batches, this.#acks, REQUEST_MS);
    if (!this.#connection.send(message)) this.#phase = 'blocked';
  }

  look(nowMs: number): void {
    for (const { atMs } of this.#sent.values()) {
      if (nowMs - atMs < SILENCE_MS) return;
      this.#connection.cancel();
      this.#onEnd(silent(this.endpoint));
      return;
    }
  }

  close(): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    this.#sent.clear();
    this.#connection.cancel();
  }

  #becomeReady(): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ready';
    this.#owner.onReady();
  }

  #onMessage(message: Uint8Array): void {
    if (this.#phase === 'ended') return;
    this.isFresh = false;
    const answered = this.#answered(message);
    if (answered !== undefined) this.#owner.onAnswer(this, answered.batches, answered.response);
  }

  /** What a message answers; one that cannot be read ends the stream. */
  #answered(
    message: Uint8Array,
  ): { batches: readonly ProducerBatch[]; response: ProduceResponse } | undefined {
    try {
      const { id, response } = fromBinary(ProduceStreamResponseSchema, message);
      const sent = this.#sent.get(Number(id));
      if (sent === undefined) return undefined;
      if (response?.results.length !== sent.batches.length) throw new RangeError('results are missing');
      this.#sent.delete(Number(id));
      return { batches: sent.batches, response };
    } catch (cause) {
      this.#connection.cancel();
      this.#onEnd(unreadable(this.endpoint, cause));
      return undefined;
    }
  }

  #onEnd(error: HoldfastError): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    const batches = [...this.#sent.values()].flatMap((sent) => sent.batches);
    this.#sent.clear();
    this.#owner.onBroken(this, batches, error);
  }
}

/** Requests one by one, to a node that has no streams, or behind a proxy that passes none. */
export class ProduceCalls implements ProduceChannel {
  readonly endpoint: string;
  readonly isReady = true;
  readonly isFresh = false;
  /** Calls overtake each other. */
  readonly mostInFlight = 1;
  readonly #transport: Transport;
  readonly #acks: Acks;
  readonly #owner: ChannelOwner;
  readonly #ended = new AbortController();

  constructor(endpoint: string, transport: Transport, acks: Acks, owner: ChannelOwner) {
    this.endpoint = endpoint;
    this.#transport = transport;
    this.#acks = acks;
    this.#owner = owner;
  }

  send(batches: readonly ProducerBatch[]): void {
    void this.#send(batches);
  }

  look(): void {
    // Each call has its own end in time.
  }

  close(): void {
    this.#ended.abort();
  }

  async #send(batches: readonly ProducerBatch[]): Promise<void> {
    const request = produceRequest(batches, this.#acks);
    const options = { timeoutMs: SILENCE_MS, signal: this.#ended.signal };
    const { produce } = BrokerService.method;
    let answer: ProduceResponse;
    try {
      answer = await this.#transport.unary(this.endpoint, produce, request, options);
      if (answer.results.length !== batches.length) throw unreadable(this.endpoint, undefined);
    } catch (cause) {
      if (!this.#ended.signal.aborted) this.#owner.onBroken(this, batches, asHoldfastError(cause));
      return;
    }
    if (!this.#ended.signal.aborted) this.#owner.onAnswer(this, batches, answer);
  }
}

function ended(endpoint: string): HoldfastError {
  return new HoldfastError({
    reason: 'UNAVAILABLE',
    message: `${endpoint} ended the stream without answering`,
  });
}

function silent(endpoint: string): HoldfastError {
  return new HoldfastError({ reason: 'UNAVAILABLE', message: `${endpoint} has not answered in time` });
}

function unreadable(endpoint: string, cause: unknown): HoldfastError {
  const message = `${endpoint} gave an answer that cannot be read`;
  return new HoldfastError({ reason: 'UNAVAILABLE', message, cause });
}
