/** Key-value messages to commands, checked; outcomes to messages. */
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import {
  Comparator as WireComparator,
  Consistency,
  EntrySchema,
  GetResponseSchema,
  MutationResultSchema,
  OperationResultSchema,
  type Comparison,
  type Fence,
  type GetResponse,
  type Mutation,
  type MutationResult,
  type Operation,
  type OperationResult,
  type ReadOptions,
  type ScanRequest,
  type WriteOptions,
} from '@holdfast/proto/kv/v1/kv';
import {
  Comparator,
  MutationKind,
  type ComparisonCommand,
  type MutationCommand,
  type OperationCommand,
  type WriteContext,
  type WriteFence,
  type WriteIdentity,
} from '../kv/kv-command.ts';
import type { MutationOutcome, TransactOutcome } from '../kv/kv-outcome.ts';
import type { StoredValue } from '../kv/kv-rows.ts';
import { prefixSelection, type ScanSelection } from '../kv/kv-scan.ts';
import {
  MAX_LOCK_NAME_BYTES,
  checkKey,
  checkTtl,
  checkValue,
  refuse,
  type KeyspaceLimits,
} from '../kv/limits.ts';
import { binaryString } from '../storage/row-key.ts';

const NO_BYTES = new Uint8Array(0);
const MAX_STALENESS_MS = 3_600_000n;
const DEFAULT_STALENESS_MS = 5_000;
const CONTINUATION_FORMAT = 1;

/** A 64-bit integer that names a place in a log or a version; beyond 53 bits there are none. */
export function safeInteger(value: bigint, field: string): number {
  return safeNumber(Number(value), field);
}

function safeNumber(value: number, field: string): number {
  if (value <= Number.MAX_SAFE_INTEGER) return value;
  throw refuse(
    'INVALID_FIELD',
    field,
    `${field} is ${value}, limit ${Number.MAX_SAFE_INTEGER}. Nothing was done.`,
    String(value),
    String(Number.MAX_SAFE_INTEGER),
  );
}

/** How old what is read may be, by the options of a read; undefined: it is linearizable. Error: INVALID_FIELD. */
export function maxStalenessMs(options: ReadOptions | undefined): number | undefined {
  if (options === undefined) return undefined;
  if (Consistency[options.consistency] === undefined) {
    throw refuse(
      'INVALID_FIELD',
      'options.consistency',
      `options.consistency ${options.consistency} is not known. Nothing was read.`,
      String(options.consistency),
      '0..2',
    );
  }
  const staleness = options.maxStalenessMs;
  if (staleness !== undefined && (staleness < 1n || staleness > MAX_STALENESS_MS)) {
    throw refuse(
      'INVALID_FIELD',
      'options.max_staleness_ms',
      `options.max_staleness_ms is ${staleness}, allowed are 1 to ${MAX_STALENESS_MS}. Nothing was read.`,
      String(staleness),
      `1..${MAX_STALENESS_MS}`,
    );
  }
  if (options.consistency !== Consistency.BOUNDED_STALE) return undefined;
  return staleness === undefined ? DEFAULT_STALENESS_MS : Number(staleness);
}

/** Identity and fence of a write. `offset` is the place in a batch. */
export function writeContext(options: WriteOptions | undefined, offset = 0): WriteContext {
  const sequence = options?.sequence;
  const identity =
    sequence === undefined
      ? undefined
      : writeIdentity(
          sequence.clientId,
          Number(sequence.sequence) + offset,
          Number(sequence.ackedBelow),
          sequence.open,
        );
  return { identity, fence: writeFence(options?.fence) };
}

export function writeIdentity(
  clientId: Uint8Array,
  sequence: number,
  ackedBelow: number,
  open: boolean,
): WriteIdentity {
  if (clientId.byteLength !== 16) {
    throw refuse(
      'INVALID_FIELD',
      'client_id',
      `client_id is ${clientId.byteLength} bytes, it must be 16. Nothing was written.`,
      String(clientId.byteLength),
      '16',
    );
  }
  if (sequence === 0)
    throw refuse(
      'INVALID_FIELD',
      'sequence',
      'sequence is 0, sequences count up from 1. Nothing was written.',
      '0',
      '1..',
    );
  return {
    clientId,
    sequence: safeNumber(sequence, 'sequence'),
    ackedBelow: safeNumber(ackedBelow, 'acked_below'),
    open,
  };
}

export function writeFence(fence: Fence | undefined): WriteFence | undefined {
  if (fence === undefined) return undefined;
  const length = Buffer.byteLength(fence.lock);
  if (length === 0 || length > MAX_LOCK_NAME_BYTES) {
    throw refuse(
      'INVALID_FIELD',
      'fence.lock',
      `fence.lock is ${length} bytes, allowed are 1 to ${MAX_LOCK_NAME_BYTES}. Nothing was written.`,
      String(length),
      `1..${MAX_LOCK_NAME_BYTES}`,
    );
  }
  if (fence.token === 0n)
    throw refuse(
      'INVALID_FIELD',
      'fence.token',
      'fence.token is 0, tokens are greater. Nothing was written.',
      '0',
      '1..',
    );
  return { lock: fence.lock, token: safeInteger(fence.token, 'fence.token') };
}

