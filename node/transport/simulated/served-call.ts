import type { DescMethod } from '@bufbuild/protobuf';
import type { HoldfastError } from '@holdfast/client/error';
import { StatusCode } from '@holdfast/client/reasons';
import { errorStatus } from '../error-status.ts';
import type { ConnectionEnd, Frame } from './simulated-connection.ts';

/** A call that is being served. */
export interface ServedCall {
  onFrame(frame: Frame): void;
  /** The connection is over. */
  onBroken(): void;
}

/** Path of a method in a call. */
export function methodPath(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** Ends a call with an error and its details. */
export function sendError(end: ConnectionEnd, stream: number, error: HoldfastError): void {
  const statusDetails = errorStatus(error);
  end.send({ kind: 'status', stream, code: StatusCode[error.code], details: error.message, statusDetails });
}
