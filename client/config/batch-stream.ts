import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type CallResult,
  CallSchema,
  ConfigService,
  PipelineRequestSchema,
  type PipelineResponse,
  PipelineResponseSchema,
} from '@holdfast/proto/config/v1/config';
import type { Timer } from '../clock.ts';
import type { ClientCore } from '../core.ts';
import { deadlineExceeded } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { errorFromMessage } from '../error-mapping.ts';
import type { StreamConnection } from '../transport.ts';
import type { BatchableCall } from './batched-call.ts';

/** A batch without an answer. */
interface WaitingBatch {
  readonly resolve: (results: CallResult[]) => void;
  readonly reject: (error: HoldfastError) => void;
  readonly deadline: Timer;
  /** What is to be sent; undefined: it is out. */
  message: Uint8Array | undefined;
}

/** One pipeline stream to one node: batches of calls, each answered by itself. */
export class BatchStream {
  readonly endpoint: string;
  readonly #core: ClientCore;
  readonly #onOver: () => void;
  readonly #connection: StreamConnection;
  /** By number, oldest first. */
  readonly #batches = new Map<number, WaitingBatch>();
  #phase: 'opening' | 'ready' | 'blocked' | 'ended' = 'opening';
  #lastId = 0;
  #wasAnswered = false;

  /** `onOver`: nothing can be sent any more; called before those who wait are told. */
  constructor(endpoint: string, core: ClientCore, onOver: () => void) {
    this.endpoint = endpoint;
    this.#core = core;
    this.#onOver = onOver;
    this.#connection = core.transport.openStream(endpoint, ConfigService.method.pipeline, {
      onOpen: () => this.#becomeReady(),
      onDrain: () => this.#becomeReady(),
      onMessage: (message) => this.#onMessage(message),
      onEnd: (error) => this.#end(error ?? endedByNode(endpoint)),
    });
  }

  /**
   * Sends calls together and resolves with their results. Fails with the error of the batch, or
   * with that of the stream: outcome `NOT_APPLIED` if it was not sent.
   */
  send(calls: readonly BatchableCall[], timeoutMs: number): Promise<CallResult[]> {
    this.#lastId += 1;
    const id = this.#lastId;
    const request = create(PipelineRequestSchema, { id: BigInt(id), timeoutMs: Math.ceil(timeoutMs) });
    for (const call of calls) request.calls.push(create(CallSchema, { call }));
    const message = toBinary(PipelineRequestSchema, request);
    return new Promise((resolve, reject) => {
      const deadline = this.#core.clock.setTimer(timeoutMs, () => this.#expire(id, timeoutMs));
      const batch: WaitingBatch = { resolve, reject, deadline, message };
      this.#batches.set(id, batch);
      if (this.#phase === 'ready') this.#sendOut(batch);
    });
  }

  /** Ends the stream, whose node is taken to hang. */
  giveUp(error: HoldfastError): void {
    if (this.#phase === 'ended') return;
    this.#connection.cancel();
    this.#end(error);
  }

  #becomeReady(): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ready';
    for (const batch of this.#batches.values()) {
      if ((this.#phase as string) !== 'ready') return;
      if (batch.message !== undefined) this.#sendOut(batch);
    }
  }

  #sendOut(batch: WaitingBatch): void {
    const message = batch.message!;
    batch.message = undefined;
    if (!this.#connection.send(message)) this.#phase = 'blocked';
  }

  #onMessage(message: Uint8Array): void {
    if (this.#phase === 'ended') return;
    let response: PipelineResponse;
    try {
      response = fromBinary(PipelineResponseSchema, message);
    } catch (cause) {
      this.giveUp(new HoldfastError({ reason: 'UNAVAILABLE', message: 'the answer cannot be read', cause }));
      return;
    }
    this.#wasAnswered = true;
    const { id, results, error } = response;
    const batch = this.#take(Number(id));
    if (batch === undefined) return; // its deadline has passed meanwhile
    if (error === undefined) batch.resolve(results);
    else batch.reject(errorFromMessage(error));
  }

  #expire(id: number, timeoutMs: number): void {
    const batch = this.#take(id);
    const isOut = batch?.message === undefined;
    batch?.reject(deadlineExceeded(timeoutMs, isOut ? this.endpoint : undefined));
  }

  #take(id: number): WaitingBatch | undefined {
    const batch = this.#batches.get(id);
    this.#batches.delete(id);
    batch?.deadline.cancel();
    return batch;
  }

  #end(error: HoldfastError): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    this.#onOver();
    const isUntaken = !this.#wasAnswered && isRefusal(error);
    for (const [id, { message, reject }] of this.#batches) {
      this.#take(id);
      reject(error.withOutcome(isUntaken || message !== undefined ? 'NOT_APPLIED' : undefined));
    }
  }
}

/** The node has taken nothing of the stream. */
function isRefusal({ reason, outcome }: HoldfastError): boolean {
  return (reason === 'STARTING' || reason === 'SHUTTING_DOWN') && outcome === 'NOT_APPLIED';
}

function endedByNode(endpoint: string): HoldfastError {
  const message = `${endpoint} ended the stream without answering`;
  return new HoldfastError({ reason: 'UNAVAILABLE', message });
}
