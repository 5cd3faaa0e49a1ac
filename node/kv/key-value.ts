/**
 * The key-value feature on this node: reads applied rows, proposes writes to the
 * group of a key's partition. Requests have been checked and normalised before.
 */
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { GroupHost } from '../raft/group-host.ts';
import { awaitRead, propose, proposalError } from '../raft/propose.ts';
import type { ProposalFailure } from '../raft/state-machine.ts';
import type { Command } from '../raft/entry.ts';
import { StoreDamaged, type RowStore } from '../storage/row-store.ts';
import type { SpaceGuard } from '../storage/space-guard.ts';
import { binaryString, withoutGeneration, type RowKey } from '../storage/row-key.ts';
import { assertPresent, scanKeyspace, type ScanSelection, type ScanPart } from './kv-scan.ts';
import {
  MutationKind,
  encodeMutate,
  encodeTransact,
  type DecodedMutate,
  type MutationCommand,
  type TransactCommand,
  type WriteContext,
} from './kv-command.ts';
import { isRefusal, type CommandOutcome, type MutationOutcome, type TransactOutcome } from './kv-outcome.ts';
import type { StoredValue } from './kv-rows.ts';
import type { KvStateMachine } from './kv-state-machine.ts';
import type { LocalPartition, OpenKeyspace } from './keyspaces.ts';
import { refuse } from './limits.ts';
import { refusalError } from './refusal-error.ts';

export interface KeyValueOptions {
  readonly host: GroupHost;
  readonly rows: RowStore;
  readonly clock: Clock;
  readonly space: SpaceGuard;
}

/** Where a write's end is told; exactly one is called, once. */
export interface WriteSink {
  onDone(outcome: MutationOutcome): void;
  onError(error: HoldfastError): void;
}

/** Where a key is kept. */
export interface KeyPlace {
  readonly partition: LocalPartition;
  /** Whose rows `row` is among: a snapshot puts others in their place. */
  readonly machine: KvStateMachine;
  /** Name of its row. */
  readonly row: RowKey;
  /** What all operations on the key have in common, whatever the generation of its row. */
  readonly order: string;
}

export function placeOf(keyspace: OpenKeyspace, key: Uint8Array): KeyPlace {
  const partition = keyspace.partitionOf(key);
  const { machine } = partition;
  const row = machine.keys.data(key);
  return { partition, machine, row, order: machine.keys.isFirstGeneration ? row : withoutGeneration(row) };
}

/** The row of a key now: a snapshot may have put others in place since the place was looked up. */
function rowNow({ partition, machine, row }: KeyPlace, key: Uint8Array): RowKey {
  return partition.machine === machine ? row : partition.machine.keys.data(key);
}

export class KeyValue {
  readonly #options: KeyValueOptions;

  constructor(options: KeyValueOptions) {
    this.#options = options;
  }

  /**
   * A key's value, linearizable. At once where this node decides alone; otherwise when a
   * majority has confirmed who leads. A value that has expired by the clock and not yet by
   * log time has log time moved on first. Error: NOT_LEADER.
   */
  get(
    keyspace: OpenKeyspace,
    key: Uint8Array,
    place: KeyPlace = placeOf(keyspace, key),
  ): StoredValue | undefined | Promise<StoredValue | undefined> {
    const { host } = this.#options;
    if (host.canReadNow(place.partition.group)) return this.#readOnTime(key, place);
    this.#assertServing();
    this.#assertPresent(place.partition);
    return awaitRead(host, place.partition.group).then(() => this.#readOnTime(key, place));
  }

  #readOnTime(key: Uint8Array, place: KeyPlace): StoredValue | undefined | Promise<StoredValue | undefined> {
    const { host, clock } = this.#options;
    const stored = this.#read(key, place);
    if (stored?.expiresAtMs === undefined || stored.expiresAtMs > clock.wallMs()) return stored;
    return host.advanceTime(place.partition.group).then(() => this.#read(key, place));
  }

  #read(key: Uint8Array, place: KeyPlace): StoredValue | undefined {
    const { partition } = place;
    this.#assertServing();
    this.#assertPresent(partition);
    try {
      return partition.machine.valueOfRow(rowNow(place, key), this.#options.host.logTimeMs(partition.group));
    } catch (error) {
      throw this.#damaged(error);
    }
  }

  /** Proposes a mutation; its end goes to `sink`. Throws when it is refused at once. */
  mutate(
    keyspace: OpenKeyspace,
    mutation: MutationCommand,
    context: WriteContext,
    deadlineMs: number,
    sink: WriteSink,
    place: KeyPlace = placeOf(keyspace, mutation.key),
  ): void {
    const command = encodeMutate(context, mutation);
    this.#admit(command, grows(mutation));
    const { partition } = place;
    const decoded = { context, mutation, row: rowNow(place, mutation.key) };
    const proposal = new MutationProposal(command, decoded, deadlineMs, sink);
    this.#options.host.propose(partition.group, proposal);
  }

  /** Applies a transaction whose keys lie in one partition. Errors: CROSS_PARTITION and those of its operations. */
  async transact(
    keyspace: OpenKeyspace,
    transact: TransactCommand,
    context: WriteContext,
    deadlineMs: number,
  ): Promise<TransactOutcome> {
    const operations = [...transact.thenOperations, ...transact.elseOperations];
    const partition = commonPartition(keyspace, [
      ...transact.comparisons.map(({ key }) => key),
      ...operations.map((operation) => (operation.case === 'get' ? operation.key : operation.mutation.key)),
    ]);
    const command = encodeTransact(context, transact);
    this.#admit(
      command,
      operations.some((operation) => operation.case === 'mutation' && grows(operation.mutation)),
    );
    const outcome = (await propose(
      this.#options.host,
      partition.group,
      command,
      deadlineMs,
    )) as CommandOutcome;
    if (isRefusal(outcome)) throw refusalError(outcome);
    return outcome as TransactOutcome;
  }

