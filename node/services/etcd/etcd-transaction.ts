/** Transactions of etcd's API to those of the configuration, and back. */
import { create } from '@bufbuild/protobuf';
import {
  Compare_CompareResult as CompareResult,
  Compare_CompareTarget as CompareTarget,
  DeleteRangeResponseSchema,
  PutResponseSchema,
  ResponseOpSchema,
  TxnResponseSchema,
  type Compare,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type PutRequest,
  type PutResponse,
  type RequestOp,
  type ResponseHeader,
  type ResponseOp,
  type TxnRequest,
  type TxnResponse,
} from '@holdfast/proto/etcd/rpc';
import {
  ConfigComparator,
  isOneKey,
  keySpan,
  type ComparisonTarget,
  type ConfigComparison,
  type ConfigOperation,
  type ConfigTransaction,
  type PutOperation,
} from '../../coordination/config-command.ts';
import { MAX_CONFIG_VALUE_BYTES, MAX_TRANSACTION_DEPTH } from '../../coordination/config-limits.ts';
import type {
  DeleteResult,
  ListResult,
  OperationResult,
  PutResult,
  TransactionResult,
} from '../../coordination/config-outcome.ts';
import { checkPath } from '../config-transaction-messages.ts';
import { etcdError, invalid } from './etcd-error.ts';
import { deletedSpan, keyValue, rangeSpan, writtenKey } from './etcd-keys.ts';
import { EtcdRange } from './etcd-range.ts';

/** A range that has no key in it: nothing is before the first key. */
const NO_KEYS = { start: '', end: '' };

/** Errors: key, value or lease is provided, and those of a key. */
export function putOperation(request: PutRequest): PutOperation {
  const { value, lease, ignoreValue, ignoreLease, prevKv } = request;
  const key = writtenKey(request.key);
  if (ignoreValue && value.byteLength > 0) throw invalid('value is provided', 'value');
  if (ignoreLease && lease !== 0n) throw invalid('lease is provided', 'lease');
  if (value.byteLength > MAX_CONFIG_VALUE_BYTES) throw invalid('request is too large', 'value');
  return {
    case: 'put',
    key,
    value,
    lease,
    ifModRevision: undefined,
    returnPrevious: prevKv,
    keepValue: ignoreValue,
    keepLease: ignoreLease,
  };
}

export function putResponse(header: ResponseHeader | undefined, { previous }: PutResult): PutResponse {
  return create(PutResponseSchema, {
    ...(header && { header }),
    ...(previous && { prevKv: keyValue(previous) }),
  });
}

export function deleteOperation({ key, rangeEnd, prevKv }: DeleteRangeRequest): ConfigOperation {
  const span = deletedSpan(key, rangeEnd) ?? NO_KEYS;
  return { case: 'delete', span, ifModRevision: undefined, returnPrevious: prevKv };
}

export function deleteResponse(
  header: ResponseHeader | undefined,
  { deleted, previous }: DeleteResult,
): DeleteRangeResponse {
  return create(DeleteRangeResponseSchema, {
    ...(header && { header }),
    deleted: BigInt(deleted),
    prevKvs: previous.map((entry) => keyValue(entry)),
  });
}

/** Reads a range as of a revision that is not now. */
export type ReadAt = (range: EtcdRange) => Promise<Pick<ListResult, 'entries' | 'count'>>;

/** A Txn: what it has the configuration do, and what its answer is made of. */
export class EtcdTransaction {
  readonly transaction: ConfigTransaction;
  readonly #request: TxnRequest;

  /** Errors: too many operations in txn request, duplicate key given in txn request, and those of operations. */
  constructor(request: TxnRequest, maxOperations: number) {
    this.#request = request;
    this.transaction = transactionOf(request, maxOperations, 1);
    try {
      checkPath(this.transaction, '');
    } catch (error) {
      throw etcdError(error);
    }
  }

