/**
 * Records in and out of partitions, on this node: appends are proposed to the partition's
 * group, reads are served by the replica here. Requests have been checked before.
 *
 * A caller that routes asks who leads a partition, or has a replica of it, and is told where
 * that is when it is known to be elsewhere. For any other caller another node is asked to do it.
 */
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { Admission } from '../cluster/admission.ts';
import type { ForwardedCommand, Forwarder } from '../cluster/forwarder.ts';
import type { GroupRoutes } from '../cluster/group-routes.ts';
import type { Command } from '../raft/entry.ts';
import type { GroupHost } from '../raft/group-host.ts';
import { awaitRead, proposalError } from '../raft/propose.ts';
import type { Proposal } from '../raft/state-machine.ts';
import type { BatchHeader } from './batch-check.ts';
import type { FoundFrames } from './log/partition-log.ts';
import { encodeAppend } from './partition-command.ts';
import { decodeOutcome, type Appended, type PartitionOutcome } from './partition-outcome.ts';
import { refusalError } from './partition-refusal.ts';
import type { TopicPartition } from './topic-partition.ts';

export interface BrokerOptions {
  readonly host: GroupHost;
  readonly clock: Clock;
  readonly admission: Admission;
  readonly routes: GroupRoutes;
  /** The way to other nodes; undefined: callers are told to take it themselves. */
  readonly forwarder: Forwarder | undefined;
}

/** How a call is to be done. */
export interface CallTerms {
  /** Monotonic time by which it must have ended. */
  readonly deadlineMs: number;
  /** The caller finds its way. */
  readonly isRouted: boolean;
}

/** What can be read of a partition. */
export interface Bounds {
  readonly logStart: number;
  readonly logEnd: number;
}

/** Batches, and what can be read. */
export interface ReadFrames extends FoundFrames, Bounds {}

/** What went through a topic on this node since the start. */
export interface TopicTraffic {
  recordsIn: number;
  bytesIn: number;
  recordsOut: number;
  bytesOut: number;
}

export class Broker {
  readonly #options: BrokerOptions;
  readonly #traffic = new Map<string, TopicTraffic>();

  constructor(options: BrokerOptions) {
    this.#options = options;
  }

  /**
   * Appends a batch; resolves when a majority has it, or, with acks `leader`, when the leader has
   * it on disk: with undefined, as its offset is not known then. Where another node leads, that
   * is when a majority has it. Errors: PRODUCER_FENCED, SEQUENCE_GAP, those of proposals.
   */
  append(
    partition: TopicPartition,
    batch: Uint8Array,
    header: BatchHeader,
    acks: 'leader' | 'majority',
    terms: CallTerms,
  ): Promise<Appended | undefined> {
    const command = { ...encodeAppend(batch), decoded: header };
    const done = this.#propose(partition, command, terms, true, acks === 'leader');
    return (done as Promise<Appended | undefined>).then((appended) => {
      const traffic = this.trafficOf(partition.topic);
      traffic.recordsIn += header.count;
      traffic.bytesIn += batch.byteLength;
      return appended;
    });
  }

  /** By topic, of those that are there. */
  get traffic(): ReadonlyMap<string, Readonly<TopicTraffic>> {
    return this.#traffic;
  }

  /** What went through a topic. */
  trafficOf(topic: string): TopicTraffic {
    let traffic = this.#traffic.get(topic);
    if (traffic === undefined) {
      traffic = { recordsIn: 0, bytesIn: 0, recordsOut: 0, bytesOut: 0 };
      this.#traffic.set(topic, traffic);
    }
    return traffic;
  }

  /** A topic was deleted. */
  forgetTraffic(topic: string): void {
    this.#traffic.delete(topic);
  }

  /** Has a command of a partition carried out. Error: HoldfastError with outcome. */
  propose(
    partition: TopicPartition,
    command: Command,
    terms: CallTerms,
    grows = false,
  ): Promise<Exclude<PartitionOutcome, { case: 'refused' }>> {
    return this.#propose(partition, command, terms, grows, false) as ReturnType<Broker['propose']>;
  }

  /**
   * Whole batches from an offset on, at least one if there is one, from the replica here, which
   * may be a little behind. Errors: OFFSET_OUT_OF_RANGE, NOT_LEADER (no replica is here), TOPIC_UNKNOWN.
   */
  read(partition: TopicPartition, offset: number, maxBytes: number): ReadFrames | Promise<ReadFrames> {
    const machine = this.machineOf(partition);
    const { logStart, logEnd } = machine;
    if (offset < logStart) throw outOfRange(partition, offset, { logStart, logEnd });
    if (offset === logEnd) return { frames: [], nextOffset: offset, logStart, logEnd };
    if (offset > logEnd) return this.#readBehindEnd(partition, offset);
    const tail = machine.log.opened?.readTail(offset, maxBytes);
    if (tail !== undefined) return { ...tail, logStart, logEnd };
    return machine.log.read(offset, maxBytes).then((found) => {
      this.#assertPresent(partition);
      return { ...found, logStart, logEnd };
    });
  }

