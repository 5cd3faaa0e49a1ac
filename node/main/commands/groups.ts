import type {
  GroupDescription,
  GroupPartitionDescription,
  ResetTarget,
} from '@holdfast/client/broker/groups';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { print, printJson, printTable } from '../output.ts';

/** Options of `holdfast group reset`. */
export interface ResetOptions extends ClusterOptions {
  to?: 'earliest' | 'latest';
  toTime?: Date;
  toOffset?: number;
  partition?: number[];
  dryRun?: boolean;
}

/** `holdfast group list`. */
export async function list(options: ClusterOptions): Promise<void> {
  const groups = await withCluster(options, (client, signal) => client.groups.list({ signal }));
  if (options.json)
    return printJson({
      groups: groups.map(({ group, members, generation }) => ({
        group,
        members,
        generation: Number(generation),
      })),
    });
  return printTable(
    ['GROUP', 'MEMBERS', 'GENERATION'],
    groups.map(({ group, members, generation }) => [group, String(members), String(generation)]),
  );
}

/** `holdfast group describe`. */
export async function describe(name: string, options: ClusterOptions): Promise<void> {
  const group = await withCluster(options, (client, signal) => client.groups.describe(name, { signal }));
  if (options.json) return printJson(groupJson(group));
  const { members, partitions } = group;
  await print(`${name}: generation ${group.generation}, ${group.strategy}, lag ${totalLag(partitions)}\n\n`);
  await printTable(
    ['MEMBER', 'INSTANCE', 'CLIENT', 'PARTITIONS'],
    members.map(({ memberId, instanceId, clientName, partitions: held }) => [
      memberId,
      instanceId ?? '-',
      clientName || '-',
      held.map(({ topic, partition }) => `${topic}/${partition}`).join(' ') || '-',
    ]),
  );
  await print('\n');
  await printTable(
    ['TOPIC', 'PARTITION', 'MEMBER', 'OFFSET', 'END', 'LAG'],
    partitions.map(({ topic, partition, memberId, offset, logEnd, lag, error }) => [
      topic,
      String(partition),
      memberId ?? '-',
      offset === undefined ? '-' : String(offset),
      ...(error === undefined ? [String(logEnd), String(lag)] : [error.reason, '?']),
    ]),
  );
}

/** `holdfast group reset`. */
export async function reset(name: string, topic: string, options: ResetOptions): Promise<void> {
  const target = targetOf(options);
  const { partition: partitions, dryRun } = options;
  const results = await withCluster(options, (client, signal) =>
    client.groups.reset(name, topic, target, { partitions, dryRun, signal }),
  );
  if (options.json)
    return printJson({
      group: name,
      topic,
      dry_run: dryRun ?? false,
      partitions: results.map(({ partition, before, after }) => ({
        partition,
        before: before === undefined ? null : Number(before),
        after: Number(after),
      })),
    });
  return printTable(
    ['PARTITION', 'BEFORE', dryRun === true ? 'WOULD BE' : 'AFTER'],
    results.map(({ partition, before, after }) => [
      String(partition),
      before === undefined ? '-' : String(before),
      String(after),
    ]),
  );
}

/** `holdfast group delete`. */
export async function remove(name: string, options: ClusterOptions): Promise<void> {
  await withCluster(options, (client, signal) => client.groups.delete(name, { signal }));
  if (options.json) return printJson({ group: name, deleted: true });
  return print(`deleted ${name}\n`);
}

function targetOf({ to, toTime, toOffset }: ResetOptions): ResetTarget {
  const given = [to, toTime, toOffset].filter((one) => one !== undefined);
  if (given.length === 1) return given[0]!;
  throw usageFailure('give one of --to, --to-time and --to-offset');
}

function totalLag(partitions: readonly GroupPartitionDescription[]): bigint {
  return partitions.reduce((sum, { lag }) => sum + lag, 0n);
}

function groupJson({
  group,
  generation,
  strategy,
  members,
  partitions,
}: GroupDescription): Record<string, unknown> {
  return {
    group,
    generation: Number(generation),
    strategy,
    lag: Number(totalLag(partitions)),
    members: members.map((member) => ({
      member_id: member.memberId,
      instance_id: member.instanceId ?? null,
      client_name: member.clientName,
      lease: member.lease.toString(),
      topics: member.topics,
      partitions: member.partitions.map(({ topic, partition, generation: given }) => ({
        topic,
        partition,
        generation: Number(given),
      })),
    })),
    partitions: partitions.map(({ topic, partition, memberId, offset, logEnd, lag, error }) => ({
      topic,
      partition,
      member_id: memberId ?? null,
      offset: offset === undefined ? null : Number(offset),
      log_end: Number(logEnd),
      lag: Number(lag),
      ...(error !== undefined && { error: error.reason }),
    })),
  };
}
