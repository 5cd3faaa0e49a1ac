/** `holdfast.cluster.v1.BackupService`. */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import {
  BackupService,
  BeginRestoreResponseSchema,
  BeginSaveResponseSchema,
  CompleteRestoreResponseSchema,
  RestoreRowsResponseSchema,
  SavePartitionResponseSchema,
  type RestoreRowsRequest,
  type SavePartitionRequest,
  type SavePartitionResponse,
} from '@holdfast/proto/cluster/v1/backup';
import { FenceSchema, type Entry } from '@holdfast/proto/kv/v1/kv';
import type { RemoteSaves } from '../cluster/remote-saves.ts';
import { MAX_RAISED_REVISION } from '../coordination/tree-command.ts';
import type { KeyValue } from '../kv/key-value.ts';
import type { Keyspaces, OpenKeyspace, Partition } from '../kv/keyspaces.ts';
import { SAVED_PART_BYTES, type SavedPart } from '../kv/kv-save.ts';
import { checkBatch, checkKey, checkValue, refuse } from '../kv/limits.ts';
import type { RestoredEntry } from '../kv/restore-command.ts';
import { isNotLed } from '../raft/propose.ts';
import { serve, type CallContext, type Handlers, type ServedService } from './handler.ts';
import { keyspaceSettings } from './keyspace-service.ts';
import { entryMessage, safeInteger, writeFence } from './kv-messages.ts';

/** More would make 2^40 more than there is room for. */
const MAX_TREE_REVISION = BigInt(MAX_RAISED_REVISION) - 2n ** 40n;
const RESTORE_ID_BYTES = 16;

export interface BackupServiceOptions {
  readonly kv: KeyValue;
  readonly keyspaces: Keyspaces;
  readonly clock: Clock;
  readonly clusterId: string;
  /** The way to other nodes; undefined: there are none. */
  readonly saves: RemoteSaves | undefined;
}

type BackupHandlers = Handlers<typeof BackupService>;

/** The backup service over a node's features. */
export function backupService(options: BackupServiceOptions): ServedService {
  return serve(BackupService, { ...saves(options), ...restores(options) });
}

function saves(options: BackupServiceOptions): Pick<BackupHandlers, 'beginSave' | 'savePartition'> {
  const { keyspaces, clock, clusterId } = options;
  return {
    async beginSave(_, { keyspaces: names }) {
      await keyspaces.catchUp();
      const wanted = names.length > 0 ? [...new Set(names)].sort() : keyspaces.list().map(({ name }) => name);
      const found = await Promise.all(wanted.map(async (name) => keyspaces.find(name, 'keyspaces')));
      return create(BeginSaveResponseSchema, {
        clusterId,
        timeMs: BigInt(clock.wallMs()),
        treeRevision: BigInt(keyspaces.treeRevision),
        keyspaces: found.map(({ descriptor }) => descriptor),
      });
    },

    async *savePartition(context, request) {
      checkCluster(request.clusterId, clusterId);
      const keyspace = await keyspaces.find(request.keyspace);
      if (keyspace.descriptor.id !== request.keyspaceId) throw anotherKeyspace(request.keyspace);
      const partition = partitionAt(keyspace, request.partition);
      const { budget, signal } = context;
      // One part is being read, and one on its way to the caller.
      const bytes = 2 * SAVED_PART_BYTES;
      if (!budget.tryTake(bytes)) throw budget.refusal();
      try {
        for await (const part of parts(options, partition, request, context)) {
          if (signal.aborted) return;
          yield part;
        }
      } finally {
        budget.give(bytes);
      }
    },
  };
}

/** By the replica here if it can be read, else by another node's. */
async function* parts(
  { kv, saves: others }: BackupServiceOptions,
  partition: Partition,
  request: SavePartitionRequest,
  { deadlineMs, signal }: CallContext,
): AsyncGenerator<SavePartitionResponse> {
  let hasBegun = false;
  try {
    for await (const part of kv.save(partition)) {
      hasBegun = true;
      yield partMessage(part);
    }
    return;
  } catch (error) {
    if (hasBegun || request.here || others === undefined || !isNotLed(error)) throw error;
  }
  yield* others.save(partition, request, deadlineMs, signal);
}

function restores({
  kv,
  keyspaces,
}: BackupServiceOptions): Pick<BackupHandlers, 'beginRestore' | 'restoreRows' | 'completeRestore'> {
  return {
    async beginRestore({ isRouted }, request) {
      const { restoreId: id, lastVersion, treeRevision } = request;
      checkRestoreId(id);
      checkPartitions(request.partitions);
      atMost('last_version', lastVersion, MAX_TREE_REVISION);
      atMost('tree_revision', treeRevision, MAX_TREE_REVISION);
      const settings = keyspaceSettings({ ...request, mode: 0 });
      const origin = { id, lastVersion, treeRevision: Number(treeRevision) };
      const keyspace = await keyspaces.beginRestore(settings, origin, !isRouted);
      return create(BeginRestoreResponseSchema, { keyspace });
    },

    async restoreRows({ deadlineMs, isRouted }, request) {
      const keyspace = await restoring(keyspaces, request);
      const partition = partitionAt(keyspace, request.partition);
      const command = { ...rows(request, keyspace, partition), isEnd: false };
      await kv.restore(partition, command, deadlineMs, isRouted);
      return create(RestoreRowsResponseSchema);
    },

    async completeRestore({ deadlineMs, isRouted }, request) {
      const known = await keyspaces.findAny(request.keyspace);
      if (!known.descriptor.restoring && isOf(known, request))
        return create(CompleteRestoreResponseSchema, { keyspace: known.descriptor });
      const keyspace = await restoring(keyspaces, request);
      const end = { entries: [], fences: [], isEnd: true };
      // Whoever routes asks one node, and the partitions are led by several.
      await Promise.all(keyspace.partitions.map((one) => kv.restore(one, end, deadlineMs, false)));
      const completed = await keyspaces.completeRestore(keyspace, !isRouted);
      return create(CompleteRestoreResponseSchema, { keyspace: completed });
    },
  };
}

