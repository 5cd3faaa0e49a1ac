import { create, toBinary } from '@bufbuild/protobuf';
import {
  type Comparison,
  Comparator as ComparatorCode,
  ComparisonSchema,
  type DeleteRequest,
  DeleteRequestSchema,
  type DeleteResponse,
  type GetRequest,
  GetRequestSchema,
  type GetResponse,
  type KeySelection,
  KeySelectionSchema,
  type ListRequest,
  ListRequestSchema,
  type ListResponse,
  type Operation,
  OperationSchema,
  type PutRequest,
  PutRequestSchema,
  type PutResponse,
  ReadOptionsSchema,
  SortBy,
  type TransactRequest,
  TransactRequestSchema,
  type TransactResponse,
  type Transaction,
  TransactionSchema,
} from '@holdfast/proto/config/v1/config';
import type { Comparator } from '../keyspace-options.ts';
import { HoldfastError } from '../error.ts';
import { integer64, invalid, type Key, keyBytes, type Value, valueBytes } from '../values.ts';
import type { BatchableCall, BatchedResult } from './batched-call.ts';
import { ConfigEntry, entryOf } from './config-entry.ts';
import type {
  ConfigCondition,
  ConfigDeleteOptions,
  ConfigDeleteResult,
  ConfigList,
  ConfigListOptions,
  ConfigOperation,
  ConfigOperationResult,
  ConfigPutOptions,
  ConfigPutResult,
  ConfigReadOptions,
  ConfigSelection,
  ConfigSortBy,
  ConfigTransaction,
  ConfigTransactionResult,
  LeaseReference,
} from './config-options.ts';

/** What a call costs beside its keys and values: its identity, its numbers. */
const CALL_BYTES = 96;
const MAX_SELECTION_BYTES = 256;

// Between what callers write and the messages of holdfast.config.v1. What is not allowed is
// refused with INVALID_FIELD, before anything is sent.

/** Bytes of a key, which are not the caller's: it is sent later, perhaps more than once. */
function ownKey(key: Key): Uint8Array {
  const bytes = keyBytes(key);
  return typeof key === 'string' ? bytes : Uint8Array.from(bytes);
}

/** Bytes of a value, which are not the caller's. */
function ownValue(value: Value): Uint8Array {
  const bytes = valueBytes(value);
  return ArrayBuffer.isView(value) ? Uint8Array.from(bytes) : bytes;
}

/** Which keys: one, or a selection. */
export function selectionOf(keys: Key | ConfigSelection): KeySelection {
  if (typeof keys === 'string' || keys instanceof Uint8Array) return oneKey(keys);
  if ('prefix' in keys)
    return create(KeySelectionSchema, { selection: { case: 'prefix', value: ownKey(keys.prefix) } });
  const range = {
    start: ownKey(keys.start),
    ...(keys.end === undefined ? {} : { end: ownKey(keys.end) }),
  };
  return create(KeySelectionSchema, { selection: { case: 'range', value: range } });
}

function oneKey(key: Key): KeySelection {
  return create(KeySelectionSchema, { selection: { case: 'key', value: ownKey(key) } });
}

function readOptions({ revision, stale }: ConfigReadOptions) {
  return create(ReadOptionsSchema, {
    revision: integer64(revision ?? 0n, 'revision', false),
    stale: stale ?? false,
  });
}

/** Request of a get. */
export function getRequest(key: Key, options: ConfigReadOptions): GetRequest {
  const request = create(GetRequestSchema, { key: ownKey(key) });
  if (options.revision !== undefined || options.stale === true) request.options = readOptions(options);
  return request;
}

const SORTS: Readonly<Record<ConfigSortBy, SortBy>> = {
  key: SortBy.KEY,
  version: SortBy.VERSION,
  createRevision: SortBy.CREATE_REVISION,
  modRevision: SortBy.MOD_REVISION,
  value: SortBy.VALUE,
};

