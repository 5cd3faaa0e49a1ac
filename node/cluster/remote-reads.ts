/**
 * Reads that the replica of a group on this node cannot serve, or that has none here: asks
 * another node, and one after the other until one answers or the time is over. Reading again
 * does no harm, so whatever fails is tried again. The keys of one turn go in one call.
 */
import { create } from '@bufbuild/protobuf';
import { sleep, type Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import type { CallOptions, Transport } from '@holdfast/client/transport';
import type { GetResponse } from '@holdfast/proto/kv/v1/kv';
import {
  ForwardService,
  ReadRangeRequestSchema,
  ReadRequestSchema,
  type ReadRangeResponse,
} from '@holdfast/proto/raft/v1/forward';
import { isNotLed, proposalError } from '../raft/propose.ts';
import type { ObserveForwarded } from './forwarder.ts';
import type { GroupPlace, GroupRoutes } from './group-routes.ts';
import { UnledWitnesses } from './unled-witnesses.ts';

/** Keys of one call. */
const BATCH_KEYS = 4_096;
/** Their bytes, unless one alone is larger. */
const BATCH_BYTES = 1024 * 1024;
const POLL_MS = 50;
/** Longest that one node is waited for. */
const ATTEMPT_MS = 3_000;
/** Time that is kept for the answer that nobody could read it. */
const ANSWER_MS = 100;
/** Leaders followed without a pause; nodes may name each other. */
const FOLLOWED_HINTS = 2;

/** A range of keys of one group. */
export interface RemoteRange {
  readonly start: Uint8Array;
  /** Undefined: to the end. */
  readonly end: Uint8Array | undefined;
  readonly maxRows: number;
  readonly maxBytes: number;
}

export interface RemoteReadsOptions {
  readonly clock: Clock;
  readonly transport: Transport;
  /** What other nodes are to belong to as well. */
  readonly clusterId: string;
  readonly routes: GroupRoutes;
  readonly observe?: ObserveForwarded | undefined;
}

interface WaitingRead {
  readonly key: Uint8Array;
  readonly deadlineMs: number;
  readonly resolve: (found: GetResponse) => void;
  readonly reject: (error: unknown) => void;
}

export class RemoteReads {
  readonly #options: RemoteReadsOptions;
  readonly #gathering = new Map<number, WaitingRead[]>();
  readonly #stopping = new AbortController();

  constructor(options: RemoteReadsOptions) {
    this.#options = options;
  }

  /** The value of a key, linearizable. Errors: NOT_LEADER, KEYSPACE_UNKNOWN, those of the asked node. */
  read(place: GroupPlace, key: Uint8Array, deadlineMs: number): Promise<GetResponse> {
    return new Promise((resolve, reject) => {
      const waiting = { key, deadlineMs, resolve, reject };
      const gathering = this.#gathering.get(place.group);
      if (gathering !== undefined) {
        gathering.push(waiting);
        return;
      }
      const batch = [waiting];
      this.#gathering.set(place.group, batch);
      this.#options.clock.afterTurn(() => {
        this.#gathering.delete(place.group);
        void this.#readAll(place, batch);
      });
    });
  }

  /** A part of a range. Errors: as `read`. */
  readRange(place: GroupPlace, range: RemoteRange, deadlineMs: number): Promise<ReadRangeResponse> {
    const { start, end, maxRows, maxBytes } = range;
    const { transport, clusterId } = this.#options;
    const request = create(ReadRangeRequestSchema, {
      clusterId,
      group: BigInt(place.group),
      start: start as Uint8Array<ArrayBuffer>,
      maxRows,
      maxBytes,
      ...(end !== undefined && { end: end as Uint8Array<ArrayBuffer> }),
    });
    return this.ask(place, 'scan', deadlineMs, (address, options) =>
      transport.unary(address, ForwardService.method.readRange, request, options),
    );
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #readAll(place: GroupPlace, waiting: WaitingRead[]): Promise<void> {
    const { transport, clusterId } = this.#options;
    while (waiting.length > 0) {
      const batch = waiting.slice(0, batchSize(waiting));
      const keys = batch.map(({ key }) => key as Uint8Array<ArrayBuffer>);
      const request = create(ReadRequestSchema, { group: BigInt(place.group), keys, clusterId });
      const deadlineMs = Math.max(...batch.map((read) => read.deadlineMs));
      try {
        const { results } = await this.ask(place, 'read', deadlineMs, (address, options) =>
          transport.unary(address, ForwardService.method.read, request, options),
        );
        if (results.length === 0) throw this.#unanswered(place);
        const answered = waiting.splice(0, Math.min(results.length, batch.length));
        for (const [at, { resolve }] of answered.entries()) resolve(results[at]!);
      } catch (error) {
        for (const { reject } of waiting.splice(0, batch.length)) reject(error);
      }
    }
  }

  /** Asks one node after the other until one answers. Errors: NOT_LEADER, those of the call. */
  async ask<T>(
    place: GroupPlace,
    operation: 'read' | 'scan',
    deadlineMs: number,
    call: (address: string, options: CallOptions) => Promise<T>,
  ): Promise<T> {
    const { clock, routes, observe } = this.#options;
    const { signal } = this.#stopping;
    let last: HoldfastError | undefined;
    const witnesses = new UnledWitnesses();
    for (let attempts = 0, followed = 0; ; attempts++) {
      const leftMs = deadlineMs - clock.monotonicMs();
      if (attempts > 0 && leftMs <= Math.max(POLL_MS, ANSWER_MS)) throw last ?? this.#unanswered(place);
      if (place.isGone || signal.aborted) throw this.#unanswered(place);
      const target = routes.next(place, witnesses.asked);
      if (target === undefined) {
        const error = witnesses.error(routes.notLed(place));
        if (error.reason === 'NO_LEADER') throw error.withOutcome(undefined); // nobody is left to ask
        witnesses.forget();
      } else {
        const { member } = target;
        const timeoutMs = Math.max(1, Math.min(ATTEMPT_MS, leftMs));
        try {
          const answer = await call(member.address, { timeoutMs, signal });
          observe?.(operation, 'OK', 1);
          return answer;
        } catch (error) {
          last = error as HoldfastError;
          observe?.(operation, last.reason, 1);
          if (!mayAskAnother(last)) throw last;
          // One that had little time for it may be well.
          if (!isNotLed(last) && timeoutMs < ATTEMPT_MS && last.code === 'DEADLINE_EXCEEDED') throw last;
          witnesses.note(member, last);
          if (!isNotLed(last)) routes.failed(member);
          else if (routes.refused(place, last.leader) && followed++ < FOLLOWED_HINTS) continue;
        }
      }
      await sleep(clock, POLL_MS, signal).catch(() => undefined);
    }
  }

  #unanswered(place: GroupPlace): HoldfastError {
    const cause = place.isGone ? 'group gone' : 'not leader';
    const notLed = this.#options.routes.notLed(place);
    return proposalError({ cause, outcome: 'NOT_APPLIED', ...notLed }).withOutcome(undefined);
  }
}

function mayAskAnother({ code }: HoldfastError): boolean {
  return code === 'UNAVAILABLE' || code === 'DEADLINE_EXCEEDED';
}

function batchSize(waiting: readonly WaitingRead[]): number {
  let bytes = 0;
  let count = 0;
  for (const { key } of waiting) {
    bytes += key.byteLength;
    if (count === BATCH_KEYS || (bytes > BATCH_BYTES && count > 0)) break;
    count++;
  }
  return count;
}
