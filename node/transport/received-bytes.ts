/**
 * Bytes of one gRPC call that have arrived and that no handler has been given: grpc-js
 * keeps them until a message is whole, and of a call with one request until the caller has
 * ended it. Without a bound, a thousand streams with almost 16 MiB each could wait so.
 */
import type { ByteBudget } from '../services/handler.ts';

const HEAD_BYTES = 5;

export class ReceivedBytes {
  readonly #budget: ByteBudget;
  readonly #isStream: boolean;
  #held = 0;
  /** Of the message that is being received: bytes of its head so far, and what is left of its body. */
  #headBytes = 0;
  #bodyLeft = 0;
  #partial = 0;
  #isRefused = false;

  /** `isStream`: messages go to the handler one by one, and charge for themselves from then on. */
  constructor(budget: ByteBudget, isStream: boolean) {
    this.#budget = budget;
    this.#isStream = isStream;
  }

  /** Charges bytes that came in; false: they do not fit. */
  add(chunk: Uint8Array): boolean {
    if (this.#isRefused) return true; // the call is over: what still comes is dropped
    const held = this.#isStream ? this.#partialAfter(chunk) : this.#held + chunk.length;
    const more = held - this.#held;
    if (more > 0 && !this.#budget.tryTake(more)) {
      this.release();
      this.#isRefused = true;
      return false;
    }
    if (more < 0) this.#budget.give(-more);
    this.#held = held;
    return true;
  }

  /** The handler has it all, or nobody will: what was charged is given back. */
  release(): void {
    if (this.#held > 0) this.#budget.give(this.#held);
    this.#held = 0;
  }

  /** Bytes of the last message if it is not whole yet. */
  #partialAfter(chunk: Uint8Array): number {
    for (let at = 0; at < chunk.length;) {
      if (this.#headBytes < HEAD_BYTES) {
        // The first byte says whether it is compressed, four say how long it is.
        this.#bodyLeft = this.#headBytes === 0 ? 0 : this.#bodyLeft * 256 + chunk[at]!;
        this.#headBytes++;
        this.#partial++;
        at++;
      } else {
        const part = Math.min(this.#bodyLeft, chunk.length - at);
        this.#bodyLeft -= part;
        this.#partial += part;
        at += part;
      }
      if (this.#headBytes === HEAD_BYTES && this.#bodyLeft === 0) this.#headBytes = this.#partial = 0;
    }
    return this.#partial;
  }
}
