/**
 * The key-value feature on this node: reads applied rows, proposes writes to the
 * group of a key's partition. Requests have been checked and normalised before.
 *
 * A caller that routes asks who leads a partition, or has a replica of it, and is told where
 * that is when it is elsewhere. For any other caller another node is asked to do it.
 */
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { GetResponse } from '@holdfast/proto/kv/v1/kv';
import type { Admission } from '../cluster/admission.ts';
import type { ForwardedCommand, Forwarder } from '../cluster/forwarder.ts';
import type { GroupRoutes } from '../cluster/group-routes.ts';
import type { RemoteReads } from '../cluster/remote-reads.ts';
import type { GroupHost } from '../raft/group-host.ts';
import { awaitRead, isFresh, isNotLed, proposalError } from '../raft/propose.ts';
import type { Proposal, ProposalFailure } from '../raft/state-machine.ts';
import type { Command } from '../raft/entry.ts';
import { StoreDamaged, type RowStore } from '../storage/row-store.ts';
import { binaryString, withoutGeneration, type RowKey } from '../storage/row-key.ts';
import {
  assertPresent,
  readPart,
  scanKeyspace,
  storedEntry,
  type PartRequest,
  type ReadPart,
  type ScanSelection,
  type ScanPart,
} from './kv-scan.ts';
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
import { decodeOutcome } from './outcome-codec.ts';
import type { StoredValue } from './kv-rows.ts';
import { savePartition, type SavedPart } from './kv-save.ts';
import { encodeRestore, type RestoreCommand } from './restore-command.ts';
import type { KvStateMachine } from './kv-state-machine.ts';
import type { Partition, OpenKeyspace } from './keyspaces.ts';
import { refuse } from './limits.ts';
import { refusalError } from './refusal-error.ts';

export interface KeyValueOptions {
  readonly host: GroupHost;
  readonly rows: RowStore;
  readonly clock: Clock;
  readonly admission: Admission;
  readonly routes: GroupRoutes;
  /** The way to other nodes; undefined: callers are told to take it themselves. */
  readonly others?: OtherNodes | undefined;
}

/** How a read may be served, and for whom. */
export interface ReadTerms {
  /** The caller asks whoever has a replica. */
  readonly isRouted: boolean;
  /** Monotonic time by which another node must have answered. */
  readonly deadlineMs: number;
  /** How old what is read may be; undefined: it is linearizable. */
  readonly maxStalenessMs: number | undefined;
}

/** Of a caller that finds its way, linearizable. */
export const ROUTED_READ: ReadTerms = { isRouted: true, deadlineMs: Infinity, maxStalenessMs: undefined };

/** What other nodes do for the callers of this one. */
export interface OtherNodes {
  readonly forwarder: Forwarder;
  readonly reads: RemoteReads;
}

/** Where a write's end is told; exactly one is called, once. */
export interface WriteSink {
  onDone(outcome: MutationOutcome): void;
  onError(error: HoldfastError): void;
}

/** Where a key is kept. */
export interface KeyPlace {
  readonly partition: Partition;
  /** Whose rows `row` is among: a snapshot puts others in their place. Undefined: no replica is here. */
  readonly machine: KvStateMachine | undefined;
  /** Name of its row. */
  readonly row: RowKey;
  /** What all operations on the key have in common, whatever the generation of its row. */
  readonly order: string;
}

export function placeOf(keyspace: OpenKeyspace, key: Uint8Array): KeyPlace {
  return placeIn(keyspace.partitionOf(key), key);
}

function placeIn(partition: Partition, key: Uint8Array): KeyPlace {
  const { machine } = partition;
  const keys = machine?.keys ?? partition.firstKeys;
  const row = keys.data(key);
  return { partition, machine, row, order: keys.isFirstGeneration ? row : withoutGeneration(row) };
}

/** The row of a key now: a snapshot may have put others in place since the place was looked up. */
function rowNow({ partition, machine, row }: KeyPlace, key: Uint8Array): RowKey {
  const now = partition.machine;
  return now === machine || now === undefined ? row : now.keys.data(key);
}

export class KeyValue {
  readonly #options: KeyValueOptions;

  constructor(options: KeyValueOptions) {
    this.#options = options;
  }

