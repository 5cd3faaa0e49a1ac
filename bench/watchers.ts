/**
 * `npm run -s bench -- watchers`: what very many watchers of one node cost the writers and the
 * node, and what one more costs all others when it stops to read.
 */
import { Client, credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { connect, type ConfigWatch, type Holdfast } from '@holdfast/client';
import {
  ConfigService,
  WatchRequestSchema,
  WatchResponseSchema,
  type WatchResponse,
} from '@holdfast/proto/config/v1/config';
import { medianOf } from './report.ts';
import { HoldfastSystem } from './systems/holdfast.ts';
import { percentiles, randomValues } from './workload.ts';

export interface WatchersOptions {
  readonly watchers: number;
  readonly nodes: number;
  readonly clients: number;
  readonly putsPerSecond: number;
  readonly valueBytes: number;
  readonly seconds: number;
  readonly repeat: number;
  readonly json: boolean;
}

/** Watchers of one client: one stream. */
const WATCHERS_OF_A_CLIENT = 1_000;
/** Keys that are written and watched, each by as many. */
const KEYS = 1_000;
const PACE_MS = 5;
const FLOOD = 'flood/';
const FLOOD_BYTES = 16 * 1024;
/** Longer than a node waits for a reader, and not so long that the transport cuts the stream. */
const SILENT_S = 25;

interface Phase {
  readonly put: readonly number[];
  readonly delivery: readonly number[];
  readonly memoryBytes: number;
}

export async function watchers(options: WatchersOptions): Promise<void> {
  const system = new HoldfastSystem({ ...options, callers: options.clients });
  const clients: Holdfast[] = [];
  const interrupted = () => void system.stop().finally(() => process.exit(130));
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await system.start();
    const writer = await connect({ endpoints: system.endpoints });
    clients.push(writer);
    const course = new Course(system, writer, options);
    const alone = await course.phase();
    const begun = performance.now();
    for (let at = 0; at < options.watchers; at += WATCHERS_OF_A_CLIENT) {
      const client = await connect({ endpoints: system.endpoints[0]! });
      clients.push(client);
      await course.follow(client, at, Math.min(options.watchers, at + WATCHERS_OF_A_CLIENT));
    }
    const beginMs = performance.now() - begun;
    const followed = await course.phase();
    const rounds = [];
    for (let round = 0; round < options.repeat; round++) rounds.push(await besideStopped(course, system));
    report(options, { alone, followed, beginMs, rounds });
    course.stop();
  } finally {
    for (const client of clients) await client.close();
    await system.stop();
  }
}

/** Deliveries without and with a reader that has stopped, one after the other. */
interface Round {
  readonly before: Phase;
  readonly during: Phase;
  /** What the reader was told when it read again. */
  readonly told: string;
}

async function besideStopped(course: Course, system: HoldfastSystem): Promise<Round> {
  course.floods = true; // in both, so that only the reading differs
  const reading = new RawWatch(system.endpoints[0]!);
  const before = await course.phase(SILENT_S); // as long: pauses that are rare must have the same chance
  reading.stop();
  const during = await course.phase(SILENT_S);
  course.floods = false;
  const told = await reading.readAgain();
  return { before, during, told };
}

/** Writers, watchers, and what they saw. */
class Course {
  floods = false;
  readonly #system: HoldfastSystem;
  readonly #writer: Holdfast;
  readonly #options: WatchersOptions;
  readonly #watches: ConfigWatch[] = [];
  readonly #begun = new Map<string, number>();
  readonly #values: readonly Uint8Array[];
  #delivered: number[] = [];
  #turn = 0;

  constructor(system: HoldfastSystem, writer: Holdfast, options: WatchersOptions) {
    this.#system = system;
    this.#writer = writer;
    this.#options = options;
    this.#values = randomValues(options.valueBytes);
  }

  async follow(client: Holdfast, from: number, to: number): Promise<void> {
    const watches = Array.from({ length: to - from }, (_, at) => client.config.watch(keyOf(from + at)));
    await Promise.all(watches.map((watch) => watch.started()));
    for (const watch of watches) void this.#read(watch);
    this.#watches.push(...watches);
  }

