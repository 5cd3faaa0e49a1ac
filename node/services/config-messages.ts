/** Messages of the configuration to what the tree takes, checked; and back. */
import { create } from '@bufbuild/protobuf';
import {
  Comparator,
  DeleteResponseSchema,
  EntrySchema,
  ListResponseSchema,
  OperationResultSchema,
  PutResponseSchema,
  SortBy,
  TransactResponseSchema,
  type DeleteRequest,
  type DeleteResponse,
  type Entry,
  type ListRequest,
  type ListResponse,
  type OperationResult as ResultMessage,
  type PutRequest,
  type PutResponse,
  type TransactResponse,
} from '@holdfast/proto/config/v1/config';
import {
  ConfigComparator,
  ConfigSort,
  type DeleteOperation,
  type ListOrder,
  type PutOperation,
} from '../coordination/config-command.ts';
import { MAX_CONFIG_VALUE_BYTES } from '../coordination/config-limits.ts';
import type {
  DeleteResult,
  OperationResult,
  PutResult,
  TransactOutcome,
} from '../coordination/config-outcome.ts';
import type { Listed } from '../coordination/config-reads.ts';
import type { ConfigEntry } from '../coordination/coordination-events.ts';
import { refuse } from '../kv/limits.ts';
import { configKey, selectedSpan } from './key-selection.ts';
import { safeInteger } from './kv-messages.ts';
import { leaseNumber } from './session-messages.ts';

const NOTHING = 'Nothing was done.';

/** What a Put does. `at`: its field, for errors. Errors: those of a key, VALUE_TOO_LARGE, INVALID_FIELD. */
export function putOperation(request: PutRequest, at = ''): PutOperation {
  const { value, lease, keepValue, keepLease, ifModRevision, returnPrevious } = request;
  const key = configKey(request.key, `${at}key`);
  if (value.byteLength > MAX_CONFIG_VALUE_BYTES) {
    const message = `value is ${value.byteLength} bytes, limit ${MAX_CONFIG_VALUE_BYTES}. ${NOTHING}`;
    throw refuse(
      'VALUE_TOO_LARGE',
      `${at}value`,
      message,
      String(value.byteLength),
      String(MAX_CONFIG_VALUE_BYTES),
    );
  }
  if (keepValue && value.byteLength > 0)
    throw contradicts(`${at}keep_value`, 'a value is given, and the one that is there is to be kept');
  if (keepLease && lease !== 0n)
    throw contradicts(`${at}keep_lease`, 'a lease is given, and the one that is there is to be kept');
  return {
    case: 'put',
    key,
    value,
    lease: lease === 0n ? 0n : leaseNumber(lease, `${at}lease`),
    ifModRevision:
      ifModRevision === undefined ? undefined : safeInteger(ifModRevision, `${at}if_mod_revision`),
    returnPrevious,
    keepValue,
    keepLease,
  };
}

/** What a Delete does. Errors: those of a selection, INVALID_FIELD. */
export function deleteOperation(request: DeleteRequest, at = ''): DeleteOperation {
  const { selection, ifModRevision, returnPrevious } = request;
  const span = selectedSpan(selection, `${at}selection`);
  if (ifModRevision === undefined) return { case: 'delete', span, ifModRevision, returnPrevious };
  if (selection?.selection.case !== 'key')
    throw contradicts(`${at}if_mod_revision`, 'a condition on a revision is for a single key');
  const revision = safeInteger(ifModRevision, `${at}if_mod_revision`);
  return { case: 'delete', span, ifModRevision: revision, returnPrevious };
}

