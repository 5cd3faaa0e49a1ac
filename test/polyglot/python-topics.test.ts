/**
 * A Python client generated from the contracts, which makes and reads batches by itself, and ours
 * share a topic of three nodes while one of them is killed. `RECORDS=1000000` sends so many lines.
 */
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Holdfast, ProducerOptions } from '@holdfast/client';
import { RealCluster } from '../process/real-cluster.ts';
import { describeWith, pathOf, protoc, python, pythonPlugin } from './installed-tools.ts';
import { output } from './run-program.ts';
import { RunningScript } from './running-script.ts';

const SCRIPT = fileURLToPath(new URL('cluster_topics.py', import.meta.url));
const PROTO = fileURLToPath(new URL('../../proto/', import.meta.url));
const RECORDS = Number(process.env['RECORDS'] ?? '20000');
const PARTITIONS = 3;
const TIMEOUT = 300_000;
const PATHS = ['/', '/index.html', '/orders', '/orders/17', '/login', '/static/app.js'];

/** What the script says that it did. */
interface Report {
  /** By partition. */
  readonly ends: readonly number[];
  /** Its batches: partition, offset, number of the first line, lines. */
  readonly placed: readonly (readonly [number, number, number, number])[];
  readonly duplicates: number;
  readonly write_repeats: number;
  readonly read_repeats: number;
  /** Records that came in a batch that began before the wanted offset. */
  readonly before: number;
}

/** A record as Python read it: partition, offset, time, key, value, headers. */
type Row = readonly [number, number, number, string | null, string, readonly (readonly [string, string])[]];

/** A line as a web server writes it; the same for the same number. */
function line(number: number): string {
  const path = PATHS[number % PATHS.length]!;
  const status = number % 50 === 0 ? 500 : 200;
  return `10.0.${(number >> 8) % 256}.${number % 256} - - [22/Nov/2026:10:00:00 +0000] "GET ${path} HTTP/1.1" ${status} ${(number * 7919) % 100_000} ${number}`;
}

const keyOf = (number: number) => `10.0.0.${number % 97}`;

/** Where lines are: by partition and offset. */
type Placed = Map<string, number>;