  /** Writes at a steady rate for some time. */
  async phase(seconds = this.#options.seconds): Promise<Phase> {
    this.#delivered = [];
    const latencies: number[] = [];
    const started = performance.now();
    const pending = new Set<Promise<void>>();
    for (let puts = 0; performance.now() - started < seconds * 1_000;) {
      const due = ((performance.now() - started) / 1_000) * this.#options.putsPerSecond;
      for (; puts < due; puts++) {
        const put = this.#put(latencies);
        pending.add(put);
        void put.finally(() => pending.delete(put));
      }
      await new Promise((resolve) => setTimeout(resolve, PACE_MS));
    }
    await Promise.all(pending);
    const memoryBytes = (await this.#system.scrape(0))('process_resident_memory_bytes');
    return { put: latencies, delivery: this.#delivered, memoryBytes };
  }

  stop(): void {
    for (const watch of this.#watches) watch.close();
  }

  async #put(latencies: number[]): Promise<void> {
    const turn = this.#turn++;
    const key = keyOf(turn);
    const begun = performance.now();
    this.#begun.set(key, begun);
    if (this.floods && turn % 10 === 0)
      await this.#writer.config.put(`${FLOOD}${turn % 100}`, Buffer.alloc(FLOOD_BYTES, turn));
    else await this.#writer.config.put(key, this.#values[turn % this.#values.length]!);
    latencies.push(performance.now() - begun);
  }

  async #read(watch: ConfigWatch): Promise<void> {
    for await (const item of watch) {
      if (item.type !== 'changes') continue;
      for (const { key } of item.events) {
        const begun = this.#begun.get(key as string);
        if (begun !== undefined) this.#delivered.push(performance.now() - begun);
      }
    }
  }
}

function keyOf(at: number): string {
  return `watched/${at % KEYS}`;
}

/** A watch that reads only when it is told to. */
class RawWatch {
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<Uint8Array, Buffer>;
  readonly #said: WatchResponse[] = [];
  readonly #ended: Promise<void>;

  constructor(endpoint: string) {
    this.#client = new Client(endpoint, credentials.createInsecure());
    const same = (bytes: Uint8Array) => bytes as Buffer;
    const path = `/${ConfigService.typeName}/${ConfigService.method.watch.name}`;
    this.#stream = this.#client.makeBidiStreamRequest(path, same, same);
    this.#ended = new Promise((resolve) => this.#stream.on('end', resolve).on('error', () => resolve()));
    this.#stream.on('data', (bytes: Buffer) => {
      const response = fromBinary(WatchResponseSchema, bytes);
      this.#said.push(response, ...response.further);
      if (this.#said.length > 1_000) this.#said.splice(0, 500);
    });
    const prefix = { case: 'prefix' as const, value: Buffer.from(FLOOD) };
    const creation = { watchId: 1n, selection: { selection: prefix } };
    const request = create(WatchRequestSchema, { request: { case: 'create', value: creation } });
    this.#stream.write(Buffer.from(toBinary(WatchRequestSchema, request)));
  }

  stop(): void {
    this.#stream.pause();
  }

  /** Reads what there is; returns how the watch has ended. */
  async readAgain(): Promise<string> {
    this.#stream.resume();
    const waited = new Promise<void>((resolve) => setTimeout(resolve, 5_000));
    await Promise.race([this.#ended, waited]);
    this.#client.close();
    const over = this.#said.findLast(({ response }) => response.case === 'cancelled')?.response;
    if (over?.case !== 'cancelled') return 'it was not ended';
    return `${over.value.error?.reason}, go on at revision ${over.value.nextRevision}`;
  }
}

interface Findings {
  readonly alone: Phase;
  readonly followed: Phase;
  readonly beginMs: number;
  readonly rounds: readonly Round[];
}

function report(options: WatchersOptions, { alone, followed, beginMs, rounds }: Findings): void {
  const { watchers: count, nodes, putsPerSecond } = options;
  const figures = (phase: Phase) => ({ put: percentiles(phase.put), delivery: percentiles(phase.delivery) });
  const ratio = medianOf(
    rounds.map(({ before, during }) => percentiles(during.delivery).p99 / percentiles(before.delivery).p99),
  );
  const line = {
    watchers: count,
    nodes,
    puts_per_second: putsPerSecond,
    begin_ms: Math.round(beginMs),
    without: figures(alone),
    with: figures(followed),
    bytes_per_watcher: Math.round((followed.memoryBytes - alone.memoryBytes) / count),
    memory_mib: [alone, followed].map(({ memoryBytes }) => Math.round(memoryBytes / 2 ** 20)),
    stopped_reader: rounds.map(({ before, during, told }) => ({
      before: figures(before).delivery,
      during: figures(during).delivery,
      memory_mib: [before, during].map(({ memoryBytes }) => Math.round(memoryBytes / 2 ** 20)),
      told,
    })),
    p99_ratio_median: Number(ratio.toFixed(2)),
  };
  console.log(JSON.stringify(line, undefined, options.json ? undefined : 2));
}
