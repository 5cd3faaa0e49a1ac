/**
 * Reads request bodies within two bounds: one body's size, and all bodies that are being
 * received together. The second is needed because a call is admitted by its bytes only
 * once they are here; without it many slow uploads could fill the memory before.
 */
import type { IncomingMessage } from 'node:http';
import { HoldfastError } from '@holdfast/client/error';
import { StatusCode } from '@holdfast/client/reasons';
import { HttpRefusal } from './http-error.ts';

/** Largest body: a full batch and its frame, as over gRPC. */
export const MAX_BODY_BYTES = 16 * 1024 * 1024;

export class BodyReader {
  readonly #limitBytes: number;
  #bufferedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Whether a request announces more than one body may have. */
  static announcesTooMuch(request: IncomingMessage): boolean {
    return Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES;
  }

  /** The whole body. Errors: 413; OVERLOADED; CANCELLED when the caller leaves. */
  async read(request: IncomingMessage): Promise<Buffer> {
    if (BodyReader.announcesTooMuch(request)) throw tooLarge();
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of this.chunks(request)) {
      bytes += chunk.length;
      if (bytes > MAX_BODY_BYTES) throw tooLarge();
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, bytes);
  }

  /** The body as it comes, counted until it has come whole. Errors: OVERLOADED, CANCELLED. */
  async *chunks(request: IncomingMessage): AsyncGenerator<Buffer> {
    let taken = 0;
    try {
      // Leaving early must not destroy the request: its connection still carries the answer.
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        if (this.#bufferedBytes + chunk.length > this.#limitBytes) throw this.#overloaded();
        taken += chunk.length;
        this.#bufferedBytes += chunk.length;
        yield chunk;
      }
    } catch (error) {
      throw request.destroyed && !(error instanceof HoldfastError) ? left(error) : error;
    } finally {
      this.#bufferedBytes -= taken;
      request.resume(); // what is still to come is thrown away, or the answer would never be read
    }
  }

  #overloaded(): HoldfastError {
    return new HoldfastError({
      reason: 'OVERLOADED',
      message: `request bodies of ${this.#bufferedBytes} bytes are being received, limit ${this.#limitBytes}. Nothing was done; try again later.`,
      outcome: 'NOT_APPLIED',
      limit: String(this.#limitBytes),
      retryAfterMs: 1_000,
    });
  }
}

function tooLarge(): HttpRefusal {
  const error = new HoldfastError({
    reason: 'BODY_TOO_LARGE',
    code: StatusCode.INVALID_ARGUMENT,
    message: `the body is longer than ${MAX_BODY_BYTES} bytes, which is the limit. Nothing was done.`,
    outcome: 'NOT_APPLIED',
    limit: String(MAX_BODY_BYTES),
  });
  return new HttpRefusal(413, error);
}

function left(cause: unknown): HoldfastError {
  return new HoldfastError({
    reason: 'CANCELLED',
    message: 'the caller left before its request was complete. Nothing was done.',
    outcome: 'NOT_APPLIED',
    cause,
  });
}