/** Sends lines `from` to `to`; `onSent` is called for each that was acknowledged. */
async function send(
  client: Holdfast,
  options: ProducerOptions,
  from: number,
  to: number,
  onSent: (partition: number, offset: bigint, number: number) => void,
): Promise<void> {
  const producer = client.producer(options);
  const sends: Promise<void>[] = [];
  for (let number = from; number < to; number++) {
    if (producer.isFull) await producer.drained();
    const sent = producer.send({ key: keyOf(number), value: line(number) });
    sends.push(sent.then(({ partition, offset }) => onSent(partition, offset!, number)));
    if (number % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(sends);
  await producer.close();
}

function rowsOf(file: string): Row[] {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines.map((row) => JSON.parse(row) as Row);
}

/** Every line where it was said to be, whole, with its key and headers; nothing else; offsets without a gap. */
function checkRows(rows: readonly Row[], placed: Placed, { ends }: Report): void {
  const next = Array.from({ length: PARTITIONS }, () => 0);
  const last = new Map<string, number>();
  for (const [partition, offset, , key, value, headers] of rows) {
    expect(offset).toBe(next[partition]!++);
    const number = placed.get(`${partition}/${offset}`)!;
    const isOurs = number < RECORDS;
    const expected = isOurs
      ? [keyOf(number), line(number), []]
      : [number % 5 === 0 ? null : 'py', line(number), [['by', 'python']]];
    expect([key, value, headers]).toEqual(expected);
    // In the order in which each of the two sent them.
    const order = `${partition} ${isOurs}`;
    expect(number).toBeGreaterThan(last.get(order) ?? -1);
    last.set(order, number);
  }
  expect(next).toEqual(ends);
  expect(rows.length).toBe(placed.size);
}

describeWith([python, protoc, pythonPlugin], 'topics and a generated Python client', () => {
  let cluster: RealCluster;
  let client: Holdfast;
  let out: string;

  beforeAll(async () => {
    cluster = await RealCluster.start();
    client = await cluster.connect();
    out = mkdtempSync(join(tmpdir(), 'holdfast-python-'));
    const files = globSync(['holdfast/{broker,kv,error}/**/*.proto', 'google/rpc/*.proto'], { cwd: PROTO });
    const plugin = `--plugin=protoc-gen-grpc_python=${pathOf(pythonPlugin)}`;
    const into = [`--python_out=${out}`, `--grpc_python_out=${out}`];
    await output(pathOf(protoc), [`-I${PROTO}`, plugin, ...into, ...files]);
  }, TIMEOUT);
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    rmSync(out, { recursive: true, force: true });
  });

  const command = (name: string, topic: string, ...more: string[]) => {
    return [SCRIPT, out, cluster.endpoints.join(','), name, topic, ...more];
  };

  it(
    'reads all that it and ours produced while the node that it asks is killed',
    async () => {
      await client.topics.create('web-log', { partitions: PARTITIONS, replication: 3 });
      using running = new RunningScript<Report>(
        pathOf(python),
        command('follow', 'web-log', String(RECORDS)),
      );
      await running.begun();
      const placed: Placed = new Map();
      let killed: Promise<unknown> | undefined;
      const onSent = (partition: number, offset: bigint, number: number) => {
        placed.set(`${partition}/${offset}`, number);
        if (placed.size >= RECORDS / 3) killed ??= cluster.node('n1').kill();
      };
      const half = Math.ceil(RECORDS / 2);
      await send(client, { topic: 'web-log' }, 0, half, onSent);
      await send(client, { topic: 'web-log', compression: 'gzip' }, half, RECORDS, onSent);
      expect(placed.size).toBe(RECORDS);
      await killed;
      await cluster.restart('n1');
      const report = await running.end();
      for (const [partition, base, first, count] of report.placed)
        for (let at = 0; at < count; at++) placed.set(`${partition}/${base + at}`, first + at);
      const rows = rowsOf(join(out, 'read.jsonl'));
      const { ends, placed: batches, ...counts } = report;
      console.log(`${rows.length} records, ${batches.length} batches of Python, ${JSON.stringify(counts)}`);
      checkRows(rows, placed, report);
      const { partitions } = await client.topics.describe('web-log');
      expect(partitions.map(({ log }) => Number(log!.end))).toEqual(ends);
      expect(report.read_repeats).toBeGreaterThan(0);
      expect(report.write_repeats).toBeGreaterThan(0);
    },
    TIMEOUT,
  );

  it(
    'is told in the result of a partition why a batch was refused, and nothing is kept of it',
    async () => {
      await client.topics.create('refusals', { partitions: PARTITIONS, replication: 3 });
      const told = await output(pathOf(python), ['-B', ...command('refusals', 'refusals')]);
      const unsound = ['BATCH_CORRUPT', 'OUTCOME_NOT_APPLIED'];
      expect(JSON.parse(told)).toEqual({
        ends: [1, 3, 0],
        refused: {
          damaged: unsound,
          cut: unsound,
          empty: unsound,
          'unknown compression': ['COMPRESSION_UNKNOWN', 'OUTCOME_NOT_APPLIED'],
          'unknown topic': ['TOPIC_UNKNOWN', 'OUTCOME_NOT_APPLIED'],
          'unknown partition': ['PARTITION_UNKNOWN', 'OUTCOME_NOT_APPLIED'],
          'too large': ['BATCH_TOO_LARGE', 'OUTCOME_NOT_APPLIED'],
          'older producer': ['PRODUCER_FENCED', 'OUTCOME_NOT_APPLIED'],
          'missing sequence': ['SEQUENCE_GAP', 'OUTCOME_NOT_APPLIED'],
          'beyond the end': ['OFFSET_OUT_OF_RANGE', 'OUTCOME_UNSPECIFIED'],
        },
      });
    },
    TIMEOUT,
  );
});