  /**
   * A key's value, linearizable. At once where this node decides alone; otherwise when a
   * majority has confirmed who leads. A value that has expired by the clock and not yet by
   * log time has log time moved on first, on the node that leads. With `maxStalenessMs` at once on a replica that was
   * as fresh as that. Error: NOT_LEADER.
   */
  get(
    keyspace: OpenKeyspace,
    key: Uint8Array,
    place: KeyPlace = placeOf(keyspace, key),
    { isRouted, deadlineMs, maxStalenessMs }: ReadTerms = ROUTED_READ,
  ): StoredValue | undefined | Promise<StoredValue | undefined> {
    const { host, clock, others } = this.#options;
    const { partition } = place;
    if (host.canReadNow(partition.group)) return this.#readOnTime(key, place);
    this.#assertServing();
    this.#assertPresent(partition);
    if (maxStalenessMs !== undefined && isFresh(host, partition.group, clock.monotonicMs() - maxStalenessMs))
      return this.#readOnTime(key, place);
    const reads = isRouted ? undefined : others?.reads;
    const readElsewhere = () => reads!.read(partition, key, deadlineMs).then(storedValue);
    if (!partition.isServed) {
      if (reads === undefined) throw this.#noReplica(partition).withOutcome(undefined);
      return readElsewhere();
    }
    const here = awaitRead(host, partition.group).then(() => this.#readOnTime(key, place));
    if (reads === undefined) return here;
    return here.catch((error: unknown) => {
      if (isNotLed(error)) return readElsewhere();
      throw error;
    });
  }

  /**
   * For another node: the values of the first keys that together have about `maxBytes`, by
   * the replica here. Error: NOT_LEADER.
   */
  async getHere(
    partition: Partition,
    keys: readonly Uint8Array[],
    maxBytes: number,
  ): Promise<(StoredValue | undefined)[]> {
    await this.#readableHere(partition);
    const found: (StoredValue | undefined)[] = [];
    let bytes = 0;
    for (const key of keys) {
      const stored = await this.#readOnTime(key, placeIn(partition, key));
      bytes += stored?.value.byteLength ?? 0;
      if (bytes > maxBytes && found.length > 0) return found;
      found.push(stored);
    }
    return found;
  }

  /** For another node: a part of a range, by the replica here. Error: NOT_LEADER. */
  async readPartHere(partition: Partition, request: PartRequest): Promise<ReadPart> {
    await this.#readableHere(partition);
    try {
      return await readPart(this.#options, partition, request);
    } catch (error) {
      throw this.#damaged(error);
    }
  }

  async #readableHere(partition: Partition): Promise<void> {
    const { host } = this.#options;
    this.#assertServing();
    this.#assertPresent(partition);
    if (!partition.isServed)
      throw proposalError({ cause: 'no replica', outcome: 'NOT_APPLIED' }).withOutcome(undefined);
    if (!host.canReadNow(partition.group)) await awaitRead(host, partition.group);
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
      const logTimeMs = this.#options.host.logTimeMs(partition.group);
      return partition.machine!.valueOfRow(rowNow(place, key), logTimeMs);
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
    isRouted = true,
  ): void {
    const command = encodeMutate(context, mutation);
    const { partition } = place;
    const proposal = new MutationProposal(command, context, mutation, place, deadlineMs, sink);
    this.#propose(partition, proposal, isRouted);
  }

  /** Throws when it is refused at once. */
  #propose(partition: Partition, proposal: ForwardedCommand & Proposal, isRouted: boolean): void {
    const { host, admission, others } = this.#options;
    if (!isRouted && others !== undefined) return others.forwarder.propose(partition, proposal);
    this.#assertPresent(partition);
    if (!partition.isServed && !host.isLeader(partition.group)) throw this.#noReplica(partition);
    const refusal = admission(proposal.bytes.byteLength, proposal.grows);
    if (refusal !== undefined) throw refusal;
    host.propose(partition.group, proposal);
  }

