/** Bounds of topics and their settings, and what is wrong with what somebody asks for. */
import { HoldfastError } from '@holdfast/client/error';
import type { Reason } from '@holdfast/client/reasons';
import { CleanupPolicy } from '@holdfast/proto/broker/v1/topic';
import { MAX_BATCH_BYTES } from './batch-check.ts';

export const TOPIC_NAME = /^[a-z0-9._-]{1,64}$/;
export const GROUP_NAME = /^[a-zA-Z0-9._-]{1,128}$/;
export const MAX_TOPIC_PARTITIONS = 1_024;
export const MAX_METADATA_BYTES = 4_096;
/** Partitions of one request. */
export const MAX_REQUEST_PARTITIONS = 1_024;

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;

/** How a topic keeps its records; see `TopicSettings` in topic.proto. */
export interface TopicSettings {
  readonly cleanupPolicy: CleanupPolicy;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly segmentBytes: number;
  readonly segmentMs: number;
  readonly maxBatchBytes: number;
  readonly deleteRetentionMs: number;
  readonly minDirtyPercent: number;
}

export const DEFAULT_SETTINGS: TopicSettings = {
  cleanupPolicy: CleanupPolicy.DELETE,
  retentionMs: 7 * DAY_MS,
  retentionBytes: 0,
  segmentBytes: 64 * MIB,
  segmentMs: 7 * DAY_MS,
  maxBatchBytes: MIB,
  deleteRetentionMs: DAY_MS,
  minDirtyPercent: 50,
};

interface Bounds {
  readonly field: string;
  readonly least: number;
  readonly most: number;
}

const FOREVER = Number.MAX_SAFE_INTEGER;

const BOUNDS: Readonly<Record<Exclude<keyof TopicSettings, 'cleanupPolicy'>, Bounds>> = {
  retentionMs: { field: 'retention_ms', least: 0, most: FOREVER },
  retentionBytes: { field: 'retention_bytes', least: 0, most: FOREVER },
  segmentBytes: { field: 'segment_bytes', least: MIB, most: 1_024 * MIB },
  segmentMs: { field: 'segment_ms', least: 60_000, most: FOREVER },
  maxBatchBytes: { field: 'max_batch_bytes', least: 1_024, most: MAX_BATCH_BYTES },
  deleteRetentionMs: { field: 'delete_retention_ms', least: 0, most: FOREVER },
  minDirtyPercent: { field: 'min_dirty_percent', least: 1, most: 99 },
};

/** What was asked for, over what is. Error: INVALID_FIELD. */
export function settingsWith(
  before: TopicSettings,
  wanted: { readonly [K in keyof TopicSettings]?: number | bigint | undefined },
): TopicSettings {
  const settings = { ...before };
  const { cleanupPolicy } = wanted;
  if (cleanupPolicy !== undefined && Number(cleanupPolicy) !== Number(CleanupPolicy.UNSPECIFIED)) {
    if (CleanupPolicy[Number(cleanupPolicy)] === undefined)
      throw outOfBounds('settings.cleanup_policy', cleanupPolicy, 'DELETE, COMPACT, COMPACT_AND_DELETE');
    settings.cleanupPolicy = Number(cleanupPolicy) as CleanupPolicy;
  }
  for (const name of Object.keys(BOUNDS) as (keyof typeof BOUNDS)[]) {
    const value = wanted[name];
    if (value === undefined) continue;
    const { field, least, most } = BOUNDS[name];
    if (value < least || value > most)
      throw outOfBounds(`settings.${field}`, value, `${least}..${most === FOREVER ? '2^53-1' : most}`);
    settings[name] = Number(value);
  }
  return settings;
}

/** Error: INVALID_FIELD. */
export function partitionCount(value: number | undefined, least: number, fallback: number): number {
  if (value === undefined) return fallback;
  if (value < least && value >= 1) throw shrinking(value, least);
  if (value < 1 || value > MAX_TOPIC_PARTITIONS)
    throw outOfBounds('partitions', value, `${Math.max(1, least)}..${MAX_TOPIC_PARTITIONS}`);
  return value;
}

/** Error: TOPIC_NAME_INVALID. */
export function checkTopicName(name: string, field: string): void {
  if (TOPIC_NAME.test(name)) return;
  const message = `the name of a topic has 1 to 64 of a-z, 0-9, ".", "_" and "-"; ${shown(name)} is none. Nothing was done.`;
  throw refuse('TOPIC_NAME_INVALID', field, message, name.slice(0, 100), '[a-z0-9._-]{1,64}');
}

/** Error: INVALID_FIELD. */
export function checkGroupName(name: string): void {
  if (GROUP_NAME.test(name)) return;
  const message = `the name of a group has 1 to 128 of a-z, A-Z, 0-9, ".", "_" and "-"; ${shown(name)} is none. Nothing was done.`;
  throw refuse('INVALID_FIELD', 'group', message, name.slice(0, 150), '[a-zA-Z0-9._-]{1,128}');
}

/** A refused request: nothing was done. */
export function refuse(
  reason: Reason,
  field: string,
  message: string,
  actual = '',
  limit = '',
): HoldfastError {
  return new HoldfastError({ reason, field, message, actual, limit, outcome: 'NOT_APPLIED' });
}

export function unknownTopic(name: string, field: string): HoldfastError {
  const message = `there is no topic "${name}". Nothing was done; create it first, or look at the list.`;
  return refuse('TOPIC_UNKNOWN', field, message, name);
}

export function unknownPartition(topic: string, partition: number, count: number): HoldfastError {
  const message = `topic "${topic}" has no partition ${partition}, it has 0 to ${count - 1}. Nothing was done.`;
  return refuse('PARTITION_UNKNOWN', 'partition', message, String(partition), `0..${count - 1}`);
}

function outOfBounds(field: string, value: number | bigint, allowed: string): HoldfastError {
  const message = `${field} is ${value}, allowed are ${allowed}. Nothing was changed.`;
  return refuse('INVALID_FIELD', field, message, String(value), allowed);
}

function shrinking(value: number, least: number): HoldfastError {
  const message =
    `partitions is ${value}, the topic has ${least}: partitions are never taken away, as their records would be lost. ` +
    'Nothing was changed. Create another topic with fewer and copy what is needed.';
  return refuse('INVALID_FIELD', 'partitions', message, String(value), `${least}..${MAX_TOPIC_PARTITIONS}`);
}

function shown(name: string): string {
  return name.length > 100 ? `one of ${name.length} characters` : `"${name}"`;
}
