import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Holdfast, type Producer } from '@holdfast/client';
import { etcd3Driver } from './etcd3-driver.ts';
import { ServerProcess, freePorts, freshDirectory } from '../server-process.ts';
import type { Driver, ServerCounters, ServerGauges, System, SystemOptions } from '../system.ts';

/** Sums a metric over its labels, of which `having` are given. */
export type Scraped = (name: string, having?: string) => number;

const KEYSPACE = 'default';
const TOPIC = 'bench';
const PARTITIONS = 12;

/** Holdfast as `npm start` runs it: every write fsynced before it is acknowledged. */
export class HoldfastSystem implements System {
  readonly name: string;
  readonly description: string;
  readonly #throughEtcd3: boolean;
  readonly #directory = freshDirectory('holdfast');
  #servers: ServerProcess[] = [];
  #grpc: number[] = [];
  #http: number[] = [];

  readonly #names: readonly string[];

  /** `throughEtcd3`: by the API of etcd, with npm etcd3. */
  constructor({ nodes }: SystemOptions, throughEtcd3 = false) {
    this.name = throughEtcd3 ? 'holdfast-etcd3' : 'holdfast';
    this.#throughEtcd3 = throughEtcd3;
    this.#names = Array.from({ length: nodes }, (_, at) => `n${at + 1}`);
    const where = nodes === 1 ? 'synced' : `synced on a majority of ${nodes} nodes`;
    this.description = `this checkout; every write ${where} before its acknowledgement; ${throughEtcd3 ? 'npm etcd3' : 'its TypeScript client'}`;
  }

  get pids(): number[] {
    return this.#servers.map(({ pid }) => pid);
  }

