import type { Holdfast } from '@holdfast/client/holdfast';
import { SystemRandom } from '@holdfast/client/system-random';
import { partitionArcs } from '@holdfast/client/partition-table';
import type { BackupEntry, BackupHeader } from '../../storage/backup-format.ts';
import type { BackupItem } from '../../storage/backup-reader.ts';
import { type BackupSummary, readBackupFile, verifyBackup } from '../backup-file.ts';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { asFailure, CommandFailure, usageFailure } from '../command-failure.ts';
import { ExitCode } from '../exit-code.ts';
import { interruption } from '../interruption.ts';
import { nearestName } from '../nearest-name.ts';
import { print, printJson } from '../output.ts';
import { type Progress, startProgress } from '../progress.ts';
import { RequestWindow } from '../request-window.ts';

/** Options of `holdfast backup restore`. */
export interface RestoreOptions extends ClusterOptions {
  keyspace?: string[];
  as?: string;
}

/** Entries of one request; applying more at once would hold up other writes. */
const BATCH_ENTRIES = 1_000;
/** Their bytes, unless one alone is larger. */
const BATCH_BYTES = 512 * 1024;
/** Requests on their way at once. */
const WINDOW = 8;

/** A keyspace of the file that is to be restored. */
interface Target {
  /** Position in the file. */
  readonly position: number;
  /** What it is to be called. */
  readonly name: string;
  readonly restoreId: Uint8Array;
}

/** `holdfast backup restore`. */
export async function restore(path: string, options: RestoreOptions): Promise<void> {
  const summary = await verifyBackup(path, options.json);
  const targets = targetsOf(summary.header, options);
  await withCluster(options, async (client, signal) =>
    new Restoring(client, path, summary, targets, interruption(signal), options).run(),
  );
  const restored = targets.map(({ position, name }) => ({
    name,
    entries: summary.keyspaces[position]!.entries,
  }));
  if (options.json) return printJson({ file: path, keyspaces: restored });
  for (const { name, entries } of restored) await print(`restored ${name}: ${entries} entries\n`);
}

function targetsOf({ keyspaces }: BackupHeader, { keyspace: wanted, as }: RestoreOptions): Target[] {
  const names = keyspaces.map(({ name }) => name);
  for (const name of wanted ?? []) {
    if (names.includes(name)) continue;
    const nearest = nearestName(name, names);
    const hint = nearest === undefined ? '' : ` Did you mean ${nearest}?`;
    throw usageFailure(
      `the file has no keyspace ${JSON.stringify(name)}.${hint} It has ${names.join(', ') || 'none'}.`,
    );
  }
  const random = new SystemRandom();
  const targets = names.flatMap((name, position) =>
    wanted === undefined || wanted.includes(name)
      ? [{ position, name: as ?? name, restoreId: random.bytes(16) }]
      : [],
  );
  if (as !== undefined && targets.length !== 1)
    throw usageFailure(`--as is for one keyspace, these are ${targets.length}: name it with --keyspace`);
  for (const { position } of targets) requireEqualArcs(keyspaces[position]!);
  return targets;
}

/** Rows go to the partition that they come from, so that its fences hold for them. */
function requireEqualArcs({ name, partitions }: BackupHeader['keyspaces'][number]): void {
  const count = partitions.length;
  const arcs = (count & (count - 1)) === 0 ? partitionArcs(count) : [];
  const isEqual = arcs.every(
    ({ firstHash, lastHash }, at) =>
      partitions[at]!.first_hash === firstHash && partitions[at]!.last_hash === lastHash,
  );
  if (isEqual && arcs.length === count) return;
  throw usageFailure(
    `the partitions of keyspace ${name} are not of equal size, which this version cannot restore`,
  );
}

class Restoring {
  readonly #client: Holdfast;
  readonly #path: string;
  readonly #summary: BackupSummary;
  readonly #targets: readonly Target[];
  readonly #signal: AbortSignal;
  readonly #options: RestoreOptions;

  constructor(
    client: Holdfast,
    path: string,
    summary: BackupSummary,
    targets: readonly Target[],
    signal: AbortSignal,
    options: RestoreOptions,
  ) {
    this.#client = client;
    this.#path = path;
    this.#summary = summary;
    this.#targets = targets;
    this.#signal = signal;
    this.#options = options;
  }

  async run(): Promise<void> {
    await this.#refuseExisting();
    const begun: string[] = [];
    try {
      for (const target of this.#targets) {
        await this.#begin(target);
        begun.push(target.name);
      }
      await this.#sendAll();
    } catch (error) {
      throw await this.#undone(error, begun);
    }
    await this.#completeAll();
  }

