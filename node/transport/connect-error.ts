/** Errors of ours as Connect and gRPC-web send them. */
import type { DescMethod } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { ConnectError, type Code } from '@connectrpc/connect';
import { HoldfastError } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import { StatusCode } from '@holdfast/client/reasons';
import { ErrorSchema } from '@holdfast/proto/error/v1/error';
import { ErrorInfoSchema, RetryInfoSchema } from '@holdfast/proto/google/rpc/error_details';
import { metadata } from './error-status.ts';
import { HttpRefusal } from './http-error.ts';

/** The same error as over gRPC, with the same details. */
export function connectError(error: HoldfastError): ConnectError {
  const { reason, retryAfterMs } = error;
  const details: ConstructorParameters<typeof ConnectError>[3] = [
    { desc: ErrorInfoSchema, value: { reason, domain: 'holdfast', metadata: metadata(error) } },
    { desc: ErrorSchema, value: errorToMessage(error) },
  ];
  if (retryAfterMs !== undefined)
    details.push({ desc: RetryInfoSchema, value: { retryDelay: durationFromMs(retryAfterMs) } });
  return new ConnectError(error.message, StatusCode[error.code] as Code, undefined, details);
}

/** The library refuses a Content-Type with a bare 415; this says which to send. */
export function unsupportedType({ methodKind, parent, name }: DescMethod): HttpRefusal {
  const type = methodKind === 'unary' ? 'application/json' : 'application/connect+json';
  const message = `${parent.typeName}/${name} does not take this Content-Type. Nothing was done; send ${type}, or another of Connect or gRPC-web.`;
  return new HttpRefusal(
    415,
    new HoldfastError({
      reason: 'CONTENT_TYPE_UNSUPPORTED',
      code: StatusCode.INVALID_ARGUMENT,
      message,
      outcome: 'NOT_APPLIED',
    }),
  );
}