  /** Entries in key order, in parts; each part is consistent per partition. */
  async *scan(keyspace: OpenKeyspace, selection: ScanSelection): AsyncGenerator<ScanPart> {
    this.#assertServing();
    try {
      yield* scanKeyspace(this.#options, keyspace, selection);
    } catch (error) {
      throw this.#damaged(error);
    }
  }

  #assertServing(): void {
    const cause = this.#options.host.failure;
    if (cause === undefined) return;
    const error = proposalError({ cause, outcome: 'NOT_APPLIED' });
    throw error.withOutcome(undefined);
  }

  /** A keyspace may be dropped while a call on it waits. */
  #assertPresent(partition: LocalPartition): void {
    assertPresent(this.#options.host, partition);
  }

  /** One bad row condemns the store: it is never skipped, and nothing more is served from it. */
  #damaged(error: unknown): unknown {
    if (!(error instanceof StoreDamaged)) return error;
    this.#options.host.stopServing('storage damaged', error);
    return proposalError({ cause: 'storage damaged', outcome: 'NOT_APPLIED' }).withOutcome(undefined);
  }

  #admit(command: Command, growing: boolean): void {
    const { space, host } = this.#options;
    if (growing && space.isLow) {
      throw new HoldfastError({
        reason: 'DISK_LOW',
        message: `the node's disk has ${space.freeBytes} bytes free, writes that grow data need ${space.floorBytes}. Nothing was written; reads and deletes go on. Free space, or delete data.`,
        outcome: 'NOT_APPLIED',
        actual: String(space.freeBytes),
        limit: String(space.floorBytes),
        retryAfterMs: 1_000,
      });
    }
    if (host.hasRoom(command.bytes.byteLength)) return;
    throw new HoldfastError({
      reason: 'OVERLOADED',
      message: `${host.queuedBytes} bytes of writes wait for the log, which is the limit. Nothing was written; try again later.`,
      outcome: 'NOT_APPLIED',
      actual: String(host.queuedBytes),
      retryAfterMs: 100,
    });
  }
}

function grows(mutation: MutationCommand): boolean {
  return mutation.kind !== MutationKind.delete && mutation.kind !== MutationKind.deleteIfVersion;
}

/** A mutation on its way through the log: one object a write, no promise. */
class MutationProposal {
  readonly kind: number;
  readonly version: number;
  readonly bytes: Uint8Array;
  readonly decoded: DecodedMutate;
  readonly deadlineMs: number;
  readonly #sink: WriteSink;

  constructor(command: Command, decoded: DecodedMutate, deadlineMs: number, sink: WriteSink) {
    this.kind = command.kind;
    this.version = command.version;
    this.bytes = command.bytes;
    this.decoded = decoded;
    this.deadlineMs = deadlineMs;
    this.#sink = sink;
  }

  onApplied(result: unknown): void {
    const outcome = result as CommandOutcome;
    if (isRefusal(outcome)) this.#sink.onError(refusalError(outcome));
    else this.#sink.onDone(outcome as MutationOutcome);
  }

  onFailed(failure: ProposalFailure): void {
    this.#sink.onError(proposalError(failure));
  }
}

function commonPartition(keyspace: OpenKeyspace, keys: readonly Uint8Array[]): LocalPartition {
  const first = keyspace.partitionOf(keys[0]!);
  for (const key of keys) {
    if (keyspace.partitionOf(key) === first) continue;
    const message =
      `keys ${shown(keys[0]!)} and ${shown(key)} lie in different partitions of keyspace "${keyspace.name}"; a transaction ` +
      'works within one. Nothing was written. Use keys of one partition, or a keyspace created with one partition.';
    throw refuse('CROSS_PARTITION', 'key', message);
  }
  return first;
}

/** Keys are the caller's data: an error names them by length and place only. */
function shown(key: Uint8Array): string {
  return `of ${binaryString(key).length} bytes`;
}
