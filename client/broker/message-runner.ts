import type { ConsumedPartition } from './consumed-partition.ts';
import type { ConsumerMessage } from './consumer-message.ts';
import { nameOf } from './fetcher.ts';

/** Messages that wait behind others of their lane, for each that may be worked on: so far the runner looks ahead for other lanes. */
const AHEAD = 16;

/** A message and its partition. */
export interface TakenMessage {
  readonly message: ConsumerMessage<unknown>;
  readonly partition: ConsumedPartition;
}

/** Messages that are handled one after the other. */
interface Lane {
  readonly name: string;
  readonly queue: TakenMessage[];
  isRunning: boolean;
}

/** How messages are handled. */
export interface RunnerSettings {
  readonly parallelism: number;
  /** Lanes are keys of a partition, else partitions. */
  readonly byKey: boolean;
  /** A message is done when its handler resolves. */
  readonly isDoneWhenHandled: boolean;
}

/**
 * Handles messages at the same time, but those of one lane in order. Messages of a partition that
 * is suspended wait; those of one that is gone are forgotten.
 */
export class MessageRunner {
  readonly #settings: RunnerSettings;
  readonly #take: () => TakenMessage | undefined;
  readonly #handle: (message: ConsumerMessage<unknown>) => unknown;
  readonly #onFailure: (error: unknown) => void;
  readonly #lanes = new Map<string, Lane>();
  /** Have messages, and none of them is handled. */
  readonly #waiting = new Set<Lane>();
  #running = 0;
  #queued = 0;
  #isStopped = false;
  #keyless = 0;

  constructor(
    settings: RunnerSettings,
    take: () => TakenMessage | undefined,
    handle: (message: ConsumerMessage<unknown>) => unknown,
    onFailure: (error: unknown) => void,
  ) {
    this.#settings = settings;
    this.#take = take;
    this.#handle = handle;
    this.#onFailure = onFailure;
  }

  /** Begins with whatever can be begun with. */
  pump(): void {
    const { parallelism } = this.#settings;
    for (const lane of this.#waiting) {
      if (this.#running >= parallelism) return;
      this.#start(lane);
    }
    while (!this.#isStopped && this.#running < parallelism && this.#queued < parallelism * AHEAD) {
      const taken = this.#take();
      if (taken === undefined) return;
      const lane = this.#lane(taken);
      lane.queue.push(taken);
      this.#queued += 1;
      if (lane.isRunning) continue;
      this.#waiting.add(lane);
      this.#start(lane);
    }
  }

  /** Begins with no message any more. */
  stop(): void {
    this.#isStopped = true;
  }

  #lane(taken: TakenMessage): Lane {
    const name = this.#nameOf(taken);
    let lane = this.#lanes.get(name);
    if (lane === undefined) this.#lanes.set(name, (lane = { name, queue: [], isRunning: false }));
    return lane;
  }

  #nameOf({ message: { key }, partition }: TakenMessage): string {
    const name = nameOf(partition);
    if (!this.#settings.byKey) return name;
    if (key !== undefined) return `${name} ${Buffer.from(key).toString('latin1')}`;
    // Without a key it follows nothing.
    this.#keyless += 1;
    return `${name} ${this.#keyless} without key`;
  }

  #start(lane: Lane): void {
    while (!lane.isRunning && !this.#isStopped && this.#running < this.#settings.parallelism) {
      const next = lane.queue[0];
      if (next === undefined) {
        this.#waiting.delete(lane);
        this.#lanes.delete(lane.name);
        return;
      }
      const { message, partition } = next;
      if (partition.isSuspended && message.isOwned) return;
      lane.queue.shift();
      this.#queued -= 1;
      if (partition.start(message)) void this.#run(lane, next);
    }
  }

  async #run(lane: Lane, { message, partition }: TakenMessage): Promise<void> {
    this.#waiting.delete(lane);
    lane.isRunning = true;
    this.#running += 1;
    try {
      await this.#handle(message);
      if (this.#settings.isDoneWhenHandled) message.ack();
    } catch (error) {
      this.stop();
      partition.abandon(message);
      this.#onFailure(error);
    }
    this.#running -= 1;
    lane.isRunning = false;
    this.#waiting.add(lane);
    this.#start(lane);
    this.pump();
  }
}
