import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  AlterTopicRequestSchema,
  CleanupPolicy as PolicyCode,
  CreateTopicRequestSchema,
  type PartitionDescription as PartitionMessage,
  type Topic as TopicMessage,
  TopicService,
  type TopicSettings as SettingsMessage,
  type TopicSettingsSchema,
} from '@holdfast/proto/broker/v1/topic';
import { BrokerService } from '@holdfast/proto/broker/v1/broker';
import { sleep } from '../clock.ts';
import { callCoordinator, callTimeoutMs } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { type Duration, durationMs } from '../duration.ts';
import { errorFromMessage } from '../error-mapping.ts';
import { HoldfastError } from '../error.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { mayRetry, retryDelayMs } from '../retry.ts';
import { invalid } from '../values.ts';
import type { TopicDirectory } from './topic-directory.ts';

/** What becomes of old records: those beyond the retention go; of each key the newest stays; both. */
export type CleanupPolicy = 'delete' | 'compact' | 'compact-and-delete';

/** How a topic keeps its records. What is absent has its default, or stays as it is. */
export interface TopicSettings {
  /** Default: `delete`. */
  cleanupPolicy?: CleanupPolicy | undefined;
  /** Age at which records go some time later; 0: never. Default: 7 days. */
  retention?: Duration | undefined;
  /** Size of a partition beyond which its oldest records go; 0: never. Default: 0. */
  retentionBytes?: number | undefined;
  /** Size of its files, 1 MiB to 1 GiB: retention and compaction work on whole ones. Default: 64 MiB. */
  segmentBytes?: number | undefined;
  /** Age at which a file takes no more records, 1 minute at least. Default: 7 days. */
  segmentAge?: Duration | undefined;
  /** Greatest batch of records as it is stored, 1 KiB to 4 MiB. Default: 1 MiB. */
  maxBatchBytes?: number | undefined;
  /** How long a deletion can be read in a topic of `compact` at least. Default: 1 day. */
  deleteRetention?: Duration | undefined;
  /** Share of new bytes, in percent, at which compaction begins; 1 to 99. Default: 50. */
  minDirtyPercent?: number | undefined;
}

/** Options of a new topic. */
export interface CreateTopicOptions extends CallOptions, TopicSettings {
  /** 1 to 1,024. Default: 1. */
  partitions?: number | undefined;
  /** Copies of each partition, 1 to 7. Default: 3, or as many as there are nodes. */
  replication?: number | undefined;
}

/** What is to change of a topic. */
export interface AlterTopicOptions extends CallOptions, TopicSettings {
  /** At least as many as there are; keys may then go to other partitions than before. */
  partitions?: number | undefined;
}

/** A topic. */
export interface TopicDescription {
  readonly name: string;
  /** Distinguishes it from earlier and later ones of the name. */
  readonly id: bigint;
  /** Number of partitions. */
  readonly partitions: number;
  /** Copies of each partition. */
  readonly replication: number;
  /** ms since 1970. */
  readonly createdAtMs: number;
  /** Times in ms. */
  readonly settings: {
    readonly cleanupPolicy: CleanupPolicy;
    readonly retentionMs: number;
    readonly retentionBytes: number;
    readonly segmentBytes: number;
    readonly segmentAgeMs: number;
    readonly maxBatchBytes: number;
    readonly deleteRetentionMs: number;
    readonly minDirtyPercent: number;
  };
}

/** What a partition holds. */
export interface TopicPartitionDescription {
  readonly partition: number;
  /** Where its leader takes calls; undefined: not known. */
  readonly leader: string | undefined;
  /** Names of the nodes that hold it. */
  readonly replicas: readonly string[];
  /** What the answering node has of it; undefined: nothing is known. */
  readonly log:
    | {
        /** First offset that can be read. */
        readonly start: bigint;
        /** Offset that the next record will get. */
        readonly end: bigint;
        /** On disk. */
        readonly bytes: number;
        /** Files on disk. */
        readonly segments: number;
      }
    | undefined;
}

/** Offsets of a partition. */
export interface PartitionOffsets {
  readonly partition: number;
  /** First offset that can be read. */
  readonly start: bigint;
  /** Offset that the next record will get. */
  readonly end: bigint;
  /** First offset of a batch with a record at or after the time; undefined: there is none, or no time was given. */
  readonly atTime: bigint | undefined;
}