/** What a List selects. Errors: those of a selection, INVALID_FIELD. */
export function listOrder(request: ListRequest, at = ''): ListOrder {
  const sortBy = SORTS[request.sortBy] as ConfigSort | undefined;
  if (sortBy === undefined) {
    const message = `sort_by is ${request.sortBy}, which no order has. ${NOTHING}`;
    throw refuse('INVALID_FIELD', `${at}sort_by`, message, String(request.sortBy));
  }
  return {
    span: selectedSpan(request.selection, `${at}selection`),
    limit: request.limit,
    keysOnly: request.keysOnly,
    countOnly: request.countOnly,
    sortBy,
    isDescending: request.descending,
  };
}

const SORTS: Readonly<Record<SortBy, ConfigSort>> = {
  [SortBy.UNSPECIFIED]: ConfigSort.key,
  [SortBy.KEY]: ConfigSort.key,
  [SortBy.VERSION]: ConfigSort.version,
  [SortBy.CREATE_REVISION]: ConfigSort.createRevision,
  [SortBy.MOD_REVISION]: ConfigSort.modRevision,
  [SortBy.VALUE]: ConfigSort.value,
};

/** How a comparison compares. Error: INVALID_FIELD. */
export function comparatorOf(comparator: Comparator, at: string): ConfigComparator {
  const found = COMPARATORS[comparator] as ConfigComparator | undefined;
  if (found !== undefined) return found;
  const message = `comparator is ${comparator}, which no comparison has. ${NOTHING}`;
  throw refuse('INVALID_FIELD', `${at}comparator`, message, String(comparator));
}

const COMPARATORS: Readonly<Record<Comparator, ConfigComparator>> = {
  [Comparator.UNSPECIFIED]: ConfigComparator.equal,
  [Comparator.EQUAL]: ConfigComparator.equal,
  [Comparator.NOT_EQUAL]: ConfigComparator.notEqual,
  [Comparator.LESS]: ConfigComparator.less,
  [Comparator.GREATER]: ConfigComparator.greater,
};

export function entryMessage(entry: ConfigEntry): Entry {
  return create(EntrySchema, {
    key: entry.key as Uint8Array<ArrayBuffer>,
    value: entry.value as Uint8Array<ArrayBuffer>,
    createRevision: BigInt(entry.createRevision),
    modRevision: BigInt(entry.modRevision),
    version: BigInt(entry.version),
    lease: entry.lease,
  });
}

export function listMessage({ entries, more, count, revision }: Listed): ListResponse {
  return create(ListResponseSchema, {
    entries: entries.map(entryMessage),
    more,
    ...(count !== undefined && { count: BigInt(count) }),
    revision: BigInt(revision),
  });
}

export function putMessage({ previous }: PutResult, revision: number): PutResponse {
  return create(PutResponseSchema, {
    revision: BigInt(revision),
    ...(previous && { previous: entryMessage(previous) }),
  });
}

export function deleteMessage({ deleted, previous }: DeleteResult, revision: number): DeleteResponse {
  return create(DeleteResponseSchema, {
    revision: BigInt(revision),
    deleted: BigInt(deleted),
    previous: previous.map(entryMessage),
  });
}

export function transactMessage({ succeeded, results, revision }: TransactOutcome): TransactResponse {
  return create(TransactResponseSchema, {
    succeeded,
    results: results.map((result) => resultMessage(result, revision)),
    revision: BigInt(revision),
  });
}

function resultMessage(result: OperationResult, revision: number): ResultMessage {
  switch (result.case) {
    case 'list':
      return create(OperationResultSchema, {
        result: { case: 'list', value: listMessage({ ...result, revision }) },
      });
    case 'put':
      return create(OperationResultSchema, { result: { case: 'put', value: putMessage(result, revision) } });
    case 'delete':
      return create(OperationResultSchema, {
        result: { case: 'delete', value: deleteMessage(result, revision) },
      });
    case 'transaction':
      return create(OperationResultSchema, {
        result: { case: 'transaction', value: transactMessage({ ...result, revision }) },
      });
  }
}

function contradicts(field: string, why: string): Error {
  return refuse('INVALID_FIELD', field, `${why}. ${NOTHING}`);
}
