import { blamesEndpoint, cancelled, clientClosed, type ClientCore, deadlineExceeded } from './core.ts';
import type { Timer } from './clock.ts';
import { HoldfastError } from './error.ts';
import type { PartitionDirectory } from './partition-directory.ts';
import { type CallOwner, PipelineCall, type PipelineCallInit } from './pipeline-call.ts';
import { type Answer, CALL_OVERHEAD } from './pipeline-codec.ts';
import { callByUnary } from './pipeline-fallback.ts';
import { lacksPipeline, PipelineStream, type StreamOwner } from './pipeline-stream.ts';
import { asHoldfastError } from './unary.ts';
import { endError, judgeAttempt, retryDelayMs } from './retry.ts';

/** How often streams on which calls wait are looked at. */
const LOOK_MS = 250;
/**
 * At so many looks in a row without a word a node is taken for one that hangs, and its calls
 * go elsewhere: connections that are merely cut off are not known to be for half a minute.
 */
const SILENT_LOOKS = 6;
const MAX_CALLS = 4_096;
const MAX_MESSAGE_BYTES = 1_048_576;

/** Calls of one keyspace that wait to be sent. */
interface CallQueue {
  readonly name: Uint8Array;
  calls: PipelineCall[];
}

/**
 * Gathers the calls of one turn of the event loop into messages, carries them over one
 * stream a node, and sees every call to its end.
 *
 * Invariants:
 *  P1. A call is settled exactly once, at the latest when its deadline is swept.
 *  P2. Until it is settled a call is in one place: a queue, a stream, a retry that waits.
 *  P3. A write keeps the sequence and `open` flag of its first attempt (see PipelineCall).
 *  P4. Calls of one keyspace are first sent in the order they were made. Retried calls are
 *      queued anew; who needs order across failures awaits the earlier call.
 */
export class Pipeline implements StreamOwner, CallOwner {
  readonly #core: ClientCore;
  readonly #directory: PartitionDirectory;
  readonly #queues = new Map<string, CallQueue>();
  readonly #streams = new Map<string, PipelineStream>();
  readonly #withoutPipeline = new Set<string>();
  readonly #unaryTails = new Map<string, Promise<void>>();
  readonly #retryTimers = new Set<Timer>();
  #pendingBytes = 0;
  #flushScheduled = false;
  /** Some node has named another one as leader: from then on calls are sorted by where they belong. */
  #isRouting = false;
  #looking: Timer | undefined;
  // Streams that broke since one was last open: makes the pauses between attempts longer.
  #breaks = 0;

  constructor(core: ClientCore, directory: PartitionDirectory) {
    this.#core = core;
    this.#directory = directory;
  }

