/** Messages of leases, locks and elections to what features take, checked; and back. */
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { LeaderSchema, type Leader } from '@holdfast/proto/election/v1/election';
import type { Sequence } from '@holdfast/proto/kv/v1/kv';
import { HolderSchema, LockMode, type Holder } from '@holdfast/proto/lock/v1/lock';
import type { WriteIdentity } from '../coordination/coordination-command.ts';
import { MAX_LEASE } from '../coordination/lease-table.ts';
import {
  DEFAULT_LEASE_TTL_MS,
  MAX_LEASE_NAME_BYTES,
  MAX_LEASE_TTL_MS,
  MAX_NAME_BYTES,
  MAX_PERMITS,
  MAX_REQUEST_ID_BYTES,
  MAX_SAID_VALUE_BYTES,
  MIN_LEASE_TTL_MS,
} from '../coordination/session-command.ts';
import type { SessionState } from '../coordination/session-state.ts';
import { HoldMode, type Place } from '../coordination/wait-queue.ts';
import { refuse } from '../kv/limits.ts';
import { binaryBytes, binaryString } from '../storage/row-key.ts';
import { safeInteger, writeIdentity } from './kv-messages.ts';

/** Leases of one KeepAlive. */
export const MAX_KEPT_LEASES = 10_000;
const NOTHING = 'Nothing was done.';

/** A number of a lease that has to be one. Error: INVALID_FIELD. */
export function leaseNumber(lease: bigint, field: string): bigint {
  if (lease >= 1n && lease <= MAX_LEASE) return lease;
  const message = `${field} is ${lease}, leases have numbers from 1 to ${MAX_LEASE}. ${NOTHING}`;
  throw refuse('INVALID_FIELD', field, message, String(lease), `1..${MAX_LEASE}`);
}

/** Error: TTL_OUT_OF_RANGE. */
export function leaseTtlMs(ttlMs: bigint | undefined): number {
  if (ttlMs === undefined) return DEFAULT_LEASE_TTL_MS;
  if (ttlMs >= BigInt(MIN_LEASE_TTL_MS) && ttlMs <= BigInt(MAX_LEASE_TTL_MS)) return Number(ttlMs);
  const range = `${MIN_LEASE_TTL_MS}..${MAX_LEASE_TTL_MS}`;
  const message = `ttl_ms is ${ttlMs}, a lease lives ${MIN_LEASE_TTL_MS} to ${MAX_LEASE_TTL_MS} ms (1 s to 24 h). ${NOTHING}`;
  throw refuse('TTL_OUT_OF_RANGE', 'ttl_ms', message, String(ttlMs), range);
}

/** Error: INVALID_FIELD. */
export function leaseName(name: string): string {
  const length = Buffer.byteLength(name);
  if (length <= MAX_LEASE_NAME_BYTES) return name;
  const message = `name is ${length} bytes, limit ${MAX_LEASE_NAME_BYTES}. ${NOTHING}`;
  throw refuse('INVALID_FIELD', 'name', message, String(length), String(MAX_LEASE_NAME_BYTES));
}

/** Errors: BATCH_EMPTY, BATCH_TOO_LARGE, INVALID_FIELD. */
export function keptLeases(leases: readonly bigint[]): readonly bigint[] {
  const range = `1..${MAX_KEPT_LEASES}`;
  if (leases.length === 0) throw refuse('BATCH_EMPTY', 'leases', `leases is empty. ${NOTHING}`, '0', range);
  if (leases.length > MAX_KEPT_LEASES) {
    const message = `${leases.length} leases are to be kept alive, limit ${MAX_KEPT_LEASES}. ${NOTHING} Send them in parts.`;
    throw refuse('BATCH_TOO_LARGE', 'leases', message, String(leases.length), range);
  }
  for (const lease of leases) leaseNumber(lease, 'leases');
  return leases;
}

/** A lock's or an election's name as it stands in rows. Error: LOCK_NAME_INVALID. */
export function queueName(name: string, field: 'lock' | 'election'): string {
  const bytes = Buffer.from(name);
  if (bytes.length >= 1 && bytes.length <= MAX_NAME_BYTES) return binaryString(bytes);
  const message = `the name of the ${field} is ${bytes.length} bytes, allowed are 1 to ${MAX_NAME_BYTES}. ${NOTHING}`;
  throw refuse('LOCK_NAME_INVALID', field, message, String(bytes.length), `1..${MAX_NAME_BYTES}`);
}

/** The beginning of names, as it stands in rows; may be empty. Error: LOCK_NAME_INVALID. */
export function namePart(part: string, field: string): string {
  const bytes = Buffer.from(part);
  if (bytes.length <= MAX_NAME_BYTES) return binaryString(bytes);
  const message = `${field} is ${bytes.length} bytes, names have at most ${MAX_NAME_BYTES}. ${NOTHING}`;
  throw refuse('LOCK_NAME_INVALID', field, message, String(bytes.length), String(MAX_NAME_BYTES));
}

