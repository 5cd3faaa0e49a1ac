import { create, fromBinary } from '@bufbuild/protobuf';
import {
  type Error as ErrorMessage,
  ErrorSchema,
  Outcome as OutcomeCode,
} from '@holdfast/proto/error/v1/error';
import { StatusSchema } from '@holdfast/proto/google/rpc/status';
import { HoldfastError, type Outcome } from './error.ts';
import { type Reason, StatusCode } from './reasons.ts';

// Between HoldfastError and what travels: the `holdfast.error.v1.Error` message, alone in
// pipelines and batches, as a detail of `grpc-status-details-bin` in unary calls.

/** Type URL of the detail that carries `holdfast.error.v1.Error`. */
export const ERROR_TYPE_URL = 'type.googleapis.com/holdfast.error.v1.Error';

/** The message that says what a HoldfastError says. */
export function errorToMessage(error: HoldfastError): ErrorMessage {
  const message = create(ErrorSchema, {
    code: StatusCode[error.code],
    reason: error.reason,
    message: error.message,
    outcome: outcomeToCode(error.outcome),
    field: error.field ?? '',
    actual: error.actual ?? '',
    limit: error.limit ?? '',
    retryAfterMs: error.retryAfterMs ?? 0,
    leader: error.leader ?? '',
  });
  if (error.current !== undefined) message.currentVersion = error.current.version;
  return message;
}

/** The HoldfastError that a message says. Reasons of newer nodes are kept. */
export function errorFromMessage(message: ErrorMessage, cause?: unknown): HoldfastError {
  return new HoldfastError({
    reason: message.reason === '' ? reasonOfCode(message.code) : message.reason,
    code: message.code,
    message: message.message,
    outcome: outcomeFromCode(message.outcome),
    field: message.field || undefined,
    actual: message.actual || undefined,
    limit: message.limit || undefined,
    retryAfterMs: message.retryAfterMs || undefined,
    currentVersion: message.currentVersion,
    leader: message.leader || undefined,
    cause,
  });
}

/** A failed gRPC call, as far as any gRPC library can tell of it. */
export interface GrpcFailure {
  /** gRPC status number. */
  code: number;
  /** Text of the status. */
  details: string;
  /** Content of the trailer `grpc-status-details-bin`. */
  statusDetails?: Uint8Array | undefined;
}

/** The HoldfastError of a failed gRPC call: its detail if it has one, else by status code. */
export function errorFromGrpc(failure: GrpcFailure, cause?: unknown): HoldfastError {
  const detail = findDetail(failure.statusDetails);
  if (detail !== undefined) return errorFromMessage(detail, cause);
  const reason = reasonOfCode(failure.code);
  return new HoldfastError({ reason, message: failure.details || reason, cause });
}

function findDetail(statusDetails: Uint8Array | undefined): ErrorMessage | undefined {
  if (statusDetails === undefined) return undefined;
  try {
    const any = fromBinary(StatusSchema, statusDetails).details.find((d) => d.typeUrl === ERROR_TYPE_URL);
    return any === undefined ? undefined : fromBinary(ErrorSchema, any.value);
  } catch {
    return undefined; // A proxy may answer with details of its own; the status code still counts.
  }
}

// A status without our detail was not made by a node's handlers but by a library or a
// proxy on the way, so nothing is known of the call. RESOURCE_EXHAUSTED, for instance,
// is then not OVERLOADED, which promises that nothing was done.
function reasonOfCode(code: number): Reason {
  switch (code) {
    case StatusCode.CANCELLED:
      return 'CANCELLED';
    case StatusCode.DEADLINE_EXCEEDED:
      return 'DEADLINE_EXCEEDED';
    case StatusCode.UNIMPLEMENTED:
      return 'UNIMPLEMENTED';
    case StatusCode.UNAVAILABLE:
      return 'UNAVAILABLE';
    case StatusCode.UNAUTHENTICATED:
      return 'UNAUTHENTICATED';
    case StatusCode.PERMISSION_DENIED:
      return 'PERMISSION_DENIED';
    default:
      return 'INTERNAL';
  }
}

function outcomeToCode(outcome: Outcome | undefined): OutcomeCode {
  if (outcome === undefined) return OutcomeCode.UNSPECIFIED;
  return outcome === 'NOT_APPLIED' ? OutcomeCode.NOT_APPLIED : OutcomeCode.UNKNOWN;
}

function outcomeFromCode(code: OutcomeCode): Outcome | undefined {
  if (code === OutcomeCode.UNSPECIFIED) return undefined;
  // An outcome that only a newer node knows is not known here.
  return code === OutcomeCode.NOT_APPLIED ? 'NOT_APPLIED' : 'UNKNOWN';
}
