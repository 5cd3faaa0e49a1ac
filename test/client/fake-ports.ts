import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import type { Clock, Random } from '@holdfast/client';
import { HoldfastError } from '@holdfast/client/error';
import type {
  CallOptions,
  StreamConnection,
  StreamEvents,
  StreamMethod,
  Transport,
} from '@holdfast/client/transport';
import {
  KvService,
  type PipelineRequest,
  PipelineRequestSchema,
  PipelineResponseSchema,
} from '@holdfast/proto/kv/v1/kv';
import { FakeKv, onePartition } from './fake-kv.ts';

/** A clock that stands still until it is told otherwise. */
export class FakeClock implements Clock {
  #nowMs = 1_000;
  #timers: { atMs: number; callback: () => void }[] = [];
  #turn: (() => void)[] = [];
  timersMade = 0;

  wallMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void) {
    this.timersMade += 1;
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  afterTurn(callback: () => void): void {
    this.#turn.push(callback);
  }

  /** Time passes while this process stands still: no timer fires. */
  jump(ms: number): void {
    this.#nowMs += ms;
  }

  get pendingTimers(): number {
    return this.#timers.length;
  }

  /** Ends the turn, and all turns that follow from it. */
  async endTurn(): Promise<void> {
    for (let round = 0; round < 20; round += 1) {
      for (const callback of this.#turn.splice(0)) callback();
      for (let step = 0; step < 10; step += 1) await Promise.resolve();
    }
  }

  /** Lets time pass; timers run in order, each at its time. */
  async pass(ms: number): Promise<void> {
    await this.endTurn();
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.callback();
      await this.endTurn();
    }
    this.#nowMs = Math.max(this.#nowMs, endMs);
    await this.endTurn();
  }
}

/** Randomness without surprises. */
export const fixedRandom: Random = {
  u32: () => 7,
  float: () => 0.5,
  bytes: (length) => new Uint8Array(length).fill(9),
};

/** One pipeline stream as the node's side sees it. */
export class FakeStream implements StreamConnection {
  readonly endpoint: string;
  readonly events: StreamEvents;
  readonly received: PipelineRequest[] = [];
  ended = false;
  room = true;

  constructor(endpoint: string, events: StreamEvents) {
    this.endpoint = endpoint;
    this.events = events;
  }

  send(message: Uint8Array): boolean {
    this.received.push(fromBinary(PipelineRequestSchema, message));
    return this.room;
  }

  halfClose(): void {}

  cancel(): void {
    this.ended = true;
  }

  /** Answers everything received and not yet taken. */
  answer(kv: FakeKv): void {
    for (const request of this.received.splice(0)) this.events.onMessage(kv.message(request));
  }

  /** Refuses everything received with an error. */
  refuse(error: { code: number; reason: string; outcome?: number; retryAfterMs?: number }): void {
    for (const request of this.received.splice(0)) {
      const results = request.calls.map(({ id }) => ({
        id,
        result: {
          case: 'error' as const,
          value: { $typeName: 'holdfast.error.v1.Error', ...base, ...error } as never,
        },
      }));
      this.events.onMessage(toBinary(PipelineResponseSchema, create(PipelineResponseSchema, { results })));
    }
  }

  break(): void {
    this.events.onEnd(new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone' }));
  }
}

const base = { message: 'no', outcome: 0, field: '', actual: '', limit: '', retryAfterMs: 0, leader: '' };

/** A network that does what the test says: streams open, answer and break by hand. */
export class FakeTransport implements Transport {
  readonly streams: FakeStream[] = [];
  readonly unaries: { endpoint: string; method: string; request: unknown }[] = [];
  /** Answers unary calls; by default DescribeKeyspace with one partition, anything else never. */
  onUnary: (method: string, request: unknown, endpoint: string, options: CallOptions) => Promise<unknown> = (
    method,
    request,
  ) =>
    method === 'DescribeKeyspace'
      ? Promise.resolve(onePartition((request as { name: string }).name))
      : new Promise(() => undefined);
  /** Takes streams other than pipelines of keyspaces. */
  onStream: (endpoint: string, events: StreamEvents, method: StreamMethod) => StreamConnection = () => {
    throw new Error('no such stream');
  };
  /** Whether streams open at once. */
  opens: (endpoint: string) => boolean = () => true;
  closed = false;

  unary<I extends DescMessage, O extends DescMessage>(
    endpoint: string,
    method: { name: string; output: O },
    request: MessageShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    this.unaries.push({ endpoint, method: method.name, request });
    return this.onUnary(method.name, request, endpoint, options) as Promise<MessageShape<O>>;
  }

  async *serverStream(): AsyncGenerator<never> {}

  openStream(endpoint: string, method: StreamMethod, events: StreamEvents): StreamConnection {
    if (method !== KvService.method.pipeline) return this.onStream(endpoint, events, method);
    const stream = new FakeStream(endpoint, events);
    this.streams.push(stream);
    void Promise.resolve().then(() => {
      if (this.opens(endpoint)) events.onOpen();
      else
        events.onEnd(
          new HoldfastError({ reason: 'UNAVAILABLE', message: 'refused', outcome: 'NOT_APPLIED' }),
        );
    });
    return stream;
  }

  close(): void {
    this.closed = true;
  }

  /** The stream opened last. */
  get stream(): FakeStream {
    return this.streams.at(-1)!;
  }
}
