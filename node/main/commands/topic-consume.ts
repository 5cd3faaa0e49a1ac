import type { ConsumerMessage, StartPosition } from '@holdfast/client';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { interruption } from '../interruption.ts';
import { print } from '../output.ts';
import { rfc3339 } from '../rfc3339.ts';

/** Options of `holdfast topic consume`. */
export interface ConsumeOptions extends ClusterOptions {
  group?: string;
  from?: 'earliest' | 'latest' | Date;
  follow?: boolean;
  limit?: number;
  format?: string;
  instance?: string;
}

type Message = ConsumerMessage<Uint8Array | undefined>;

/** `holdfast topic consume`. */
export async function consume(topics: string[], options: ConsumeOptions): Promise<void> {
  await withCluster(options, async (client, hopeless) => {
    const { group, instance: instanceId, limit = Infinity } = options;
    const from: StartPosition = options.from ?? 'earliest';
    const ends = options.follow === true ? undefined : await endsOf(client, topics);
    if (ends?.left === 0) return;
    const consumer = client.consumer({ topics, group, from, instanceId });
    const interrupted = interruption(hopeless);
    interrupted.addEventListener('abort', () => void consumer.close());
    let count = 0;
    for await (const message of consumer) {
      await print(shown(message, options));
      count += 1;
      if (count >= limit || ends?.isReached(message) === true) break;
    }
    await consumer.close();
    if (interrupted.aborted && options.follow !== true) throw interrupted.reason as Error;
  });
}

/** Where topics end now: without --follow reading ends there. */
class Ends {
  readonly #ends = new Map<string, bigint>();

  add(topic: string, partition: number, start: bigint, end: bigint): void {
    if (end > start) this.#ends.set(`${topic}/${partition}`, end);
  }

  get left(): number {
    return this.#ends.size;
  }

  isReached({ topic, partition, offset }: Message): boolean {
    const name = `${topic}/${partition}`;
    if (offset + 1n >= (this.#ends.get(name) ?? 0n)) this.#ends.delete(name);
    return this.#ends.size === 0;
  }
}

async function endsOf(
  client: Parameters<Parameters<typeof withCluster>[1]>[0],
  topics: readonly string[],
): Promise<Ends> {
  const ends = new Ends();
  for (const topic of topics) {
    const { partitions } = await client.topics.describe(topic);
    for (const { partition, log } of partitions)
      if (log !== undefined) ends.add(topic, partition, log.start, log.end);
  }
  return ends;
}

function shown(message: Message, { json, format }: ConsumeOptions): string {
  if (json === true) return `${JSON.stringify(messageJson(message))}\n`;
  if (format === undefined) return `${message.text()}\n`;
  const { topic, partition, offset, timeMs } = message;
  const fields: Record<string, string> = {
    t: topic,
    p: String(partition),
    o: String(offset),
    T: rfc3339(timeMs),
    k: message.keyText() ?? '',
    v: message.text(),
    h: JSON.stringify(headersOf(message)),
    n: '\n',
    '%': '%',
  };
  return `${format.replace(/%([tpoTkvhn%])/g, (_, field: string) => fields[field]!)}\n`;
}

function messageJson(message: Message): Record<string, unknown> {
  const { topic, partition, offset, timeMs, value } = message;
  return {
    topic,
    partition,
    offset: Number(offset),
    time: rfc3339(timeMs),
    key: message.keyText() ?? null,
    value: value === undefined ? null : message.text(),
    headers: headersOf(message),
  };
}

function headersOf({ headers }: Message): Record<string, string> {
  return Object.fromEntries(headers.map(([name, content]) => [name, Buffer.from(content).toString()]));
}