  async connect(): Promise<Driver> {
    await this.start();
    if (this.#throughEtcd3) return etcd3Driver(this.endpoints);
    return new HoldfastDriver(await this.#client(), () => this.#client(), this.#http);
  }

  /** Makes the keyspace of the measurements anew, empty, with so many groups. */
  async partition(partitions: number, replication: number): Promise<void> {
    const client = await this.#client();
    try {
      await client.keyspaces.drop(KEYSPACE);
      await client.keyspaces.create(KEYSPACE, { partitions, replication });
    } finally {
      await client.close();
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop()));
    this.#directory.remove();
  }

  /** Where the nodes are reached. */
  get endpoints(): string[] {
    return this.#grpc.map((port) => `127.0.0.1:${port}`);
  }

  /** Ends one node, counted from 0. */
  async stopNode(at: number, signal?: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await this.#servers[at]!.stop(signal);
  }

  /** Starts a node again that was ended; resolves when it is ready. */
  async startNode(at: number): Promise<void> {
    const config = join(this.#directory.path, 'cluster.yaml');
    this.#servers[at] = await this.#startNode(config, this.#names[at]!, at);
  }

  /** A call to the first node, as JSON. */
  async call(method: string, request: object): Promise<Record<string, unknown>> {
    const response = await fetch(`http://127.0.0.1:${this.#http[0]}/${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
    });
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as Record<string, unknown>;
  }

  /** What the metrics of one node say now. */
  async scrape(at: number): Promise<Scraped> {
    return scraped([this.#http[at]!]);
  }

  #client(): Promise<Holdfast> {
    return connect({ endpoints: this.endpoints });
  }

  /** Starts the nodes, unless they run. */
  async start(): Promise<void> {
    if (this.#servers.length > 0) return;
    const ports = await freePorts(2 * this.#names.length);
    this.#grpc = ports.slice(0, this.#names.length);
    this.#http = ports.slice(this.#names.length);
    const config = join(this.#directory.path, 'cluster.yaml');
    const nodes = this.#names.map(
      (name, at) =>
        `  - name: ${name}\n    grpc: 127.0.0.1:${this.#grpc[at]}\n    http: 127.0.0.1:${this.#http[at]}\n`,
    );
    writeFileSync(config, `cluster: bench\nnodes:\n${nodes.join('')}log:\n  level: warn\n`);
    const starts = await Promise.allSettled(this.#names.map((name, at) => this.#startNode(config, name, at)));
    this.#servers = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
    const failed = starts.find((start) => start.status === 'rejected');
    if (failed === undefined) return;
    await this.stop();
    throw failed.reason;
  }

  #startNode(config: string, name: string, at: number): Promise<ServerProcess> {
    const main = new URL('../../node/bin/holdfast.js', import.meta.url).pathname;
    const args = [main, 'start', '--config', config, '--node', name, '--data-dir', this.#directory.path];
    const profile = process.env['HOLDFAST_BENCH_PROFILE'];
    const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
    const isReady = async () => (await fetch(`http://127.0.0.1:${this.#http[at]}/readyz`)).ok;
    return ServerProcess.start(process.execPath, [...flags, ...args], isReady);
  }
}

class HoldfastDriver implements Driver {
  readonly #client: Holdfast;
  readonly #keyspace: ReturnType<Holdfast['keyspace']>;
  readonly #another: () => Promise<Holdfast>;
  readonly #http: readonly number[];
  #producer: Promise<Producer> | undefined;

  constructor(client: Holdfast, another: () => Promise<Holdfast>, http: readonly number[]) {
    this.#client = client;
    this.#another = another;
    this.#keyspace = client.keyspace(KEYSPACE);
    this.#http = http;
  }

  put(key: string, value: Uint8Array): Promise<unknown> {
    return this.#keyspace.put(key, value);
  }

  get(key: string): Promise<unknown> {
    return this.#keyspace.get(key);
  }

  increment(key: string): Promise<unknown> {
    return this.#keyspace.increment(`count/${key}`);
  }

  async scan(start: string, limit: number): Promise<unknown> {
    let bytes = 0;
    for await (const entry of this.#keyspace.scan({ start, limit })) bytes += entry.bytes.length;
    return bytes;
  }

  configPut(key: string, value: Uint8Array): Promise<unknown> {
    return this.#client.config.put(key, value);
  }

  async lockCycle(name: string): Promise<unknown> {
    const held = await this.#client.lock.acquire(name, { ttl: '30s' });
    return held.release();
  }

  async follow(
    prefix: string,
    watchers: number,
    onChange: (key: string) => void,
  ): Promise<() => Promise<void>> {
    const client = await this.#another();
    const watches = Array.from({ length: watchers }, () => client.config.watch({ prefix }));
    await Promise.all(watches.map((watch) => watch.started()));
    const loops = watches.map(async (watch) => {
      for await (const item of watch)
        if (item.type === 'changes') for (const event of item.events) onChange(event.key as string);
    });
    return async () => {
      for (const watch of watches) watch.close();
      await Promise.all(loops);
      await client.close();
    };
  }

  id(): Promise<unknown> {
    return this.#client.ids.next();
  }

  async produce(value: Uint8Array): Promise<unknown> {
    const producer = await (this.#producer ??= this.#openTopic());
    return producer.send({ value });
  }

  async consume(records: number): Promise<void> {
    let seen = 0;
    for await (const { value } of this.#client.consumer({ topics: TOPIC, from: 'earliest' })) {
      seen += Number(value !== undefined);
      if (seen >= records) break;
    }
  }

  async receive(onRecord: (value: Uint8Array) => void): Promise<() => Promise<void>> {
    await (this.#producer ??= this.#openTopic());
    const client = await this.#another();
    let isReading = false;
    const consumer = client.consumer({ topics: TOPIC, onAssigned: () => (isReading = true) });
    const reading = (async () => {
      for await (const { value } of consumer) onRecord(value!);
    })();
    while (!isReading) await new Promise((resolve) => setTimeout(resolve, 10));
    return async () => {
      await consumer.close();
      await reading;
      await client.close();
    };
  }

  /** Creates the topic of the measurements. */
  async #openTopic(): Promise<Producer> {
    await this.#client.topics.create(TOPIC, { partitions: PARTITIONS });
    return this.#client.producer({ topic: TOPIC });
  }

  async metrics(): Promise<ServerCounters> {
    const sum = await scraped(this.#http);
    return {
      operations: sum('holdfast_pipeline_operation_duration_seconds_count'),
      operationSeconds: sum('holdfast_pipeline_operation_duration_seconds_sum'),
      syncs: sum('holdfast_log_sync_duration_seconds_count'),
      syncSeconds: sum('holdfast_log_sync_duration_seconds_sum'),
      batches: sum('holdfast_log_batch_records_count'),
      batchRecords: sum('holdfast_log_batch_records_sum'),
      batchBytes: sum('holdfast_log_batch_bytes_sum'),
    };
  }

  async gauges(): Promise<ServerGauges> {
    const sum = await scraped(this.#http);
    return {
      memoryBytes: sum('process_resident_memory_bytes'),
      overlayBytes: sum('holdfast_overlay_bytes'),
      storeLagEntries: sum('holdfast_store_lag_entries'),
    };
  }

  async close(): Promise<void> {
    await this.#client.close();
  }
}

/** Sums of metrics over some nodes. */
async function scraped(ports: readonly number[]): Promise<Scraped> {
  const texts = await Promise.all(
    ports.map(async (port) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text()),
  );
  return (name, having = '') =>
    texts.reduce((total, text) => {
      const lines = text.matchAll(new RegExp(`^${name}(?:\\{([^}]*)\\})? (\\S+)$`, 'gm'));
      const fitting = [...lines].filter(([, labels = '']) => labels.includes(having));
      return fitting.reduce((each, [, , value]) => each + Number(value), total);
    }, 0);
}
