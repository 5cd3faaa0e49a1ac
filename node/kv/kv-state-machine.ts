/**
 * A key-value partition: applies commands to rows, deterministically.
 *
 *  1. A command that is refused changes no data.
 *  2. A write with an identity is decided once: a repeat gets the first result, be it a refusal.
 *  3. Versions are given out once per partition, in order, and never again.
 *  4. What has expired is decided by log time alone, never by a clock.
 *  5. A write with a token below one accepted for the same lock is refused.
 *  6. Rows of a backup are taken only before the first version was given out.
 */
import type { RowStore } from '../storage/row-store.ts';
import { binaryString, type RowKey } from '../storage/row-key.ts';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { Command } from '../raft/entry.ts';
import type { StateMachine } from '../raft/state-machine.ts';
import { CLIENT_MEMORY_MS, ClientMemory, KEPT_RESULT_BYTES, type KeptResult } from './client-memory.ts';
import { addToCounter } from './counter.ts';
import {
  Comparator,
  CommandKind,
  MutationKind,
  decodeExpireClients,
  decodeExpireRows,
  decodeMutate,
  decodeTransact,
  type ComparisonCommand,
  type DecodedMutate,
  type MutationCommand,
  type OperationCommand,
  type TransactCommand,
  type WriteContext,
  type WriteFence,
  type WriteIdentity,
} from './kv-command.ts';
import {
  type CommandOutcome,
  type MutationOutcome,
  type Refusal,
  type TransactOutcome,
} from './kv-outcome.ts';
import {
  MAX_KEY_BYTES,
  MAX_LOCK_NAME_BYTES,
  MAX_TRANSACTION_ANSWER_BYTES,
  MAX_TTL_MS,
  MAX_VALUE_BYTES,
} from './limits.ts';
import { encodeOutcome } from './outcome-codec.ts';
import { decodeRestore } from './restore-command.ts';
import { KvRowKeys, VersionCounter, decodeValue, valueRow, type StoredValue } from './kv-rows.ts';

/** The rows that a state machine works on: the overlay over the store. */
export type KvRows = Pick<RowStore, 'get' | 'put' | 'newRow' | 'putRow' | 'delete' | 'live' | 'putLive'>;

/** A client that the partition remembers. */
interface KnownClient {
  readonly clientId: Buffer;
  readonly row: RowKey;
  readonly memory: ClientMemory;
}

/** Values written by a transaction that is not yet known to succeed. */
type Staged = Map<string, { key: Uint8Array; value: StoredValue | undefined }>;

export class KvStateMachine implements StateMachine {
  readonly keys: KvRowKeys;
  readonly #rows: KvRows;
  readonly #versionsAbove: number;
  readonly #versionsRow: RowKey;
  #versions: VersionCounter | undefined;
  /** The client that wrote last, with what is remembered of it: most often it writes next. */
  #lastClient: KnownClient | undefined;

  /** Versions given out are greater than `versionsAbove`. */
  constructor(group: number, generation: number, rows: KvRows, versionsAbove = 0) {
    this.#versionsAbove = versionsAbove;
    this.keys = new KvRowKeys(group, generation);
    this.#versionsRow = this.keys.versions();
    this.#rows = rows;
  }

  apply(command: Command, stampMs: number): CommandOutcome {
    if (command.version !== 1)
      throw new RangeError(`command ${command.kind} of unknown version ${command.version}`);
    switch (command.kind) {
      case CommandKind.mutate: {
        const decoded = command.decoded as DecodedMutate | undefined;
        const { context, mutation, row } = decoded ?? decodeMutate(command.bytes);
        return this.#once(context, stampMs, () => this.#mutate(mutation, stampMs, row));
      }
      case CommandKind.transact: {
        const { context, transact } = decodeTransact(command.bytes);
        return this.#once(context, stampMs, () => this.#transact(transact, stampMs));
      }
      case CommandKind.expireRows:
        return this.#expireRows(command.bytes, stampMs);
      case CommandKind.expireClients:
        return this.#expireClients(command.bytes, stampMs);
      case CommandKind.restore:
        return this.#restore(command.bytes);
    }
    throw new RangeError(`unknown command ${command.kind}`);
  }

  parse(command: Command): DecodedMutate | undefined {
    const { kind, version, bytes } = command;
    if (version === 1 && kind === CommandKind.mutate) return checkedMutate(decodeMutate(bytes));
    if (version === 1 && kind === CommandKind.restore) return checkRestore(bytes);
    if (version !== 1 || kind !== CommandKind.transact)
      throw new RangeError(`command ${kind} of version ${version} is not taken from other nodes`);
    const { context, transact } = decodeTransact(bytes);
    const { comparisons, thenOperations, elseOperations } = transact;
    checkFence(context);
    for (const { comparator, key } of comparisons) {
      compares(comparator, 0);
      checkKeyBytes(key);
    }
    for (const operation of [...thenOperations, ...elseOperations])
      if (operation.case === 'mutation') checkMutation(operation.mutation);
      else checkKeyBytes(operation.key);
    return undefined;
  }