  /** Takes a call; it ends with exactly one of its callbacks. */
  submit(init: PipelineCallInit): void {
    const call = new PipelineCall(init, this.#core.clock.monotonicMs(), this);
    this.#pendingBytes += call.bytes;
    this.#core.deadlines.add(call);
    const refusal = this.#refusal(call);
    if (refusal !== undefined) this.#fail(call, refusal);
    else this.#enqueue(call);
  }

  onReady(): void {
    this.#breaks = 0;
    this.#flush();
  }

  onAnswers(stream: PipelineStream, answers: readonly [PipelineCall, Answer][]): void {
    this.#core.endpoints.answered(stream.endpoint);
    const refused: PipelineCall[] = [];
    let advice: HoldfastError | undefined;
    for (const [call, answer] of answers) {
      if (answer.error === undefined) this.#succeed(call, answer);
      else if (this.#onRefused(stream.endpoint, call, answer.error)) {
        refused.push(call);
        if (advice === undefined || (answer.error.retryAfterMs ?? 0) > (advice.retryAfterMs ?? 0)) {
          advice = answer.error;
        }
      }
    }
    if (advice !== undefined) this.#retryLater(refused, advice);
  }

  onBroken(stream: PipelineStream, calls: readonly PipelineCall[], error: HoldfastError): void {
    if (this.#streams.get(stream.endpoint) === stream) this.#streams.delete(stream.endpoint);
    if (lacksPipeline(error)) {
      this.#withoutPipeline.add(stream.endpoint);
      for (const call of calls) this.#enqueue(call);
      this.#flush();
      return;
    }
    // A stream may break for its own reasons, but the next one belongs elsewhere if it can.
    const waiting = calls.length > 0 ? calls : this.#takeQueued(stream.endpoint, error);
    this.#avoid(stream.endpoint);
    this.#breaks += 1;
    const isUntaken = isRefusedStream(stream, error);
    for (const call of calls) call.lost ||= !isUntaken;
    this.#retryLater(
      waiting.filter((call) => this.#mayGoOn(call, error, stream.endpoint)),
      error,
    );
    this.#schedule();
  }

  onExpired(call: PipelineCall): void {
    const stream = call.carrier as PipelineStream | undefined;
    // Not a word since the call was sent: the node hangs rather than being slow with one call.
    if (stream !== undefined && stream.lastAnswerMs < call.sentAtMs) this.#avoid(stream.endpoint);
    this.#fail(call, deadlineExceeded(call.totalMs, stream?.endpoint));
  }

  onAborted(call: PipelineCall): void {
    this.#fail(call, cancelled(call.signal!));
  }

  onAbandoned(call: PipelineCall): void {
    this.#fail(call, clientClosed());
  }

  /** Half-closes the streams and stops retrying; pending calls must have been ended before. */
  close(): void {
    for (const stream of this.#streams.values()) stream.halfClose();
    for (const timer of this.#retryTimers) timer.cancel();
    this.#retryTimers.clear();
    this.#looking?.cancel();
  }

  #refusal(call: PipelineCall): HoldfastError | undefined {
    if (this.#core.closing.aborted) return clientClosed();
    if (call.signal?.aborted) return cancelled(call.signal);
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

  #enqueue(call: PipelineCall): void {
    let queue = this.#queues.get(call.keyspace);
    if (queue === undefined) {
      queue = { name: Buffer.from(call.keyspace), calls: [] };
      this.#queues.set(call.keyspace, queue);
    }
    queue.calls.push(call);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#core.clock.afterTurn(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    for (const queue of this.#queues.values()) {
      if (queue.calls.length === 0) continue;
      if (this.#isRouting) this.#route(queue);
      else this.#sendAll(queue.name, this.#core.endpoints.pick(), queue.calls);
    }
  }

  /** Sends each call to the leader of its partition. What cannot leave yet stays queued, in order. Invariant P4. */
  #route(queue: CallQueue): void {
    const parts = new Map<string, PipelineCall[]>();
    for (const call of queue.calls) {
      if (call.settled) continue;
      const endpoint = this.#endpointOf(call);
      const part = parts.get(endpoint);
      if (part === undefined) parts.set(endpoint, [call]);
      else part.push(call);
    }
    queue.calls = [];
    for (const [endpoint, calls] of parts) {
      this.#sendAll(queue.name, endpoint, calls);
      queue.calls.push(...calls);
    }
  }

  #endpointOf(call: PipelineCall): string {
    const { endpoints } = this.#core;
    const leader = call.isStale ? undefined : this.#directory.leaderOf(call.keyspace, call.hash);
    return endpoints.pick(call.leader ?? leader);
  }

  /** Sends calls to one node and takes them off `calls`, as far as its stream takes them. */
  #sendAll(keyspace: Uint8Array, endpoint: string, calls: PipelineCall[]): void {
    while (calls.length > 0) {
      if (this.#withoutPipeline.has(endpoint)) {
        for (const call of calls.splice(0)) this.#sendUnary(call);
        return;
      }
      const stream = this.#streamTo(endpoint);
      if (!stream.ready) return; // onReady comes back to it.
      const message = takeMessage(calls);
      if (message.length === 0) continue;
      for (const call of message) this.#beginAttempt(call);
      stream.send(keyspace, this.#core.sequences.clientId, this.#core.sequences.ackedBelow, message);
      this.#watch();
    }
  }

  /** Where there is nobody else to ask, a node that hangs is waited for. */
  #watch(): void {
    if (this.#looking !== undefined || this.#core.endpoints.all.length === 1) return;
    this.#looking = this.#core.clock.setTimer(LOOK_MS, () => {
      this.#looking = undefined;
      const streams = [...this.#streams.values()];
      for (const stream of streams) if (stream.look() >= SILENT_LOOKS) stream.giveUp(hangs(stream.endpoint));
      if (streams.some(({ isAwaiting }) => isAwaiting)) this.#watch();
    });
  }

  #streamTo(endpoint: string): PipelineStream {
    let stream = this.#streams.get(endpoint);
    if (stream === undefined) {
      stream = new PipelineStream(endpoint, this.#core.transport, this, () => this.#core.clock.monotonicMs());
      this.#streams.set(endpoint, stream);
    }
    return stream;
  }

  #beginAttempt(call: PipelineCall): void {
    const nowMs = this.#core.clock.monotonicMs();
    call.attempts += 1;
    call.sentAtMs = nowMs;
    call.timeoutMs = Math.max(1, Math.ceil(call.deadlineMs - nowMs));
    if (!call.isWrite || call.sequence > 0) return;
    call.sequence = this.#core.sequences.next();
    call.open = this.#directory.mustOpen(call.keyspace, call.hash, nowMs);
  }

  #sendUnary(call: PipelineCall): void {
    // One after the other for one key: unary calls overtake each other, a pipeline's do not.
    const key = `${call.keyspace} ${call.hash}`;
    const earlier = this.#unaryTails.get(key) ?? Promise.resolve();
    const tail = earlier.then(() => this.#runUnary(call));
    this.#unaryTails.set(key, tail);
    void tail.then(() => {
      if (this.#unaryTails.get(key) === tail) this.#unaryTails.delete(key);
    });
  }

  async #runUnary(call: PipelineCall): Promise<void> {
    if (call.settled) return;
    this.#beginAttempt(call);
    const { lost } = call;
    call.lost = true; // If the call ends from outside while it is out.
    try {
      this.#succeed(call, await callByUnary(this.#core, this.#directory, call, lost));
    } catch (error) {
      call.lost = lost; // The unary call has seen all its attempts and says what became of them.
      this.#fail(call, asHoldfastError(error));
    }
  }