/** Request of a list. */
export function listRequest(selection: KeySelection, options: ConfigListOptions): ListRequest {
  const { limit, sortBy } = options;
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= 0xffff_ffff)) {
    throw invalid('limit', `limit is ${limit}, allowed 1 to 4294967295`, String(limit), '1..4294967295');
  }
  if (sortBy !== undefined && !Object.hasOwn(SORTS, sortBy)) {
    const allowed = Object.keys(SORTS).join(', ');
    throw invalid(
      'sort_by',
      `sortBy is ${JSON.stringify(sortBy)}, allowed are ${allowed}`,
      String(sortBy),
      allowed,
    );
  }
  return create(ListRequestSchema, {
    selection,
    options: readOptions(options),
    limit: limit ?? 0,
    keysOnly: options.keysOnly ?? false,
    sortBy: SORTS[sortBy ?? 'key'],
    descending: options.descending ?? false,
  });
}

/** Request of a put. */
export function putRequest(key: Key, value: Value, options: Omit<ConfigPutOptions, 'signal'>): PutRequest {
  const request = create(PutRequestSchema, {
    key: ownKey(key),
    value: ownValue(value),
    lease: options.lease === undefined ? 0n : leaseNumber(options.lease),
    returnPrevious: options.returnPrevious ?? false,
    keepLease: options.keepLease ?? false,
  });
  if (options.ifAbsent === true && options.ifModRevision !== undefined)
    throw invalid(
      'if_mod_revision',
      'only one of ifModRevision and ifAbsent may be given. Nothing was written.',
    );
  if (options.ifAbsent === true) request.ifModRevision = 0n;
  else if (options.ifModRevision !== undefined)
    request.ifModRevision = integer64(options.ifModRevision, 'if_mod_revision', false);
  return request;
}

/** Request of a delete. */
export function deleteRequest(
  keys: Key | ConfigSelection,
  options: Omit<ConfigDeleteOptions, 'signal'>,
): DeleteRequest {
  const request = create(DeleteRequestSchema, {
    selection: selectionOf(keys),
    returnPrevious: options.returnPrevious ?? false,
  });
  if (options.ifModRevision !== undefined)
    request.ifModRevision = integer64(options.ifModRevision, 'if_mod_revision', false);
  return request;
}

/** The number of a lease. */
export function leaseNumber(lease: LeaseReference): bigint {
  return integer64(typeof lease === 'bigint' ? lease : lease.id, 'lease', false);
}

/** Message of a transaction. */
function transactionOf(transaction: ConfigTransaction): Transaction {
  return create(TransactionSchema, {
    comparisons: (transaction.if ?? []).map(comparisonOf),
    thenOperations: (transaction.then ?? []).map(operationOf),
    elseOperations: (transaction.else ?? []).map(operationOf),
  });
}

const COMPARATORS: Readonly<Record<Comparator, ComparatorCode>> = {
  '=': ComparatorCode.EQUAL,
  '!=': ComparatorCode.NOT_EQUAL,
  '<': ComparatorCode.LESS,
  '>': ComparatorCode.GREATER,
};

function comparisonOf(condition: ConfigCondition): Comparison {
  const selection = 'key' in condition ? oneKey(condition.key) : selectionOf(condition);
  if ('exists' in condition) {
    const comparator = condition.exists ? ComparatorCode.NOT_EQUAL : ComparatorCode.EQUAL;
    return create(ComparisonSchema, { selection, comparator, target: { case: 'version', value: 0n } });
  }
  const comparator = COMPARATORS[condition.is ?? '='];
  if (comparator === undefined)
    throw invalid('comparator', `is is ${String(condition.is)}, allowed are = != < >`);
  return create(ComparisonSchema, { selection, comparator, target: targetOf(condition) });
}

