/** Errors of ours as the bytes of a google.rpc.Status, which every gRPC library reads. */
import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack, durationFromMs } from '@bufbuild/protobuf/wkt';
import type { HoldfastError } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import { StatusCode } from '@holdfast/client/reasons';
import { ErrorSchema } from '@holdfast/proto/error/v1/error';
import { ErrorInfoSchema, RetryInfoSchema } from '@holdfast/proto/google/rpc/error_details';
import { StatusSchema } from '@holdfast/proto/google/rpc/status';

/** The details of an error: ErrorInfo, holdfast.error.v1.Error, and RetryInfo with a hint. */
export function errorStatus(error: HoldfastError): Uint8Array {
  const details = [
    anyPack(
      ErrorInfoSchema,
      create(ErrorInfoSchema, { reason: error.reason, domain: 'holdfast', metadata: metadata(error) }),
    ),
    anyPack(ErrorSchema, errorToMessage(error)),
  ];
  if (error.retryAfterMs !== undefined) {
    details.push(
      anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(error.retryAfterMs) })),
    );
  }
  return toBinary(
    StatusSchema,
    create(StatusSchema, { code: StatusCode[error.code], message: error.message, details }),
  );
}

/** The facts of an error by name; only those that it has. */
export function metadata(error: HoldfastError): Record<string, string> {
  const { outcome, field, actual, limit, current, leader } = error;
  const facts = { outcome, field, actual, limit, current_version: current?.version.toString(), leader };
  return Object.fromEntries(
    Object.entries(facts).filter((fact): fact is [string, string] => fact[1] !== undefined && fact[1] !== ''),
  );
}
