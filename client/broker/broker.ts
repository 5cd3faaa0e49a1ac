import { clientClosed, type ClientCore } from '../core.ts';
import type { Duration } from '../duration.ts';
import type { Leases } from '../session/leases.ts';
import { Consumer } from './consumer.ts';
import { type ConsumerOptions, resolveConsumerOptions } from './consumer-options.ts';
import { Groups } from './groups.ts';
import { Producer } from './producer.ts';
import { type ProducerOptions, resolveProducerOptions } from './producer-options.ts';
import { TopicDirectory } from './topic-directory.ts';
import { Topics } from './topics.ts';

/** Something of the broker that is to be closed with the client. */
interface Closable {
  close(options: { timeout?: Duration }): Promise<void>;
}

/** What of the broker a client has open. */
export class Broker {
  readonly topics: Topics;
  readonly groups: Groups;
  readonly #core: ClientCore;
  readonly #leases: Leases;
  readonly #directory: TopicDirectory;
  readonly #open = new Set<Closable>();

  constructor(core: ClientCore, leases: Leases) {
    this.#core = core;
    this.#leases = leases;
    this.#directory = new TopicDirectory(core);
    this.topics = new Topics(core, this.#directory);
    this.groups = new Groups(core);
  }

  producer(options: ProducerOptions): Producer {
    const resolved = resolveProducerOptions(options);
    const onClosed = (closed: Producer) => this.#open.delete(closed);
    const producer = new Producer(this.#core, this.#directory, resolved, onClosed);
    this.#open.add(producer);
    return producer;
  }

  consumer<T>(options: ConsumerOptions<T>): Consumer<T> {
    const resolved = resolveConsumerOptions(options);
    if (this.#core.closing.aborted) throw clientClosed();
    const onClosed = (closed: Consumer<T>) => this.#open.delete(closed);
    const consumer = new Consumer<T>(this.#core, this.#directory, this.#leases, resolved, onClosed);
    this.#open.add(consumer);
    return consumer;
  }

  /** Closes what is open, each within `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    await Promise.all([...this.#open].map((one) => one.close({ timeout: timeoutMs }).catch(() => undefined)));
  }
}
