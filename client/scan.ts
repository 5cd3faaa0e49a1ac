import { create } from '@bufbuild/protobuf';
import {
  KvService,
  RangeSchema,
  type ScanRequest,
  ScanRequestSchema,
  type ScanResponse,
} from '@holdfast/proto/kv/v1/kv';
import { sleep } from './clock.ts';
import { blamesEndpoint, cancelled, clientClosed, type ClientCore } from './core.ts';
import { timeoutMs } from './duration.ts';
import { Entry } from './entry.ts';
import type { HoldfastError } from './error.ts';
import type { ScanOptions } from './keyspace-options.ts';
import { mayRetry, retryDelayMs } from './retry.ts';
import { asHoldfastError } from './unary.ts';
import { invalid, keyBytes } from './values.ts';

const EMPTY = new Uint8Array(0);

/**
 * The entries of a prefix or range in key order. Each message of the node is a consistent
 * view of each partition; the scan as a whole is not a snapshot. A broken stream is
 * continued where it broke, so no entry comes twice and none is left out.
 *
 * `timeout` is the greatest time for the next entries to come, not for the whole scan.
 * Iterate it once; leaving the loop early ends the call.
 */
export class Scan implements AsyncIterable<Entry> {
  readonly #core: ClientCore;
  readonly #ended: AbortSignal;
  readonly #request: ScanRequest;
  readonly #limit: number;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal | undefined;
  #given = 0;
  /** Since when the caller waits for the next entries. */
  #waitingSinceMs = 0;
  #finished = false;

  /** @internal */
  constructor(core: ClientCore, ended: AbortSignal, keyspace: string, options: ScanOptions) {
    this.#core = core;
    this.#ended = ended;
    this.#request = scanRequest(keyspace, options);
    this.#limit = options.limit ?? Infinity;
    this.#timeoutMs = options.timeout === undefined ? core.timeoutMs : timeoutMs(options.timeout);
    this.#signal = options.signal;
  }

  /** Where to go on after the entries given so far; undefined: nothing is left. Exact after the loop. */
  get continuation(): Uint8Array | undefined {
    if (this.#finished) return undefined;
    return this.#request.continuation.length === 0 ? undefined : this.#request.continuation;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Entry, void, undefined> {
    if (this.#core.closing.aborted) throw clientClosed();
    this.#waitingSinceMs = this.#core.clock.monotonicMs();
    for (let attempts = 1; this.#given < this.#limit; attempts += 1) {
      const endpoint = this.#core.endpoints.pick();
      const givenBefore = this.#given;
      try {
        yield* this.#stream(endpoint);
        return;
      } catch (cause) {
        const error = asHoldfastError(cause);
        if (blamesEndpoint(error, attempts)) this.#core.endpoints.failed(endpoint);
        if (this.#given > givenBefore) attempts = 1;
        await this.#pause(error, attempts);
      }
    }
  }

  async *#stream(endpoint: string): AsyncGenerator<Entry, void, undefined> {
    if (this.#limit !== Infinity) this.#request.limit = this.#limit - this.#given;
    const signals = this.#signal === undefined ? [this.#ended] : [this.#ended, this.#signal];
    const options = { timeoutMs: Math.max(1, this.#leftMs), signal: AbortSignal.any(signals) };
    const stream = this.#core.transport.serverStream(endpoint, KvService.method.scan, this.#request, options);
    for await (const response of stream) {
      this.#core.endpoints.answered(endpoint);
      yield* this.#entries(response);
      this.#waitingSinceMs = this.#core.clock.monotonicMs();
    }
    if (this.#request.continuation.length === 0) this.#finished = true;
  }

  *#entries(response: ScanResponse): Generator<Entry, void, undefined> {
    const last = response.entries.length - 1;
    // Noted before each entry is given, because a caller that leaves the loop never comes back.
    for (const [index, entry] of response.entries.entries()) {
      this.#given += 1;
      if (index < last) this.#request.continuation = continuationAfter(entry.key);
      else this.#messageGiven(response);
      yield Entry.fromMessage(entry);
    }
    if (last < 0) this.#messageGiven(response);
  }

  #messageGiven(response: ScanResponse): void {
    this.#request.continuation = response.continuation;
    this.#finished = response.continuation.length === 0;
  }

  /** Time in which the next entries have to come. */
  get #leftMs(): number {
    return this.#waitingSinceMs + this.#timeoutMs - this.#core.clock.monotonicMs();
  }

  /** Returns when the scan may go on; throws when it may not. */
  async #pause(error: HoldfastError, attempts: number): Promise<void> {
    if (this.#ended.aborted) throw clientClosed();
    if (this.#signal?.aborted) throw cancelled(this.#signal);
    // A call is shorter than a long scan or a slow consumer; that is no failure.
    if (error.reason === 'DEADLINE_EXCEEDED' && this.#leftMs > 0) return;
    const state = { isWrite: false, sequence: 0, attempts, lost: false };
    const delayMs = retryDelayMs(error, attempts, this.#core.random);
    if (!mayRetry(error, state) || delayMs > this.#leftMs) throw error;
    await sleep(this.#core.clock, delayMs, this.#ended).catch(() => undefined);
  }
}

// The token that nodes give for the end of a message, made for a place within one: the
// number of the format, then the key after which to go on.
const CONTINUATION_FORMAT = 1;

function continuationAfter(key: Uint8Array): Uint8Array<ArrayBuffer> {
  const token = new Uint8Array(1 + key.length);
  token[0] = CONTINUATION_FORMAT;
  token.set(key, 1);
  return token;
}

function scanRequest(keyspace: string, options: ScanOptions): ScanRequest {
  const { prefix, start, end, limit } = options;
  if (prefix !== undefined && (start !== undefined || end !== undefined)) {
    throw invalid('prefix', 'prefix cannot be combined with start or end');
  }
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= 0xffff_ffff)) {
    throw invalid('limit', `limit is ${limit}, allowed 1 to 4294967295`, String(limit), '1..4294967295');
  }
  const request = create(ScanRequestSchema, {
    keyspace,
    keysOnly: options.keysOnly ?? false,
    continuation: options.continuation ?? EMPTY,
    limit: limit ?? 0,
  });
  if (prefix !== undefined) request.selection = { case: 'prefix', value: keyBytes(prefix) };
  else if (start !== undefined || end !== undefined) {
    const range = create(RangeSchema, { start: keyBytes(start ?? EMPTY), end: keyBytes(end ?? EMPTY) });
    request.selection = { case: 'range', value: range };
  }
  return request;
}
