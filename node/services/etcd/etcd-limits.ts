/** Bounds of etcd's API that cluster.yaml sets, as etcd's flags of these names do, and sizes of what is compared with them. */
import type { RequestOp, TxnRequest } from '@holdfast/proto/etcd/rpc';
import { invalid } from './etcd-error.ts';

export interface EtcdLimits {
  /** Comparisons, and operations of either branch, of a transaction with those around it. */
  readonly maxTxnOps: number;
  /** Bytes of one request that writes. */
  readonly maxRequestBytes: number;
}

/** Of cluster.yaml: what etcd has. */
export const DEFAULT_ETCD_LIMITS: EtcdLimits = { maxTxnOps: 128, maxRequestBytes: 1_572_864 };
/** What an operation takes besides its bytes, about. */
const OPERATION_BYTES = 16;

/** Error: request is too large. */
export function checkRequestBytes(bytes: number, { maxRequestBytes }: EtcdLimits): void {
  if (bytes > maxRequestBytes) throw invalid('request is too large', '');
}

/** Bytes of a transaction, without those of its frame. */
export function transactionBytes({ compare, success, failure }: TxnRequest): number {
  let bytes = 0;
  for (const { key, rangeEnd, targetUnion } of compare)
    bytes += bytesOf(key, rangeEnd, targetUnion.case === 'value' ? targetUnion.value : undefined);
  for (const { request } of [...success, ...failure]) bytes += operationBytes(request);
  return bytes;
}

export function bytesOf(...fields: readonly (Uint8Array | undefined)[]): number {
  return fields.reduce((sum, field) => sum + (field?.byteLength ?? 0), OPERATION_BYTES);
}

function operationBytes(request: RequestOp['request']): number {
  switch (request.case) {
    case 'requestPut':
      return bytesOf(request.value.key, request.value.value);
    case 'requestTxn':
      return transactionBytes(request.value);
    case undefined:
      return 0;
    default:
      return bytesOf(request.value.key, request.value.rangeEnd);
  }
}