  encodeResult(result: unknown): Uint8Array {
    return encodeOutcome(result as CommandOutcome);
  }

  /** The value of a key at log time `stampMs`. Invariant 4. */
  value(key: Uint8Array, stampMs: number): StoredValue | undefined {
    return this.valueOfRow(this.keys.data(key), stampMs);
  }

  /** The value of a key by its row's name, which is `keys.data(key)`. */
  valueOfRow(row: RowKey, stampMs: number): StoredValue | undefined {
    const content = this.#rows.get(row);
    if (content === undefined) return undefined;
    const stored = decodeValue(content);
    return stored.expiresAtMs !== undefined && stored.expiresAtMs <= stampMs ? undefined : stored;
  }

  /** Invariants 2 and 5, around the write itself. */
  #once<T extends MutationOutcome | TransactOutcome>(
    context: WriteContext,
    stampMs: number,
    write: () => T | Refusal,
  ): CommandOutcome {
    const { identity, fence } = context;
    if (identity === undefined) return this.#fenced(fence) ?? write();
    const client = this.#client(identity);
    if (client === undefined) return { refused: 'CLIENT_EXPIRED' };
    const { row, memory } = client;
    const known = memory.result(identity.sequence);
    if (known === 'too large') return { refused: 'RESULT_NOT_KEPT' };
    if (known !== undefined) return known;
    if (identity.sequence < memory.ackedBelow) return { refused: 'SEQUENCE_STALE' };
    memory.touch(identity.ackedBelow, stampMs);
    this.#rows.putLive(row, memory);
    if (memory.isFull) return { refused: 'OVERLOADED', actual: 'unanswered writes of this client' };
    const outcome = this.#fenced(fence) ?? write();
    // A refusal too: a repeat that was overtaken must not be applied after the caller heard no.
    memory.keep(identity.sequence, kept(outcome));
    return outcome;
  }

  /** What is remembered of a client; a new one must say that it is. */
  #client({ clientId, open }: WriteIdentity): KnownClient | undefined {
    const last = this.#lastClient;
    if (last !== undefined && last.clientId.equals(clientId)) return last;
    const row = this.keys.client(clientId);
    const memory = this.#rows.live(row, ClientMemory.decode) ?? (open ? new ClientMemory() : undefined);
    if (memory === undefined) return undefined;
    this.#lastClient = { clientId: Buffer.from(clientId), row, memory };
    return this.#lastClient;
  }

  #fenced(fence: WriteFence | undefined): Refusal | undefined {
    if (fence === undefined) return undefined;
    const row = this.keys.fence(fence.lock);
    const content = this.#rows.get(row);
    const accepted = content === undefined ? 0 : new ByteReader(content).u64();
    if (fence.token < accepted) return { refused: 'FENCED', actual: String(accepted) };
    if (fence.token > accepted) this.#rows.put(row, new ByteWriter(8).u64(fence.token).finish());
    return undefined;
  }

  #mutate(mutation: MutationCommand, stampMs: number, row?: RowKey): MutationOutcome | Refusal {
    const next = this.#evaluate(mutation, stampMs, (key) => this.value(key, stampMs));
    if ('refused' in next) return next;
    if (next.value === undefined && !next.outcome.existed) return next.outcome;
    return this.#write(mutation.key, next.value, next.outcome, row);
  }

  /** What a mutation makes of a key, without doing it. */
  #evaluate(
    mutation: MutationCommand,
    stampMs: number,
    read: (key: Uint8Array) => StoredValue | undefined,
  ): { value: StoredValue | undefined; outcome: MutationOutcome } | Refusal {
    const expiresAtMs = mutation.ttlMs === undefined ? undefined : stampMs + mutation.ttlMs;
    const set = { value: { version: 0, expiresAtMs, value: mutation.value }, outcome: PLAIN };
    switch (mutation.kind) {
      case MutationKind.put:
        return set; // blind: a put needs to know nothing of what was there
      case MutationKind.create: {
        const current = read(mutation.key);
        return current === undefined ? set : { refused: 'KEY_EXISTS', currentVersion: current.version };
      }
      case MutationKind.setIfVersion: {
        const current = read(mutation.key);
        if (current?.version === mutation.expectedVersion) return set;
        return { refused: 'VERSION_MISMATCH', currentVersion: current?.version };
      }
      case MutationKind.setIfValue: {
        const current = read(mutation.key);
        if (current !== undefined && Buffer.compare(current.value, mutation.expectedValue) === 0) return set;
        return { refused: 'VALUE_MISMATCH', currentVersion: current?.version };
      }
      case MutationKind.increment:
        return addToCounter(read(mutation.key), mutation.delta, expiresAtMs);
      case MutationKind.delete:
        return { value: undefined, outcome: { ...PLAIN, existed: read(mutation.key) !== undefined } };
      case MutationKind.deleteIfVersion: {
        const current = read(mutation.key);
        if (current?.version === mutation.expectedVersion)
          return { value: undefined, outcome: { ...PLAIN, existed: true } };
        return { refused: 'VERSION_MISMATCH', currentVersion: current?.version };
      }
    }
    throw new RangeError(`unknown mutation ${String(mutation.kind)}`);
  }

  /** Writes or deletes a key. Invariant 3. */
  #write(
    key: Uint8Array,
    value: StoredValue | undefined,
    outcome: MutationOutcome,
    row = this.keys.data(key),
  ): MutationOutcome {
    const version = this.#nextVersion();
    if (value === undefined) {
      this.#rows.delete(row);
      return outcome;
    }
    this.#put(row, key, value, version);
    return { version, counter: outcome.counter, existed: outcome.existed };
  }

  #put(row: RowKey, key: Uint8Array, { expiresAtMs, value }: StoredValue, version: number): void {
    this.#rows.putRow(row, valueRow(this.#rows, version, expiresAtMs, value));
    if (expiresAtMs !== undefined) this.#rows.put(this.keys.expiry(expiresAtMs, key), NO_BYTES);
  }

  /** Undefined: no version was given out. */
  #givenVersions(): VersionCounter | undefined {
    this.#versions ??= this.#rows.live(this.#versionsRow, VersionCounter.decode);
    return this.#versions;
  }

  #nextVersion(): number {
    this.#versions = this.#givenVersions() ?? new VersionCounter(this.#versionsAbove);
    const version = this.#versions.next();
    this.#rows.putLive(this.#versionsRow, this.#versions);
    return version;
  }

  #transact(transact: TransactCommand, stampMs: number): TransactOutcome | Refusal {
    const succeeded = transact.comparisons.every((comparison) => this.#holds(comparison, stampMs));
    const operations = succeeded ? transact.thenOperations : transact.elseOperations;
    const staged: Staged = new Map();
    const outcomes: MutationOutcome[] = [];
    const gets: (StoredValue | undefined)[] = [];
    let answerBytes = 0;
    const read = (key: Uint8Array) => {
      const known = staged.get(binaryString(key));
      return known === undefined ? this.value(key, stampMs) : known.value;
    };
    for (const operation of operations) {
      if (operation.case === 'get') {
        const found = read(operation.key);
        answerBytes += found?.value.byteLength ?? 0;
        // A request of a few bytes could ask for more than a machine has memory, of every replica.
        if (answerBytes > MAX_TRANSACTION_ANSWER_BYTES)
          return { refused: 'BATCH_TOO_LARGE', actual: String(answerBytes) };
        gets.push(found);
        continue;
      }
      const next = this.#evaluate(operation.mutation, stampMs, read);
      if ('refused' in next) return next;
      outcomes.push(next.outcome);
      staged.set(binaryString(operation.mutation.key), { key: operation.mutation.key, value: next.value });
    }
    return { succeeded, results: this.#commit(operations, staged, outcomes, gets) };
  }

  /** Nothing is refused any more: writes what was staged. */
  #commit(
    operations: readonly OperationCommand[],
    staged: Staged,
    outcomes: readonly MutationOutcome[],
    gets: readonly (StoredValue | undefined)[],
  ): TransactOutcome['results'] {
    let mutation = 0;
    let get = 0;
    const versions = new Map<string, number>();
    const results: TransactOutcome['results'][number][] = [];
    for (const operation of operations) {
      if (operation.case === 'get') {
        const found = gets[get++];
        const version = versions.get(binaryString(operation.key));
        results.push({
          case: 'get',
          key: operation.key,
          found: found && version ? { ...found, version } : found,
        });
        continue;
      }
      const outcome = outcomes[mutation++]!;
      const key = binaryString(operation.mutation.key);
      const { value } = staged.get(key)!;
      const written =
        value === undefined && !outcome.existed
          ? outcome
          : this.#write(operation.mutation.key, value, outcome);
      versions.set(key, written.version);
      results.push({ case: 'mutation', outcome: written });
    }
    return results;
  }

  #holds({ key, comparator, target }: ComparisonCommand, stampMs: number): boolean {
    const current = this.value(key, stampMs);
    if (target.case === 'exists') return (current !== undefined) === target.value;
    if (target.case === 'version') return compares(comparator, (current?.version ?? 0) - target.value);
    return current !== undefined && compares(comparator, Buffer.compare(current.value, target.value));
  }

  /** Invariant 6. The end is a counter of versions: with it, repeats that were on their way come too late. */
  #restore(bytes: Uint8Array): Refusal | undefined {
    const { entries, fences, isEnd } = decodeRestore(bytes);
    if (this.#givenVersions() !== undefined) return isEnd ? undefined : { refused: 'RESTORE_ENDED' };
    for (const { key, stored } of entries) this.#put(this.keys.data(key), key, stored, stored.version);
    for (const fence of fences) void this.#fenced(fence);
    if (!isEnd) return undefined;
    const counter = (this.#versions = new VersionCounter(this.#versionsAbove));
    this.#rows.putLive(this.#versionsRow, counter);
    return undefined;
  }

  /** Removes rows whose time is up by log time, and index rows that no longer say the truth. */
  #expireRows(bytes: Uint8Array, stampMs: number): undefined {
    for (const { expiresAtMs, key } of decodeExpireRows(bytes)) {
      if (expiresAtMs > stampMs) continue;
      this.#rows.delete(this.keys.expiry(expiresAtMs, key));
      const row = this.keys.data(key);
      const content = this.#rows.get(row);
      if (content !== undefined && decodeValue(content).expiresAtMs === expiresAtMs) this.#rows.delete(row);
    }
  }

  /** Forgets clients that have been silent for longer than the memory promised. */
  #expireClients(bytes: Uint8Array, stampMs: number): undefined {
    for (const clientId of decodeExpireClients(bytes)) {
      const row = this.keys.client(clientId);
      const memory = this.#rows.live(row, ClientMemory.decode);
      if (memory === undefined || memory.lastSeenMs + CLIENT_MEMORY_MS > stampMs) continue;
      this.#rows.delete(row);
      if (this.#lastClient?.row === row) this.#lastClient = undefined;
    }
  }
}

