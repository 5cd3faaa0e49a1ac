import { create } from '@bufbuild/protobuf';
import {
  Comparator as ComparatorCode,
  type Comparison,
  ComparisonSchema,
  KvService,
  type Operation,
  type OperationResult,
  OperationSchema,
  TransactRequestSchema,
} from '@holdfast/proto/kv/v1/kv';
import type { ClientCore } from './core.ts';
import { timeoutMs, ttlMs } from './duration.ts';
import { Entry } from './entry.ts';
import { keyHash } from './key-hash.ts';
import type {
  Comparator,
  Condition,
  Transaction,
  TransactionOperation,
  WriteOptions,
} from './keyspace-options.ts';
import { deleteMutation, incrementMutation, withTtl } from './operations.ts';
import type { PartitionDirectory } from './partition-directory.ts';
import { writeOptions } from './pipeline-fallback.ts';
import { callUnary } from './unary.ts';
import { integer64, keyBytes, valueBytes } from './values.ts';

/** Result of one operation of a transaction; which fields are set depends on the operation. */
export interface TransactionOperationResult {
  /** Of a get: what it found; undefined: no such key. */
  entry?: Entry | undefined;
  /** Of a put or increment: the key's new version. */
  version?: bigint;
  /** Of an increment: the counter. */
  counter?: bigint;
  /** Of a delete: whether the key existed. */
  existed?: boolean;
}

/** What a transaction did. */
export interface TransactionResult {
  /** Whether every condition held. */
  succeeded: boolean;
  /** One an operation of the applied list, in order. */
  results: TransactionOperationResult[];
}

/** Runs a transaction, with a sequence of its own. */
export async function runTransaction(
  core: ClientCore,
  directory: PartitionDirectory,
  keyspace: string,
  transaction: Transaction,
  options: WriteOptions,
): Promise<TransactionResult> {
  const comparisons = (transaction.if ?? []).map(comparison);
  const thenOperations = transaction.then.map(operation);
  const elseOperations = (transaction.else ?? []).map(operation);
  const time = options.timeout === undefined ? core.timeoutMs : timeoutMs(options.timeout);
  const fence = options.fence && {
    lock: options.fence.name,
    token: integer64(options.fence.token, 'fence.token', false),
  };
  const hash = firstHash(transaction);
  const sequence = core.sequences.next();
  const open = hash === undefined || directory.mustOpen(keyspace, hash, core.clock.monotonicMs());
  const request = create(TransactRequestSchema, {
    keyspace,
    options: writeOptions(core, sequence, open, fence),
    comparisons,
    thenOperations,
    elseOperations,
  });
  const response = await callUnary(core, KvService.method.transact, request, {
    timeoutMs: time,
    signal: options.signal,
    isWrite: true,
    sequence,
    reopen: () => (request.options!.sequence!.open = true),
    onRefused: (reason) => directory.refused(keyspace, reason),
  });
  if (hash !== undefined) directory.answered(keyspace, hash);
  return { succeeded: response.succeeded, results: response.results.map(result) };
}

const COMPARATORS: Readonly<Record<Comparator, ComparatorCode>> = {
  '=': ComparatorCode.EQUAL,
  '!=': ComparatorCode.NOT_EQUAL,
  '<': ComparatorCode.LESS,
  '>': ComparatorCode.GREATER,
};

function comparison(condition: Condition): Comparison {
  const key = keyBytes(condition.key);
  if ('exists' in condition) {
    return create(ComparisonSchema, { key, target: { case: 'exists', value: condition.exists } });
  }
  const comparator = COMPARATORS[condition.is ?? '='];
  const target =
    'version' in condition
      ? { case: 'version' as const, value: integer64(condition.version, 'version', false) }
      : { case: 'value' as const, value: valueBytes(condition.value) };
  return create(ComparisonSchema, { key, comparator, target });
}

function operation(step: TransactionOperation): Operation {
  if ('get' in step)
    return create(OperationSchema, { operation: { case: 'get', value: keyBytes(step.get) } });
  return create(OperationSchema, { operation: { case: 'mutation', value: mutation(step) } });
}

function mutation(step: Exclude<TransactionOperation, { get: unknown }>) {
  if ('increment' in step) return incrementMutation(step.increment, step.delta ?? 1n, ttlMs(step.ttl));
  if ('delete' in step) return deleteMutation(step.delete, undefined);
  const put = { value: valueBytes(step.value), ...withTtl(ttlMs(step.ttl)) };
  return { key: keyBytes(step.put), operation: { case: 'put' as const, value: put } };
}

function result({ result: outcome }: OperationResult): TransactionOperationResult {
  if (outcome.case === 'get') {
    const { entry } = outcome.value;
    return { entry: entry === undefined ? undefined : Entry.fromMessage(entry) };
  }
  if (outcome.case !== 'mutation') return {};
  const { version, counter, existed } = outcome.value;
  return {
    ...(version === 0n ? {} : { version }),
    ...(counter === undefined ? {} : { counter }),
    ...(existed === undefined ? {} : { existed }),
  };
}

/** Hash of any key: all lie in one partition, or the node refuses. */
function firstHash(transaction: Transaction): number | undefined {
  const condition = transaction.if?.[0];
  if (condition !== undefined) return keyHash(keyBytes(condition.key));
  const step = transaction.then[0] ?? transaction.else?.[0];
  if (step === undefined) return undefined;
  if ('get' in step) return keyHash(keyBytes(step.get));
  if ('put' in step) return keyHash(keyBytes(step.put));
  return keyHash(keyBytes('increment' in step ? step.increment : step.delete));
}
