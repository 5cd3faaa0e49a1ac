/** Transactions of etcd's API to those of the configuration, and back. */
import { create } from '@bufbuild/protobuf';
import {
  Compare_CompareResult as CompareResult,
  Compare_CompareTarget as CompareTarget,
  DeleteRangeResponseSchema,
  PutResponseSchema,
  ResponseHeaderSchema,
  ResponseOpSchema,
  TxnResponseSchema,
  type Compare,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RequestOp,
  type ResponseHeader,
  type ResponseOp,
  type TxnRequest,
  type TxnResponse,
} from '@holdfast/proto/etcd/rpc';
import {
  ConfigComparator,
  isOneKey,
  type ConfigComparison,
  type ConfigOperation,
  type ConfigTransaction,
  type DeleteOperation,
  type PutOperation,
} from '../../coordination/config-command.ts';
import {
  MAX_CONFIG_VALUE_BYTES,
  MAX_TRANSACTION_DEPTH,
  MAX_TRANSACTION_OPERATIONS,
} from '../../coordination/config-limits.ts';
import type {
  DeleteResult,
  OperationResult,
  PutResult,
  TransactionResult,
} from '../../coordination/config-outcome.ts';
import { checkPath } from '../config-transaction-messages.ts';
import { etcdError, invalid, leaseUnknown } from './etcd-error.ts';
import { keyValue, oneKey, rangeSpan } from './etcd-keys.ts';
import { EtcdRange, NO_KEYS } from './etcd-range.ts';
import type { ReadRange } from './etcd-reads.ts';

/** Errors: key, value or lease is provided, and those of a key. */
export function putOperation(request: PutRequest): PutOperation {
  const { value, lease, ignoreValue, ignoreLease, prevKv } = request;
  const key = oneKey(request.key);
  if (ignoreValue && value.byteLength > 0) throw invalid('value is provided', 'value');
  if (ignoreLease && lease !== 0n) throw invalid('lease is provided', 'lease');
  if (value.byteLength > MAX_CONFIG_VALUE_BYTES) throw invalid('request is too large', 'value');
  if (lease < 0n) throw leaseUnknown(lease);
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

export function putResponse(header: ResponseHeader, { previous }: PutResult): PutResponse {
  return create(PutResponseSchema, {
    header,
    ...(previous && { prevKv: keyValue(previous) }),
  });
}

export function deleteOperation({ key, rangeEnd, prevKv }: DeleteRangeRequest): DeleteOperation {
  const span = rangeSpan(key, rangeEnd) ?? NO_KEYS;
  return { case: 'delete', span, ifModRevision: undefined, returnPrevious: prevKv };
}

export function deleteResponse(
  header: ResponseHeader,
  { deleted, previous }: DeleteResult,
): DeleteRangeResponse {
  return create(DeleteRangeResponseSchema, {
    header,
    deleted: BigInt(deleted),
    prevKvs: previous.map((entry) => keyValue(entry)),
  });
}

/** A Txn: what it has the configuration do, and what its answer is made of. */
export class EtcdTransaction {
  readonly transaction: ConfigTransaction;
  /** Ranges as of former revisions: a transaction does not change them, so they are read by themselves. */
  readonly past = new Map<RangeRequest, EtcdRange>();
  readonly #request: TxnRequest;
  #operations = 0;

  /** Errors: too many operations in txn request, duplicate key given in txn request, and those of operations. */
  constructor(request: TxnRequest, maxOperations: number) {
    this.#request = request;
    this.transaction = this.#transaction(request, maxOperations, 1);
    try {
      checkPath(this.transaction, '');
    } catch (error) {
      throw etcdError(error);
    }
  }

  /** `past`: what was read of the ranges as of former revisions. */
  response(
    header: ResponseHeader,
    result: TransactionResult,
    past: ReadonlyMap<RangeRequest, ReadRange>,
  ): TxnResponse {
    return txnResponse(this.#request, header, result, {
      header: create(ResponseHeaderSchema, { revision: header.revision }),
      past,
    });
  }

  /** Those within another one may have as much fewer operations as that one has. */
  #transaction(request: TxnRequest, most: number, depth: number): ConfigTransaction {
    const { compare, success, failure } = request;
    const operations = Math.max(compare.length, success.length, failure.length);
    this.#operations += compare.length + success.length + failure.length;
    if (operations > most || this.#operations > MAX_TRANSACTION_OPERATIONS || depth > MAX_TRANSACTION_DEPTH)
      throw invalid('too many operations in txn request', 'success');
    const operation = (one: RequestOp) => this.#operation(one, most - operations, depth);
    return {
      comparisons: compare.map(comparisonOf),
      thenOperations: success.map(operation),
      elseOperations: failure.map(operation),
    };
  }

  #operation({ request }: RequestOp, most: number, depth: number): ConfigOperation {
    switch (request.case) {
      case 'requestRange':
        return this.#range(request.value);
      case 'requestPut':
        return putOperation(request.value);
      case 'requestDeleteRange':
        return deleteOperation(request.value);
      case 'requestTxn':
        return { case: 'transaction', transaction: this.#transaction(request.value, most, depth + 1) };
      default:
        throw invalid('key not found', 'request');
    }
  }

  #range(request: RangeRequest): ConfigOperation {
    const range = new EtcdRange(request);
    if (range.revision === 0) return { case: 'list', ...range.order };
    this.past.set(request, range);
    return { case: 'list', ...range.order, countOnly: true };
  }
}

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
  const isKey = isOneKey(span);
  return { span, isKey, ...(!isKey && { noneIsOne: true }), ...condition(comparator, targetOf(compare)) };
}

