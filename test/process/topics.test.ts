/**
 * Topics on three real nodes: a web server's log goes through one, while the node that leads most
 * is killed. `RECORDS=1000000` sends so many lines.
 */
import { expect, test } from 'vitest';
import type { Consumer, Holdfast } from '@holdfast/client';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const RECORDS = Number(process.env['RECORDS'] ?? '60000');
const PARTITIONS = 6;
const TOPIC = 'web-log';
const PATHS = ['/', '/index.html', '/orders', '/orders/17', '/login', '/static/app.js'];

/** A line as a web server writes it; the same for the same number. */
function line(number: number): string {
  const path = PATHS[number % PATHS.length]!;
  const status = number % 50 === 0 ? 500 : 200;
  return `10.0.${(number >> 8) % 256}.${number % 256} - - [22/Nov/2026:10:00:00 +0000] "GET ${path} HTTP/1.1" ${status} ${(number * 7919) % 100_000} ${number}`;
}

class Ledger {
  /** By partition: numbers of lines, in the order in which they were given. */
  readonly given = new Map<number, number[]>();
  readonly seen = new Set<number>();
  repeated = 0;

  async follow(consumer: Consumer): Promise<void> {
    for await (const message of consumer) {
      const text = message.text();
      const number = Number(text.slice(text.lastIndexOf(' ') + 1));
      expect(text).toBe(line(number));
      const list = this.given.get(message.partition) ?? [];
      this.given.set(message.partition, list);
      if (this.seen.has(number)) this.repeated++;
      else list.push(number);
      this.seen.add(number);
    }
  }
}

async function produce(client: Holdfast, onSent: (count: number) => void): Promise<number[][]> {
  const producer = client.producer({ topic: TOPIC });
  const placed: { number: number; offset: bigint }[][] = Array.from({ length: PARTITIONS }, () => []);
  const sends: Promise<void>[] = [];
  for (let number = 0; number < RECORDS; number++) {
    if (producer.isFull) await producer.drained();
    const sent = producer.send({ key: `10.0.0.${number % 97}`, value: line(number) });
    sends.push(
      sent.then(({ partition, offset }) => {
        placed[partition]!.push({ number, offset: offset! });
        onSent(number);
      }),
    );
    if (number % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(sends);
  await producer.close();
  return placed.map((list) => list.sort((a, b) => Number(a.offset - b.offset)).map(({ number }) => number));
}

test('a log goes through a topic while a node is killed: nothing is lost, in order, and lag goes to zero', async () => {
  await using cluster = await RealCluster.start();
  const client = await cluster.connect();
  await client.topics.create(TOPIC, { partitions: PARTITIONS });
  const ledger = new Ledger();
  const members = [await cluster.connect(), await cluster.connect()].map((one) =>
    one.consumer({ topics: TOPIC, group: 'readers', sessionTimeout: '5s' }),
  );
  const following = members.map((member) => ledger.follow(member));
  let isKilled = false;
  let killed: Promise<unknown> = Promise.resolve();
  const placed = await produce(client, (number) => {
    if (isKilled || number < RECORDS / 3) return;
    isKilled = true;
    killed = cluster.node('n1').kill();
  });
  await killed;
  expect(isKilled).toBe(true);
  await cluster.restart('n1');
  await until(
    () => Promise.resolve(ledger.seen.size === RECORDS),
    60_000,
    () => `${ledger.seen.size} of ${RECORDS}`,
  );
  // In order: what was acknowledged, at the offsets that were told.
  for (const [partition, numbers] of placed.entries()) {
    const sorted = [...numbers].sort((a, b) => a - b);
    expect(numbers).toEqual(sorted);
    expect(ledger.given.get(partition) ?? []).toEqual(numbers);
  }
  let lag = '';
  const isCaughtUp = async () => {
    const { partitions } = await client.groups.describe('readers');
    lag = partitions.map((one) => `${one.partition}: ${one.lag}`).join(' ');
    return partitions.length === PARTITIONS && partitions.every((one) => one.lag === 0n);
  };
  await until(isCaughtUp, 30_000, () => `lag ${lag}`);
  await Promise.all(members.map((member) => member.close()));
  await Promise.all(following);
  console.log(`${RECORDS} records, ${ledger.repeated} given again`);
}, 300_000);