  /** All names are looked at before the first is created. */
  async #refuseExisting(): Promise<void> {
    const existing = await this.#client.keyspaces.list({ signal: this.#signal });
    const taken = existing.filter(({ name }) => this.#targets.some((target) => target.name === name));
    if (taken.length === 0) return;
    const names = taken.map(({ name, restoring }) => (restoring ? `${name} (being restored)` : name));
    const message =
      `in the cluster there is already keyspace ${names.join(', ')}; a backup is never merged. Nothing was changed. ` +
      'Restore one keyspace under another name with --as, or drop what is not needed, such as the empty "default" ' +
      'of a new cluster, with `holdfast keyspace drop`. [KEYSPACE_EXISTS]';
    throw new CommandFailure(ExitCode.REFUSED, {
      reason: 'KEYSPACE_EXISTS',
      code: 'ALREADY_EXISTS',
      message,
    });
  }

  #begin({ position, name, restoreId }: Target): Promise<void> {
    const { header, keyspaces } = this.#summary;
    const saved = header.keyspaces[position]!;
    const request = {
      restoreId: restoreId as Uint8Array<ArrayBuffer>,
      name,
      partitions: saved.partitions.length,
      replication: saved.replication,
      maxKeyBytes: saved.max_key_bytes,
      maxValueBytes: saved.max_value_bytes,
      lastVersion: BigInt(keyspaces[position]!.lastVersion),
      treeRevision: BigInt(header.tree_revision),
    };
    return this.#client.backups.beginRestore(request, { signal: this.#signal });
  }

  async #sendAll(): Promise<void> {
    const progress = startProgress(this.#summary.bytes, 'bytes', this.#options.json);
    const window = new RequestWindow(WINDOW);
    try {
      await this.#read(progress, window);
      await window.drained();
    } finally {
      progress.stop();
    }
  }

  async #read(progress: Progress, window: RequestWindow): Promise<void> {
    for await (const item of readBackupFile(this.#path, progress)) {
      if (item.kind === 'end' && item.digest.toString('hex') !== this.#summary.sha256)
        throw new Error(`${this.#path} was changed while it was restored`);
      if (item.kind !== 'entries' && item.kind !== 'fences') continue;
      const target = this.#targets.find(({ position }) => position === item.place.keyspace);
      if (target !== undefined) await this.#sendRows(target, item, window);
    }
  }

  async #sendRows(
    { name, restoreId }: Target,
    item: Extract<BackupItem, { kind: 'entries' | 'fences' }>,
    window: RequestWindow,
  ): Promise<void> {
    const { partition } = item.place;
    const rows = { keyspace: name, restoreId: restoreId as Uint8Array<ArrayBuffer>, partition };
    const send = (more: { entries: BackupEntry[] } | { fences: { lock: string; token: bigint }[] }) =>
      this.#client.backups.restoreRows({ ...rows, ...messages(more) }, this.#signal);
    if (item.kind === 'entries')
      for (const entries of batches(item.entries)) await window.add(() => send({ entries }));
    else
      for (let at = 0; at < item.fences.length; at += BATCH_ENTRIES) {
        const fences = item.fences.slice(at, at + BATCH_ENTRIES);
        await window.add(() =>
          send({ fences: fences.map(({ lock, token }) => ({ lock, token: BigInt(token) })) }),
        );
      }
  }

  /** From here on a keyspace may have taken writes, so none is dropped. */
  async #completeAll(): Promise<void> {
    const completed: string[] = [];
    for (const { name, restoreId } of this.#targets) {
      try {
        await this.#client.backups.completeRestore(name, restoreId, this.#signal);
        completed.push(name);
      } catch (error) {
        const done =
          completed.length === 0 ? 'No keyspace was completed' : `Complete are ${completed.join(', ')}`;
        throw withAdvice(
          error,
          `${done}; whether ${name} is, \`holdfast keyspace list\` shows: drop what is being restored, and restore it again.`,
        );
      }
    }
  }

  /** Drops what was begun: nobody can have used it. */
  async #undone(error: unknown, begun: readonly string[]): Promise<CommandFailure> {
    const left: string[] = [];
    for (const name of begun) await this.#client.keyspaces.drop(name).catch(() => left.push(name));
    const advice =
      left.length === 0
        ? 'What was restored was dropped again.'
        : `Drop what is left half restored: ${left.join(', ')}.`;
    return withAdvice(error, advice);
  }
}

function withAdvice(error: unknown, advice: string): CommandFailure {
  const { exitCode, json } = asFailure(error);
  return new CommandFailure(exitCode, { ...json, message: `${json.message} ${advice}` });
}

function messages(rows: { entries: BackupEntry[] } | { fences: { lock: string; token: bigint }[] }) {
  if ('fences' in rows) return rows;
  const entries = rows.entries.map(({ key, value, version, expiresAtMs }) => ({
    key: key as Uint8Array<ArrayBuffer>,
    value: value as Uint8Array<ArrayBuffer>,
    version: BigInt(version),
    ...(expiresAtMs !== undefined && { expiresAtMs: BigInt(expiresAtMs) }),
  }));
  return { entries };
}

function* batches(entries: readonly BackupEntry[]): Generator<BackupEntry[]> {
  let batch: BackupEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const more = entry.key.byteLength + entry.value.byteLength;
    if (batch.length > 0 && (batch.length === BATCH_ENTRIES || bytes + more > BATCH_BYTES)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(entry);
    bytes += more;
  }
  if (batch.length > 0) yield batch;
}