  #noReplica(partition: Partition): HoldfastError {
    const leader = this.#options.routes.hint(partition);
    return proposalError({ cause: 'no replica', outcome: 'NOT_APPLIED', leader });
  }

  /** Applies a transaction whose keys lie in one partition. Errors: CROSS_PARTITION and those of its operations. */
  async transact(
    keyspace: OpenKeyspace,
    transact: TransactCommand,
    context: WriteContext,
    deadlineMs: number,
    isRouted = true,
  ): Promise<TransactOutcome> {
    const operations = [...transact.thenOperations, ...transact.elseOperations];
    const partition = commonPartition(keyspace, [
      ...transact.comparisons.map(({ key }) => key),
      ...operations.map((operation) => (operation.case === 'get' ? operation.key : operation.mutation.key)),
    ]);
    const command = encodeTransact(context, transact);
    const isGrowing = operations.some(
      (operation) => operation.case === 'mutation' && grows(operation.mutation),
    );
    return new Promise((resolve, reject) => {
      const proposal: ForwardedCommand & Proposal = {
        ...command,
        deadlineMs,
        grows: isGrowing,
        onApplied: (result) => {
          const outcome = result as CommandOutcome;
          if (isRefusal(outcome)) reject(refusalError(outcome));
          else resolve(outcome as TransactOutcome);
        },
        decodeResult: decodeOutcome,
        onFailed: (failure) => reject(proposalError(failure)),
        onError: reject,
      };
      this.#propose(partition, proposal, isRouted);
    });
  }

  /**
   * Entries in key order, in parts; each part is consistent per partition. Whoever asks: no
   * node need have replicas of all partitions.
   */
  async *scan(
    keyspace: OpenKeyspace,
    selection: ScanSelection,
    { deadlineMs, maxStalenessMs }: Omit<ReadTerms, 'isRouted'> = ROUTED_READ,
  ): AsyncGenerator<ScanPart> {
    this.#assertServing();
    const { others } = this.#options;
    const sources = { ...this.#options, reads: others?.reads, deadlineMs, maxStalenessMs };
    try {
      yield* scanKeyspace(sources, keyspace, selection);
    } catch (error) {
      throw this.#damaged(error);
    }
  }

  /** All of a partition as of one moment, by the replica here. Errors: NOT_LEADER, KEYSPACE_UNKNOWN. */
  async *save(partition: Partition): AsyncGenerator<SavedPart> {
    this.#assertServing();
    this.#assertPresent(partition);
    try {
      yield* savePartition(this.#options, partition);
    } catch (error) {
      throw this.#damaged(error);
    }
  }

  /** Puts rows of a backup into a partition. Errors: RESTORE_ENDED, NOT_LEADER. */
  restore(
    partition: Partition,
    restored: RestoreCommand,
    deadlineMs: number,
    isRouted: boolean,
  ): Promise<void> {
    const command = encodeRestore(restored);
    return new Promise((resolve, reject) => {
      const proposal: ForwardedCommand & Proposal = {
        ...command,
        deadlineMs,
        grows: !restored.isEnd,
        onApplied: (result) => {
          const outcome = result as CommandOutcome;
          if (isRefusal(outcome)) reject(refusalError(outcome));
          else resolve();
        },
        decodeResult: decodeOutcome,
        onFailed: (failure) => reject(proposalError(failure)),
        onError: reject,
      };
      this.#propose(partition, proposal, isRouted);
    });
  }

  #assertServing(): void {
    const cause = this.#options.host.failure;
    if (cause === undefined) return;
    const error = proposalError({ cause, outcome: 'NOT_APPLIED' });
    throw error.withOutcome(undefined);
  }

  /** A keyspace may be dropped while a call on it waits. */
  #assertPresent(partition: Partition): void {
    assertPresent(this.#options.host, partition);
  }

  /** One bad row condemns the store: it is never skipped, and nothing more is served from it. */
  #damaged(error: unknown): unknown {
    if (!(error instanceof StoreDamaged)) return error;
    this.#options.host.stopServing('storage damaged', error);
    return proposalError({ cause: 'storage damaged', outcome: 'NOT_APPLIED' }).withOutcome(undefined);
  }
}

/** A value that another node has read. */
function storedValue({ entry }: GetResponse): StoredValue | undefined {
  return entry && storedEntry(entry);
}

function grows(mutation: MutationCommand): boolean {
  return mutation.kind !== MutationKind.delete && mutation.kind !== MutationKind.deleteIfVersion;
}

/** A mutation on its way through the log: one object a write, no promise. */
class MutationProposal implements ForwardedCommand, Proposal {
  readonly kind: number;
  readonly version: number;
  readonly bytes: Uint8Array;
  readonly context: WriteContext;
  readonly mutation: MutationCommand;
  readonly deadlineMs: number;
  readonly #place: KeyPlace;
  readonly #sink: WriteSink;

  constructor(
    command: Command,
    context: WriteContext,
    mutation: MutationCommand,
    place: KeyPlace,
    deadlineMs: number,
    sink: WriteSink,
  ) {
    this.kind = command.kind;
    this.version = command.version;
    this.bytes = command.bytes;
    this.context = context;
    this.mutation = mutation;
    this.#place = place;
    this.deadlineMs = deadlineMs;
    this.#sink = sink;
  }

  get decoded(): DecodedMutate {
    return this;
  }

  /** Asked when it is applied: while it waited for a leader, a snapshot may have put other rows in place. */
  get row(): RowKey | undefined {
    const { partition, machine, row } = this.#place;
    return machine !== undefined && partition.machine === machine ? row : undefined;
  }

  onApplied(result: unknown): void {
    const outcome = result as CommandOutcome;
    if (isRefusal(outcome)) this.#sink.onError(refusalError(outcome));
    else this.#sink.onDone(outcome as MutationOutcome);
  }

  onFailed(failure: ProposalFailure): void {
    this.#sink.onError(proposalError(failure));
  }

  get grows(): boolean {
    return grows(this.mutation);
  }

  decodeResult(bytes: Uint8Array): CommandOutcome {
    return decodeOutcome(bytes);
  }

  onError(error: HoldfastError): void {
    this.#sink.onError(error);
  }
}

function commonPartition(keyspace: OpenKeyspace, keys: readonly Uint8Array[]): Partition {
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
