import type { ProduceResponse } from '@holdfast/proto/broker/v1/broker';
import type { Timer } from '../clock.ts';
import { blamesEndpoint, type ClientCore } from '../core.ts';
import type { HoldfastError } from '../error.ts';
import { errorFromMessage } from '../error-mapping.ts';
import { mayRetry, retryDelayMs } from '../retry.ts';
import { asHoldfastError } from '../unary.ts';
import type { PartitionSender, SenderHost } from './partition-sender.ts';
import { type ChannelOwner, ProduceCalls, type ProduceChannel, ProduceStream } from './produce-channel.ts';
import { initProducer, type ProducerIdentity } from './producer-identity.ts';
import type { ProducerBatch } from './producer-batch.ts';
import type { ResolvedProducerOptions } from './producer-options.ts';
import type { TopicDirectory } from './topic-directory.ts';

/** How often what waits is looked at: what takes too long, and who is silent. */
const LOOK_MS = 100;
/** Batches of one message come to about so much; a larger one goes alone. */
const MESSAGE_BYTES = 1_048_576;
/** How an idempotent batch is repeated. */
const REPEATABLE = { isWrite: true, sequence: 1, attempts: 1, lost: false };

/** What the dispatcher tells its producer. */
export interface DispatcherEvents {
  /** Somebody waits for the next turn, though no batch does. */
  isWaiting(): boolean;
  onReleased(bytes: number): void;
  onFull(sender: PartitionSender): void;
  /** Nothing can be sent: for good, or as long as there is no identity. */
  onFailure(error: HoldfastError, isFinal: boolean): void;
  /** At the end of each turn in which something was sent or answered, and every 100 ms while something waits. */
  onTurn(nowMs: number): void;
}

/**
 * Carries the batches of a producer to the nodes: once a turn, one request for each node with what
 * its partitions have, over one stream for each node.
 *
 * Batches of a partition are under way to one node at a time, so that they stay in order when it
 * gets another leader.
 */
export class ProduceDispatcher implements SenderHost, ChannelOwner {
  readonly options: ResolvedProducerOptions;
  identity: ProducerIdentity | undefined;
  /** Batches do not linger: somebody waits for all. */
  isHurried = false;
  readonly #core: ClientCore;
  readonly #directory: TopicDirectory;
  readonly #events: DispatcherEvents;
  readonly #channels = new Map<string, ProduceChannel>();
  readonly #withoutStream = new Set<string>();
  /** By endpoint: when the next stream may be opened. */
  readonly #opensAtMs = new Map<string, number>();
  /** Have something that may be sent. */
  readonly #ready = new Set<PartitionSender>();
  /** Have something that is not settled. */
  readonly #busy = new Set<PartitionSender>();
  #breaks = 0;
  #isScheduled = false;
  #isIdentifying = false;
  #identifyAtMs = 0;
  #refusals = 0;
  #timer: Timer | undefined;
  #wakeAtMs = Infinity;
  #isClosed = false;

  constructor(
    core: ClientCore,
    directory: TopicDirectory,
    options: ResolvedProducerOptions,
    events: DispatcherEvents,
  ) {
    this.#core = core;
    this.#directory = directory;
    this.options = options;
    this.#events = events;
  }

  nowMs(): number {
    return this.#core.clock.monotonicMs();
  }

  /** It may have something to send at the end of this turn. */
  touch(sender: PartitionSender): void {
    this.#ready.add(sender);
    this.#busy.add(sender);
    this.schedule();
  }

