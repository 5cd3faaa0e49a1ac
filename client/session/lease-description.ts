import { LeaseService } from '@holdfast/proto/lease/v1/lease';
import { callCoordinator } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { keyOfBytes } from '../key-text.ts';
import type { CallOptions } from '../keyspace-options.ts';
import type { Key } from '../values.ts';

/** What a lease is at. */
export interface LeaseDescription {
  readonly id: bigint;
  /** As it was granted, in milliseconds. */
  readonly ttlMs: number;
  /** Left, in milliseconds, by the node that leads. */
  readonly remainingMs: number;
  /** As it was granted. */
  readonly name: string;
  /** With `withKeys`: the keys that end with it, at most 4,096. */
  readonly keys: Key[];
  /** Locks that it holds or waits for. */
  readonly locks: string[];
  /** Elections that it leads or is a candidate in. */
  readonly elections: string[];
}

/** What the cluster says of a lease. Error: LEASE_UNKNOWN. */
export async function describeLease(
  core: ClientCore,
  lease: bigint,
  options: CallOptions & { withKeys?: boolean },
): Promise<LeaseDescription> {
  const request = { lease, withKeys: options.withKeys ?? false };
  const answer = await callCoordinator(core, LeaseService.method.describe, request, options);
  return {
    id: answer.lease,
    ttlMs: Number(answer.ttlMs),
    remainingMs: Number(answer.remainingMs),
    name: answer.name,
    keys: answer.keys.map(keyOfBytes),
    locks: answer.locks,
    elections: answer.elections,
  };
}
