/** `holdfast.kv.v1.KeyspaceService`. */
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import {
  CreateKeyspaceResponseSchema,
  DescribeKeyspaceResponseSchema,
  DropKeyspaceResponseSchema,
  KeyspaceMode,
  KeyspaceService,
  ListKeyspacesResponseSchema,
  type CreateKeyspaceRequest,
} from '@holdfast/proto/kv/v1/keyspace';
import type { Keyspaces, KeyspaceSettings } from '../kv/keyspaces.ts';
import {
  DEFAULT_KEY_BYTES,
  DEFAULT_PARTITIONS,
  DEFAULT_REPLICATION,
  DEFAULT_VALUE_BYTES,
  MAX_KEY_BYTES,
  MAX_PARTITIONS,
  MAX_REPLICATION,
  MAX_VALUE_BYTES,
  refuse,
} from '../kv/limits.ts';
import { serve, type ServedService } from './handler.ts';

/** The keyspace service over a node's keyspaces. */
export function keyspaceService(keyspaces: Keyspaces): ServedService {
  return serve(KeyspaceService, {
    async createKeyspace({ isRouted }, request) {
      const keyspace = await keyspaces.create(keyspaceSettings(request), !isRouted);
      return create(CreateKeyspaceResponseSchema, { keyspace });
    },
    async describeKeyspace(_, request) {
      const { descriptor } = await keyspaces.findAny(request.name, 'name');
      return create(DescribeKeyspaceResponseSchema, { keyspace: descriptor });
    },
    async listKeyspaces() {
      await keyspaces.catchUp();
      return create(ListKeyspacesResponseSchema, {
        keyspaces: keyspaces.list().map(({ descriptor }) => descriptor),
      });
    },
    async dropKeyspace({ isRouted }, request) {
      await keyspaces.drop(request.name, !isRouted);
      return create(DropKeyspaceResponseSchema);
    },
  });
}

/** What was asked for, with defaults. Errors: INVALID_FIELD, MODE_UNSUPPORTED. */
export function keyspaceSettings(request: Omit<CreateKeyspaceRequest, '$typeName'>): KeyspaceSettings {
  checkMode(request.mode);
  const partitions = within('partitions', request.partitions, DEFAULT_PARTITIONS, MAX_PARTITIONS);
  if ((partitions & (partitions - 1)) !== 0) {
    throw refuse(
      'INVALID_FIELD',
      'partitions',
      `partitions is ${partitions}, it must be a power of two up to ${MAX_PARTITIONS}. Nothing was created.`,
      String(partitions),
      `1..${MAX_PARTITIONS}`,
    );
  }
  return {
    name: request.name,
    partitions,
    replication: within('replication', request.replication, DEFAULT_REPLICATION, MAX_REPLICATION),
    maxKeyBytes: within('max_key_bytes', request.maxKeyBytes, DEFAULT_KEY_BYTES, MAX_KEY_BYTES),
    maxValueBytes: within('max_value_bytes', request.maxValueBytes, DEFAULT_VALUE_BYTES, MAX_VALUE_BYTES),
  };
}

function checkMode(mode: KeyspaceMode): void {
  if (mode === KeyspaceMode.UNSPECIFIED || mode === KeyspaceMode.RAFT) return;
  if (mode === KeyspaceMode.QUORUM) {
    throw new HoldfastError({
      reason: 'MODE_UNSUPPORTED',
      message: 'mode QUORUM is not served by this version; use RAFT. Nothing was created.',
      field: 'mode',
      outcome: 'NOT_APPLIED',
    });
  }
  const given = String(mode);
  throw refuse('INVALID_FIELD', 'mode', `mode ${given} is not known. Nothing was created.`, given, 'RAFT');
}

function within(field: string, value: number | undefined, fallback: number, limit: number): number {
  if (value === undefined) return fallback;
  if (value >= 1 && value <= limit) return value;
  throw refuse(
    'INVALID_FIELD',
    field,
    `${field} is ${value}, allowed are 1 to ${limit}. Nothing was created.`,
    String(value),
    `1..${limit}`,
  );
}