  /** An answer that is an error. True: the call is to be retried. */
  #onRefused(endpoint: string, call: PipelineCall, error: HoldfastError): boolean {
    if (blamesEndpoint(error, call.attempts)) this.#core.endpoints.failed(endpoint);
    this.#directory.refused(call.keyspace, error.reason);
    call.leader = error.leader;
    if (error.leader !== undefined) this.#core.endpoints.answered(error.leader);
    this.#isRouting ||= error.leader !== undefined;
    if (error.reason === 'NOT_LEADER' || error.reason === 'NO_LEADER')
      this.#directory.noteLeader(call.keyspace, call.hash, error.leader, this.#core.clock.monotonicMs());
    return this.#mayGoOn(call, error, endpoint);
  }

  /** False: the call has ended. */
  #mayGoOn(call: PipelineCall, error: HoldfastError, endpoint: string): boolean {
    if (call.settled) return false;
    if (judgeAttempt(error, call, { endpoint, endpoints: this.#core.endpoints.all.length })) return true;
    this.#fail(call, error);
    return false;
  }

  /** Sends calls again after a pause, under one timer; ends those that have no time for it. */
  #retryLater(calls: readonly PipelineCall[], error: HoldfastError): void {
    if (calls.length === 0) return;
    // Who has others to ask goes there soon, however many nodes before were not there.
    const isElsewhere = error.reason === 'UNAVAILABLE' && this.#core.endpoints.hasUnavoided;
    const attempts = isElsewhere ? 1 : Math.max(1, this.#breaks, calls[0]!.attempts);
    const delayMs = retryDelayMs(error, attempts, this.#core.random);
    const againMs = this.#core.clock.monotonicMs() + delayMs;
    const inTime = calls.filter((call) => againMs < call.deadlineMs);
    for (const call of calls) if (againMs >= call.deadlineMs) this.#fail(call, error);
    if (inTime.length === 0) return;
    const timer = this.#core.clock.setTimer(delayMs, () => {
      this.#retryTimers.delete(timer);
      for (const call of inTime) if (!call.settled) this.#enqueue(call);
    });
    this.#retryTimers.add(timer);
  }

  /** Calls that wait for a stream that could not be opened wait out the pause as well. */
  #takeQueued(endpoint: string, error: HoldfastError): PipelineCall[] {
    if (error.outcome !== 'NOT_APPLIED') return [];
    const taken: PipelineCall[] = [];
    for (const queue of this.#queues.values()) {
      for (const call of queue.calls.splice(0)) {
        if (call.settled) continue;
        if (this.#endpointOf(call) === endpoint) taken.push(call);
        else queue.calls.push(call);
      }
    }
    for (const call of taken) call.leader = undefined;
    return taken;
  }

  #avoid(endpoint: string): void {
    this.#core.endpoints.failed(endpoint);
    this.#directory.forgetEndpoint(endpoint);
  }

  #succeed(call: PipelineCall, answer: Answer): void {
    if (call.settled) return;
    if (call.isWrite) this.#directory.answered(call.keyspace, call.hash);
    this.#settle(call);
    call.onAnswer(answer);
  }

  #fail(call: PipelineCall, error: HoldfastError): void {
    if (call.settled) return;
    const told = endError(error, call, call.carrier !== undefined || call.lost);
    this.#settle(call);
    call.onError(told);
  }

  #settle(call: PipelineCall): void {
    this.#pendingBytes -= call.bytes;
    this.#core.deadlines.remove(call);
    if (call.sequence > 0) this.#core.sequences.settle(call.sequence);
    call.release();
  }
}

function hangs(endpoint: string): HoldfastError {
  const message = `${endpoint} has not said a word for ${(LOOK_MS * SILENT_LOOKS) / 1_000} s, and is given up for now`;
  return new HoldfastError({ reason: 'UNAVAILABLE', message });
}

/** Whether the node took nothing of a stream: it said so before it answered anything. */
function isRefusedStream(stream: PipelineStream, { reason, outcome }: HoldfastError): boolean {
  const isRefusal = reason === 'STARTING' || reason === 'SHUTTING_DOWN';
  return isRefusal && outcome === 'NOT_APPLIED' && stream.lastAnswerMs === 0;
}

/** Takes the calls of the next message off a queue, without those that have ended meanwhile. */
function takeMessage(queue: PipelineCall[]): PipelineCall[] {
  const calls: PipelineCall[] = [];
  let bytes = 0;
  let taken = 0;
  for (const call of queue) {
    if (!call.settled) {
      bytes += call.operation.length + CALL_OVERHEAD;
      if (calls.length === MAX_CALLS || (bytes > MAX_MESSAGE_BYTES && calls.length > 0)) break;
      calls.push(call);
    }
    taken += 1;
  }
  queue.splice(0, taken);
  return calls;
}
