import type { ConsumerMessage, StartPosition } from '@holdfast/client';
import { HoldfastError } from '@holdfast/client/error';
import type { Holdfast } from '@holdfast/client/holdfast';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { bytesJson } from '../entry-json.ts';
import { Interruption, interruption } from '../interruption.ts';
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

const NOTHING = new Uint8Array(0);
const LINE_END = Buffer.from('\n');

/** `holdfast topic consume`. */
export async function consume(topics: string[], options: ConsumeOptions): Promise<void> {
  if (options.instance !== undefined && options.group === undefined)
    throw usageFailure('--instance needs --group');
  await withCluster(options, async (client, hopeless) => {
    const { group, instance: instanceId, limit = Infinity } = options;
    const from: StartPosition = options.from ?? 'earliest';
    const ends = options.follow === true ? undefined : await endsOf(client, topics, options, hopeless);
    if (ends?.left === 0) return;
    const consumer = client.consumer({ topics, group, from, instanceId });
    const interrupted = interruption(hopeless);
    interrupted.addEventListener('abort', () => void consumer.close());
    let count = 0;
    for await (const message of consumer) {
      await print(shown(message, options));
      message.ack(); // the last one too, though nobody asks for another
      count += 1;
      if (count >= limit || ends?.isReached(message) === true) break;
    }
    await consumer.close();
    if (!interrupted.aborted) return;
    // Following has no other end than that somebody ends it.
    if (options.follow !== true || !(interrupted.reason instanceof Interruption))
      throw interrupted.reason as Error;
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

/** Where a group is, its offsets count; otherwise what `from` says. */
async function endsOf(
  client: Holdfast,
  topics: readonly string[],
  options: ConsumeOptions,
  signal: AbortSignal,
): Promise<Ends> {
  const ends = new Ends();
  const { from } = options;
  const stored = await storedOffsets(client, options.group, signal);
  for (const topic of topics) {
    const at = from instanceof Date ? { at: from, signal } : { signal };
    for (const { partition, start, end, atTime } of await client.topics.offsets(topic, at)) {
      const first = from instanceof Date ? (atTime ?? end) : from === 'latest' ? end : start;
      ends.add(topic, partition, stored.get(`${topic}/${partition}`) ?? first, end);
    }
  }
  return ends;
}

async function storedOffsets(
  client: Holdfast,
  group: string | undefined,
  signal: AbortSignal,
): Promise<Map<string, bigint>> {
  const offsets = new Map<string, bigint>();
  if (group === undefined) return offsets;
  const { partitions } = await client.groups.describe(group, { signal }).catch((error: unknown) => {
    if (error instanceof HoldfastError && error.reason === 'GROUP_UNKNOWN') return { partitions: [] };
    throw error;
  });
  for (const { topic, partition, offset } of partitions)
    if (offset !== undefined) offsets.set(`${topic}/${partition}`, offset);
  return offsets;
}

function shown(message: Message, { json, format }: ConsumeOptions): string | Uint8Array {
  if (json === true) return `${JSON.stringify(messageJson(message))}\n`;
  if (format === undefined) return Buffer.concat([message.bytes ?? NOTHING, LINE_END]);
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
  const { topic, partition, offset, timeMs, key, bytes } = message;
  return {
    topic,
    partition,
    offset: Number(offset),
    time: rfc3339(timeMs),
    ...(key === undefined ? { key: null } : bytesJson('key', key)),
    ...(bytes === undefined ? { value: null } : bytesJson('value', bytes)),
    headers: headersOf(message),
  };
}

function headersOf({ headers }: Message): Record<string, string> {
  return Object.fromEntries(headers.map(([name, content]) => [name, Buffer.from(content).toString()]));
}