function targetOf(condition: Exclude<ConfigCondition, { exists: boolean }>): Comparison['target'] {
  if ('value' in condition) return { case: 'value', value: ownValue(condition.value) };
  if ('lease' in condition) return { case: 'lease', value: leaseNumber(condition.lease) };
  if ('version' in condition)
    return { case: 'version', value: integer64(condition.version, 'version', false) };
  if ('createRevision' in condition)
    return { case: 'createRevision', value: integer64(condition.createRevision, 'create_revision', false) };
  return { case: 'modRevision', value: integer64(condition.modRevision, 'mod_revision', false) };
}

function operationOf(step: ConfigOperation): Operation {
  return create(OperationSchema, { operation: innerOf(step) });
}

function innerOf(step: ConfigOperation): NonNullable<Operation['operation']> {
  if ('get' in step) return { case: 'list', value: listRequest(oneKey(step.get), {}) };
  if ('list' in step) return { case: 'list', value: listRequest(selectionOf(step.list), step) };
  if ('put' in step) return { case: 'put', value: putRequest(step.put, step.value, step) };
  if ('delete' in step) return { case: 'delete', value: deleteRequest(step.delete, step) };
  if ('transaction' in step) return { case: 'transaction', value: transactionOf(step.transaction) };
  throw invalid('operation', 'an operation says not what to do: get, list, put, delete or transaction');
}

/** Request of a transaction. */
export function transactRequest(transaction: ConfigTransaction): TransactRequest {
  return create(TransactRequestSchema, { transaction: transactionOf(transaction) });
}

/** About the size of a call on the wire, with what is kept of it while it is under way. */
export function callBytes(call: BatchableCall): number {
  if (call.case === 'get') return CALL_BYTES + call.value.key.length;
  if (call.case === 'put') return CALL_BYTES + call.value.key.length + call.value.value.length;
  if (call.case === 'delete') return CALL_BYTES + MAX_SELECTION_BYTES;
  return CALL_BYTES + toBinary(TransactRequestSchema, call.value).length;
}

interface Responses {
  get: GetResponse;
  put: PutResponse;
  delete: DeleteResponse;
  transact: TransactResponse;
}

/** What a call was answered with, of the kind that was called. */
export function valueOf<K extends keyof Responses>(result: BatchedResult, kind: K): Responses[K] {
  if (result.case === kind) return result.value as Responses[K];
  throw new HoldfastError({ reason: 'INTERNAL', message: `a ${kind} was answered with a ${result.case}` });
}

/** What a put did. */
export function putOf({ revision, previous }: PutResponse): ConfigPutResult {
  return { revision, previous: entryOf(previous) };
}

/** What a list found. */
function listOf({ entries, more, revision }: ListResponse): ConfigList {
  return { entries: entries.map((entry) => new ConfigEntry(entry)), more, revision };
}

/** What a delete did. */
export function deletedOf({ revision, deleted, previous }: DeleteResponse): ConfigDeleteResult {
  return { revision, deleted: Number(deleted), previous: previous.map((entry) => new ConfigEntry(entry)) };
}

/** What a transaction did. */
export function transactedOf(
  transaction: ConfigTransaction,
  response: TransactResponse,
): ConfigTransactionResult {
  const { succeeded, revision } = response;
  const steps = (succeeded ? transaction.then : transaction.else) ?? [];
  const results = response.results.map(({ result }, index) => resultOf(steps[index], result));
  return { succeeded, revision, results };
}

function resultOf(
  step: ConfigOperation | undefined,
  result: TransactResponse['results'][number]['result'],
): ConfigOperationResult {
  if (step === undefined) return {};
  if (result.case === 'put') return { previous: entryOf(result.value.previous) };
  if (result.case === 'delete') {
    const deleted = deletedOf(result.value);
    return { deleted, previous: deleted.previous[0] };
  }
  if (result.case === 'list') {
    const list = listOf(result.value);
    return 'get' in step ? { entry: list.entries[0] } : { list };
  }
  if (result.case === 'transaction' && 'transaction' in step)
    return { transaction: transactedOf(step.transaction, result.value) };
  return {};
}
