/** What goes to the caller of a stream, who may not read. */
import type { MessageStream } from './handler.ts';

export class StreamOutlet {
  readonly #stream: MessageStream;
  #isBlocked = false;
  /** Bytes given to the transport. */
  #sentBytes = 0;
  /** What of them had left when it was last looked at, and since when no more has. */
  #left = { bytes: 0, sinceMs: 0 };

  constructor(stream: MessageStream) {
    this.#stream = stream;
  }

  /** The transport has no room. */
  get isBlocked(): boolean {
    return this.#isBlocked;
  }

  send(message: Uint8Array): void {
    this.#sentBytes += message.byteLength;
    if (!this.#stream.send(message)) this.#isBlocked = true;
  }

  /** The transport has room again. */
  drained(): void {
    this.#isBlocked = false;
  }

  /** For how long nothing has left of what waits. */
  unreadMs(nowMs: number): number {
    const { unsentBytes } = this.#stream;
    const bytes = this.#sentBytes - unsentBytes;
    if (unsentBytes === 0 || bytes !== this.#left.bytes) this.#left = { bytes, sinceMs: nowMs };
    return nowMs - this.#left.sinceMs;
  }
}
