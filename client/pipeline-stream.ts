import { KvService } from '@holdfast/proto/kv/v1/kv';
import { blamesEndpoint } from './core.ts';
import { HoldfastError } from './error.ts';
import { type Answer, decodeResponse, encodeRequest } from './pipeline-codec.ts';
import type { CallCarrier, PipelineCall } from './pipeline-call.ts';
import type { StreamConnection, Transport } from './transport.ts';

/** Who owns the streams and decides what becomes of calls. */
export interface StreamOwner {
  /** The stream can take messages (again). */
  onReady(): void;
  /** One response has been read: all its answers, with the calls they belong to. */
  onAnswers(stream: PipelineStream, answers: readonly [PipelineCall, Answer][]): void;
  /** The stream is over; `calls` were sent on it and have no answer. */
  onBroken(stream: PipelineStream, calls: readonly PipelineCall[], error: HoldfastError): void;
}

/** One pipeline stream to one node: ids, and which calls wait for an answer on it. */
export class PipelineStream implements CallCarrier {
  readonly endpoint: string;
  /** When the last message came, in monotonic milliseconds. */
  lastAnswerMs = 0;
  readonly #owner: StreamOwner;
  readonly #connection: StreamConnection;
  readonly #unanswered = new Map<number, PipelineCall>();
  readonly #now: () => number;
  #phase: 'opening' | 'ready' | 'blocked' | 'ended' = 'opening';
  #lastId = 0;
  /** Looks in a row at which calls waited and nothing had come since the one before. */
  #silentLooks = 0;

  constructor(endpoint: string, transport: Transport, owner: StreamOwner, now: () => number) {
    this.endpoint = endpoint;
    this.#owner = owner;
    this.#now = now;
    this.#connection = transport.openStream(endpoint, KvService.method.pipeline, {
      onOpen: () => this.#becomeReady(),
      onDrain: () => this.#becomeReady(),
      onMessage: (message) => this.#onMessage(message),
      onEnd: (error) => this.#onEnd(error),
    });
  }

  /** Whether `send` may be called. */
  get ready(): boolean {
    return this.#phase === 'ready';
  }

  /** Sends calls of one keyspace as one message. */
  send(keyspace: Uint8Array, clientId: Uint8Array, ackedBelow: number, calls: readonly PipelineCall[]): void {
    for (const call of calls) {
      this.#lastId = (this.#lastId + 1) >>> 0;
      call.id = this.#lastId;
      call.carrier = this;
      this.#unanswered.set(call.id, call);
    }
    if (!this.#connection.send(encodeRequest(keyspace, clientId, ackedBelow, calls))) this.#phase = 'blocked';
  }

  /** Whether calls wait for an answer. */
  get isAwaiting(): boolean {
    return this.#unanswered.size > 0;
  }

  /** To be called at intervals while calls wait. Returns at how many in a row nothing had come. */
  look(): number {
    this.#silentLooks = this.isAwaiting ? this.#silentLooks + 1 : 0;
    return this.#silentLooks;
  }

  /** Ends the stream, which the node seems to have forgotten. */
  giveUp(error: HoldfastError): void {
    this.#connection.cancel();
    this.#onEnd(error);
  }

  forget(call: PipelineCall): void {
    this.#unanswered.delete(call.id);
  }

  /** Lets the node finish in order. */
  halfClose(): void {
    if (this.#phase !== 'ended') this.#connection.halfClose();
  }

  #becomeReady(): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ready';
    this.#owner.onReady();
  }

  #onMessage(message: Uint8Array): void {
    this.lastAnswerMs = this.#now();
    this.#silentLooks = 0;
    const answers: [PipelineCall, Answer][] = [];
    let defect: unknown;
    try {
      decodeResponse(message, (answer) => {
        const call = this.#unanswered.get(answer.id);
        if (call === undefined) return; // Its deadline has passed meanwhile.
        this.#unanswered.delete(answer.id);
        call.carrier = undefined;
        answers.push([call, answer]);
      });
    } catch (cause) {
      defect = cause;
    }
    this.#owner.onAnswers(this, answers);
    if (defect === undefined) return;
    this.#connection.cancel();
    this.#onEnd(
      new HoldfastError({ reason: 'UNAVAILABLE', message: 'the answer cannot be read', cause: defect }),
    );
  }

  #onEnd(error: HoldfastError | undefined): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    const calls = [...this.#unanswered.values()];
    this.#unanswered.clear();
    for (const call of calls) call.carrier = undefined;
    this.#owner.onBroken(this, calls, error ?? endedByNode(this.endpoint));
  }
}

function endedByNode(endpoint: string): HoldfastError {
  const message = `${endpoint} ended the stream without answering`;
  return new HoldfastError({ reason: 'UNAVAILABLE', message });
}

/** Whether a broken stream means that the node has no pipeline at all. */
export function lacksPipeline(error: HoldfastError): boolean {
  return !blamesEndpoint(error) && error.reason === 'UNIMPLEMENTED';
}
