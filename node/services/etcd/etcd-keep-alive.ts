/**
 * One stream of `etcdserverpb.Lease.LeaseKeepAlive`.
 *
 *  1. Each request is answered once, in order, unless the stream ends before.
 *  2. What waits for an answer is bounded: above it, and while the caller does not read, no more
 *     is taken.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import {
  LeaseKeepAliveRequestSchema,
  LeaseKeepAliveResponseSchema,
  type ResponseHeader,
} from '@holdfast/proto/etcd/rpc';
import { KeepAliveRequestSchema, LeaseService } from '@holdfast/proto/lease/v1/lease';
import type { LeaderCalls } from '../../cluster/leader-calls.ts';
import type { Sessions } from '../../coordination/sessions.ts';
import type { CallContext, MessageStream } from '../handler.ts';
import { toldAsEtcd } from './etcd-error.ts';
import type { HeaderOf } from './etcd-header.ts';

/** Requests that wait, of one stream. */
const MAX_WAITING = 1_024;
/** Longest that leases are tried to be kept alive, such as while nobody leads: about what etcd takes. */
const KEEP_ALIVE_MS = 7_000;

export interface KeepAliveOptions {
  readonly sessions: Sessions;
  readonly leaderCalls: LeaderCalls;
  readonly header: HeaderOf;
  readonly clock: Clock;
  /** Aborted when the node is to stop: streams end. */
  readonly stopping: AbortSignal;
}

export class EtcdKeepAlive {
  readonly #options: KeepAliveOptions;
  readonly #stream: MessageStream;
  readonly #context: CallContext;
  #waiting: bigint[] = [];
  #isKeeping = false;
  #isBlocked = false;
  #isPaused = false;
  #hasEnded = false;
  #isClosed = false;

  constructor(options: KeepAliveOptions, stream: MessageStream, context: CallContext) {
    this.#options = options;
    this.#stream = stream;
    this.#context = context;
    const { stopping } = options;
    const stop = () => this.#end(stopping.reason);
    stream.onMessage((message) => this.#take(message));
    stream.onDrain(() => {
      this.#isBlocked = false;
      void this.#keepAll();
    });
    stream.onEnd(() => {
      this.#hasEnded = true;
      void this.#keepAll();
    });
    stream.onClose(() => {
      this.#isClosed = true;
      this.#waiting = [];
      stopping.removeEventListener('abort', stop);
    });
    stopping.addEventListener('abort', stop);
    if (stopping.aborted) stop();
  }

  #take(message: Buffer): void {
    this.#waiting.push(decode(message));
    this.#throttle();
    this.#options.clock.afterTurn(() => void this.#keepAll());
  }

  /** What came in one turn is kept alive together. Invariant 1. */
  async #keepAll(): Promise<void> {
    if (this.#isKeeping) return;
    this.#isKeeping = true;
    try {
      while (this.#waiting.length > 0 && !this.#isBlocked && !this.#isClosed) await this.#keepSome();
      if (this.#hasEnded && this.#waiting.length === 0 && !this.#isClosed) this.#stream.end();
    } catch (error) {
      this.#end(error);
    }
    this.#isKeeping = false;
  }

  async #keepSome(): Promise<void> {
    const leases = this.#waiting;
    this.#waiting = [];
    this.#throttle();
    this.#context.access.requireLogin();
    // Made before: whatever a lease has ended with by then was applied before that revision.
    const header = this.#options.header();
    const kept = await this.#kept(leases.filter((lease) => lease > 0n));
    for (const lease of leases) this.#answer(header, lease, kept.get(lease) ?? 0);
  }

  /** What they have now, in milliseconds; those that there are not are left out, or have 0. */
  async #kept(leases: readonly bigint[]): Promise<Map<bigint, number>> {
    if (leases.length === 0) return new Map();
    const { sessions, leaderCalls, clock } = this.#options;
    const deadlineMs = clock.monotonicMs() + KEEP_ALIVE_MS;
    const caller = { deadlineMs, signal: this.#context.signal, isRouted: false };
    const request = create(KeepAliveRequestSchema, { leases: [...leases] });
    return leaderCalls.run(
      caller,
      async () => {
        const kept = await sessions.leases.keepAlive(leases, deadlineMs);
        return new Map(kept.map(({ lease, ttlMs }) => [lease, ttlMs]));
      },
      async (transport, address, options) => {
        const kept = await transport.unary(address, LeaseService.method.keepAlive, request, options);
        return new Map(kept.leases.map(({ lease, ttlMs }) => [lease, Number(ttlMs)]));
      },
    );
  }

  #answer(header: ResponseHeader, ID: bigint, ttlMs: number): void {
    if (this.#isClosed) return;
    const response = create(LeaseKeepAliveResponseSchema, { header, ID, TTL: secondsOf(ttlMs) });
    if (!this.#stream.send(toBinary(LeaseKeepAliveResponseSchema, response))) this.#isBlocked = true;
  }

  /** Invariant 2. */
  #throttle(): void {
    const isFull = this.#waiting.length >= MAX_WAITING;
    if (isFull === this.#isPaused || this.#isClosed) return;
    this.#isPaused = isFull;
    if (isFull) this.#stream.pause();
    else this.#stream.resume();
  }

  #end(error: unknown): void {
    if (!this.#isClosed) this.#stream.end(toldAsEtcd(error) as Error);
  }
}

/** Seconds of so many milliseconds: those that are whole. */
export function secondsOf(ms: number): bigint {
  return BigInt(Math.floor(ms / 1_000));
}

/** What is no message ends the stream. */
function decode(bytes: Buffer): bigint {
  try {
    return fromBinary(LeaseKeepAliveRequestSchema, bytes).ID;
  } catch (cause) {
    const message = `the ${bytes.length} bytes of the message are not an etcdserverpb.LeaseKeepAliveRequest. The stream is over.`;
    throw new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, cause });
  }
}