  /** Something is to be looked at, at the end of this turn. */
  schedule(): void {
    if (this.#isScheduled || this.#isClosed) return;
    this.#isScheduled = true;
    this.#core.clock.afterTurn(() => {
      this.#isScheduled = false;
      this.#turn();
    });
  }

  delayMs(error: HoldfastError, attempts: number): number {
    return retryDelayMs(error, attempts, this.#core.random);
  }

  onRefused({ topic, partition }: PartitionSender, error: HoldfastError): void {
    const { reason, leader } = error;
    if (leader !== undefined) this.#core.endpoints.answered(leader);
    if (leader !== undefined || reason === 'NOT_LEADER') this.#directory.noteLeader(topic, partition, leader);
    else if (error.code === 'NOT_FOUND' || error.code === 'UNAVAILABLE' || reason === 'BATCH_TOO_LARGE')
      this.#directory.refresh(topic);
  }

  onReleased(bytes: number): void {
    this.#events.onReleased(bytes);
  }

  onFull(sender: PartitionSender): void {
    this.#events.onFull(sender);
  }

  fail(error: HoldfastError): void {
    this.#events.onFailure(error, true);
  }

  onReady(): void {
    this.#breaks = 0;
    this.schedule();
  }

  onAnswer(channel: ProduceChannel, batches: readonly ProducerBatch[], { results }: ProduceResponse): void {
    this.#core.endpoints.answered(channel.endpoint);
    const nowMs = this.nowMs();
    for (const [index, batch] of batches.entries()) {
      const { error, baseOffset } = results[index]!;
      if (error === undefined) batch.owner.onKept(batch, baseOffset);
      else batch.owner.onFailed(batch, errorFromMessage(error), nowMs);
      this.touch(batch.owner as PartitionSender);
    }
  }

  onBroken(channel: ProduceChannel, batches: readonly ProducerBatch[], error: HoldfastError): void {
    const { endpoint } = channel;
    const isStream = channel.mostInFlight > 1;
    if (isStream && this.#channels.get(endpoint) === channel) this.#channels.delete(endpoint);
    const lacksStreams = isStream && error.reason === 'UNIMPLEMENTED';
    if (lacksStreams) this.#withoutStream.add(endpoint);
    else if (isStream || blamesEndpoint(error)) this.#avoid(endpoint, error);
    const told = isRefused(channel, error) ? error.withOutcome('NOT_APPLIED') : error.withOutcome('UNKNOWN');
    for (const batch of batches) {
      if (lacksStreams) batch.owner.onUnsent(batch);
      else batch.owner.onFailed(batch, told, this.nowMs());
      this.touch(batch.owner as PartitionSender);
    }
    this.schedule();
  }

  /** Ends every batch with an error. */
  failAll(error: HoldfastError): void {
    for (const sender of this.#busy) sender.failAll(error);
    this.schedule();
  }

  /** Number of the first record that nobody has been told of; Infinity: there is none. */
  get firstNumber(): number {
    let first = Infinity;
    for (const sender of this.#busy) first = Math.min(first, sender.firstNumber);
    return first;
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  #turn(): void {
    if (this.#isClosed) return;
    const nowMs = this.nowMs();
    if (!this.options.isIdempotent || this.identity !== undefined) this.#send(nowMs);
    else if (this.#ready.size > 0 && nowMs >= this.#identifyAtMs) void this.#identify();
    this.#events.onTurn(nowMs);
    this.#plan(nowMs);
  }

  #send(nowMs: number): void {
    for (;;) {
      const requests = new Map<ProduceChannel, { batches: ProducerBatch[]; bytes: number }>();
      for (const sender of this.#ready) this.#take(sender, nowMs, requests);
      if (requests.size === 0) return;
      for (const [channel, { batches }] of requests) if (batches.length > 0) channel.send(batches);
    }
  }

  /** The next batch of a partition, if there is a way for it. */
  #take(
    sender: PartitionSender,
    nowMs: number,
    requests: Map<ProduceChannel, { batches: ProducerBatch[]; bytes: number }>,
  ): void {
    const endpoint = this.#core.endpoints.pick(this.#directory.leaderOf(sender.topic, sender.partition));
    // To another node only when all is answered; then it comes back.
    const isElsewhere = sender.out > 0 && sender.endpoint !== endpoint;
    const channel = isElsewhere ? undefined : this.#channel(endpoint, nowMs);
    if (!isElsewhere && channel?.isReady !== true) return;
    const batch = channel && sender.take(nowMs, channel.mostInFlight, this.isHurried);
    if (channel === undefined || batch === undefined) {
      this.#ready.delete(sender);
      return;
    }
    sender.endpoint = endpoint;
    let request = requests.get(channel);
    if (request === undefined) requests.set(channel, (request = { batches: [], bytes: 0 }));
    if (request.bytes > 0 && request.bytes + batch.bytes.length > MESSAGE_BYTES) {
      channel.send(request.batches);
      request.batches = [];
      request.bytes = 0;
    }
    request.batches.push(batch);
    request.bytes += batch.bytes.length;
  }

  #channel(endpoint: string, nowMs: number): ProduceChannel | undefined {
    const channel = this.#channels.get(endpoint);
    if (channel !== undefined || nowMs < (this.#opensAtMs.get(endpoint) ?? 0)) return channel;
    const { transport } = this.#core;
    const Channel = this.#withoutStream.has(endpoint) ? ProduceCalls : ProduceStream;
    const opened = new Channel(endpoint, transport, this.options.acks, this);
    this.#channels.set(endpoint, opened);
    return opened;
  }

  #avoid(endpoint: string, error: HoldfastError): void {
    this.#core.endpoints.failed(endpoint);
    this.#directory.forgetEndpoint(endpoint);
    this.#breaks += 1;
    this.#opensAtMs.set(endpoint, this.nowMs() + this.delayMs(error, this.#breaks));
  }

  async #identify(): Promise<void> {
    if (this.#isIdentifying) return;
    this.#isIdentifying = true;
    try {
      this.identity = await initProducer(this.#core, this.options.name);
      this.#refusals = 0;
    } catch (cause) {
      const error = asHoldfastError(cause);
      this.#refusals += 1;
      this.#identifyAtMs = this.nowMs() + this.delayMs(error, this.#refusals);
      if (error.reason !== 'DEADLINE_EXCEEDED' && !mayRetry(error, REPEATABLE))
        this.#events.onFailure(error, false);
    }
    this.#isIdentifying = false;
    this.schedule();
  }

  /** Sets the timer for whatever comes first. */
  #plan(nowMs: number): void {
    if (this.#isClosed) return;
    let wakeAtMs = this.#events.isWaiting() ? nowMs + LOOK_MS : Infinity;
    for (const sender of this.#busy) {
      if (!sender.isBusy) this.#busy.delete(sender);
      else wakeAtMs = Math.min(wakeAtMs, nowMs + LOOK_MS, Math.max(sender.dueAtMs, nowMs + 1));
    }
    if (wakeAtMs >= this.#wakeAtMs) return;
    this.#timer?.cancel();
    this.#wakeAtMs = wakeAtMs;
    this.#timer = this.#core.clock.setTimer(wakeAtMs - nowMs, () => this.#wake());
  }

  #wake(): void {
    this.#wakeAtMs = Infinity;
    const nowMs = this.nowMs();
    for (const channel of this.#channels.values()) channel.look(nowMs);
    for (const sender of this.#busy) {
      sender.expire(nowMs);
      this.#ready.add(sender);
    }
    this.#turn();
  }
}

/** A node that starts or stops refuses the whole stream, and so all that was sent on it. */
function isRefused({ isFresh }: ProduceChannel, { reason, outcome }: HoldfastError): boolean {
  if (reason === 'UNIMPLEMENTED') return true;
  return outcome === 'NOT_APPLIED' && (isFresh || reason !== 'UNAVAILABLE');
}
