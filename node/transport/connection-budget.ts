import { HoldfastError } from '@holdfast/client/error';
import type { ByteBudget } from '../services/handler.ts';

/**
 * Bytes of requests that one connection holds, against its own bound and the node's, and
 * of answers that it does not read. These count against its own bound alone: else a few
 * callers that never read could lock out everybody.
 */
export class ConnectionBudget implements ByteBudget {
  readonly #node: ByteBudget;
  readonly #limit: number;
  #bytes = 0;
  #answerBytes = 0;
  #isFull = false;

  constructor(node: ByteBudget, limit: number) {
    this.#node = node;
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  tryTake(bytes: number): boolean {
    // One request at a time goes through, however large: others bound what a request may be.
    const held = this.#bytes + this.#answerBytes;
    this.#isFull = held + bytes > this.#limit && held > 0;
    if (this.#isFull || !this.#node.tryTake(bytes)) return false;
    this.#bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
    this.#node.give(bytes);
  }

  /** Charges an answer that is to be sent; false: it does not fit. One goes through, however large. */
  tryAnswer(bytes: number): boolean {
    if (this.#answerBytes + bytes > this.#limit && this.#answerBytes > 0) return false;
    this.#answerBytes += bytes;
    return true;
  }

  /** An answer has left, or never will. */
  answered(bytes: number): void {
    this.#answerBytes -= bytes;
  }

  /** The error for an answer that did not fit; what was asked for may have been done. */
  unread(): HoldfastError {
    return new HoldfastError({
      reason: 'UNAVAILABLE',
      message: `answers of ${this.#answerBytes} bytes wait to be read on this connection, limit ${this.#limit} (connection_in_flight_bytes): this one was dropped`,
      actual: String(this.#answerBytes),
      limit: String(this.#limit),
      retryAfterMs: 100,
    });
  }

  refusal(): HoldfastError {
    if (!this.#isFull) return this.#node.refusal();
    return new HoldfastError({
      reason: 'OVERLOADED',
      message: `requests of ${this.#bytes} bytes and unread answers of ${this.#answerBytes} are on their way over this connection, limit ${this.#limit} (connection_in_flight_bytes). Nothing was done; wait for answers, or use several connections.`,
      outcome: 'NOT_APPLIED',
      actual: String(this.#bytes + this.#answerBytes),
      limit: String(this.#limit),
      retryAfterMs: 100,
    });
  }
}
