import type { HoldfastError } from '@holdfast/client/error';
import type { StreamConnection, StreamEvents } from '@holdfast/client/transport';
import type { CallerConnection, MadeCall } from './simulated-channel.ts';
import type { Frame } from './simulated-connection.ts';

export interface CallerStreamLimits {
  readonly windowBytes: number;
  readonly routes: string | undefined;
  readonly maxQueuedBytes: number;
}

export interface CallerStreamOwner {
  readonly connecting: Promise<CallerConnection>;
  /** The error of a stream that ended with this status, or broke. */
  failure(status: Extract<Frame, { kind: 'status' }> | undefined): HoldfastError;
  over(): void;
}

/** A stream of messages both ways from its caller's side. */
export class SimulatedCallerStream implements StreamConnection, MadeCall {
  readonly #path: string;
  readonly #events: StreamEvents;
  readonly #limits: CallerStreamLimits;
  readonly #owner: CallerStreamOwner;
  #connection: CallerConnection | undefined;
  #stream = 0;
  /** What has not left because the node takes no more for now. */
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** Bytes that have left and that the node's handler does not have. */
  #untakenBytes = 0;
  #isBlocked = false;
  #isHalfClosed = false;
  #isEndSent = false;
  #isOver = false;

  constructor(path: string, events: StreamEvents, limits: CallerStreamLimits, owner: CallerStreamOwner) {
    this.#path = path;
    this.#events = events;
    this.#limits = limits;
    this.#owner = owner;
    void this.#open();
  }

  send(message: Uint8Array): boolean {
    if (this.#connection === undefined || this.#isOver) return false;
    this.#queue.push(message);
    this.#queuedBytes += message.length;
    this.#sendQueued();
    this.#isBlocked = this.#queuedBytes >= this.#limits.maxQueuedBytes;
    return !this.#isBlocked;
  }

  halfClose(): void {
    if (this.#isOver) return;
    this.#isHalfClosed = true;
    this.#sendQueued();
  }

  cancel(): void {
    if (this.#end()) this.#connection?.send({ kind: 'cancel', stream: this.#stream });
  }

  onFrame(frame: Frame): void {
    if (this.#isOver) return;
    if (frame.kind === 'message') this.#onMessage(frame.bytes);
    else if (frame.kind === 'credit') this.#onCredit(frame.bytes);
    else if (frame.kind === 'status' && this.#end()) {
      this.#events.onEnd(frame.code === 0 ? undefined : this.#owner.failure(frame));
    }
  }

  onBroken(): void {
    if (this.#end()) this.#events.onEnd(this.#owner.failure(undefined));
  }

  async #open(): Promise<void> {
    let connection: CallerConnection;
    try {
      connection = await this.#owner.connecting;
    } catch (error) {
      if (this.#end()) this.#events.onEnd(error as HoldfastError);
      return;
    }
    if (this.#isOver) return;
    this.#connection = connection;
    this.#stream = connection.begin(this);
    const call = { path: this.#path, timeoutMs: undefined, bytes: undefined, routes: this.#limits.routes };
    connection.send({ kind: 'call', stream: this.#stream, ...call });
    this.#events.onOpen();
  }

  #onMessage(bytes: Uint8Array): void {
    this.#connection!.send({ kind: 'credit', stream: this.#stream, bytes: bytes.length });
    this.#events.onMessage(bytes);
  }

  #onCredit(bytes: number): void {
    this.#untakenBytes -= bytes;
    this.#sendQueued();
    if (!this.#isBlocked || this.#queuedBytes > this.#limits.maxQueuedBytes / 2) return;
    this.#isBlocked = false;
    this.#events.onDrain();
  }

  /** As much as the node takes; a message begins to leave when there is any room. */
  #sendQueued(): void {
    while (this.#queue.length > 0 && this.#untakenBytes < this.#limits.windowBytes) {
      const bytes = this.#queue.shift()!;
      this.#queuedBytes -= bytes.length;
      this.#untakenBytes += bytes.length;
      this.#connection!.send({ kind: 'message', stream: this.#stream, bytes });
    }
    if (!this.#isHalfClosed || this.#isEndSent || this.#queue.length > 0) return;
    this.#isEndSent = true;
    this.#connection?.send({ kind: 'end', stream: this.#stream });
  }

  #end(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#connection?.forget(this.#stream);
    this.#owner.over();
    return true;
  }
}