/** A mutation as a command. Errors: those of keys, values, times to live, and OPERATION_MISSING, COMPARISON_MISSING. */
export function mutationCommand({ key, operation }: Mutation, limits: KeyspaceLimits): MutationCommand {
  checkKey(key, limits);
  switch (operation.case) {
    case 'put':
      return withValue(MutationKind.put, key, operation.value, limits);
    case 'create':
      return withValue(MutationKind.create, key, operation.value, limits);
    case 'compareAndSet':
      return compareAndSet(key, operation.value, limits);
    case 'increment': {
      const delta = operation.value.delta ?? 1n;
      return { ...bare(MutationKind.increment, key), delta, ttlMs: checkTtl(operation.value.ttlMs) };
    }
    case 'delete': {
      const expected = operation.value.expectedVersion;
      if (expected === undefined) return bare(MutationKind.delete, key);
      return { ...bare(MutationKind.deleteIfVersion, key), expectedVersion: expectedVersion(expected) };
    }
    case undefined:
      throw refuse(
        'OPERATION_MISSING',
        'operation',
        'the mutation says not what to do: set put, create, compare_and_set, increment or delete. Nothing was written.',
      );
  }
}

/** A put or create as a command. */
export function putCommand(
  key: Uint8Array,
  isCreate: boolean,
  given: { readonly value: Uint8Array; readonly ttlMs?: bigint | undefined },
  limits: KeyspaceLimits,
): MutationCommand {
  checkKey(key, limits);
  return withValue(isCreate ? MutationKind.create : MutationKind.put, key, given, limits);
}

function bare(kind: MutationKind, key: Uint8Array): MutationCommand {
  return {
    kind,
    key,
    value: NO_BYTES,
    ttlMs: undefined,
    expectedVersion: 0,
    expectedValue: NO_BYTES,
    delta: 0n,
  };
}

function withValue(
  kind: MutationKind,
  key: Uint8Array,
  given: { value: Uint8Array; ttlMs?: bigint | undefined },
  limits: KeyspaceLimits,
): MutationCommand {
  checkValue(given.value, limits);
  return {
    kind,
    key,
    value: given.value,
    ttlMs: checkTtl(given.ttlMs),
    expectedVersion: 0,
    expectedValue: NO_BYTES,
    delta: 0n,
  };
}

function compareAndSet(
  key: Uint8Array,
  given: {
    expected: { case: string | undefined; value?: unknown };
    value: Uint8Array;
    ttlMs?: bigint | undefined;
  },
  limits: KeyspaceLimits,
): MutationCommand {
  const { expected } = given;
  if (expected.case === undefined) {
    throw refuse(
      'COMPARISON_MISSING',
      'expected',
      'compare-and-set without a comparison: set expected_version or expected_value (Create writes a key that does not exist). Nothing was written.',
    );
  }
  const command = withValue(MutationKind.setIfVersion, key, given, limits);
  if (expected.case === 'expectedVersion')
    return { ...command, expectedVersion: expectedVersion(expected.value as bigint) };
  checkValue(expected.value as Uint8Array, limits, 'expected_value');
  return { ...command, kind: MutationKind.setIfValue, expectedValue: expected.value as Uint8Array };
}

function expectedVersion(version: bigint): number {
  if (version > 0n) return safeInteger(version, 'expected_version');
  throw refuse(
    'INVALID_FIELD',
    'expected_version',
    'expected_version is 0, versions are greater (Create writes a key that does not exist). Nothing was written.',
    '0',
    '1..',
  );
}

const COMPARATORS: Readonly<Record<number, Comparator>> = {
  [WireComparator.UNSPECIFIED]: Comparator.equal,
  [WireComparator.EQUAL]: Comparator.equal,
  [WireComparator.NOT_EQUAL]: Comparator.notEqual,
  [WireComparator.LESS]: Comparator.less,
  [WireComparator.GREATER]: Comparator.greater,
};

/** A comparison of a transaction as a command. */
export function comparisonCommand(
  { key, comparator, target }: Comparison,
  limits: KeyspaceLimits,
): ComparisonCommand {
  checkKey(key, limits, 'comparisons.key');
  const compares = COMPARATORS[comparator];
  if (compares === undefined) {
    throw refuse(
      'INVALID_FIELD',
      'comparisons.comparator',
      `comparator ${comparator} is not known. Nothing was written.`,
      String(comparator),
      '0..4',
    );
  }
  switch (target.case) {
    case 'version':
      return {
        key,
        comparator: compares,
        target: { case: 'version', value: safeInteger(target.value, 'comparisons.version') },
      };
    case 'value':
      checkValue(target.value, limits, 'comparisons.value');
      return { key, comparator: compares, target };
    case 'exists':
      if (compares === Comparator.equal) return { key, comparator: compares, target };
      throw refuse(
        'INVALID_FIELD',
        'comparisons.comparator',
        '`exists` is compared by EQUAL alone. Nothing was written.',
        String(comparator),
        'EQUAL',
      );
    case undefined:
      throw refuse(
        'COMPARISON_MISSING',
        'comparisons.target',
        'the comparison has nothing to compare with: set version, value or exists. Nothing was written.',
      );
  }
}

