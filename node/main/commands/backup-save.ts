import type { Holdfast } from '@holdfast/client/holdfast';
import type { BeginSaveResponse, SavePartitionResponse } from '@holdfast/proto/cluster/v1/backup';
import type { Keyspace } from '@holdfast/proto/kv/v1/keyspace';
import type { BackupHeader, BackupPlace } from '../../storage/backup-format.ts';
import { BackupWriter } from '../../storage/backup-writer.ts';
import { PartFile, summaryJson, verifyBackup } from '../backup-file.ts';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { interruption } from '../interruption.ts';
import { printJson } from '../output.ts';
import { startProgress } from '../progress.ts';
import { printSummary } from './backup-verify.ts';

/** Options of `holdfast backup save`. */
export interface SaveOptions extends ClusterOptions {
  keyspace?: string[];
  force?: boolean;
}

/** `holdfast backup save`. What was written is read back before it is called done. */
export async function save(path: string, options: SaveOptions): Promise<void> {
  const file = await PartFile.create(path, options.force ?? false);
  try {
    await withCluster(options, (client, signal) =>
      new Saving(client, file, interruption(signal), options).run(),
    );
    await file.finish();
  } catch (error) {
    await file.abandon();
    throw error;
  }
  const summary = await verifyBackup(path, options.json);
  if (options.json) return printJson(summaryJson(path, summary));
  await printSummary(`saved ${path}`, summary);
}

class Saving {
  readonly #client: Holdfast;
  readonly #file: PartFile;
  readonly #signal: AbortSignal;
  readonly #options: SaveOptions;
  readonly #writer = new BackupWriter();

  constructor(client: Holdfast, file: PartFile, signal: AbortSignal, options: SaveOptions) {
    this.#client = client;
    this.#file = file;
    this.#signal = signal;
    this.#options = options;
  }

  async run(): Promise<void> {
    const signal = this.#signal;
    const begun = await this.#client.backups.beginSave(this.#options.keyspace ?? [], { signal });
    await this.#write(() => this.#writer.header(headerOf(begun)));
    const total = begun.keyspaces.reduce((sum, { partitions }) => sum + partitions.length, 0);
    const progress = startProgress(total, 'partitions', this.#options.json);
    try {
      for (const [keyspace, descriptor] of begun.keyspaces.entries()) {
        for (const partition of descriptor.partitions.keys()) {
          await this.#savePartition(begun.clusterId, descriptor, { keyspace, partition });
          progress.add(1);
        }
      }
    } finally {
      progress.stop();
    }
    await this.#write(() => this.#writer.trailer());
  }

  async #savePartition(clusterId: string, { name, id }: Keyspace, place: BackupPlace): Promise<void> {
    const { partition } = place;
    const request = { clusterId, keyspace: name, keyspaceId: id, partition };
    const sink = {
      onBegin: () => {
        this.#writer.beginPartition();
        return this.#file.truncate(this.#writer.bytes);
      },
      onPart: (part: SavePartitionResponse) => this.#takePart(place, part),
    };
    const { entries, fences, lastVersion, asOfMs } = await this.#client.backups.savePartition(request, sink, {
      signal: this.#signal,
      timeoutMs: this.#options.timeout,
    });
    const whole = {
      entries: Number(entries),
      fences: Number(fences),
      lastVersion: Number(lastVersion),
      asOfMs: Number(asOfMs),
    };
    await this.#write(() => this.#writer.endPartition(place, whole));
  }

  async #takePart(place: BackupPlace, { entries, fences }: SavePartitionResponse): Promise<void> {
    const rows = entries.map(({ key, value, version, expiresAtMs }) => ({
      key,
      value,
      version: Number(version),
      expiresAtMs: expiresAtMs === undefined ? undefined : Number(expiresAtMs),
    }));
    if (rows.length > 0) await this.#write(() => this.#writer.entries(place, rows));
    const marks = fences.map(({ lock, token }) => ({ lock, token: Number(token) }));
    if (marks.length > 0) await this.#write(() => this.#writer.fences(place, marks));
  }

  #write(make: () => Buffer): Promise<void> {
    const at = this.#writer.bytes;
    return this.#file.write(make(), at);
  }
}

function headerOf({ clusterId, timeMs, treeRevision, keyspaces }: BeginSaveResponse): BackupHeader {
  return {
    cluster_id: clusterId,
    time_ms: Number(timeMs),
    tree_revision: treeRevision.toString(),
    keyspaces: keyspaces.map((keyspace) => ({
      name: keyspace.name,
      id: keyspace.id.toString(),
      mode: 'raft' as const,
      replication: keyspace.replication || 1,
      max_key_bytes: keyspace.maxKeyBytes,
      max_value_bytes: keyspace.maxValueBytes,
      created_at_ms: Number(keyspace.createdAtMs),
      partitions: keyspace.partitions.map(({ firstHash, lastHash }) => ({
        first_hash: firstHash,
        last_hash: lastHash,
      })),
    })),
  };
}
