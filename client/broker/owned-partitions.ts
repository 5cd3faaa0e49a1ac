import type { ConsumedPartition } from './consumed-partition.ts';
import type { ConsumerMessage } from './consumer-message.ts';
import { nameOf } from './fetcher.ts';
import type { TopicPartition } from './groups.ts';

/** The partitions that a consumer reads. Messages are taken from one as long as it has some, then from the next. */
export class OwnedPartitions implements Iterable<ConsumedPartition> {
  readonly #byName = new Map<string, ConsumedPartition>();
  #list: ConsumedPartition[] = [];
  #at = 0;

  get bufferedBytes(): number {
    let bytes = 0;
    for (const { bufferedBytes } of this.#list) bytes += bufferedBytes;
    return bytes;
  }

  [Symbol.iterator](): Iterator<ConsumedPartition> {
    return this.#list[Symbol.iterator]();
  }

  get(partition: TopicPartition): ConsumedPartition | undefined {
    return this.#byName.get(nameOf(partition));
  }

  add(partition: ConsumedPartition): void {
    this.#byName.set(nameOf(partition), partition);
    this.#list = [...this.#byName.values()];
  }

  /** Takes it out, if it is still there. */
  remove(partition: ConsumedPartition): void {
    const name = nameOf(partition);
    if (this.#byName.get(name) === partition) this.#byName.delete(name);
    this.#list = [...this.#byName.values()];
    partition.drop();
  }

  /** The next message of any partition. Error: RECORDS_UNREADABLE. */
  take(): { readonly message: ConsumerMessage<unknown>; readonly partition: ConsumedPartition } | undefined {
    const list = this.#list;
    for (let step = 0; step < list.length; step += 1) {
      const at = (this.#at + step) % list.length;
      const partition = list[at]!;
      const message = partition.take();
      if (message === undefined) continue;
      this.#at = at;
      return { message, partition };
    }
    return undefined;
  }
}