/** An operation of a transaction as a command. */
export function operationCommand({ operation }: Operation, limits: KeyspaceLimits): OperationCommand {
  if (operation.case === 'get') {
    checkKey(operation.value, limits, 'operation.get');
    return { case: 'get', key: operation.value };
  }
  if (operation.case === undefined) {
    throw refuse(
      'OPERATION_MISSING',
      'operation',
      'the operation says not what to do: set get or mutation. Nothing was written.',
    );
  }
  const mutation = mutationCommand(operation.value, limits);
  const unconditional =
    mutation.kind === MutationKind.put ||
    mutation.kind === MutationKind.increment ||
    mutation.kind === MutationKind.delete;
  if (unconditional) return { case: 'mutation', mutation };
  throw refuse(
    'INVALID_FIELD',
    'operation.mutation',
    'operations of a transaction are put, increment and delete without a condition: use its comparisons. Nothing was written.',
  );
}

/** A key may be written once in a transaction. */
export function checkDistinctWrites(operations: readonly OperationCommand[], field: string): void {
  const written = new Set<string>();
  for (const operation of operations) {
    if (operation.case === 'get') continue;
    const key = binaryString(operation.mutation.key);
    if (written.has(key))
      throw refuse('DUPLICATE_KEY', field, `${field} writes one key twice. Nothing was written.`);
    written.add(key);
  }
}

/** What a scan request selects. Errors: RANGE_INVERTED, CONTINUATION_INVALID. */
export function scanSelection(request: ScanRequest): ScanSelection {
  const { start, end } = selected(request);
  if (end !== undefined && start > end) {
    throw refuse(
      'RANGE_INVERTED',
      'range.end',
      'the end of the range lies before its start. Nothing was read.',
    );
  }
  if (request.continuation.byteLength === 0) return { start, end, limit: request.limit };
  const after = binaryString(request.continuation.subarray(1));
  if (
    request.continuation[0] !== CONTINUATION_FORMAT ||
    after < start ||
    (end !== undefined && after >= end)
  ) {
    throw refuse(
      'CONTINUATION_INVALID',
      'continuation',
      'the continuation does not belong to this scan: send the one that came with its last message. Nothing was read.',
    );
  }
  return { start: `${after}\0`, end, limit: request.limit };
}

function selected({ selection }: ScanRequest): { start: string; end: string | undefined } {
  if (selection.case === 'prefix') return prefixSelection(selection.value);
  if (selection.case === undefined) return { start: '', end: undefined };
  const { start, end } = selection.value;
  return { start: binaryString(start), end: end.byteLength === 0 ? undefined : binaryString(end) };
}

/** Where a scan goes on after `key`. */
export function continuationAfter(key: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(CONTINUATION_FORMAT), key]);
}

export function entryMessage(key: Uint8Array, stored: StoredValue, keysOnly = false) {
  const entry = create(EntrySchema);
  entry.key = key as Uint8Array<ArrayBuffer>;
  if (!keysOnly) entry.value = stored.value as Uint8Array<ArrayBuffer>;
  entry.version = BigInt(stored.version);
  if (stored.expiresAtMs !== undefined) entry.expiresAtMs = BigInt(stored.expiresAtMs);
  return entry;
}

export function getMessage(key: Uint8Array, stored: StoredValue | undefined): GetResponse {
  const response = create(GetResponseSchema);
  if (stored !== undefined) response.entry = entryMessage(key, stored);
  return response;
}

export function mutationMessage(outcome: MutationOutcome): MutationResult {
  const message = create(MutationResultSchema);
  message.version = BigInt(outcome.version);
  if (outcome.counter !== undefined) message.counter = outcome.counter;
  if (outcome.existed !== undefined) message.existed = outcome.existed;
  return message;
}

export function operationMessages(outcome: TransactOutcome): OperationResult[] {
  return outcome.results.map((result) =>
    create(OperationResultSchema, {
      result:
        result.case === 'get'
          ? { case: 'get', value: getMessage(result.key, result.found) }
          : { case: 'mutation', value: mutationMessage(result.outcome) },
    }),
  );
}

/** Whatever went wrong, as an error of ours; what is not one is a defect and says nothing of its insides. */
export function asHoldfastError(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  return new HoldfastError({
    reason: 'INTERNAL',
    message: 'the node failed to handle the call; its log has the cause',
    outcome: 'UNKNOWN',
    cause: error,
  });
}
