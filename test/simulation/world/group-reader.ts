/**
 * A member of a consumer group: reads topics as an application does, now and then slowly, and
 * writes down what it was given.
 */
import { sleep } from '../../../client/clock.ts';
import type { Consumer } from '../../../client/broker/consumer.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import type { GroupChecker } from '../checkers/group-checker.ts';
import { pick } from './world-settings.ts';
import type { WorkRecorder } from './work-recorder.ts';
import type { WorldClient } from './world-client.ts';

/** The one group of a run. */
export const GROUP = 'readers';
/** Share of messages that take time to handle. */
const SLOW = 0.02;
const SLOW_MS = 400;

export interface GroupReaderOptions {
  readonly client: WorldClient;
  readonly topics: readonly string[];
  readonly checker: GroupChecker;
  readonly recorder: WorkRecorder;
  readonly groupOf: (topic: string, partition: number) => number;
  readonly random: SeededRandom;
  /** It does not run any more. */
  readonly isDead: () => boolean;
}

export class GroupReader {
  readonly #options: GroupReaderOptions;
  readonly #consumer: Consumer;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: GroupReaderOptions) {
    this.#options = options;
    const { client, topics, checker, recorder, groupOf, random } = options;
    const { name } = client;
    this.#consumer = client.holdfast.consumer({
      topics,
      group: GROUP,
      sessionTimeout: pick(random, 1_500, 3_000),
      rebalanceTimeout: 2_000,
      commitInterval: pick(random, 50, 300),
      fetchWait: pick(random, 200, 1_000),
      maxBufferedBytes: pick(random, 2_000, 100_000),
      onAssigned: (partitions) => {
        for (const { topic, partition } of partitions) checker.onAssigned(name, groupOf(topic, partition));
        recorder.did(name, 'partitions assigned', partitions.map(shown).join(' '));
      },
      onRevoked: (partitions) => {
        for (const { topic, partition } of partitions) checker.onGivenUp(name, groupOf(topic, partition));
        recorder.did(name, 'partitions revoked', partitions.map(shown).join(' '));
      },
      onLost: (partitions, error) => {
        for (const { topic, partition } of partitions) checker.onGivenUp(name, groupOf(topic, partition));
        recorder.did(name, 'partitions lost', `${partitions.map(shown).join(' ')}: ${error.reason}`);
      },
    });
  }

  /** Reads until it is closed. */
  start(onFailure: (error: Error) => void): void {
    this.#ended = this.#read();
    this.#ended.catch((error: unknown) => onFailure(error as Error));
  }

  async close(): Promise<void> {
    await this.#consumer.close();
    await this.#ended;
  }

  async #read(): Promise<void> {
    const { client, checker, recorder, groupOf, random, isDead } = this.#options;
    for await (const message of this.#consumer) {
      if (isDead()) return;
      const { topic, partition, offset } = message;
      checker.onPolled(client.name, groupOf(topic, partition), Number(offset), message.text());
      recorder.did(client.name, 'message polled', `${topic}/${partition}@${offset}`);
      if (random.chance(SLOW)) await sleep(client.clock, random.float() * SLOW_MS);
    }
  }
}

function shown({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}/${partition}`;
}
