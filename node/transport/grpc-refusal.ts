/**
 * What grpc-js refuses by itself, before a handler sees anything, in the words and with the
 * details that all other errors have. A status that is not in the table is left as it is.
 */
import * as grpc from '@grpc/grpc-js';
import { HoldfastError, type HoldfastErrorInit } from '@holdfast/client/error';
import { StatusCode } from '@holdfast/client/reasons';
import { errorStatus } from './error-status.ts';

const DETAILS = 'grpc-status-details-bin';

interface Refusal extends Pick<HoldfastErrorInit, 'reason' | 'field'> {
  readonly code: grpc.status;
  readonly form: RegExp;
  /** The request never reached a handler. */
  readonly isBefore: boolean;
}

const REFUSALS: readonly Refusal[] = [
  { code: 8, form: /larger than/, reason: 'MESSAGE_TOO_LARGE', isBefore: true },
  { code: 13, form: /decompress/, reason: 'MESSAGE_MALFORMED', isBefore: true },
  { code: 13, form: /grpc-timeout/, reason: 'INVALID_FIELD', field: 'grpc-timeout', isBefore: true },
  { code: 12, form: /no request message|second request/, reason: 'MESSAGE_MALFORMED', isBefore: true },
  { code: 12, form: /unsupported encoding/, reason: 'UNIMPLEMENTED', isBefore: true },
  // Here a handler may well be at work.
  { code: 4, form: /^Deadline exceeded$/, reason: 'DEADLINE_EXCEEDED', isBefore: false },
];

/** The status with our details, or the same status. `isStream`: earlier messages may have been handled. */
export function withReason(status: grpc.StatusObject, isStream: boolean): grpc.StatusObject {
  if (status.code === grpc.status.OK || hasDetails(status)) return status;
  const refusal = REFUSALS.find(({ code, form }) => code === status.code && form.test(status.details));
  if (refusal === undefined) return status;
  const { reason, field, isBefore } = refusal;
  const nothingDone = isBefore && !isStream;
  const message = `${status.details}.${nothingDone ? ' Nothing was done.' : ''}`;
  return refusalStatus(
    new HoldfastError({ reason, field, message, outcome: nothingDone ? 'NOT_APPLIED' : undefined }),
  );
}

/**
 * A refusal of bytes that cuts a whole stream: messages before them may have been handled,
 * so it is not one that says that nothing was done.
 */
export function streamCut(refusal: HoldfastError): HoldfastError {
  const { message, actual, limit, retryAfterMs } = refusal;
  return new HoldfastError({
    reason: 'UNAVAILABLE', // OVERLOADED would mean that everything may be sent again
    message: `${message.replace(/\. Nothing was done.*$/s, '')}: the stream was cut, and calls that have no answer may have been applied`,
    actual,
    limit,
    retryAfterMs,
  });
}

/** A request has been on its way for too long. */
export function receivedTooSlowly(ms: number, isStream: boolean): HoldfastError {
  const message = `a message did not arrive whole within ${ms / 1_000} s`;
  return new HoldfastError({
    reason: isStream ? 'UNAVAILABLE' : 'DEADLINE_EXCEEDED',
    message: isStream
      ? `${message}: the stream was cut, and calls that have no answer may have been applied`
      : `${message}. Nothing was done.`,
    outcome: isStream ? undefined : 'NOT_APPLIED',
  });
}

/** The caller of a stream has not taken an answer for too long. */
export function sentTooSlowly(ms: number): HoldfastError {
  return new HoldfastError({
    reason: 'UNAVAILABLE',
    message: `an answer was not read within ${ms / 1_000} s: the stream was cut, and calls that have no answer may have been applied`,
  });
}

/** An error as grpc-js sends it. */
export function refusalStatus(error: HoldfastError): grpc.StatusObject {
  const metadata = new grpc.Metadata();
  metadata.set(DETAILS, Buffer.from(errorStatus(error)));
  return { code: StatusCode[error.code] as grpc.status, details: error.message, metadata };
}

/** An error as the headers of an answer that has nothing else. */
export function refusalHeaders(error: HoldfastError): Record<string, string | number> {
  return {
    ':status': 200,
    'content-type': 'application/grpc+proto',
    'grpc-status': StatusCode[error.code],
    'grpc-message': encodeURI(error.message),
    [DETAILS]: Buffer.from(errorStatus(error)).toString('base64'),
  };
}

/** The method is not one of ours. */
export function methodUnknown(path: string): HoldfastError {
  return new HoldfastError({
    reason: 'UNIMPLEMENTED',
    message: `there is no method ${path.slice(0, 200)} on this port. Nothing was done.`,
    outcome: 'NOT_APPLIED',
  });
}

function hasDetails({ metadata }: grpc.StatusObject): boolean {
  return metadata !== null && metadata !== undefined && metadata.get(DETAILS).length > 0;
}
