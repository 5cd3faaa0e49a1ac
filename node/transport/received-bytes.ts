/**
 * Bytes of one gRPC call that have arrived and that no handler has been given: grpc-js
 * keeps them until a message is whole, of a call with one request until the caller has
 * ended it, and of a stream until its handler reads on. Without a bound, a thousand
 * streams with 16 messages of 16 MiB each could wait so.
 */
import type { ByteBudget } from '../services/handler.ts';
import { StallCount } from './stall-count.ts';

const HEAD_BYTES = 5;

export class ReceivedBytes {
  readonly #budget: ByteBudget;
  readonly #isStream: boolean;
  #held = 0;
  /** Sizes of the messages that are whole and not handed over, in order. */
  readonly #whole: number[] = [];
  /** Of the message that is being received: bytes of its head so far, all bytes, and what is left of its body. */
  #headBytes = 0;
  #partial = 0;
  #bodyLeft = 0;
  #isRefused = false;
  /** Messages that have ended. */
  #ended = 0;
  readonly #stall = new StallCount();

  /** `isStream`: messages go to the handler one by one, and charge for themselves from then on. */
  constructor(budget: ByteBudget, isStream: boolean) {
    this.#budget = budget;
    this.#isStream = isStream;
  }

  /** Charges bytes that came in; false: they do not fit. */
  add(chunk: Uint8Array): boolean {
    if (this.#isRefused) return true; // the call is over: what still comes is dropped
    if (!this.#budget.tryTake(chunk.length)) {
      this.refuse();
      return false;
    }
    this.#held += chunk.length;
    if (this.#isStream) this.#findMessages(chunk);
    return true;
  }

  /** The handler of a stream is given the next message. */
  handOver(): void {
    const bytes = this.#whole.shift();
    if (bytes === undefined) return; // given back already
    this.#held -= bytes;
    this.#budget.give(bytes);
  }

  /** The handler has it all, or nobody will: what was charged is given back. */
  release(): void {
    if (this.#held > 0) this.#budget.give(this.#held);
    this.#held = 0;
    this.#whole.length = 0;
  }

  /** The call is cut: what is held is given back, and what still comes is charged to nobody. */
  refuse(): void {
    this.release();
    this.#isRefused = true;
  }

  /** At how many sweeps in a row before this one the same message was unfinished. */
  sweep(): number {
    return this.#stall.sweep(this.#isUnfinished, this.#ended);
  }

  /** While whole messages wait it is the handler that is slow. */
  get #isUnfinished(): boolean {
    return this.#held > 0 && this.#whole.length === 0;
  }

  /** Notes the messages that end in a chunk. */
  #findMessages(chunk: Uint8Array): void {
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
      if (this.#headBytes < HEAD_BYTES || this.#bodyLeft > 0) continue;
      this.#whole.push(this.#partial);
      this.#ended++;
      this.#headBytes = this.#partial = 0;
    }
  }
}