const NO_BYTES = new Uint8Array(0);
const PLAIN: MutationOutcome = { version: 0, counter: undefined, existed: undefined };

function compares(comparator: Comparator, order: number): boolean {
  switch (comparator) {
    case Comparator.equal:
      return order === 0;
    case Comparator.notEqual:
      return order !== 0;
    case Comparator.less:
      return order < 0;
    case Comparator.greater:
      return order > 0;
  }
  throw new RangeError(`unknown comparator ${String(comparator)}`);
}

/** A transaction's result is kept only if it is small. Views of the log are copied. */
function kept(outcome: MutationOutcome | TransactOutcome | Refusal): KeptResult {
  if (!('results' in outcome)) return outcome;
  let bytes = 0;
  const results = outcome.results.map((result) => {
    bytes += 24;
    if (result.case === 'mutation') return result;
    if (result.found === undefined) return { case: 'get' as const, key: NO_BYTES, found: undefined };
    bytes += result.key.byteLength + result.found.value.byteLength;
    const found = { ...result.found, value: Uint8Array.from(result.found.value) };
    return { case: 'get' as const, key: Uint8Array.from(result.key), found };
  });
  return bytes > KEPT_RESULT_BYTES ? 'too large' : { succeeded: outcome.succeeded, results };
}

function checkedMutate(decoded: DecodedMutate): DecodedMutate {
  checkFence(decoded.context);
  checkMutation(decoded.mutation);
  return decoded;
}

