import { HoldfastError } from '@holdfast/client/error';
import type { MessageStream } from '../../services/handler.ts';
import type { AdmittedCall } from '../call-edge.ts';
import type { ConnectionBudget } from '../connection-budget.ts';
import { sendError, type ServedCall } from './served-call.ts';
import type { ConnectionEnd, Frame } from './simulated-connection.ts';

export interface StreamLimits {
  readonly budget: ConnectionBudget;
  /** Bytes of answers that may wait to be read. */
  readonly sendQueueBytes: number;
  readonly mapError: (error: unknown) => HoldfastError;
  readonly over: () => void;
}

/** A bidirectional call over a simulated connection as its handler sees it. */
export class SimulatedStream implements MessageStream, ServedCall {
  readonly #end: ConnectionEnd;
  readonly #stream: number;
  readonly #admitted: AdmittedCall;
  readonly #limits: StreamLimits;
  /** What came and was not handed over; undefined stands for the end. */
  #waiting: (Uint8Array | undefined)[] = [];
  #isPaused = false;
  #isHanding = false;
  #unreadBytes = 0;
  #sentBytes = 0;
  #isBlocked = false;
  #isOver = false;
  #receive: (message: Buffer) => void = () => undefined;
  #ended: () => void = () => undefined;
  #closed: () => void = () => undefined;
  #drained: () => void = () => undefined;

  constructor(end: ConnectionEnd, stream: number, admitted: AdmittedCall, limits: StreamLimits) {
    this.#end = end;
    this.#stream = stream;
    this.#admitted = admitted;
    this.#limits = limits;
  }

  onMessage(receive: (message: Buffer) => void): void {
    this.#receive = receive;
  }

  onEnd(ended: () => void): void {
    this.#ended = ended;
  }

  onClose(closed: () => void): void {
    this.#closed = closed;
  }

  get unsentBytes(): number {
    return this.#unreadBytes;
  }

  onDrain(drained: () => void): void {
    this.#drained = drained;
  }

  send(message: Uint8Array): boolean {
    if (this.#isOver) return true;
    this.#sentBytes += message.length;
    this.#unreadBytes += message.length;
    this.#end.send({ kind: 'message', stream: this.#stream, bytes: message.slice() });
    this.#isBlocked ||= this.#unreadBytes >= this.#limits.sendQueueBytes;
    return !this.#isBlocked;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    // Not within the handler's own call: a stream of the machine goes on in a later turn, too.
    this.#end.process.after(0, () => this.#handOver());
  }

  end(error?: Error): void {
    if (this.#isOver) return;
    if (error === undefined) {
      const status = { code: 0, details: '', statusDetails: undefined };
      this.#end.send({ kind: 'status', stream: this.#stream, ...status });
      this.#finish('OK');
    } else {
      const ours = error instanceof HoldfastError ? error : this.#limits.mapError(error);
      this.#finish(ours.code);
      sendError(this.#end, this.#stream, ours);
    }
  }

  onFrame(frame: Frame): void {
    if (this.#isOver) return;
    if (frame.kind === 'message') this.#take(frame.bytes);
    else if (frame.kind === 'end') this.#take(undefined);
    else if (frame.kind === 'cancel') this.onBroken();
    else if (frame.kind === 'credit') this.#onRead(frame.bytes);
  }

  onBroken(): void {
    this.#finish('CANCELLED');
  }

  /** Bytes count from when they come until the handler has them, and charges for them itself. */
  #take(bytes: Uint8Array | undefined): void {
    if (bytes !== undefined && !this.#limits.budget.tryTake(bytes.length)) {
      this.end(streamCut(this.#limits.budget.refusal()));
      return;
    }
    this.#waiting.push(bytes);
    this.#handOver();
  }

  #handOver(): void {
    if (this.#isHanding) return;
    this.#isHanding = true;
    while (!this.#isPaused && !this.#isOver && this.#waiting.length > 0) {
      const bytes = this.#waiting.shift();
      if (bytes === undefined) this.#ended();
      else this.#hand(bytes);
    }
    this.#isHanding = false;
  }

  #hand(bytes: Uint8Array): void {
    this.#limits.budget.give(bytes.length);
    this.#end.send({ kind: 'credit', stream: this.#stream, bytes: bytes.length });
    try {
      this.#receive(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    } catch (error) {
      this.end(this.#limits.mapError(error));
    }
  }

  #onRead(bytes: number): void {
    this.#unreadBytes -= bytes;
    if (!this.#isBlocked || this.#unreadBytes > this.#limits.sendQueueBytes / 2) return;
    this.#isBlocked = false;
    this.#drained();
  }

  #finish(code: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#limits.over();
    for (const bytes of this.#waiting) if (bytes !== undefined) this.#limits.budget.give(bytes.length);
    this.#waiting = [];
    this.#admitted.cancel();
    this.#admitted.end(code, this.#sentBytes);
    this.#closed();
  }
}

/** Of a stream earlier messages may have been handled, so `refusal` does not hold for all of it. */
function streamCut(refusal: HoldfastError): HoldfastError {
  const { actual, limit, retryAfterMs } = refusal;
  const message = 'the stream was cut, and calls that have no answer may have been applied';
  return new HoldfastError({ reason: 'UNAVAILABLE', message, actual, limit, retryAfterMs });
}
