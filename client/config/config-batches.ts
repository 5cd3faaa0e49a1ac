import type { CallResult } from '@holdfast/proto/config/v1/config';
import type { Timer } from '../clock.ts';
import { sequenceOf } from '../coordination-call.ts';
import { blamesEndpoint, cancelled, clientClosed, type ClientCore, deadlineExceeded } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { errorFromMessage } from '../error-mapping.ts';
import { endError, judgeAttempt, retryDelayMs } from '../retry.ts';
import { asHoldfastError } from '../unary.ts';
import { BatchStream } from './batch-stream.ts';
import {
  BatchedCall,
  type BatchedCallInit,
  type BatchedCallOwner,
  type BatchedResult,
} from './batched-call.ts';

const MAX_CALLS = 512;
const MAX_BATCH_BYTES = 1_048_576;
/** Batches under way; what comes meanwhile waits and makes the next ones larger. */
const MAX_BATCHES = 8;
/** How often batches under way are looked at, and at how many looks without a word a node is taken to hang. */
const LOOK_MS = 250;
const SILENT_LOOKS = 6;

/** Calls that are on their way together. */
class Batch {
  readonly endpoint: string;
  readonly calls: readonly BatchedCall[];
  silentLooks = 0;

  constructor(endpoint: string, calls: readonly BatchedCall[]) {
    this.endpoint = endpoint;
    this.calls = calls;
  }
}

/**
 * Gathers the reads and writes of single keys and the transactions of one turn of the event
 * loop into batches, and sees every call to its end.
 *
 * Invariants:
 *  B1. A call is settled exactly once, at the latest when its deadline is swept.
 *  B2. Until it is settled a call is in one place: the queue, a batch, a retry that waits.
 *  B3. A write keeps the sequence and `open` flag of its first attempt.
 *  B4. Calls of one batch, and of batches under way, take effect in any order: who needs one
 *      after the other awaits the earlier one.
 */
export class ConfigBatches implements BatchedCallOwner {
  readonly #core: ClientCore;
  #queue: BatchedCall[] = [];
  readonly #batches = new Set<Batch>();
  readonly #streams = new Map<string, BatchStream>();
  readonly #timers = new Set<Timer>();
  #pendingBytes = 0;
  #isScheduled = false;
  #looking: Timer | undefined;

  constructor(core: ClientCore) {
    this.#core = core;
  }