/** A name as people write it. */
export function shownName(name: string): string {
  return binaryBytes(name).toString();
}

/** Error: INVALID_FIELD. */
export function requestId(id: Uint8Array): string {
  if (id.byteLength >= 1 && id.byteLength <= MAX_REQUEST_ID_BYTES) return binaryString(id);
  const message = `request_id is ${id.byteLength} bytes, allowed are 1 to ${MAX_REQUEST_ID_BYTES}; it is different for each Acquire. ${NOTHING}`;
  throw refuse('INVALID_FIELD', 'request_id', message, String(id.byteLength), `1..${MAX_REQUEST_ID_BYTES}`);
}

/** How a lock is asked for. Error: INVALID_FIELD. */
export function holdMode(mode: LockMode, permits: number): { mode: HoldMode; permits: number } {
  if (mode === LockMode.SEMAPHORE) {
    if (permits >= 1 && permits <= MAX_PERMITS) return { mode: HoldMode.semaphore, permits };
    const message = `permits is ${permits}, a semaphore has 1 to ${MAX_PERMITS}. ${NOTHING}`;
    throw refuse('INVALID_FIELD', 'permits', message, String(permits), `1..${MAX_PERMITS}`);
  }
  if (permits !== 0) {
    const message = `permits is ${permits}, but the mode is not SEMAPHORE: leave it out. ${NOTHING}`;
    throw refuse('INVALID_FIELD', 'permits', message, String(permits), '0');
  }
  if (mode === LockMode.SHARED) return { mode: HoldMode.shared, permits: 0 };
  if (mode === LockMode.EXCLUSIVE || mode === LockMode.UNSPECIFIED)
    return { mode: HoldMode.exclusive, permits: 0 };
  const given = String(mode);
  throw refuse('INVALID_FIELD', 'mode', `mode ${given} is not known. ${NOTHING}`, given, '0..3');
}

/** What a candidate says. Error: VALUE_TOO_LARGE. */
export function saidValue(value: Uint8Array): Uint8Array {
  if (value.byteLength <= MAX_SAID_VALUE_BYTES) return value;
  const message = `value is ${value.byteLength} bytes, limit ${MAX_SAID_VALUE_BYTES}. ${NOTHING}`;
  throw refuse('VALUE_TOO_LARGE', 'value', message, String(value.byteLength), String(MAX_SAID_VALUE_BYTES));
}

/** A token that somebody was given; `isOptional`: 0 stands for none. Error: INVALID_FIELD. */
export function fencingToken(token: bigint, isOptional: boolean): number {
  if (token !== 0n || isOptional) return safeInteger(token, 'token');
  throw refuse('INVALID_FIELD', 'token', `token is 0, tokens are greater. ${NOTHING}`, '0', '1..');
}

/** Undefined: until the deadline. */
export function waitMs(wait: bigint | undefined): number | undefined {
  return wait === undefined ? undefined : Number(wait);
}

/** Identity of a call that is safe to send again. Error: INVALID_FIELD. */
export function sequenceIdentity(sequence: Sequence | undefined): WriteIdentity | undefined {
  if (sequence === undefined) return undefined;
  const { clientId, sequence: number, ackedBelow, open } = sequence;
  return writeIdentity(clientId, Number(number), Number(ackedBelow), open);
}

/** Greatest number of a list. Error: COUNT_OUT_OF_RANGE. */
export function listLimit(limit: number, most: number): number {
  if (limit <= most) return limit === 0 ? most : limit;
  const message = `limit is ${limit}, at most ${most} are listed at once. Nothing was read.`;
  throw refuse('COUNT_OUT_OF_RANGE', 'limit', message, String(limit), String(most));
}

const MODES: Readonly<Record<HoldMode, LockMode>> = {
  [HoldMode.exclusive]: LockMode.EXCLUSIVE,
  [HoldMode.shared]: LockMode.SHARED,
  [HoldMode.semaphore]: LockMode.SEMAPHORE,
};

export function holderMessage({ leases }: SessionState, place: Place): Holder {
  const { session, token, mode, requests } = place;
  return create(HolderSchema, {
    session,
    name: leases.get(session)?.name ?? '',
    token: BigInt(token),
    mode: MODES[mode],
    holds: requests.size,
  });
}

export function leaderMessage({ leases }: SessionState, place: Place | undefined): Leader | undefined {
  if (place === undefined) return undefined;
  const { session, token, said, saidAt } = place;
  return create(LeaderSchema, {
    session,
    name: leases.get(session)?.name ?? '',
    token: BigInt(token),
    value: said as Uint8Array<ArrayBuffer>,
    revision: BigInt(saidAt),
  });
}

/** Only defects make an outcome of another kind. */
export function unexpected(outcome: { readonly case: string }): HoldfastError {
  const message = `the state machine answered "${outcome.case}". What was asked for may have been done.`;
  return new HoldfastError({ reason: 'INTERNAL', message, outcome: 'UNKNOWN' });
}
