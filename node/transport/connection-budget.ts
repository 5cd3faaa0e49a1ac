import { HoldfastError } from '@holdfast/client/error';
import type { ByteBudget } from '../services/handler.ts';

/** Bytes of requests that one connection holds, against its own bound and the node's. */
export class ConnectionBudget implements ByteBudget {
  readonly #node: ByteBudget;
  readonly #limit: number;
  #bytes = 0;
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
    this.#isFull = this.#bytes + bytes > this.#limit && this.#bytes > 0;
    if (this.#isFull || !this.#node.tryTake(bytes)) return false;
    this.#bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
    this.#node.give(bytes);
  }

  refusal(): HoldfastError {
    if (!this.#isFull) return this.#node.refusal();
    return new HoldfastError({
      reason: 'OVERLOADED',
      message: `requests of ${this.#bytes} bytes are on their way over this connection, limit ${this.#limit} (connection_in_flight_bytes). Nothing was done; wait for answers, or use several connections.`,
      outcome: 'NOT_APPLIED',
      actual: String(this.#bytes),
      limit: String(this.#limit),
      retryAfterMs: 100,
    });
  }
}
