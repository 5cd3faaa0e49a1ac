/** What was sent to a follower and not acknowledged yet, bounded in messages and in bytes. */
export class InflightWindow {
  readonly #maxMessages: number;
  readonly #maxBytes: number;
  /** Last index and size of each message, oldest first, from `#head` on. */
  readonly #lastIndexes: number[] = [];
  readonly #sizes: number[] = [];
  #head = 0;
  #bytes = 0;

  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#lastIndexes.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.count >= this.#maxMessages || this.#bytes >= this.#maxBytes;
  }

  add(lastIndex: number, bytes: number): void {
    this.#lastIndexes.push(lastIndex);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
  }

  /** Everything up to `index` has arrived. */
  freeTo(index: number): void {
    while (this.#head < this.#lastIndexes.length && this.#lastIndexes[this.#head]! <= index) {
      this.#bytes -= this.#sizes[this.#head++]!;
    }
    if (this.#head === this.#lastIndexes.length) this.reset();
    else if (this.#head > this.#maxMessages) this.#shift(); // once a window, so cheap
  }

  reset(): void {
    this.#lastIndexes.length = 0;
    this.#sizes.length = 0;
    this.#head = 0;
    this.#bytes = 0;
  }

  #shift(): void {
    this.#lastIndexes.splice(0, this.#head);
    this.#sizes.splice(0, this.#head);
    this.#head = 0;
  }
}
