import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Producer, ProducerRecord } from '@holdfast/client';
import { SystemClock } from '@holdfast/client/system-clock';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { interruption } from '../interruption.ts';
import { print, printJson } from '../output.ts';
import { type Progress, startProgress } from '../progress.ts';
import { recordOfLine } from './record-line.ts';

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
  const clock = new SystemClock();
  const startedMs = clock.monotonicMs();
  const sent = await withCluster(options, async (client, hopeless) => {
    const signal = interruption(hopeless);
    const { acks, compression, timeout } = options;
    const deliveryTimeout = timeout && Math.max(timeout, LEAST_DELIVERY_MS);
    const producer = client.producer({ topic, acks, compression, deliveryTimeout });
    signal.addEventListener('abort', () => void producer.close({ timeout: 0 }));
    try {
      if (value !== undefined) return await sendOne(producer, { ...target(options), value });
      return await new Lines(producer, options, signal).send();
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      await producer.close();
    }
  });
  const seconds = (clock.monotonicMs() - startedMs) / 1_000;
  if (options.json) return printJson({ topic, ...sent, seconds: Math.round(seconds * 1_000) / 1_000 });
  const { records } = sent;
  const count = `${records} ${records === 1 ? 'record' : 'records'}`;
  const rate = Math.round(records / seconds);
  return print(`produced ${count} to ${topic} in ${seconds.toFixed(1)} s, ${rate} a second\n`);
}

/** A record cannot be given less time. */
const LEAST_DELIVERY_MS = 100;

interface Sent {
  readonly records: number;
}

async function sendOne(producer: Producer, record: ProducerRecord): Promise<Sent> {
  await producer.send(record);
  return { records: 1 };
}

/** Lines of a file or of stdin, each a record. */
class Lines {
  readonly #producer: Producer;
  readonly #options: ProduceOptions;
  readonly #signal: AbortSignal;
  #records = 0;
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
      const stats = await handle.stat();
      if (stats.isDirectory()) throw usageFailure(`the file ${file} cannot be read: it is a directory`);
      await this.#read(handle.createReadStream(), stats.size);
    }
    return { records: this.#records };
  }

  async #read(input: NodeJS.ReadableStream, total: number): Promise<void> {
    const progress = startProgress(total, 'bytes', this.#options.json);
    try {
      await this.#take(input, progress);
    } catch (error) {
      await this.#producer.flush();
      throw this.#failure ?? error;
    } finally {
      progress.stop();
    }
    await this.#producer.flush();
    this.#check();
  }

  async #take(input: NodeJS.ReadableStream, progress: Progress): Promise<void> {
    let number = 0;
    for await (const line of createInterface({ input, crlfDelay: Infinity, signal: this.#signal })) {
      this.#check();
      this.#queue(recordOf(line, ++number, this.#options));
      progress.add(Buffer.byteLength(line) + 1);
      if (this.#producer.isFull) await this.#producer.drained();
    }
  }

  #queue(record: ProducerRecord): void {
    this.#producer.send(record).then(
      () => {
        this.#records += 1;
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
  return { ...target(options), ...defined(recordOfLine(line, number)) };
}

function target({ recordKey: key, partition }: ProduceOptions): Pick<ProducerRecord, 'key' | 'partition'> {
  return defined({ key, partition });
}

function defined<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const present = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(present) as { [K in keyof T]: Exclude<T[K], undefined> };
}
