/** A stream both ways whose caller says what it has to say at once, and then only listens. */
import type { MessageStream } from '../services/handler.ts';

/** Bytes that wait to be listened to before the handler is told to wait. */
const MAX_WAITING_BYTES = 1024 * 1024;

export class OneSidedStream implements MessageStream {
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isBlocked = false;
  #ended: { readonly error: Error | undefined } | undefined;
  #wake: (() => void) | undefined;
  #receive: ((message: Buffer) => void) | undefined;
  #drained: (() => void) | undefined;
  #closed: (() => void) | undefined;

  onMessage(receive: (message: Buffer) => void): void {
    this.#receive = receive;
  }

  /** It never comes to that: who listens is not done. */
  onEnd(): void {}

  onClose(closed: () => void): void {
    this.#closed = closed;
  }

  get unsentBytes(): number {
    return this.#waitingBytes;
  }

  onDrain(drained: () => void): void {
    this.#drained = drained;
  }

  send(message: Uint8Array): boolean {
    this.#waiting.push(message);
    this.#waitingBytes += message.byteLength;
    this.#isBlocked = this.#waitingBytes >= MAX_WAITING_BYTES;
    this.#wake?.();
    return !this.#isBlocked;
  }

  pause(): void {}
  resume(): void {}

  end(error?: Error): void {
    this.#ended ??= { error };
    this.#wake?.();
  }

  say(message: Uint8Array): void {
    this.#receive?.(Buffer.from(message.buffer, message.byteOffset, message.byteLength));
  }

  /** What is answered next; undefined: it has ended. Error: the one that it has ended with. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.#waiting.length === 0 && this.#ended === undefined)
      await new Promise<void>((resolve) => (this.#wake = resolve));
    const message = this.#waiting.shift();
    if (message === undefined && this.#ended?.error !== undefined) throw this.#ended.error;
    this.#waitingBytes -= message?.byteLength ?? 0;
    if (this.#isBlocked && this.#waiting.length === 0) {
      this.#isBlocked = false;
      this.#drained?.();
    }
    return message;
  }

  /** Nobody listens any more. */
  close(): void {
    this.#closed?.();
  }
}
