import type {
  CleanupPolicy,
  TopicDescription,
  TopicPartitionDescription,
  TopicSettings,
} from '@holdfast/client/broker/topics';
import { formatByteSize } from '../byte-size.ts';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { print, printJson, printTable } from '../output.ts';
import { rfc3339 } from '../rfc3339.ts';

/** Options of `holdfast topic create` and `alter`. */
export interface TopicOptions extends ClusterOptions {
  partitions?: number;
  replication?: number;
  cleanup?: CleanupPolicy;
  retention?: number;
  retentionBytes?: number;
  segmentBytes?: number;
  segmentAge?: number;
  maxBatchBytes?: number;
  deleteRetention?: number;
  minDirtyPercent?: number;
}

/** `holdfast topic create`. */
export async function create(name: string, options: TopicOptions): Promise<void> {
  const { partitions, replication } = options;
  const topic = await withCluster(options, (client, signal) =>
    client.topics.create(name, { ...settingsOf(options), partitions, replication, signal }),
  );
  if (options.json) return printJson(topicJson(topic));
  const { partitions: count, replication: copies } = topic;
  return print(
    `created ${name} with ${count} ${count === 1 ? 'partition' : 'partitions'}, ${copies} ${copies === 1 ? 'copy' : 'copies'} each\n`,
  );
}

/** `holdfast topic alter`. */
export async function alter(name: string, options: TopicOptions): Promise<void> {
  const { partitions } = options;
  const topic = await withCluster(options, (client, signal) =>
    client.topics.alter(name, { ...settingsOf(options), partitions, signal }),
  );
  if (options.json) return printJson(topicJson(topic));
  return printTable(HEADINGS, [row(topic)]);
}

/** `holdfast topic describe`. */
export async function describe(name: string, options: ClusterOptions): Promise<void> {
  const { topic, partitions } = await withCluster(options, (client, signal) =>
    client.topics.describe(name, { signal }),
  );
  if (options.json) return printJson({ ...topicJson(topic), partition_logs: partitions.map(partitionJson) });
  await printTable(HEADINGS, [row(topic)]);
  await print('\n');
  await printTable(
    ['PARTITION', 'LEADER', 'NODES', 'START', 'END', 'BYTES', 'FILES'],
    partitions.map(({ partition, leader, replicas, log }) => [
      String(partition),
      leader ?? '-',
      replicas.join(' '),
      ...(log === undefined
        ? ['-', '-', '-', '-']
        : [String(log.start), String(log.end), String(log.bytes), String(log.segments)]),
    ]),
  );
}

/** `holdfast topic list`. */
export async function list(options: ClusterOptions): Promise<void> {
  const topics = await withCluster(options, (client, signal) => client.topics.list({ signal }));
  if (options.json) return printJson({ topics: topics.map(topicJson) });
  return printTable(HEADINGS, topics.map(row));
}

/** `holdfast topic delete`. */
export async function remove(name: string, options: ClusterOptions): Promise<void> {
  await withCluster(options, (client, signal) => client.topics.delete(name, { signal }));
  if (options.json) return printJson({ name, deleted: true });
  return print(`deleted ${name}\n`);
}

const HEADINGS = ['NAME', 'PARTITIONS', 'COPIES', 'CLEANUP', 'RETENTION', 'MAX BATCH', 'CREATED'];

function row({ name, partitions, replication, settings, createdAtMs }: TopicDescription): string[] {
  const { cleanupPolicy, maxBatchBytes } = settings;
  const numbers = [String(partitions), String(replication)];
  return [
    name,
    ...numbers,
    cleanupPolicy,
    retention(settings),
    formatByteSize(maxBatchBytes),
    rfc3339(createdAtMs),
  ];
}

function retention({ retentionMs, retentionBytes }: TopicDescription['settings']): string {
  const parts = [
    ...(retentionMs > 0 ? [`${retentionMs / 1_000}s`] : []),
    ...(retentionBytes > 0 ? [formatByteSize(retentionBytes)] : []),
  ];
  return parts.length === 0 ? 'for ever' : parts.join(', ');
}

function settingsOf(options: TopicOptions): TopicSettings {
  const { cleanup: cleanupPolicy, retention: age, retentionBytes, segmentBytes, segmentAge } = options;
  const { maxBatchBytes, deleteRetention, minDirtyPercent } = options;
  return {
    cleanupPolicy,
    retention: age,
    retentionBytes,
    segmentBytes,
    segmentAge,
    maxBatchBytes,
    deleteRetention,
    minDirtyPercent,
  };
}

function topicJson({ settings, ...topic }: TopicDescription): Record<string, unknown> {
  return {
    name: topic.name,
    id: topic.id.toString(),
    partitions: topic.partitions,
    replication: topic.replication,
    created_at: rfc3339(topic.createdAtMs),
    cleanup_policy: settings.cleanupPolicy,
    retention_ms: settings.retentionMs,
    retention_bytes: settings.retentionBytes,
    segment_bytes: settings.segmentBytes,
    segment_ms: settings.segmentAgeMs,
    max_batch_bytes: settings.maxBatchBytes,
    delete_retention_ms: settings.deleteRetentionMs,
    min_dirty_percent: settings.minDirtyPercent,
  };
}

function partitionJson({
  partition,
  leader,
  replicas,
  log,
}: TopicPartitionDescription): Record<string, unknown> {
  return {
    partition,
    leader: leader ?? null,
    nodes: replicas,
    ...(log !== undefined && {
      log_start: Number(log.start),
      log_end: Number(log.end),
      bytes: log.bytes,
      segments: log.segments,
    }),
  };
}
