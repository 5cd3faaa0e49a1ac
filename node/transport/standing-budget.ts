import { HoldfastError } from '@holdfast/client/error';
import type { ByteBudget } from '../services/handler.ts';

/**
 * Bytes that calls hold for as long as somebody watches, of all callers together. A part of the
 * node's budget at most: what nobody gives back must not keep out what is done in a moment.
 */
export class StandingBytes {
  readonly #limit: number;
  #held = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Charges these bytes and the caller's budget. */
  of(caller: ByteBudget): ByteBudget {
    const isFull = (bytes: number) => this.#held + bytes > this.#limit && this.#held > 0;
    let wasFull = false;
    return {
      tryTake: (bytes) => {
        wasFull = isFull(bytes);
        if (wasFull || !caller.tryTake(bytes)) return false;
        this.#held += bytes;
        return true;
      },
      give: (bytes) => {
        this.#held -= bytes;
        caller.give(bytes);
      },
      refusal: () => (wasFull ? this.#refusal() : caller.refusal()),
    };
  }

  #refusal(): HoldfastError {
    return new HoldfastError({
      reason: 'OVERLOADED',
      message: `watches hold ${this.#held} bytes of this node, limit ${this.#limit} (half of in_flight_bytes). Nothing was done; end watches, or watch at another node.`,
      outcome: 'NOT_APPLIED',
      actual: String(this.#held),
      limit: String(this.#limit),
      retryAfterMs: 1_000,
    });
  }
}
