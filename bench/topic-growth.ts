/**
 * `npm run -s bench -- topic-growth`: a topic of 12 partitions on three nodes takes very many small
 * records. What each costs as there are more, memory, a start after kill -9, and reads in the middle.
 */
import { writeFileSync } from 'node:fs';
import { connect } from '@holdfast/client';
import { percentiles } from './workload.ts';
import { plot } from './plot.ts';
import { startProgress } from './progress.ts';
import { cpuMicroseconds } from './server-process.ts';
import { HoldfastSystem } from './systems/holdfast.ts';
import { anonymousBytes } from './trace.ts';

export interface TopicGrowthOptions {
  readonly records: number;
  readonly valueBytes: number;
  readonly nodes: number;
  readonly json: boolean;
  readonly plot: string | undefined;
}

const TOPIC = 'growth';
const PARTITIONS = 12;
const LOOKS = 100;
const READS = 200;
const MIB = 1024 * 1024;

/** What a part of the records cost. Its name is that of the axis of a plot. */
interface Look {
  /** In millions, as the axis of the plot. */
  readonly seconds: number;
  readonly recordsPerSecond: number;
  readonly serverCpuUs: number;
  readonly memoryMib: number;
  readonly anonymousMib: number;
}

export async function topicGrowth(options: TopicGrowthOptions): Promise<void> {
  const system = new HoldfastSystem({ nodes: options.nodes, callers: 1, valueBytes: options.valueBytes });
  const interrupted = () => void system.stop().finally(() => process.exit(130));
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await system.start();
    const begunMs = Date.now();
    const looks = await fill(system, options);
    const endedMs = Date.now();
    const start = await startAgain(system);
    const reads = await middle(system, options, begunMs, endedMs);
    report(options, looks, start, reads);
  } finally {
    await system.stop();
  }
}

/** Sends the records, as fast as they are taken; what each hundredth part cost. */
async function fill(system: HoldfastSystem, options: TopicGrowthOptions): Promise<Look[]> {
  const client = await connect({ endpoints: system.endpoints });
  await client.topics.create(TOPIC, { partitions: PARTITIONS });
  const producer = client.producer({ topic: TOPIC });
  const value = Buffer.alloc(options.valueBytes, 'record ');
  const bar = startProgress(options.json, options.records);
  const part = Math.ceil(options.records / LOOKS);
  const looks: Look[] = [];
  let failure: unknown;
  for (let sent = 0; sent < options.records; sent += part) {
    const count = Math.min(part, options.records - sent);
    const [started, cpu] = [performance.now(), cpuMicroseconds(system.pids).servers];
    for (let at = 0; at < count; at++) {
      if (producer.isFull) await producer.drained();
      producer.send({ value }).catch((error: unknown) => (failure ??= error));
    }
    await producer.flush();
    if (failure !== undefined) throw failure;
    bar.increment(count);
    const { memory, anonymous } = await memoryOf(system);
    looks.push({
      seconds: (sent + count) / 1e6,
      recordsPerSecond: (count / (performance.now() - started)) * 1_000,
      serverCpuUs: (cpuMicroseconds(system.pids).servers - cpu) / count,
      memoryMib: memory / MIB,
      anonymousMib: anonymous / MIB,
    });
  }
  bar.stop();
  await client.close();
  return looks;
}

/** Of the node that has most. */
async function memoryOf(system: HoldfastSystem): Promise<{ memory: number; anonymous: number }> {
  const resident = await Promise.all(
    system.pids.map(async (_, at) => (await system.scrape(at))('process_resident_memory_bytes')),
  );
  const anonymous = system.pids.map((pid) => anonymousBytes([pid]));
  return { memory: Math.max(...resident), anonymous: Math.max(...anonymous) };
}

/** Ends the first node as `kill -9` does and starts it again. */
async function startAgain(system: HoldfastSystem): Promise<{ readyMs: number; recoveryMs: number }> {
  await system.stopNode(0, 'SIGKILL');
  const started = performance.now();
  await system.startNode(0);
  const readyMs = performance.now() - started;
  const scraped = await system.scrape(0);
  return { readyMs, recoveryMs: scraped('holdfast_recovery_seconds') * 1_000 };
}

interface Reads {
  readonly byOffset: ReturnType<typeof percentiles>;
  readonly byTime: ReturnType<typeof percentiles>;
}

/** Reads at random places, over the JSON of the HTTP port: a first batch by its offset, and by a time. */
async function middle(
  system: HoldfastSystem,
  { records }: TopicGrowthOptions,
  begunMs: number,
  endedMs: number,
): Promise<Reads> {
  const each = Math.floor(records / PARTITIONS / 2);
  const [byOffset, byTime]: [number[], number[]] = [[], []];
  const read = async (partition: number, offset: string) => {
    const wanted = { topic: TOPIC, partition, offset };
    const answer = await system.call('holdfast.broker.v1.BrokerService/Fetch', {
      partitions: [wanted],
      maxBytes: 1_024,
    });
    const [result] = answer['results'] as { batches?: unknown[] }[];
    if (result?.batches?.length === undefined) throw new Error(`nothing at ${JSON.stringify(wanted)}`);
  };
  for (let turn = 0; turn < READS; turn++) {
    const partition = turn % PARTITIONS;
    let started = performance.now();
    await read(partition, String(Math.floor((0.5 + Math.random()) * each)));
    byOffset.push(performance.now() - started);
    // The middle half of the time, in which every partition got records.
    const timeMs = String(Math.floor(begunMs + (0.25 + Math.random() / 2) * (endedMs - begunMs)));
    started = performance.now();
    const found = await system.call('holdfast.broker.v1.BrokerService/FindOffsets', {
      partitions: [{ topic: TOPIC, partition, timeMs }],
    });
    const [result] = found['results'] as { offset?: string }[];
    if (result?.offset === undefined) throw new Error(`nothing at ${timeMs}: ${JSON.stringify(found)}`);
    await read(partition, result.offset);
    byTime.push(performance.now() - started);
  }
  return { byOffset: percentiles(byOffset), byTime: percentiles(byTime) };
}

function report(
  options: TopicGrowthOptions,
  looks: readonly Look[],
  start: { readyMs: number; recoveryMs: number },
  reads: Reads,
): void {
  const panels = [
    { title: 'records a second', value: (look: Look) => look.recordsPerSecond },
    { title: 'CPU of all nodes, ns a record', value: (look: Look) => look.serverCpuUs * 1_000 },
    { title: 'resident memory of the greatest node, MiB', value: (look: Look) => look.memoryMib },
    { title: 'without mapped files, MiB', value: (look: Look) => look.anonymousMib },
  ];
  if (options.plot !== undefined) writeFileSync(options.plot, plot(panels, looks, [], 'million records'));
  const points = [1e5, 1e6, 3e6, 1e7].filter((records) => records <= options.records);
  const lines = points.map((records) => {
    const look = looks.find(({ seconds }) => seconds * 1e6 >= records)!;
    return {
      records,
      records_per_second: Math.round(look.recordsPerSecond),
      server_cpu_us: Number(look.serverCpuUs.toFixed(2)),
      rss_mib: Math.round(look.memoryMib),
      anonymous_mib: Math.round(look.anonymousMib),
    };
  });
  const rest = {
    start_ms: Math.round(start.readyMs),
    recovery_ms: Math.round(start.recoveryMs),
    by_offset_ms: reads.byOffset,
    by_time_ms: reads.byTime,
  };
  if (options.json) for (const line of [...lines, rest]) console.log(JSON.stringify(line));
  else {
    console.table(lines);
    console.log(JSON.stringify(rest));
  }
}
