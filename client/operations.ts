import type { MessageInitShape } from '@bufbuild/protobuf';
import type { MutationSchema } from '@holdfast/proto/kv/v1/kv';
import { ttlMs } from './duration.ts';
import type { BatchOperation, Fence, PutOptions } from './keyspace-options.ts';
import { encodeFence, encodeMutation, encodePut } from './pipeline-codec.ts';
import { integer64, invalid, type Key, keyBytes, type Value, valueBytes } from './values.ts';

/** An operation of a pipeline call: the key, for its hash, and the encoded bytes. */
export interface EncodedOperation {
  key: Uint8Array;
  operation: Uint8Array;
  /** Any replica may answer. */
  isStale?: boolean;
}

/** Message of a mutation. */
export type MutationInit = MessageInitShape<typeof MutationSchema>;

/** Encodes a put in the mode its conditions ask for. */
export function putOperation(key: Key, value: Value, options: PutOptions): EncodedOperation {
  const raw = keyBytes(key);
  const bytes = valueBytes(value);
  const { ifVersion, ifValue, ifAbsent } = options;
  const conditions =
    Number(ifVersion !== undefined) + Number(ifValue !== undefined) + Number(ifAbsent === true);
  if (conditions > 1) throw invalid('ifVersion', 'only one of ifVersion, ifValue and ifAbsent may be given');
  const ttl = ttlMs(options.ttl);
  if (ifVersion === undefined && ifValue === undefined) {
    const operation = encodePut(ifAbsent === true ? 'create' : 'put', raw, bytes, ttl ?? 0);
    return fenced({ key: raw, operation }, options.fence);
  }
  const expected =
    ifVersion !== undefined
      ? { case: 'expectedVersion' as const, value: integer64(ifVersion, 'ifVersion', false) }
      : { case: 'expectedValue' as const, value: valueBytes(ifValue!) };
  const compareAndSet = { expected, value: bytes, ...withTtl(ttl) };
  return encoded({ key: raw, operation: { case: 'compareAndSet', value: compareAndSet } }, options.fence);
}

/** Encodes an increment or delete. */
export function encoded(
  mutation: MutationInit & { key: Uint8Array },
  fence: Fence | undefined,
): EncodedOperation {
  return fenced({ key: mutation.key, operation: encodeMutation(mutation) }, fence);
}

/** Mutation of an increment. */
export function incrementMutation(
  key: Key,
  delta: bigint | number,
  ttl: number | undefined,
): MutationInit & { key: Uint8Array } {
  const value = { delta: integer64(delta, 'delta', true), ...withTtl(ttl) };
  return { key: keyBytes(key), operation: { case: 'increment', value } };
}

/** Mutation of a delete. */
export function deleteMutation(
  key: Key,
  ifVersion: bigint | number | undefined,
): MutationInit & { key: Uint8Array } {
  const value = ifVersion === undefined ? {} : { expectedVersion: integer64(ifVersion, 'ifVersion', false) };
  return { key: keyBytes(key), operation: { case: 'delete', value } };
}

/** Encodes a write of a batch. */
export function batchOperation(write: BatchOperation, fence: Fence | undefined): EncodedOperation {
  if ('put' in write) return putOperation(write.put, write.value, { ...write, fence });
  if ('create' in write) {
    return putOperation(write.create, write.value, { ttl: write.ttl, ifAbsent: true, fence });
  }
  if ('increment' in write) {
    return encoded(incrementMutation(write.increment, write.delta ?? 1n, ttlMs(write.ttl)), fence);
  }
  return encoded(deleteMutation(write.delete, write.ifVersion), fence);
}

/** `ttlMs` of a message, or nothing. */
export function withTtl(ttl: number | undefined): { ttlMs?: bigint } {
  return ttl === undefined ? {} : { ttlMs: BigInt(ttl) };
}

function fenced(encodedOperation: EncodedOperation, fence: Fence | undefined): EncodedOperation {
  if (fence === undefined) return encodedOperation;
  const token = integer64(fence.token, 'fence.token', false);
  const operation = encodeFence(encodedOperation.operation, fence.name, token);
  return { key: encodedOperation.key, operation };
}