  /** What can be read, linearizable. Errors: NOT_LEADER, TOPIC_UNKNOWN. */
  async bounds(partition: TopicPartition): Promise<Bounds> {
    await this.confirm(partition);
    const { logStart, logEnd } = this.machineOf(partition);
    return { logStart, logEnd };
  }

  /** Resolves when what was acknowledged before is applied here. Errors: as `bounds`. */
  async confirm(partition: TopicPartition): Promise<void> {
    const { host } = this.#options;
    void this.machineOf(partition);
    if (!host.canReadNow(partition.group)) await awaitRead(host, partition.group);
  }

  /** The replica here. Errors: NOT_LEADER, TOPIC_UNKNOWN. */
  machineOf(partition: TopicPartition) {
    this.#assertServing();
    this.#assertPresent(partition);
    const { machine } = partition;
    if (machine === undefined || !partition.isServed) throw this.#noReplica(partition).withOutcome(undefined);
    return machine;
  }

  /** The one asked may have heard of what has not come here yet. */
  async #readBehindEnd(partition: TopicPartition, offset: number): Promise<ReadFrames> {
    const bounds = await this.bounds(partition);
    if (offset > bounds.logEnd) throw outOfRange(partition, offset, bounds);
    return { frames: [], nextOffset: offset, ...bounds };
  }

  #propose(
    partition: TopicPartition,
    command: Command,
    { deadlineMs, isRouted }: CallTerms,
    grows: boolean,
    isDoneWhenLogged: boolean,
  ): Promise<PartitionOutcome | undefined> {
    return new Promise((resolve, reject) => {
      const proposal: ForwardedCommand & Proposal = {
        kind: command.kind,
        version: command.version,
        bytes: command.bytes,
        decoded: command.decoded,
        deadlineMs,
        grows,
        onApplied: (result) => {
          const outcome = result as PartitionOutcome;
          if (outcome.case === 'refused') reject(refusalError(outcome, partition));
          else resolve(outcome);
        },
        decodeResult: decodeOutcome,
        onFailed: (failure) => reject(proposalError(failure)),
        onError: reject,
        ...(isDoneWhenLogged && { onLogged: () => resolve(undefined) }),
      };
      this.#hand(partition, proposal, isRouted);
    });
  }

  /** Throws when it is refused at once. */
  #hand(partition: TopicPartition, proposal: ForwardedCommand & Proposal, isRouted: boolean): void {
    const { host, admission, forwarder } = this.#options;
    this.#assertPresent(partition);
    const isHere = host.isLeader(partition.group);
    // Who routes is sent to the leader; where nobody is known to be one, that is found out for everybody.
    const mustAsk = !isRouted || host.leaderOf(partition.group) === undefined;
    if (!isHere && mustAsk && forwarder !== undefined) return forwarder.propose(partition, proposal);
    if (!partition.isServed && !isHere) throw this.#noReplica(partition);
    const refusal = admission(proposal.bytes.byteLength, proposal.grows);
    if (refusal !== undefined) throw refusal;
    host.propose(partition.group, proposal);
  }

  #noReplica(partition: TopicPartition): HoldfastError {
    const leader = this.#options.routes.hint(partition);
    return proposalError({ cause: 'no replica', outcome: 'NOT_APPLIED', leader });
  }

  #assertServing(): void {
    const cause = this.#options.host.failure;
    if (cause !== undefined) throw proposalError({ cause, outcome: 'NOT_APPLIED' }).withOutcome(undefined);
  }

  /** A topic may be deleted while a call on it waits. */
  #assertPresent(partition: TopicPartition): void {
    if (!partition.isGone) return;
    throw new HoldfastError({
      reason: 'TOPIC_UNKNOWN',
      message: `topic "${partition.topic}" was deleted. Nothing was done.`,
      outcome: 'NOT_APPLIED',
      field: 'topic',
      actual: partition.topic,
    });
  }
}

function outOfRange({ topic, number }: TopicPartition, offset: number, bounds: Bounds): HoldfastError {
  const { logStart, logEnd } = bounds;
  return new HoldfastError({
    reason: 'OFFSET_OUT_OF_RANGE',
    message:
      `offset ${offset} of partition ${number} of topic "${topic}" cannot be read: the first is ${logStart}, the next ` +
      `record will be ${logEnd}. Nothing was read. Begin at one of them, or at a time.`,
    field: 'offset',
    actual: String(offset),
    limit: `${logStart}..${logEnd}`,
  });
}
