/**
 * Errors as etcd's clients know them: they compare status and text. The stable reason travels
 * in the details, as with all other calls.
 */
import { HoldfastError, type HoldfastErrorInit } from '@holdfast/client/error';
import { StatusCode, type StatusName } from '@holdfast/client/reasons';
import { asHoldfastError } from '../kv-messages.ts';
import { AUTH_TEXTS } from './etcd-auth-texts.ts';

/** A status and text of etcd's. */
export type Text = readonly [code: StatusName, text: string];

/** Texts of what has a reason here. */
const TEXTS: Readonly<Record<string, Text>> = {
  KEY_EMPTY: ['INVALID_ARGUMENT', 'key is not provided'],
  KEY_UNKNOWN: ['INVALID_ARGUMENT', 'key not found'],
  DUPLICATE_KEY: ['INVALID_ARGUMENT', 'duplicate key given in txn request'],
  BATCH_TOO_LARGE: ['INVALID_ARGUMENT', 'too many operations in txn request'],
  VALUE_TOO_LARGE: ['INVALID_ARGUMENT', 'request is too large'],
  REVISION_COMPACTED: ['OUT_OF_RANGE', 'mvcc: required revision has been compacted'],
  REVISION_FUTURE: ['OUT_OF_RANGE', 'mvcc: required revision is a future revision'],
  LEASE_UNKNOWN: ['NOT_FOUND', 'requested lease not found'],
  LEASE_EXISTS: ['FAILED_PRECONDITION', 'lease already exists'],
  TTL_OUT_OF_RANGE: ['OUT_OF_RANGE', 'too large lease TTL'],
  QUOTA_REACHED: ['RESOURCE_EXHAUSTED', 'mvcc: database space exceeded'],
  ...AUTH_TEXTS,
  DISK_FULL: ['RESOURCE_EXHAUSTED', 'mvcc: database space exceeded'],
  OVERLOADED: ['RESOURCE_EXHAUSTED', 'too many requests'],
  NO_LEADER: ['UNAVAILABLE', 'no leader'],
  NOT_LEADER: ['UNAVAILABLE', 'leader changed'],
  DEADLINE_EXCEEDED: ['UNAVAILABLE', 'request timed out'],
  SHUTTING_DOWN: ['UNAVAILABLE', 'server stopped'],
};

/** An error whose text is what it is: without its reason in brackets. */
export class EtcdError extends HoldfastError {
  /** `speaker`: what the text begins with. */
  constructor(init: HoldfastErrorInit, code: StatusName, text: string, speaker = 'etcdserver: ') {
    super({ ...init, message: text });
    this.message = `${speaker}${text}`;
    Object.defineProperty(this, 'code', { value: code, enumerable: true });
  }
}

/** What a request is refused for that has no reason of its own. */
export function invalid(text: string, field: string): EtcdError {
  return new EtcdError({ reason: 'INVALID_FIELD', message: text, field }, 'INVALID_ARGUMENT', text);
}

/** Leases have positive numbers: what has another one is none. */
export function leaseUnknown(lease: bigint): EtcdError {
  const text = 'requested lease not found';
  return new EtcdError(
    { reason: 'LEASE_UNKNOWN', message: text, field: 'lease', actual: String(lease) },
    'NOT_FOUND',
    text,
  );
}

/** What etcd's server passes on as its libraries say it: without a status of its own. */
export function unnamed(reason: string, text: string): EtcdError {
  return new EtcdError({ reason, message: text, outcome: 'NOT_APPLIED' }, 'UNKNOWN', text, '');
}

/** The same error, as etcd says it. */
export function etcdError(error: unknown): HoldfastError {
  if (error instanceof EtcdError) return error;
  const known = asHoldfastError(error);
  const text = TEXTS[known.reason];
  if (text === undefined) return known;
  const { reason, message, outcome, field, actual, limit, retryAfterMs, leader } = known;
  const init = { reason, message, outcome, field, actual, limit, retryAfterMs, leader, cause: known };
  return new EtcdError({ ...init, code: StatusCode[known.code] }, ...text);
}

/** The same, but a defect stays what it is, so that whoever answers the call notes it. */
export function toldAsEtcd(error: unknown): unknown {
  return error instanceof HoldfastError ? etcdError(error) : error;
}

/** Has what fails fail as etcd says it. */
export async function asEtcd<T>(work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toldAsEtcd(error);
  }
}
