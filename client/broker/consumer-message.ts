import { textOfBytes } from '../key-text.ts';
import type { BatchRecord } from './record-reader.ts';
import type { RecordHeader } from './record-writer.ts';

/** Where a message comes from, and who is told that it is done. */
export interface MessageSource {
  readonly topic: string;
  readonly partition: number;
  onDone(message: ConsumerMessage<unknown>): void;
  /** Whether what becomes of it still counts here. */
  owns(message: ConsumerMessage<unknown>): boolean;
}

/**
 * A record as a consumer gets it. Key, value and headers are views of what was fetched: whoever
 * keeps a few for long copies them.
 */
export class ConsumerMessage<T = Uint8Array | undefined> {
  /** ms since 1970, as its producer said. */
  readonly timeMs: number;
  /** Undefined: none. */
  readonly key: Uint8Array | undefined;
  /** The bytes of the value; undefined: none. */
  readonly bytes: Uint8Array | undefined;
  /** In order; names may stand more than once. */
  readonly headers: readonly RecordHeader[];
  /** @internal */
  readonly at: number;
  /** @internal It was given out anew since if this is not that of its source. */
  readonly round: number;
  /** @internal */
  isStarted = false;
  /** @internal */
  isDone = false;
  readonly #source: MessageSource;
  readonly #decode: ((value: Uint8Array | undefined) => unknown) | undefined;
  #value: { readonly decoded: T } | undefined;

  /** @internal */
  constructor(
    source: MessageSource,
    at: number,
    round: number,
    record: BatchRecord,
    decode: ((value: Uint8Array | undefined) => unknown) | undefined,
  ) {
    this.#source = source;
    this.at = at;
    this.round = round;
    this.timeMs = record.timeMs;
    this.key = record.key;
    this.bytes = record.value;
    this.headers = record.headers;
    this.#decode = decode;
  }

  get topic(): string {
    return this.#source.topic;
  }

  get partition(): number {
    return this.#source.partition;
  }

  /** Grows within a partition, not always by one. */
  get offset(): bigint {
    return BigInt(this.at);
  }

  /** What `decode` makes of the value, when it is read first; without `decode` the bytes. */
  get value(): T {
    if (this.#decode === undefined) return this.bytes as T;
    this.#value ??= { decoded: this.#decode(this.bytes) as T };
    return this.#value.decoded;
  }

  /** The key as text; undefined: none. Bytes that are not UTF-8 become U+FFFD. */
  keyText(): string | undefined {
    return this.key === undefined ? undefined : textOfBytes(this.key);
  }

  /** The value as text, empty if there is none. Bytes that are not UTF-8 become U+FFFD. */
  text(): string {
    return this.bytes === undefined ? '' : textOfBytes(this.bytes);
  }

  /** The value parsed as JSON; SyntaxError if it is not. The type is the caller's claim, it is not checked. */
  json<J = unknown>(): J {
    return JSON.parse(this.text()) as J;
  }

  /**
   * It is done: what is stored for the group goes on behind it when all before it in its partition
   * are done, too. Does nothing the second time, nor when the partition is not this consumer's any more.
   */
  ack(): void {
    this.#source.onDone(this);
  }

  /** Whether its partition is still this consumer's, so that what becomes of it counts. */
  get isOwned(): boolean {
    return this.#source.owns(this);
  }
}
