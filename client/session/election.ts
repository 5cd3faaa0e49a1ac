import {
  CampaignRequestSchema,
  ElectionService,
  type Leader as LeaderMessage,
} from '@holdfast/proto/election/v1/election';
import { create } from '@bufbuild/protobuf';
import { callCoordinator, callTimeoutMs } from '../coordination-call.ts';
import { cancelled, type ClientCore } from '../core.ts';
import { type Duration, durationMs } from '../duration.ts';
import { textOfBytes } from '../key-text.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { asHoldfastError, callUnary } from '../unary.ts';
import { invalid, type Value, valueBytes } from '../values.ts';
import { observeElection } from './election-observer.ts';
import type { Lease } from './lease.ts';
import { Leadership, resign } from './leadership.ts';
import type { Leases } from './leases.ts';
import { lostWith } from './sessions.ts';

/** Longest wait of one request; who waits longer asks again. */
const LONGEST_WAIT_MS = 290_000;
const LONGEST_CALL_MS = 300_000;

/** Options of `campaign`. */
export interface CampaignOptions {
  /** How long to wait to lead; else ELECTION_TIMED_OUT. Default: as long as it takes. */
  wait?: Duration | undefined;
  /** How long it stays the leader when this process dies, 1 s to 24 h. Default: 10 s. */
  ttl?: Duration | undefined;
  /** Name of the candidate, shown to people and observers. */
  name?: string | undefined;
  /** The lease of the candidate, instead of one of its own. */
  session?: Lease | undefined;
  /** Gives up, with CANCELLED. */
  signal?: AbortSignal | undefined;
}

/** Who leads. */
export class Leader {
  /** Its lease. */
  readonly session: bigint;
  /** Name of its lease. */
  readonly name: string;
  /** Revision at which it became the leader. */
  readonly token: bigint;
  /** What it says. */
  readonly bytes: Uint8Array;
  /** Revision at which it said so. */
  readonly revision: bigint;

  /** @internal */
  constructor(message: LeaderMessage) {
    this.session = message.session;
    this.name = message.name;
    this.token = message.token;
    this.bytes = message.value;
    this.revision = message.revision;
  }

  /** What it says, as text. */
  text(): string {
    return textOfBytes(this.bytes);
  }

  /** What it says, parsed as JSON; SyntaxError if it is not. */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }
}

/** An election: of those who are candidates one leads, and everybody can see who. */
export class Election {
  /** Its name. */
  readonly name: string;
  readonly #core: ClientCore;
  readonly #leases: Leases;

  /** @internal */
  constructor(core: ClientCore, leases: Leases, name: string) {
    this.#core = core;
    this.#leases = leases;
    this.name = name;
  }

  /**
   * Becomes a candidate, and waits to lead. `value` is what it says as the leader, such as its
   * address: up to 64 KiB. However it fails, the candidacy is given up. Errors:
   * ELECTION_TIMED_OUT, LOCK_QUEUE_FULL, NO_LEADER without a majority, CANCELLED, LOCK_LOST and
   * SESSION_EXPIRED when the session ends meanwhile.
   */
  async campaign(value: Value, options: CampaignOptions = {}): Promise<Leadership> {
    const bytes = valueBytes(value);
    const waitMs = options.wait === undefined ? Infinity : durationMs(options.wait, 'wait');
    if (waitMs < 0) throw invalid('wait', `wait is ${waitMs} ms, allowed from 0`, String(waitMs), '0..');
    const { signal } = options;
    if (signal?.aborted) throw cancelled(signal);
    const endMs = this.#core.clock.monotonicMs() + waitMs;
    const lease = options.session ?? (await this.#leases.grant(options));
    const ownsLease = options.session === undefined;
    try {
      const token = await this.#campaign(bytes, lease, endMs, signal);
      return new Leadership(this.#core, this.name, token, lease, ownsLease);
    } catch (cause) {
      // A request that is still on its way finds no session then.
      if (ownsLease) lease.revoke().catch(() => undefined);
      else resign(this.#core, this.name, lease, 0n, {}).catch(() => undefined);
      throw this.#told(lease, signal, cause);
    }
  }

  /** Who leads; undefined: nobody. */
  async leader(options: CallOptions = {}): Promise<Leader | undefined> {
    return (await this.describe(options)).leader;
  }

  /** Who leads, and the leases of the first 1,000 candidates who wait, in order. */
  async describe(
    options: CallOptions = {},
  ): Promise<{ leader: Leader | undefined; candidates: bigint[]; revision: bigint }> {
    const method = ElectionService.method.describe;
    const answer = await callCoordinator(this.#core, method, { election: this.name }, options);
    const { candidates, revision } = answer;
    return { leader: answer.leader && new Leader(answer.leader), candidates, revision };
  }

  /**
   * Who leads now, and each change of that, until the loop is left or the signal fires
   * (CANCELLED); undefined: nobody. A slow reader misses some in between, never the last.
   * Survives nodes that fail.
   */
  observe(options: { signal?: AbortSignal | undefined } = {}): AsyncIterable<Leader | undefined> {
    return observeElection(this.#core, this.name, options.signal, (message) => new Leader(message));
  }

  async #campaign(value: Uint8Array, lease: Lease, endMs: number, signal?: AbortSignal): Promise<bigint> {
    for (;;) {
      const leftMs = Math.max(0, endMs - this.#core.clock.monotonicMs());
      try {
        return await this.#ask(value, lease, Math.min(LONGEST_WAIT_MS, leftMs), signal);
      } catch (cause) {
        const error = asHoldfastError(cause);
        const isInTime = this.#core.clock.monotonicMs() < endMs;
        if (error.reason !== 'ELECTION_TIMED_OUT' || !isInTime) throw error;
      }
    }
  }

  async #ask(value: Uint8Array, lease: Lease, waitMs: number, signal?: AbortSignal): Promise<bigint> {
    const request = create(CampaignRequestSchema, {
      election: this.name,
      session: lease.id,
      value,
      waitMs: BigInt(Math.ceil(waitMs)),
    });
    const { token } = await callUnary(this.#core, ElectionService.method.campaign, request, {
      timeoutMs: Math.min(LONGEST_CALL_MS, waitMs + callTimeoutMs(this.#core, {})),
      signal: signal === undefined ? lease.signal : AbortSignal.any([signal, lease.signal]),
      isCoordination: true,
      isWrite: true,
      isRepeatable: true,
      isWaiting: true,
    });
    if (!lease.isAlive) throw lostWith(`the leadership of ${JSON.stringify(this.name)}`, lease);
    return token;
  }

  #told(lease: Lease, signal: AbortSignal | undefined, cause: unknown): Error {
    const error = asHoldfastError(cause);
    const hasEnded = (lease.signal.reason as { reason?: string } | undefined)?.reason?.startsWith('LEASE_');
    const isBySession = error.reason === 'CANCELLED' && hasEnded === true && signal?.aborted !== true;
    return isBySession ? lostWith(`the candidacy in ${JSON.stringify(this.name)}`, lease) : error;
  }
}
