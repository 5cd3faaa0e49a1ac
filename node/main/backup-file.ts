/** Backup files on this machine: one that is being written, and one that is read. */
import { createReadStream, existsSync, statSync } from 'node:fs';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BackupRefused, readBackup, type BackupItem } from '../storage/backup-reader.ts';
import { BACKUP_VERSION, type BackupHeader, type BackupTotals } from '../storage/backup-format.ts';
import { CommandFailure, usageFailure } from './command-failure.ts';
import { ExitCode } from './exit-code.ts';
import { type Progress, startProgress } from './progress.ts';
import { rfc3339 } from './rfc3339.ts';

const READ_BYTES = 1024 * 1024;
/** The reasons of `BackupRefused`. */
const NOT_WHOLE = [
  { reason: 'BACKUP_DAMAGED', code: 'DATA_LOSS' },
  { reason: 'BACKUP_FOREIGN', code: 'INVALID_ARGUMENT' },
  { reason: 'BACKUP_VERSION', code: 'UNIMPLEMENTED' },
] as const;

/** A file that stands under its name only when it is whole and on disk; until then as FILE.part. */
export class PartFile {
  readonly #path: string;
  readonly #part: string;
  readonly #force: boolean;
  readonly #handle: FileHandle;

  private constructor(path: string, part: string, force: boolean, handle: FileHandle) {
    this.#path = path;
    this.#part = part;
    this.#force = force;
    this.#handle = handle;
  }

  /** Errors: FILE_EXISTS, FILE_FAILED. */
  static async create(path: string, force: boolean): Promise<PartFile> {
    refuseExisting(path, force);
    const part = `${path}.part`;
    try {
      return new PartFile(path, part, force, await open(part, 'wx', 0o600));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fileFailed(part, error);
      const message = `${part} exists: another save writes it, or one was killed. Remove it if nothing writes it. Nothing was saved. [FILE_EXISTS]`;
      throw refusal({ reason: 'FILE_EXISTS', code: 'ALREADY_EXISTS', message });
    }
  }

  async write(bytes: Buffer, at: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.length;)
        done += (await this.#handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
    } catch (error) {
      throw fileFailed(this.#part, error);
    }
  }

  /** Cuts off what lies behind. */
  async truncate(length: number): Promise<void> {
    await this.#handle.truncate(length);
  }

  /** Puts it in its place, durably. Errors: FILE_EXISTS, FILE_FAILED. */
  async finish(): Promise<void> {
    try {
      await this.#handle.sync();
      await this.#handle.close();
      refuseExisting(this.#path, this.#force);
      await rename(this.#part, this.#path);
      const directory = await open(dirname(this.#path));
      await directory.sync().finally(() => directory.close());
    } catch (error) {
      throw error instanceof CommandFailure ? error : fileFailed(this.#path, error);
    }
  }

  /** Leaves nothing behind. */
  async abandon(): Promise<void> {
    await this.#handle.close().catch(() => undefined);
    await rm(this.#part, { force: true });
  }
}

/** What a whole file has. */
export interface BackupSummary {
  readonly header: BackupHeader;
  /** By position in the header. */
  readonly keyspaces: readonly { entries: number; fences: number; lastVersion: number }[];
  readonly totals: BackupTotals;
  readonly bytes: number;
  readonly sha256: string;
}

/** Reads all of a file. Errors: BACKUP_FOREIGN, BACKUP_VERSION, BACKUP_DAMAGED, those of the system. */
export async function verifyBackup(path: string, json: boolean | undefined): Promise<BackupSummary> {
  const progress = startProgress(backupBytes(path), 'bytes', json);
  let header: BackupHeader | undefined;
  const keyspaces: { entries: number; fences: number; lastVersion: number }[] = [];
  try {
    for await (const item of readBackupFile(path, progress)) {
      if (item.kind === 'header') {
        header = item.header;
        for (const _ of header.keyspaces) keyspaces.push({ entries: 0, fences: 0, lastVersion: 0 });
      } else if (item.kind === 'partition') {
        const sum = keyspaces[item.place.keyspace]!;
        sum.entries += item.partition.entries;
        sum.fences += item.partition.fences;
        sum.lastVersion = Math.max(sum.lastVersion, item.partition.lastVersion);
      } else if (item.kind === 'end') {
        const sha256 = item.digest.toString('hex');
        return { header: header!, keyspaces, totals: item.totals, bytes: backupBytes(path), sha256 };
      }
    }
    throw new Error('a backup ended without its end');
  } finally {
    progress.stop();
  }
}

/** The items of a file. Errors: as `verifyBackup`. */
export async function* readBackupFile(path: string, progress: Progress): AsyncGenerator<BackupItem> {
  const stream = createReadStream(path, { highWaterMark: READ_BYTES });
  const chunks = async function* () {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      progress.add(chunk.length);
      yield chunk;
    }
  };
  try {
    yield* readBackup(chunks());
  } catch (error) {
    if (error instanceof BackupRefused) throw notWhole(path, error);
    throw (error as NodeJS.ErrnoException).syscall === undefined ? error : fileFailed(path, error);
  } finally {
    stream.destroy();
  }
}

/** How a file is shown with --json. */
export function summaryJson(path: string, summary: BackupSummary): Record<string, unknown> {
  const { header, keyspaces, totals, bytes, sha256 } = summary;
  return {
    file: path,
    format_version: BACKUP_VERSION,
    bytes,
    sha256,
    cluster_id: header.cluster_id,
    time: rfc3339(header.time_ms),
    tree_revision: header.tree_revision,
    entries: totals.entries,
    fences: totals.fences,
    keyspaces: header.keyspaces.map(({ name, partitions }, at) => ({
      name,
      partitions: partitions.length,
      entries: keyspaces[at]!.entries,
      fences: keyspaces[at]!.fences,
    })),
  };
}

export function backupBytes(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw usageFailure(`${path} cannot be read: there is no such file`);
    throw fileFailed(path, error);
  }
}

function refuseExisting(path: string, force: boolean): void {
  if (force || !existsSync(path)) return;
  const message = `${path} exists. Nothing was saved; give another name, or --force to replace it. [FILE_EXISTS]`;
  throw refusal({ reason: 'FILE_EXISTS', code: 'ALREADY_EXISTS', message });
}

function fileFailed(path: string, error: unknown): CommandFailure {
  const message = `${path} cannot be read or written: ${(error as Error).message} [FILE_FAILED]`;
  return refusal({ reason: 'FILE_FAILED', code: 'UNAVAILABLE', message });
}

function notWhole(path: string, { reason, message: why }: BackupRefused): CommandFailure {
  const known = NOT_WHOLE.find((one) => one.reason === reason)!;
  const message = `${path} is not a whole backup: ${why}. Nothing was changed. [${reason}]`;
  return refusal({ ...known, message });
}

function refusal(error: { reason: string; code: string; message: string }): CommandFailure {
  return new CommandFailure(ExitCode.REFUSED, error);
}
