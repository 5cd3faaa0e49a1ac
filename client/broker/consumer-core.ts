import type { AssignedPartition } from '@holdfast/proto/broker/v1/group';
import { sleep } from '../clock.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { retryDelayMs } from '../retry.ts';
import type { Leases } from '../session/leases.ts';
import { asHoldfastError } from '../unary.ts';
import { ConsumedPartition, heldTooLong, notAssigned } from './consumed-partition.ts';
import type { ResolvedConsumerOptions } from './consumer-options.ts';
import { Fetcher, type FetchHost, nameOf } from './fetcher.ts';
import { FreeReader, type FreeReaderHost } from './free-reader.ts';
import { claimOffsets } from './group-calls.ts';
import { GroupMember, type MemberHost } from './group-member.ts';
import type { TopicPartition } from './groups.ts';
import { type CommitHost, OffsetCommitter } from './offset-committer.ts';
import { OwnedPartitions } from './owned-partitions.ts';
import { findStarts } from './start-offsets.ts';
import type { TopicDirectory } from './topic-directory.ts';

/** Of the rebalance timeout, how long messages in hand may take: what is left is for storing and telling. */
const FINISHING_SHARE = 0.8;

/** What a consumer is told. */
export interface ConsumerEvents {
  /** There may be messages to take, or to begin with. */
  onMessages(): void;
  /** It is over for good. */
  onFailure(error: HoldfastError): void;
}

/**
 * The partitions of a consumer: which they are, where each begins, and how each ends.
 *
 * Invariants:
 *  R1. A partition is read from where its group has stored, asked for with the generation in which
 *      it was assigned, so that nobody who had it before can change that any more.
 *  R2. A revoked partition is released when nothing of it is in hand and what was done is stored,
 *      or when that has taken too long; from the release on nothing of it counts.
 *  R3. A partition that is assigned with the same generation as before is not touched.
 */
export class ConsumerCore implements FetchHost, MemberHost, CommitHost, FreeReaderHost {
  readonly partitions = new OwnedPartitions();
  readonly options: ResolvedConsumerOptions;
  readonly #core: ClientCore;
  readonly #events: ConsumerEvents;
  readonly #fetcher: Fetcher;
  readonly #committer: OffsetCommitter | undefined;
  readonly #member: GroupMember | undefined;
  readonly #reader: FreeReader | undefined;
  readonly #ended = new AbortController();
  /** Partitions that are to be released. */
  readonly #revoked = new Set<ConsumedPartition>();
  /** Revoked, and nothing of them is in hand. */
  #finished: ConsumedPartition[] = [];
  /** By name: the greatest generation in which others have taken what this one was told it had. */
  readonly #fenced = new Map<string, bigint>();

  constructor(
    core: ClientCore,
    directory: TopicDirectory,
    leases: Leases,
    options: ResolvedConsumerOptions,
    events: ConsumerEvents,
  ) {
    this.#core = core;
    this.options = options;
    this.#events = events;
    this.#fetcher = new Fetcher(core, directory, options, this);
    const { group, commitIntervalMs } = options;
    if (group === undefined) this.#reader = new FreeReader(core, directory, options, this);
    else {
      this.#committer = new OffsetCommitter(core, group, commitIntervalMs, this);
      this.#member = new GroupMember(core, leases, { ...options, group }, this);
    }
  }

  get bufferedBytes(): number {
    return this.partitions.bufferedBytes;
  }

  start(): void {
    this.#member?.start();
    this.#reader?.start();
  }

  /** There may be room for more, or more to ask for. */
  fetchMore(): void {
    this.#fetcher.schedule();
  }

  /** Stores what is done. */
  async commit(): Promise<void> {
    await this.#committer?.commit();
  }

