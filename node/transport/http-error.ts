/** Errors of ours as HTTP statuses and JSON, for callers of the plain resources. */
import type { OutgoingHttpHeaders } from 'node:http';
import { HoldfastError } from '@holdfast/client/error';
import { StatusCode, type StatusName } from '@holdfast/client/reasons';

const STATUSES: Readonly<Record<StatusName, number>> = {
  INVALID_ARGUMENT: 400,
  OUT_OF_RANGE: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  ABORTED: 409,
  FAILED_PRECONDITION: 409,
  RESOURCE_EXHAUSTED: 429,
  CANCELLED: 499,
  UNKNOWN: 500,
  INTERNAL: 500,
  DATA_LOSS: 500,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
};

/** Statuses that ask to come back later. */
const LATER: ReadonlySet<number> = new Set([429, 503, 507]);

/** A refusal that HTTP alone knows, with a status of its own: no route, wrong method, too long a body. */
export class HttpRefusal extends Error {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly error: HoldfastError;

  constructor(status: number, error: HoldfastError, headers: OutgoingHttpHeaders = {}) {
    super(error.message);
    this.status = status;
    this.error = error;
    this.headers = headers;
  }
}

/** Which conditional headers a request has: they make a conflict a failed precondition. */
export interface Conditions {
  readonly ifMatch: boolean;
  readonly ifNoneMatch: boolean;
}

/** The HTTP status of an error. */
export function httpStatus(error: HoldfastError, conditions: Conditions): number {
  if (error.code === 'ALREADY_EXISTS' && conditions.ifNoneMatch) return 412;
  if (error.code === 'ABORTED' && (conditions.ifMatch || conditions.ifNoneMatch)) return 412;
  // Waiting a moment, as 429 asks, does not bring disk space back.
  if (error.reason === 'DISK_LOW') return 507;
  return STATUSES[error.code];
}

/** Headers that belong to an error. */
export function errorHeaders(error: HoldfastError, status: number): OutgoingHttpHeaders {
  if (!LATER.has(status)) return {};
  return { 'Retry-After': String(Math.max(1, Math.ceil((error.retryAfterMs ?? 0) / 1_000))) };
}

/** What an error says, as JSON; facts that it does not have are absent. */
export function errorJson(error: HoldfastError): { readonly error: Readonly<Record<string, string>> } {
  const { reason, code, message, outcome, field, actual, limit, current } = error;
  const facts = {
    reason,
    code,
    message,
    outcome,
    field,
    actual,
    limit,
    current_version: current?.version.toString(),
  };
  const present = Object.entries(facts).filter(
    (fact): fact is [string, string] => fact[1] !== undefined && fact[1] !== '',
  );
  return { error: Object.fromEntries(present) };
}

/** A request that cannot be understood. Nothing was done. */
export function malformed(field: string, message: string, actual = '', limit = ''): HoldfastError {
  return new HoldfastError({
    reason: 'INVALID_FIELD',
    message: `${message} Nothing was done.`,
    outcome: 'NOT_APPLIED',
    field,
    actual,
    limit,
  });
}

/** There is nothing under this path. */
export function routeUnknown(path: string, routes: string): HttpRefusal {
  const message = `there is nothing at ${path.slice(0, 200)}. There is: ${routes}`;
  return new HttpRefusal(
    404,
    new HoldfastError({ reason: 'ROUTE_UNKNOWN', code: StatusCode.NOT_FOUND, message }),
  );
}

/** The path knows other methods. */
export function methodNotAllowed(method: string, allow: string): HttpRefusal {
  const message = `${method} does nothing here; allowed are ${allow}.`;
  const error = new HoldfastError({ reason: 'METHOD_NOT_ALLOWED', code: StatusCode.UNIMPLEMENTED, message });
  return new HttpRefusal(405, error, { Allow: allow });
}