  /** Takes a call; it ends with exactly one of its callbacks. */
  submit(init: BatchedCallInit): void {
    const call = new BatchedCall(init, this.#core.clock.monotonicMs(), this);
    this.#pendingBytes += init.bytes;
    this.#core.deadlines.add(call);
    const refusal = this.#refusal(call);
    if (refusal === undefined) this.#enqueue(call);
    else this.#fail(call, refusal);
  }

  onExpired(call: BatchedCall): void {
    this.#fail(call, deadlineExceeded(call.init.timeoutMs, call.outTo));
  }

  onAborted(call: BatchedCall): void {
    this.#fail(call, cancelled(call.init.signal!));
  }

  onAbandoned(call: BatchedCall): void {
    this.#fail(call, clientClosed());
  }

  #refusal({ init }: BatchedCall): HoldfastError | undefined {
    if (this.#core.closing.aborted) return clientClosed();
    if (init.signal?.aborted) return cancelled(init.signal);
    const limit = this.#core.maxInFlightBytes;
    if (this.#pendingBytes <= limit) return undefined;
    return new HoldfastError({
      reason: 'OVERLOADED',
      message: `${this.#pendingBytes} bytes of calls wait for answers, limit ${limit} (maxInFlightBytes). Not sent.`,
      outcome: 'NOT_APPLIED',
      actual: String(this.#pendingBytes),
      limit: String(limit),
    });
  }

  #enqueue(call: BatchedCall): void {
    this.#queue.push(call);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#core.clock.afterTurn(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#queue.length > 0 && this.#batches.size < MAX_BATCHES) {
      const calls = takeBatch(this.#queue);
      if (calls.length > 0) void this.#send(calls);
    }
  }

  async #send(calls: readonly BatchedCall[]): Promise<void> {
    const leader = calls[0]!.init.isStale ? undefined : this.#core.coordinator.leader;
    const endpoint = this.#core.endpoints.pick(leader);
    const batch = new Batch(endpoint, calls);
    this.#batches.add(batch);
    this.#watch();
    let leftMs = 1;
    const nowMs = this.#core.clock.monotonicMs();
    for (const call of calls) {
      this.#beginAttempt(call, endpoint);
      leftMs = Math.max(leftMs, call.deadlineMs - nowMs);
    }
    const messages = calls.map(({ init }) => init.call);
    try {
      const results = await this.#streamTo(endpoint).send(messages, leftMs);
      if (this.#batches.delete(batch)) this.#onAnswered(batch, results);
    } catch (cause) {
      if (this.#batches.delete(batch)) this.#onFailed(batch, asHoldfastError(cause));
    }
    this.#flush();
  }

  #streamTo(endpoint: string): BatchStream {
    let stream = this.#streams.get(endpoint);
    if (stream === undefined) {
      stream = new BatchStream(endpoint, this.#core, () => this.#streams.delete(endpoint));
      this.#streams.set(endpoint, stream);
    }
    return stream;
  }

  /** Invariant B3. */
  #beginAttempt(call: BatchedCall, endpoint: string): void {
    call.attempts += 1;
    call.outTo = endpoint;
    const { call: message } = call.init;
    if (message.case === 'get') return;
    const isFirst = call.sequence === 0;
    if (isFirst) call.sequence = this.#core.sequences.next();
    const open = isFirst ? this.#core.coordinator.mustOpen : message.value.sequence!.open;
    message.value.sequence = sequenceOf(this.#core, call.sequence, open);
  }

  #onAnswered(batch: Batch, results: readonly CallResult[]): void {
    const { endpoint, calls } = batch;
    this.#core.endpoints.answered(endpoint);
    for (const other of this.#batches) if (other.endpoint === endpoint) other.silentLooks = 0;
    const refused: BatchedCall[] = [];
    let advice: HoldfastError | undefined;
    for (const [index, call] of calls.entries()) {
      call.outTo = undefined;
      const result = results[index]?.result;
      if (result !== undefined && result.case !== undefined && result.case !== 'error') {
        this.#succeed(call, endpoint, result);
        continue;
      }
      const error = result?.case === 'error' ? errorFromMessage(result.value) : noResult();
      if (!this.#onRefused(call, endpoint, error, calls.length > 1)) continue;
      refused.push(call);
      if (advice === undefined || (error.retryAfterMs ?? 0) > (advice.retryAfterMs ?? 0)) advice = error;
    }
    if (advice !== undefined) this.#retryLater(refused, advice);
  }

  #onFailed({ endpoint, calls }: Batch, error: HoldfastError): void {
    for (const call of calls) call.outTo = undefined;
    const again = calls.filter((call) => this.#onRefused(call, endpoint, error, calls.length > 1));
    this.#retryLater(again, error);
  }

  /** True: the call is to be sent again, after a pause. */
  #onRefused(call: BatchedCall, endpoint: string, error: HoldfastError, hadCompany: boolean): boolean {
    if (call.settled) return false;
    if (error.reason === 'ANSWER_TOO_LARGE' && hadCompany) {
      call.isAlone = true;
      return true;
    }
    this.#noteRefusal(endpoint, error, call.attempts);
    const place = { endpoint, endpoints: this.#core.endpoints.all.length };
    if (judgeAttempt(error, call, place)) return true;
    this.#fail(call, error);
    return false;
  }

  #noteRefusal(endpoint: string, error: HoldfastError, attempts: number): void {
    const { endpoints, coordinator } = this.#core;
    if (blamesEndpoint(error, attempts)) endpoints.failed(endpoint);
    if (error.leader !== undefined) endpoints.answered(error.leader);
    coordinator.refusedAt(endpoint, error);
  }

  /** Sends calls again after a pause, under one timer; ends those that have no time for it. */
  #retryLater(calls: readonly BatchedCall[], error: HoldfastError): void {
    if (calls.length === 0) return;
    const isElsewhere = error.reason === 'UNAVAILABLE' && this.#core.endpoints.hasUnavoided;
    const delayMs = retryDelayMs(error, isElsewhere ? 1 : calls[0]!.attempts, this.#core.random);
    const againMs = this.#core.clock.monotonicMs() + delayMs;
    const inTime = calls.filter((call) => againMs < call.deadlineMs);
    for (const call of calls) if (againMs >= call.deadlineMs) this.#fail(call, error);
    if (inTime.length === 0) return;
    const timer = this.#core.clock.setTimer(delayMs, () => {
      this.#timers.delete(timer);
      for (const call of inTime) if (!call.settled) this.#enqueue(call);
    });
    this.#timers.add(timer);
  }

  /** Where there is nobody else to ask, a node that hangs is waited for. */
  #watch(): void {
    if (this.#looking !== undefined || this.#core.endpoints.all.length === 1) return;
    this.#looking = this.#core.clock.setTimer(LOOK_MS, () => {
      this.#looking = undefined;
      for (const batch of this.#batches) {
        batch.silentLooks += 1;
        if (batch.silentLooks >= SILENT_LOOKS) this.#giveUp(batch.endpoint);
      }
      if (this.#batches.size > 0) this.#watch();
    });
  }

  #giveUp(endpoint: string): void {
    const silentMs = LOOK_MS * SILENT_LOOKS;
    const message = `${endpoint} has not said a word for ${silentMs / 1_000} s, and is given up for now`;
    this.#streams.get(endpoint)?.giveUp(new HoldfastError({ reason: 'UNAVAILABLE', message }));
  }

  #succeed(call: BatchedCall, endpoint: string, result: BatchedResult): void {
    if (call.settled) return;
    if (call.isWrite) {
      this.#core.coordinator.wroteAt(endpoint);
      this.#core.coordinator.opened();
    }
    this.#settle(call);
    call.init.onResult(result);
  }

  #fail(call: BatchedCall, error: HoldfastError): void {
    if (call.settled) return;
    const told = endError(error, call, call.outTo !== undefined || call.lost);
    this.#settle(call);
    call.init.onError(told);
  }

  #settle(call: BatchedCall): void {
    this.#pendingBytes -= call.init.bytes;
    this.#core.deadlines.remove(call);
    if (call.sequence > 0) this.#core.sequences.settle(call.sequence);
    call.release();
  }
}

function noResult(): HoldfastError {
  return new HoldfastError({ reason: 'INTERNAL', message: 'the node answered without a result' });
}

/** Takes the calls of the next batch off a queue, without those that have ended meanwhile. */
function takeBatch(queue: BatchedCall[]): BatchedCall[] {
  const calls: BatchedCall[] = [];
  let bytes = 0;
  let taken = 0;
  for (const call of queue) {
    if (!call.settled) {
      bytes += call.init.bytes;
      const isFull = calls.length === MAX_CALLS || bytes > MAX_BATCH_BYTES;
      const isOther =
        call.isAlone || calls[0]?.isAlone === true || call.init.isStale !== calls[0]?.init.isStale;
      if (calls.length > 0 && (isFull || isOther)) break;
      calls.push(call);
    }
    taken += 1;
  }
  queue.splice(0, taken);
  return calls;
}