  /** Fetches nothing more, waits up to `waitMs` for what is in hand, stores what is done, and leaves. */
  async stop(waitMs: number): Promise<void> {
    this.#ended.abort();
    this.#fetcher.close();
    this.#reader?.stop();
    this.#member?.stop();
    await Promise.all([...this.partitions].map((partition) => this.#idle(partition, waitMs)));
    this.#committer?.close();
    await this.#committer?.commit();
    await this.#member?.leave();
    for (const partition of this.partitions) this.partitions.remove(partition);
  }

  onFetched(): void {
    this.#events.onMessages();
  }

  onOutOfRange(partition: ConsumedPartition, logStart: number, logEnd: number, error: HoldfastError): void {
    const { onOutOfRange } = this.options;
    if (onOutOfRange === 'error') return this.fail(error);
    const where = onOutOfRange === 'earliest' ? logStart : logEnd;
    const message = `${nameOf(partition)} has no record from ${partition.position} to ${logStart - 1} any more; reading goes on at ${where}.`;
    partition.skipTo(where);
    this.onError(new HoldfastError({ reason: 'OFFSET_OUT_OF_RANGE', message, cause: error }));
  }

  onError(error: HoldfastError): void {
    if (!this.#ended.signal.aborted) this.options.onError(error);
  }

  fail(error: HoldfastError): void {
    if (this.#ended.signal.aborted) return;
    if (error.reason === 'GROUP_MEMBER_FENCED') this.onLost(error);
    this.#events.onFailure(error);
  }

  onFound({ topic, partition }: TopicPartition, offset: number): void {
    const found = this.#make(topic, partition, 0n);
    found.seek(offset);
    this.options.onAssigned([{ topic, partition }]);
    this.fetchMore();
  }

  onReplaced(topic: string): void {
    for (const partition of this.partitions) if (partition.topic === topic) this.partitions.remove(partition);
  }

  onAssignment(assigned: readonly AssignedPartition[], revoked: readonly AssignedPartition[]): void {
    const kept = new Set([...assigned, ...revoked].map(named));
    const lost = [...this.partitions].filter((partition) => !kept.has(named(partition)));
    this.#lose(lost, notAssigned());
    for (const one of revoked) {
      const partition = this.partitions.get(one);
      if (partition === undefined) this.#member!.release(one);
      else this.#revoke(partition);
    }
    const added = assigned.flatMap((one) => this.#assign(one) ?? []);
    if (added.length > 0) {
      this.options.onAssigned(added.map(({ topic, partition }) => ({ topic, partition })));
      void this.#begin(added);
    }
    this.#events.onMessages();
  }

  onLost(error: HoldfastError): void {
    this.#lose([...this.partitions], error);
  }

  onFenced(partition: ConsumedPartition, error: HoldfastError): void {
    this.#fenced.set(nameOf(partition), partition.generation);
    this.#lose([partition], error);
  }

  /** Invariant R3. */
  #assign({ topic, partition, generation }: AssignedPartition): ConsumedPartition | undefined {
    const mine = this.partitions.get({ topic, partition });
    if (mine !== undefined) {
      // Nobody wants it any more.
      if (this.#revoked.delete(mine)) mine.isSuspended = false;
      this.fetchMore();
      return undefined;
    }
    const fenced = this.#fenced.get(nameOf({ topic, partition }));
    if (fenced !== undefined && generation <= fenced) return undefined;
    return this.#make(topic, partition, generation);
  }

  #make(topic: string, partition: number, generation: bigint): ConsumedPartition {
    const { decode, commit } = this.options;
    const made = new ConsumedPartition(topic, partition, generation, {
      decode,
      isDoneWhenGiven: commit === 'auto',
    });
    this.partitions.add(made);
    return made;
  }

  /** Learns where partitions begin, until it is known of all. Invariant R1. */
  async #begin(added: readonly ConsumedPartition[]): Promise<void> {
    let left = added;
    for (let failures = 0; ;) {
      left = left.filter(({ isGone, isStarted }) => !isGone && !isStarted);
      if (left.length === 0 || this.#ended.signal.aborted) return;
      let error: HoldfastError | undefined;
      try {
        error = await this.#beginSome(left);
      } catch (cause) {
        error = asHoldfastError(cause);
      }
      if (error === undefined) continue;
      failures += 1;
      this.onError(error);
      const delayMs = retryDelayMs(error, failures, this.#core.random);
      await sleep(this.#core.clock, delayMs, this.#ended.signal).catch(() => undefined);
    }
  }

  /** Gives the last error of those that are not known. */
  async #beginSome(partitions: readonly ConsumedPartition[]): Promise<HoldfastError | undefined> {
    const { group, from } = this.options;
    const claimed = await claimOffsets(this.#core, group!, partitions);
    let error: HoldfastError | undefined;
    const without: ConsumedPartition[] = [];
    for (const [index, partition] of partitions.entries()) {
      const offset = claimed[index];
      if (partition.isGone) continue;
      if (typeof offset === 'number') this.#startAt(partition, offset, true);
      else if (offset === undefined) without.push(partition);
      else if (offset.reason === 'GENERATION_FENCED') this.onFenced(partition, offset);
      else error = offset;
    }
    const starts = without.length === 0 ? [] : await findStarts(this.#core, without, from, 'earliest');
    for (const [index, start] of starts.entries()) {
      if (start instanceof HoldfastError) error = start;
      // Stored soon: whoever has it next is not to begin elsewhere.
      else this.#startAt(without[index]!, start, false);
    }
    return error;
  }

  #startAt(partition: ConsumedPartition, offset: number, isStored: boolean): void {
    if (partition.isGone || partition.isStarted) return;
    partition.seek(offset);
    if (isStored) partition.committed = offset;
    this.fetchMore();
  }

  #revoke(partition: ConsumedPartition): void {
    if (this.#revoked.has(partition)) return;
    this.#revoked.add(partition);
    partition.isSuspended = true;
    void this.#idle(partition, this.options.rebalanceTimeoutMs * FINISHING_SHARE).then(() => {
      if (!this.#revoked.has(partition)) return;
      this.#finished.push(partition);
      // Those that are ready in one turn are stored together.
      if (this.#finished.length === 1) this.#core.clock.afterTurn(() => void this.#release());
    });
  }

  /** Invariant R2. */
  async #release(): Promise<void> {
    const finished = this.#finished.splice(0);
    await this.#committer!.commit(finished);
    const released = finished.filter((partition) => !partition.isGone && this.#revoked.delete(partition));
    const late = released.filter(({ inHand }) => inHand > 0);
    const done = released.filter(({ inHand }) => inHand === 0);
    this.#lose(late, heldTooLong(this.options.rebalanceTimeoutMs));
    for (const partition of done) this.partitions.remove(partition);
    for (const partition of released) this.#member!.release(partition);
    if (done.length > 0) this.options.onRevoked(done.map(({ topic, partition }) => ({ topic, partition })));
    this.#events.onMessages();
  }

  /** Resolves when nothing of it is in hand, or after some time. */
  #idle(partition: ConsumedPartition, waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#core.clock.setTimer(waitMs, resolve);
      partition.whenIdle(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  /** What was given up before, and is here again by now, is not lost by what is heard of it late. */
  #lose(all: readonly ConsumedPartition[], error: HoldfastError): void {
    const partitions = all.filter((partition) => this.partitions.get(partition) === partition);
    if (partitions.length === 0) return;
    const lost = partitions.map(({ topic, partition, unfinished }) => ({ topic, partition, unfinished }));
    for (const partition of partitions) {
      this.#revoked.delete(partition);
      this.partitions.remove(partition);
    }
    this.options.onLost(lost, error);
    this.#events.onMessages();
  }
}

function named({ topic, partition, generation }: TopicPartition & { generation: bigint }): string {
  return `${topic}/${partition}/${generation}`;
}