/** Creates, alters, deletes, lists and describes topics. */
export class Topics {
  readonly #core: ClientCore;
  readonly #directory: TopicDirectory;

  /** @internal */
  constructor(core: ClientCore, directory: TopicDirectory) {
    this.#core = core;
    this.#directory = directory;
  }

  /**
   * Creates a topic. Errors: TOPIC_EXISTS, INVALID_FIELD. Not retried once it may have been
   * executed.
   */
  async create(name: string, options: CreateTopicOptions = {}): Promise<TopicDescription> {
    const request: MessageInitShape<typeof CreateTopicRequestSchema> = {
      name,
      settings: settingsOf(options),
    };
    if (options.partitions !== undefined) request.partitions = count(options.partitions, 'partitions');
    if (options.replication !== undefined) request.replication = count(options.replication, 'replication');
    const method = TopicService.method.createTopic;
    const { topic } = await callCoordinator(this.#core, method, request, options, { isWrite: true });
    return described(topic);
  }

  /** Changes settings or adds partitions. Errors: TOPIC_UNKNOWN, INVALID_FIELD. */
  async alter(name: string, options: AlterTopicOptions): Promise<TopicDescription> {
    const request = create(AlterTopicRequestSchema, { name, settings: settingsOf(options) });
    if (options.partitions !== undefined) request.partitions = count(options.partitions, 'partitions');
    const method = TopicService.method.alterTopic;
    const more = { isWrite: true, isRepeatable: true };
    const { topic } = await callCoordinator(this.#core, method, request, options, more);
    // This client's producers are to know it at once.
    this.#directory.forget(name);
    return described(topic);
  }

  /** Deletes a topic and all its records, for good. Error: TOPIC_UNKNOWN. */
  async delete(name: string, options: CallOptions = {}): Promise<void> {
    await callCoordinator(this.#core, TopicService.method.deleteTopic, { name }, options, { isWrite: true });
  }

  /** All topics, by name. */
  async list(options: CallOptions = {}): Promise<TopicDescription[]> {
    const { topics } = await callCoordinator(this.#core, TopicService.method.listTopics, {}, options);
    return topics.map(described);
  }

  /** One topic, and what its partitions hold. Error: TOPIC_UNKNOWN. */
  async describe(
    name: string,
    options: CallOptions = {},
  ): Promise<{ topic: TopicDescription; partitions: TopicPartitionDescription[] }> {
    const method = TopicService.method.describeTopic;
    const { topic, partitions } = await callCoordinator(this.#core, method, { name }, options);
    return { topic: described(topic), partitions: partitions.map(describedPartition) };
  }

  /**
   * First and next offset of each partition as of now, and where a time begins. Waits for leaders
   * until the call's timeout. Errors: TOPIC_UNKNOWN, those of nodes.
   */
  async offsets(name: string, options: CallOptions & { at?: Date } = {}): Promise<PartitionOffsets[]> {
    const endMs = this.#core.clock.monotonicMs() + callTimeoutMs(this.#core, options);
    const { topic } = await this.describe(name, options);
    const found: PartitionOffsets[] = [];
    let missing = Array.from({ length: topic.partitions }, (_, partition) => partition);
    for (let attempts = 1; ; attempts += 1) {
      const failed = await this.#findOffsets(name, missing, options, found);
      missing = failed.map(({ partition }) => partition);
      const error = failed.find((one) => !mayRetry(one.error, READ))?.error ?? failed[0]?.error;
      if (error === undefined) return found.sort((a, b) => a.partition - b.partition);
      const delayMs = retryDelayMs(error, attempts, this.#core.random);
      const isLate = this.#core.clock.monotonicMs() + delayMs >= endMs;
      if (isLate || !mayRetry(error, READ)) throw error;
      await sleep(this.#core.clock, delayMs, options.signal);
    }
  }

  /** Adds to `found`; resolves with what could not be found. */
  async #findOffsets(
    name: string,
    numbers: readonly number[],
    options: CallOptions & { at?: Date },
    found: PartitionOffsets[],
  ): Promise<{ partition: number; error: HoldfastError }[]> {
    const time = options.at === undefined ? {} : { timeMs: BigInt(options.at.getTime()) };
    const partitions = numbers.map((partition) => ({ topic: name, partition, ...time }));
    const method = BrokerService.method.findOffsets;
    const { results } = await callCoordinator(this.#core, method, { partitions }, options);
    const failed: { partition: number; error: HoldfastError }[] = [];
    for (const [at, { error, logStart: start, logEnd: end, offset: atTime }] of results.entries()) {
      const partition = numbers[at]!;
      if (error === undefined) found.push({ partition, start, end, atTime });
      else failed.push({ partition, error: errorFromMessage(error) });
    }
    return failed;
  }
}

const READ = { isWrite: false, sequence: 0, attempts: 1, lost: false };

const POLICIES: readonly (readonly [CleanupPolicy, PolicyCode])[] = [
  ['delete', PolicyCode.DELETE],
  ['compact', PolicyCode.COMPACT],
  ['compact-and-delete', PolicyCode.COMPACT_AND_DELETE],
];

function settingsOf(settings: TopicSettings): MessageInitShape<typeof TopicSettingsSchema> {
  const ms = (duration: Duration | undefined, field: string) =>
    duration === undefined ? undefined : BigInt(count(durationMs(duration, field), field));
  const bytes = (size: number | undefined, field: string) =>
    size === undefined ? undefined : BigInt(count(size, field));
  const given = {
    retentionMs: ms(settings.retention, 'retention'),
    retentionBytes: bytes(settings.retentionBytes, 'retentionBytes'),
    segmentBytes: bytes(settings.segmentBytes, 'segmentBytes'),
    segmentMs: ms(settings.segmentAge, 'segmentAge'),
    maxBatchBytes: settings.maxBatchBytes,
    deleteRetentionMs: ms(settings.deleteRetention, 'deleteRetention'),
    minDirtyPercent: settings.minDirtyPercent,
  };
  const present = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...present, cleanupPolicy: policyCode(settings.cleanupPolicy) };
}

function policyCode(policy: CleanupPolicy | undefined): PolicyCode {
  if (policy === undefined) return PolicyCode.UNSPECIFIED;
  const code = POLICIES.find(([name]) => name === policy)?.[1];
  if (code !== undefined) return code;
  const allowed = POLICIES.map(([name]) => name).join(', ');
  throw invalid('cleanupPolicy', `cleanupPolicy is ${policy}, allowed are ${allowed}`, policy, allowed);
}

/** The node checks the bounds; what a message cannot say is refused here. */
function count(value: number, field: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw invalid(field, `${field} is ${value}, allowed are whole numbers from 0`, String(value));
}

function described(topic: TopicMessage | undefined): TopicDescription {
  if (topic === undefined)
    throw new HoldfastError({ reason: 'INTERNAL', message: 'the node answered without a topic' });
  return {
    name: topic.name,
    id: topic.id,
    partitions: topic.partitions.length,
    replication: topic.replication,
    createdAtMs: Number(topic.createdAtMs),
    settings: describedSettings(topic.settings),
  };
}

function describedSettings(settings: SettingsMessage | undefined): TopicDescription['settings'] {
  return {
    cleanupPolicy: POLICIES.find(([, code]) => code === settings?.cleanupPolicy)?.[0] ?? 'delete',
    retentionMs: Number(settings?.retentionMs ?? 0n),
    retentionBytes: Number(settings?.retentionBytes ?? 0n),
    segmentBytes: Number(settings?.segmentBytes ?? 0n),
    segmentAgeMs: Number(settings?.segmentMs ?? 0n),
    maxBatchBytes: settings?.maxBatchBytes ?? 0,
    deleteRetentionMs: Number(settings?.deleteRetentionMs ?? 0n),
    minDirtyPercent: settings?.minDirtyPercent ?? 0,
  };
}

function describedPartition(message: PartitionMessage): TopicPartitionDescription {
  const { partition, leader, replicas, known, logStart: start, logEnd: end, segments } = message;
  const log = known ? { start, end, bytes: Number(message.bytes), segments } : undefined;
  return { partition, leader: leader || undefined, replicas, log };
}
