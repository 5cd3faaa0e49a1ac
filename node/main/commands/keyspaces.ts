import type { CreateKeyspaceOptions, KeyspaceDescription } from '@holdfast/client/keyspaces';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { print, printJson, printTable } from '../output.ts';
import { rfc3339 } from '../rfc3339.ts';

/** Options of `holdfast keyspace create`. */
export interface CreateOptions extends ClusterOptions {
  mode: 'raft' | 'quorum';
  partitions?: number;
  replication?: number;
  maxKeyBytes?: number;
  maxValueBytes?: number;
}

/** `holdfast keyspace create`. */
export async function create(name: string, options: CreateOptions): Promise<void> {
  const { mode, partitions, replication, maxKeyBytes, maxValueBytes } = options;
  const wanted: CreateKeyspaceOptions = { mode, partitions, replication, maxKeyBytes, maxValueBytes };
  const created = await withCluster(options, (client, signal) =>
    client.keyspaces.create(name, { ...wanted, signal }),
  );
  if (options.json) return printJson(keyspaceJson(created));
  return print(`created ${name} with ${created.partitions.length} partitions\n`);
}

/** `holdfast keyspace describe`. */
export async function describe(name: string, options: ClusterOptions): Promise<void> {
  const keyspace = await withCluster(options, (client, signal) =>
    client.keyspaces.describe(name, { signal }),
  );
  if (options.json) return printJson(keyspaceJson(keyspace));
  await printTable(HEADINGS, [row(keyspace)]);
  await print('\n');
  await printTable(
    ['GROUP', 'FIRST HASH', 'LAST HASH'],
    keyspace.partitions.map(({ group, firstHash, lastHash }) => [
      String(group),
      hash(firstHash),
      hash(lastHash),
    ]),
  );
}

/** `holdfast keyspace list`. */
export async function list(options: ClusterOptions): Promise<void> {
  const keyspaces = await withCluster(options, (client, signal) => client.keyspaces.list({ signal }));
  if (options.json) return printJson({ keyspaces: keyspaces.map(keyspaceJson) });
  return printTable(HEADINGS, keyspaces.map(row));
}

/** `holdfast keyspace drop`. */
export async function drop(name: string, options: ClusterOptions): Promise<void> {
  await withCluster(options, (client, signal) => client.keyspaces.drop(name, { signal }));
  if (options.json) return printJson({ name, dropped: true });
  return print(`dropped ${name}\n`);
}

const HEADINGS = ['NAME', 'MODE', 'PARTITIONS', 'COPIES', 'MAX KEY', 'MAX VALUE', 'CREATED'];

function row(keyspace: KeyspaceDescription): string[] {
  const { name, partitions, replication, maxKeyBytes, maxValueBytes, createdAtMs } = keyspace;
  const mode = keyspace.restoring ? `${keyspace.mode}, restoring` : keyspace.mode;
  const numbers = [partitions.length, replication, maxKeyBytes, maxValueBytes].map(String);
  return [name, mode, ...numbers, rfc3339(createdAtMs)];
}

function keyspaceJson(keyspace: KeyspaceDescription): Record<string, unknown> {
  return {
    name: keyspace.name,
    mode: keyspace.mode,
    partitions: keyspace.partitions.map(({ group, firstHash, lastHash }) => ({
      group: group.toString(),
      first_hash: firstHash,
      last_hash: lastHash,
    })),
    replication: keyspace.replication,
    max_key_bytes: keyspace.maxKeyBytes,
    max_value_bytes: keyspace.maxValueBytes,
    restoring: keyspace.restoring,
    id: keyspace.id.toString(),
    created_at: rfc3339(keyspace.createdAtMs),
  };
}

function hash(value: number): string {
  return value.toString(16).padStart(8, '0');
}