type Target =
  | { readonly case: 'version' | 'createRevision' | 'modRevision' | 'lease'; readonly value: bigint }
  | { readonly case: 'value'; readonly value: Uint8Array };

/** What is not given is zero or empty. */
function targetOf({ target, targetUnion }: Compare): Target {
  const given = targetUnion.value;
  const number = typeof given === 'bigint' ? given : 0n;
  switch (target) {
    case CompareTarget.VERSION:
      return { case: 'version', value: number };
    case CompareTarget.CREATE:
      return { case: 'createRevision', value: number };
    case CompareTarget.MOD:
      return { case: 'modRevision', value: number };
    case CompareTarget.LEASE:
      return { case: 'lease', value: number };
    case CompareTarget.VALUE:
      return { case: 'value', value: given instanceof Uint8Array ? given : new Uint8Array(0) };
    default:
      throw invalid('invalid comparison', 'target');
  }
}

const MOST = Number.MAX_SAFE_INTEGER;

/** With a number that none can be, the same of one that can: less than 0 is none, less than the greatest all. */
function condition(
  comparator: ConfigComparator,
  target: Target,
): Pick<ConfigComparison, 'comparator' | 'target'> {
  if (target.case === 'value') return { comparator, target };
  if (target.case === 'lease') return { comparator, target: { case: 'lease', value: target.value } };
  const { case: of, value } = target;
  if (value >= 0n && value < BigInt(MOST)) return { comparator, target: { case: of, value: Number(value) } };
  const beyond = value < 0n ? ConfigComparator.greater : ConfigComparator.less;
  const holds = comparator === beyond || comparator === ConfigComparator.notEqual;
  return { comparator: ConfigComparator.less, target: { case: of, value: holds ? MOST : 0 } };
}

/** What the parts of an answer are made with. */
interface Parts {
  /** Theirs, which says nothing but the revision. */
  readonly header: ResponseHeader;
  readonly past: ReadonlyMap<RangeRequest, ReadRange>;
}

function txnResponse(
  request: TxnRequest,
  header: ResponseHeader,
  { succeeded, results }: TransactionResult,
  parts: Parts,
): TxnResponse {
  const asked = succeeded ? request.success : request.failure;
  const responses = results.map((result, at) =>
    create(ResponseOpSchema, { response: responseOf(asked[at]!, result, parts) }),
  );
  return create(TxnResponseSchema, { header, succeeded, responses });
}

function responseOf({ request }: RequestOp, result: OperationResult, parts: Parts): ResponseOp['response'] {
  const { header } = parts;
  if (result.case === 'list' && request.case === 'requestRange') {
    const { entries, count } = parts.past.get(request.value) ?? result;
    const range = new EtcdRange(request.value);
    return { case: 'responseRange', value: range.response(header, entries, count ?? entries.length) };
  }
  if (result.case === 'put') return { case: 'responsePut', value: putResponse(header, result) };
  if (result.case === 'delete') return { case: 'responseDeleteRange', value: deleteResponse(header, result) };
  if (result.case === 'transaction' && request.case === 'requestTxn') {
    const none = create(ResponseHeaderSchema);
    return { case: 'responseTxn', value: txnResponse(request.value, none, result, parts) };
  }
  throw new Error('a result is not of its operation');
}