interface OfRestore {
  readonly keyspace: string;
  readonly restoreId: Uint8Array;
}

/** The keyspace that a restore fills. Error: RESTORE_ENDED. */
async function restoring(keyspaces: Keyspaces, of: OfRestore): Promise<OpenKeyspace> {
  checkRestoreId(of.restoreId);
  const fits = (one: OpenKeyspace) => one.descriptor.restoring && isOf(one, of);
  const known = await keyspaces.findAny(of.keyspace);
  if (fits(known)) return known;
  await keyspaces.catchUp();
  const now = keyspaces.get(of.keyspace);
  if (fits(now)) return now;
  const message = `keyspace "${of.keyspace}" is not being restored by this restore. Nothing was written; begin the restore anew.`;
  throw refuse('RESTORE_ENDED', 'restore_id', message);
}

function isOf({ descriptor }: OpenKeyspace, { restoreId }: OfRestore): boolean {
  return Buffer.compare(descriptor.restoreId, restoreId) === 0;
}

/** What a request has for a partition, checked. */
function rows(
  { entries, fences }: RestoreRowsRequest,
  keyspace: OpenKeyspace,
  partition: Partition,
): { entries: RestoredEntry[]; fences: { lock: string; token: number }[] } {
  let bytes = 0;
  for (const { key, value } of entries) bytes += 16 + key.byteLength + value.byteLength;
  checkBatch(entries.length + fences.length, bytes, 'entries');
  return {
    entries: entries.map((entry) => restoredEntry(entry, keyspace, partition)),
    fences: fences.map((fence) => writeFence(fence)!),
  };
}

function restoredEntry(
  { key, value, version, expiresAtMs }: Entry,
  keyspace: OpenKeyspace,
  partition: Partition,
): RestoredEntry {
  checkKey(key, keyspace, 'entries.key');
  checkValue(value, keyspace, 'entries.value');
  if (keyspace.partitionOf(key) !== partition) {
    const message = 'a key belongs to another partition than the one that is named. Nothing was written.';
    throw refuse('INVALID_FIELD', 'entries.key', message);
  }
  // What is written after the restore must have greater ones.
  atMost('entries.version', version, keyspace.descriptor.versionsAbove);
  if (version === 0n || (expiresAtMs ?? 1n) < 1n)
    throw refuse(
      'INVALID_FIELD',
      'entries.version',
      'an entry has no version, or ends before 1970. Nothing was written.',
    );
  const endsMs = expiresAtMs === undefined ? undefined : safeInteger(expiresAtMs, 'entries.expires_at_ms');
  return { key, stored: { version: Number(version), expiresAtMs: endsMs, value } };
}

function partitionAt({ name, partitions }: OpenKeyspace, position: number): Partition {
  const partition = partitions[position];
  if (partition !== undefined) return partition;
  const message = `partition is ${position}, keyspace "${name}" has ${partitions.length}, counted from 0. Nothing was done.`;
  throw refuse('INVALID_FIELD', 'partition', message, String(position), `0..${partitions.length - 1}`);
}

function partMessage({ entries, fences, end }: SavedPart): SavePartitionResponse {
  return create(SavePartitionResponseSchema, {
    entries: entries.map(({ key, stored }) => entryMessage(key, stored)),
    fences: fences.map(({ lock, token }) => create(FenceSchema, { lock, token: BigInt(token) })),
    ...(end !== undefined && {
      end: {
        entries: BigInt(end.entries),
        fences: BigInt(end.fences),
        lastVersion: BigInt(end.lastVersion),
        asOfMs: BigInt(end.asOfMs),
      },
    }),
  });
}

/** Keyspaces of two clusters have the same numbers: a wrong address must not mix them. */
function checkCluster(given: string, own: string): void {
  if (given === own) return;
  throw new HoldfastError({
    reason: 'PERMISSION_DENIED',
    message: 'this node belongs to another cluster than the one whose save was begun. Nothing was read.',
    field: 'cluster_id',
  });
}

function anotherKeyspace(name: string): HoldfastError {
  const message = `keyspace "${name}" was dropped and created again since the save was begun. Begin anew.`;
  return refuse('KEYSPACE_UNKNOWN', 'keyspace_id', message, name).withOutcome(undefined);
}

function checkRestoreId({ byteLength }: Uint8Array): void {
  if (byteLength === RESTORE_ID_BYTES) return;
  const message = `restore_id is ${byteLength} bytes, it must be ${RESTORE_ID_BYTES}. Nothing was done.`;
  throw refuse('INVALID_FIELD', 'restore_id', message, String(byteLength), String(RESTORE_ID_BYTES));
}

/** A default would put rows into the wrong partitions. */
function checkPartitions(count: number): void {
  if (count > 0) return;
  throw refuse('INVALID_FIELD', 'partitions', 'partitions is missing. Nothing was created.', '0', '1..1024');
}

function atMost(field: string, value: bigint, limit: bigint): void {
  if (value <= limit) return;
  const message = `${field} is ${value}, limit ${limit}. Nothing was written.`;
  throw refuse('INVALID_FIELD', field, message, String(value), String(limit));
}