  async response(header: ResponseHeader, result: TransactionResult, readAt: ReadAt): Promise<TxnResponse> {
    return txnResponse(this.#request, header, result, readAt);
  }
}

function transactionOf(request: TxnRequest, most: number, depth: number): ConfigTransaction {
  const { compare, success, failure } = request;
  const isTooLarge = [compare, success, failure].some((list) => list.length > most);
  if (isTooLarge || depth > MAX_TRANSACTION_DEPTH)
    throw invalid('too many operations in txn request', 'success');
  const operation = (one: RequestOp) => operationOf(one, most, depth);
  return {
    comparisons: compare.map(comparisonOf),
    thenOperations: success.map(operation),
    elseOperations: failure.map(operation),
  };
}

function operationOf({ request }: RequestOp, most: number, depth: number): ConfigOperation {
  switch (request.case) {
    case 'requestRange': {
      const { order } = new EtcdRange(request.value);
      // What is shown of a range depends on all of it: its count, and what it is sorted and filtered by.
      return order === undefined ? NOTHING_LISTED : { case: 'list', ...order };
    }
    case 'requestPut':
      return putOperation(request.value);
    case 'requestDeleteRange':
      return deleteOperation(request.value);
    case 'requestTxn':
      return { case: 'transaction', transaction: transactionOf(request.value, most, depth + 1) };
    default:
      throw invalid('key not found', 'request');
  }
}

const NOTHING_LISTED: ConfigOperation = {
  case: 'list',
  span: NO_KEYS,
  limit: 0,
  keysOnly: true,
  countOnly: true,
  sortBy: 1,
  isDescending: false,
};

const COMPARATORS: Readonly<Record<number, ConfigComparator>> = {
  [CompareResult.EQUAL]: ConfigComparator.equal,
  [CompareResult.GREATER]: ConfigComparator.greater,
  [CompareResult.LESS]: ConfigComparator.less,
  [CompareResult.NOT_EQUAL]: ConfigComparator.notEqual,
};

function comparisonOf(compare: Compare): ConfigComparison {
  const span = rangeSpan(compare.key, compare.rangeEnd) ?? NO_KEYS;
  const comparator = COMPARATORS[compare.result];
  if (comparator === undefined) throw invalid('invalid comparison', 'result');
  return { span, isKey: isOneKey(span), comparator, target: targetOf(compare) };
}

/** What is not given is zero or empty. */
function targetOf({ target, targetUnion }: Compare): ComparisonTarget {
  const given = targetUnion.value;
  const number = typeof given === 'bigint' ? Number(given) : 0;
  switch (target) {
    case CompareTarget.VERSION:
      return { case: 'version', value: number };
    case CompareTarget.CREATE:
      return { case: 'createRevision', value: number };
    case CompareTarget.MOD:
      return { case: 'modRevision', value: number };
    case CompareTarget.LEASE:
      return { case: 'lease', value: typeof given === 'bigint' ? given : 0n };
    case CompareTarget.VALUE:
      return { case: 'value', value: given instanceof Uint8Array ? given : new Uint8Array(0) };
    default:
      throw invalid('invalid comparison', 'target');
  }
}

async function txnResponse(
  request: TxnRequest,
  header: ResponseHeader | undefined,
  { succeeded, results }: TransactionResult,
  readAt: ReadAt,
): Promise<TxnResponse> {
  const asked = succeeded ? request.success : request.failure;
  const responses: ResponseOp[] = [];
  for (const [at, result] of results.entries()) responses.push(await responseOf(asked[at]!, result, readAt));
  return create(TxnResponseSchema, { ...(header && { header }), succeeded, responses });
}

/** Answers within a transaction have no header of their own but a revision, which is the same for all. */
async function responseOf(
  { request }: RequestOp,
  result: OperationResult,
  readAt: ReadAt,
): Promise<ResponseOp> {
  if (result.case === 'list' && request.case === 'requestRange') {
    const range = new EtcdRange(request.value);
    const { entries, count } = range.revision === 0 ? result : await readAt(range);
    const value = range.response(undefined, entries, count ?? entries.length);
    return create(ResponseOpSchema, { response: { case: 'responseRange', value } });
  }
  if (result.case === 'put')
    return create(ResponseOpSchema, {
      response: { case: 'responsePut', value: putResponse(undefined, result) },
    });
  if (result.case === 'delete') {
    const value = deleteResponse(undefined, result);
    return create(ResponseOpSchema, { response: { case: 'responseDeleteRange', value } });
  }
  if (result.case === 'transaction' && request.case === 'requestTxn') {
    const value = await txnResponse(request.value, undefined, result, readAt);
    return create(ResponseOpSchema, { response: { case: 'responseTxn', value } });
  }
  throw new Error('a result is not of its operation');
}
void keySpan;
