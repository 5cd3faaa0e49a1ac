import { open, stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Producer, ProducerRecord } from '@holdfast/client';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { interruption } from '../interruption.ts';
import { print, printJson } from '../output.ts';
import { startProgress } from '../progress.ts';

/** Options of `holdfast topic produce`. */
export interface ProduceOptions extends ClusterOptions {
  file?: string;
  lines?: 'text' | 'json';
  recordKey?: string;
  partition?: number;
  acks?: 'majority' | 'leader';
  compression?: 'none' | 'gzip' | 'zstd';
}

/** `holdfast topic produce`: a record a line, or a JSON object a line. */
export async function produce(
  topic: string,
  value: string | undefined,
  options: ProduceOptions,
): Promise<void> {
  if (value !== undefined && options.file !== undefined)
    throw usageFailure('give a value or --file, not both');
  const started = performance.now();
  const sent = await withCluster(options, async (client, hopeless) => {
    const signal = interruption(hopeless);
    const { acks, compression } = options;
    const producer = client.producer({ topic, acks, compression });
    try {
      if (value !== undefined) return await sendOne(producer, { ...target(options), value });
      return await new Lines(producer, options, signal).send();
    } finally {
      await producer.close();
    }
  });
  const seconds = (performance.now() - started) / 1_000;
  if (options.json) return printJson({ topic, ...sent, seconds: Math.round(seconds * 1_000) / 1_000 });
  const rate = Math.round(sent.records / seconds);
  return print(`produced ${sent.records} records to ${topic} in ${seconds.toFixed(1)} s, ${rate} a second\n`);
}

interface Sent {
  readonly records: number;
  readonly bytes: number;
}

async function sendOne(producer: Producer, record: ProducerRecord): Promise<Sent> {
  await producer.send(record);
  return { records: 1, bytes: Buffer.byteLength(String(record.value ?? '')) };
}

/** Lines of a file or of stdin, each a record. */
class Lines {
  readonly #producer: Producer;
  readonly #options: ProduceOptions;
  readonly #signal: AbortSignal;
  #records = 0;
  #bytes = 0;
  #failure: Error | undefined;

  constructor(producer: Producer, options: ProduceOptions, signal: AbortSignal) {
    this.#producer = producer;
    this.#options = options;
    this.#signal = signal;
  }

  async send(): Promise<Sent> {
    const { file } = this.#options;
    if (file === undefined || file === '-') await this.#read(process.stdin, 0);
    else {
      const handle = await open(file).catch((error: unknown) => {
        throw usageFailure(`the file ${file} cannot be read: ${(error as Error).message}`);
      });
      const { size } = await stat(file);
      await this.#read(handle.createReadStream(), size);
    }
    return { records: this.#records, bytes: this.#bytes };
  }

  async #read(input: NodeJS.ReadableStream, total: number): Promise<void> {
    const progress = startProgress(total, 'bytes', this.#options.json);
    let number = 0;
    try {
      for await (const line of createInterface({ input, crlfDelay: Infinity })) {
        this.#check();
        this.#queue(recordOf(line, ++number, this.#options));
        progress.add(Buffer.byteLength(line) + 1);
        if (this.#producer.isFull) await this.#producer.drained();
      }
      await this.#producer.flush();
      this.#check();
    } finally {
      progress.stop();
    }
  }

  #queue(record: ProducerRecord): void {
    this.#producer.send(record).then(
      () => {
        this.#records += 1;
        this.#bytes += Buffer.byteLength(String(record.value ?? ''));
      },
      (error: unknown) => (this.#failure ??= error as Error),
    );
  }

  /** The first record that was not kept ends it: what came before is there. */
  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#signal.aborted) throw this.#signal.reason as Error;
  }
}

function recordOf(line: string, number: number, options: ProduceOptions): ProducerRecord {
  if (options.lines !== 'json') return { ...target(options), value: line };
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    throw usageFailure(`line ${number} is not JSON. The lines before it were sent.`);
  }
  if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed))
    throw usageFailure(`line ${number} is not a JSON object. The lines before it were sent.`);
  const {
    key,
    value,
    headers,
    partition,
    time_ms: timeMs,
  } = parsed as {
    key?: string;
    value?: ProducerRecord['value'];
    headers?: Record<string, string>;
    partition?: number;
    time_ms?: number;
  };
  return { ...target(options), ...defined({ key, headers, partition, timeMs }), value: value ?? null };
}

function target({ recordKey: key, partition }: ProduceOptions): Pick<ProducerRecord, 'key' | 'partition'> {
  return defined({ key, partition });
}

function defined<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const present = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(present) as { [K in keyof T]: Exclude<T[K], undefined> };
}