/** Whatever a mutation asks for that a row cannot hold would end every replica that applies it. */
function checkMutation({ kind, key, value, ttlMs }: MutationCommand): void {
  if (!Object.values(MutationKind).includes(kind)) throw new RangeError(`unknown mutation ${kind}`);
  checkKeyBytes(key);
  checkValueBytes(value);
  if (ttlMs !== undefined && (ttlMs < 1 || ttlMs > MAX_TTL_MS)) throw new RangeError(`a TTL of ${ttlMs} ms`);
}

function checkFence({ fence }: WriteContext): void {
  const bytes = fence === undefined ? 1 : Buffer.byteLength(fence.lock);
  if (bytes < 1 || bytes > MAX_LOCK_NAME_BYTES) throw new RangeError(`a lock's name of ${bytes} bytes`);
}

function checkRestore(bytes: Uint8Array): undefined {
  const { entries, fences } = decodeRestore(bytes);
  for (const { key, stored } of entries) {
    checkKeyBytes(key);
    checkValueBytes(stored.value);
  }
  for (const fence of fences) checkFence({ identity: undefined, fence });
}

function checkKeyBytes({ byteLength }: Uint8Array): void {
  if (byteLength < 1 || byteLength > MAX_KEY_BYTES) throw new RangeError(`a key of ${byteLength} bytes`);
}

function checkValueBytes({ byteLength }: Uint8Array): void {
  if (byteLength > MAX_VALUE_BYTES) throw new RangeError(`a value of ${byteLength} bytes`);
}
