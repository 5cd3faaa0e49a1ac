import { create } from '@bufbuild/protobuf';
import {
  CreateKeyspaceRequestSchema,
  DescribeKeyspaceRequestSchema,
  DropKeyspaceRequestSchema,
  type Keyspace as KeyspaceMessage,
  KeyspaceMode,
  KeyspaceService,
  ListKeyspacesRequestSchema,
} from '@holdfast/proto/kv/v1/keyspace';
import type { ClientCore } from './core.ts';
import { HoldfastError } from './error.ts';
import { timeoutMs } from './duration.ts';
import type { CallOptions } from './keyspace-options.ts';
import type { PartitionArc } from './partition-table.ts';
import { callUnary, type UnaryOptions } from './unary.ts';

/** Options of a new keyspace. */
export interface CreateKeyspaceOptions extends CallOptions {
  /** How data is kept. Default `raft`: linearizable, a replicated log per partition. */
  mode?: 'raft' | 'quorum' | undefined;
  /** A power of two, 1 to 1,024. Default 8. */
  partitions?: number | undefined;
  /**
   * Copies of each partition, 1 to 7, on as many nodes; a majority must be up. In a cluster of
   * fewer nodes every node has one. Default 3.
   */
  replication?: number | undefined;
  /** Greatest key, 1 to 65,536 bytes. Default 4,096. */
  maxKeyBytes?: number | undefined;
  /** Greatest value, 1 to 4,194,304 bytes. Default 1,048,576. */
  maxValueBytes?: number | undefined;
}

/** A keyspace as the cluster describes it. */
export interface KeyspaceDescription {
  name: string;
  mode: 'raft' | 'quorum' | 'unknown';
  partitions: PartitionArc[];
  /** Copies of each partition that were asked for. */
  replication: number;
  maxKeyBytes: number;
  maxValueBytes: number;
  /** It is being filled from a backup, and takes no reads and writes yet. */
  restoring: boolean;
  /** Distinguishes it from earlier and later ones of the same name. */
  id: bigint;
  /** Milliseconds since 1970. */
  createdAtMs: number;
}

/** Creates, describes, lists and drops keyspaces. */
export class Keyspaces {
  readonly #core: ClientCore;

  /** @internal */
  constructor(core: ClientCore) {
    this.#core = core;
  }

  /**
   * Creates a keyspace. Errors: KEYSPACE_EXISTS, KEYSPACE_NAME_INVALID, MODE_UNSUPPORTED.
   * Not retried once it may have been executed.
   */
  async create(name: string, options: CreateKeyspaceOptions = {}): Promise<KeyspaceDescription> {
    const request = create(CreateKeyspaceRequestSchema, {
      name,
      mode: options.mode === 'quorum' ? KeyspaceMode.QUORUM : KeyspaceMode.RAFT,
    });
    if (options.partitions !== undefined) request.partitions = options.partitions;
    if (options.replication !== undefined) request.replication = options.replication;
    if (options.maxKeyBytes !== undefined) request.maxKeyBytes = options.maxKeyBytes;
    if (options.maxValueBytes !== undefined) request.maxValueBytes = options.maxValueBytes;
    const method = KeyspaceService.method.createKeyspace;
    const { keyspace } = await callUnary(this.#core, method, request, unaryOptions(options, true));
    return described(keyspace);
  }

  /** Describes a keyspace. Error: KEYSPACE_UNKNOWN. */
  async describe(name: string, options: CallOptions = {}): Promise<KeyspaceDescription> {
    const request = create(DescribeKeyspaceRequestSchema, { name });
    const method = KeyspaceService.method.describeKeyspace;
    const { keyspace } = await callUnary(this.#core, method, request, unaryOptions(options, false));
    return described(keyspace);
  }

  /** All keyspaces, by name. */
  async list(options: CallOptions = {}): Promise<KeyspaceDescription[]> {
    const method = KeyspaceService.method.listKeyspaces;
    const request = create(ListKeyspacesRequestSchema);
    const response = await callUnary(this.#core, method, request, unaryOptions(options, false));
    return response.keyspaces.map(described);
  }

  /** Drops a keyspace and all its data, for good. Error: KEYSPACE_UNKNOWN. */
  async drop(name: string, options: CallOptions = {}): Promise<void> {
    const method = KeyspaceService.method.dropKeyspace;
    const request = create(DropKeyspaceRequestSchema, { name });
    await callUnary(this.#core, method, request, unaryOptions(options, true));
  }
}

function unaryOptions(options: CallOptions, isWrite: boolean): UnaryOptions {
  const time = options.timeout === undefined ? undefined : timeoutMs(options.timeout);
  return { timeoutMs: time, signal: options.signal, isWrite };
}

function described(keyspace: KeyspaceMessage | undefined): KeyspaceDescription {
  if (keyspace === undefined) {
    throw new HoldfastError({ reason: 'INTERNAL', message: 'the node answered without a keyspace' });
  }
  return {
    name: keyspace.name,
    mode: modeName(keyspace.mode),
    partitions: keyspace.partitions.map(({ group, firstHash, lastHash }) => ({ group, firstHash, lastHash })),
    replication: keyspace.replication || 1,
    maxKeyBytes: keyspace.maxKeyBytes,
    maxValueBytes: keyspace.maxValueBytes,
    restoring: keyspace.restoring,
    id: keyspace.id,
    createdAtMs: Number(keyspace.createdAtMs),
  };
}

function modeName(mode: KeyspaceMode): KeyspaceDescription['mode'] {
  if (mode === KeyspaceMode.QUORUM) return 'quorum';
  return mode === KeyspaceMode.RAFT || mode === KeyspaceMode.UNSPECIFIED ? 'raft' : 'unknown';
}
