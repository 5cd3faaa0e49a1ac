/** Answers to what is no HTTP request, is too large in its head, or comes too slowly. */
import type { Socket } from 'node:net';
import { HoldfastError } from '@holdfast/client/error';
import { StatusCode } from '@holdfast/client/reasons';
import { errorJson } from './http-error.ts';

const REFUSALS: Readonly<
  Record<string, { readonly status: string; readonly reason: string; readonly message: string }>
> = {
  HPE_HEADER_OVERFLOW: {
    status: '431 Request Header Fields Too Large',
    reason: 'HEADERS_TOO_LARGE',
    message: 'the head of the request is too large.',
  },
  HPE_INVALID_URL: {
    status: '400 Bad Request',
    reason: 'REQUEST_MALFORMED',
    message: 'the path has bytes that must be percent-encoded.',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: '408 Request Timeout',
    reason: 'REQUEST_TIMEOUT',
    message: 'the request did not come in time.',
  },
};
const GARBAGE = {
  status: '400 Bad Request',
  reason: 'REQUEST_MALFORMED',
  message: 'the bytes are no HTTP/1.1 request.',
};

/** Says what was wrong, unless an answer has begun into which it would fall, and closes the connection. */
export function answerGarbage(error: NodeJS.ErrnoException, socket: Socket, hasBegun: boolean): void {
  if (!socket.writable || hasBegun) {
    socket.destroy();
    return;
  }
  const { status, reason, message } = REFUSALS[error.code ?? ''] ?? GARBAGE;
  const body = JSON.stringify(
    errorJson(
      new HoldfastError({
        reason,
        code: StatusCode.INVALID_ARGUMENT,
        message: `${message} Nothing was done.`,
      }),
    ),
  );
  const head = [
    `HTTP/1.1 ${status}`,
    'Connection: close',
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
