import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  FetchResponseSchema,
  type FetchRequest,
  type ProduceRequest,
  ProduceResponseSchema,
  type ProduceResponse,
  ProduceStreamRequestSchema,
  ProduceStreamResponseSchema,
} from '@holdfast/proto/broker/v1/broker';
import type { Clock } from '@holdfast/client';
import { checkBatch } from '@holdfast/client/broker/record-batch';
import { readRecords } from '@holdfast/client/broker/record-reader';
import { HoldfastError, type HoldfastErrorInit } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import type { StreamConnection, StreamEvents } from '@holdfast/client/transport';

/** What becomes of a message that arrives at a node. */
export type Fate =
  | 'done'
  /** The connection breaks, and nothing is appended. */
  | 'lost'
  /** It is appended, and the connection breaks. */
  | 'unanswered'
  /** The connection breaks, and some time later it is appended all the same. */
  | 'late'
  /** The node says that it does not know what became of it; nothing did. */
  | 'doubtful'
  /** It is appended, and the node says that it does not know what became of it. */
  | 'unsure'
  /** The node takes nothing for now. */
  | 'overloaded';

interface Stored {
  base: number;
  batch: Uint8Array;
  atMs: number;
  lastDelta: number;
}

interface ProducerState {
  epoch: number;
  next: bigint;
  recent: { sequence: bigint; count: number; base: number }[];
}

/** A partition as its group of nodes keeps it. */
export class FakePartition {
  leader: string | undefined;
  logStart = 0;
  logEnd = 0;
  log: Stored[] = [];
  readonly producers = new Map<bigint, ProducerState>();
  readonly offsets = new Map<string, { offset: bigint | undefined; generation: bigint; metadata: string }>();

  constructor(leader: string) {
    this.leader = leader;
  }

  append(batch: Uint8Array, atMs: number): { base: number; duplicate: boolean } {
    const header = checkBatch(batch);
    const { producerId, sequence, count } = header;
    if (producerId > 0n) {
      const before = this.#sequence(producerId, header.producerEpoch, sequence, count);
      if (before !== undefined) return { base: before, duplicate: true };
    }
    const base = this.logEnd;
    this.log.push({ base, batch: Uint8Array.from(batch), atMs, lastDelta: header.lastDelta });
    this.logEnd += header.lastDelta + 1;
    const state = this.producers.get(producerId);
    if (state !== undefined) {
      state.next = sequence + BigInt(count);
      state.recent = [...state.recent, { sequence, count, base }].slice(-5);
    }
    return { base, duplicate: false };
  }

  /** Texts of all records, with their offsets. */
  get records(): { offset: number; key: string; value: string }[] {
    return this.log.flatMap(({ base, batch }) =>
      readRecords(batch).map(({ delta, key, value }) => ({
        offset: base + delta,
        key: Buffer.from(key ?? []).toString(),
        value: Buffer.from(value ?? []).toString(),
      })),
    );
  }

  #sequence(id: bigint, epoch: number, sequence: bigint, count: number): number | undefined {
    const state = this.producers.get(id);
    if (state !== undefined && epoch < state.epoch) throw refusal('PRODUCER_FENCED');
    if (state === undefined || epoch > state.epoch) {
      if (sequence !== 0n) throw refusal('SEQUENCE_GAP');
      this.producers.set(id, { epoch, next: 0n, recent: [] });
      return undefined;
    }
    const same = state.recent.find((other) => other.sequence === sequence && other.count === count);
    if (same !== undefined) return same.base;
    if (sequence !== state.next) throw refusal('SEQUENCE_GAP');
    return undefined;
  }
}

export interface FakeTopic {
  readonly name: string;
  readonly id: bigint;
  readonly partitions: FakePartition[];
  maxBatchBytes: number;
}

/** Topics on some nodes, as broker.proto describes them, and what may go wrong. */
export class FakeBroker {
  readonly topics = new Map<string, FakeTopic>();
  /** Nodes that take no connections. */
  readonly down = new Set<string>();
  /** Nodes that serve no streams. */
  readonly withoutStreams = new Set<string>();
  /** Of each message of a produce stream, as it arrives. */
  fate: (endpoint: string) => Fate = () => 'done';
  latencyMs = 1;
  lateMs = 700;
  duplicates = 0;
  requests: ProduceRequest[] = [];
  fetches: { endpoint: string; partitions: number }[] = [];
  readonly #clock: Clock;
  readonly #nodes: readonly string[];
  readonly #names = new Map<string, { id: bigint; epoch: number }>();
  readonly #streams = new Set<{ endpoint: string; end: (error: HoldfastError) => void }>();
  #fetchers: (() => void)[] = [];
  #lastId = 0n;

  constructor(clock: Clock, nodes: readonly string[]) {
    this.#clock = clock;
    this.#nodes = nodes;
  }

  createTopic(name: string, partitions: number, maxBatchBytes = 1_048_576): FakeTopic {
    this.#lastId += 1n;
    const made = Array.from(
      { length: partitions },
      (_, index) => new FakePartition(this.#nodes[index % this.#nodes.length]!),
    );
    const topic = { name, id: this.#lastId, partitions: made, maxBatchBytes };
    this.topics.set(name, topic);
    return topic;
  }

  partition(topic: string, partition: number): FakePartition {
    const found = this.topics.get(topic);
    if (found === undefined) throw refusal('TOPIC_UNKNOWN');
    const held = found.partitions[partition];
    if (held === undefined) throw refusal('PARTITION_UNKNOWN');
    return held;
  }

  /** Takes a node away, or lets it come back. */
  stop(endpoint: string): void {
    this.down.add(endpoint);
    for (const stream of this.#streams) if (stream.endpoint === endpoint) stream.end(gone());
  }

  handle(method: string, request: unknown, endpoint: string): Promise<unknown> | undefined {
    if (this.down.has(endpoint)) return Promise.reject(gone('NOT_APPLIED'));
    try {
      if (method === 'DescribeTopic')
        return Promise.resolve(this.#describe((request as { name: string }).name));
      if (method === 'InitProducer') return Promise.resolve(this.#init((request as { name: string }).name));
      if (method === 'Produce') return this.#produceUnary(request as ProduceRequest, endpoint);
      if (method === 'Fetch') return this.#fetch(request as FetchRequest, endpoint);
      if (method === 'FindOffsets') return Promise.resolve(this.#find(request as never));
    } catch (error) {
      return Promise.reject(error as Error);
    }
    return undefined;
  }

  openStream(endpoint: string, events: StreamEvents): StreamConnection {
    let isOver = false;
    const stream = {
      endpoint,
      end: (error: HoldfastError) => {
        if (isOver) return;
        isOver = true;
        this.#streams.delete(stream);
        events.onEnd(error);
      },
    };
    this.#streams.add(stream);
    void Promise.resolve().then(() => {
      if (this.down.has(endpoint)) stream.end(gone('NOT_APPLIED'));
      else if (this.withoutStreams.has(endpoint)) stream.end(refusal('UNIMPLEMENTED'));
      else if (!isOver) events.onOpen();
    });
    const arrive = (message: Uint8Array) => {
      if (isOver) return;
      const { id, request } = fromBinary(ProduceStreamRequestSchema, message);
      const fate = this.fate(endpoint);
      if (fate === 'late')
        this.#clock.setTimer(this.lateMs, () => void this.#append(request!, endpoint, 'done', true));
      if (fate === 'lost' || fate === 'late') return stream.end(gone());
      const response = this.#append(request!, endpoint, fate, false);
      if (fate === 'unanswered') return stream.end(gone());
      const bytes = toBinary(
        ProduceStreamResponseSchema,
        create(ProduceStreamResponseSchema, { id, response }),
      );
      this.#clock.setTimer(this.latencyMs, () => {
        if (!isOver) events.onMessage(bytes);
      });
    };
    return {
      send: (message) => {
        this.#clock.setTimer(this.latencyMs, () => arrive(message));
        return true;
      },
      halfClose: () => undefined,
      cancel: () => {
        isOver = true;
        this.#streams.delete(stream);
      },
    };
  }

  /** Somebody may have something to read. */
  wake(): void {
    for (const look of this.#fetchers.splice(0)) look();
  }

  async #produceUnary(request: ProduceRequest, endpoint: string): Promise<ProduceResponse> {
    await this.#pause();
    const fate = this.fate(endpoint);
    if (fate === 'late')
      this.#clock.setTimer(this.lateMs, () => void this.#append(request, endpoint, 'done', true));
    if (fate === 'lost' || fate === 'late') throw gone();
    const response = this.#append(request, endpoint, fate, false);
    if (fate === 'unanswered') throw gone();
    await this.#pause();
    return response;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => void this.#clock.setTimer(this.latencyMs, resolve));
  }

  #append(request: ProduceRequest, endpoint: string, fate: Fate, isLate: boolean): ProduceResponse {
    this.requests.push(request);
    const results = request.partitions.map(({ topic, partition, content }) => {
      try {
        if (fate === 'doubtful') throw refusal('UNAVAILABLE', { outcome: 'UNKNOWN' });
        if (fate === 'overloaded') throw refusal('OVERLOADED', { retryAfterMs: 50 });
        const held = this.partition(topic, partition);
        if (!isLate && held.leader !== endpoint) throw refusal('NOT_LEADER', { leader: held.leader });
        const batch = content.value as Uint8Array;
        if (batch.length > this.topics.get(topic)!.maxBatchBytes) throw refusal('BATCH_TOO_LARGE');
        const { base, duplicate } = held.append(batch, this.#clock.wallMs());
        this.duplicates += Number(duplicate);
        if (fate === 'unsure') throw refusal('UNAVAILABLE', { outcome: 'UNKNOWN' });
        return { baseOffset: BigInt(base), duplicate };
      } catch (error) {
        return { error: errorToMessage(error as HoldfastError) };
      }
    });
    this.wake();
    return create(ProduceResponseSchema, { results });
  }

  #describe(name: string): unknown {
    const topic = this.topics.get(name);
    if (topic === undefined) throw refusal('TOPIC_UNKNOWN');
    const { id, partitions, maxBatchBytes } = topic;
    return {
      topic: { name, id, partitions: partitions.map(() => ({})), settings: { maxBatchBytes } },
      partitions: partitions.map(({ leader }, partition) => ({ partition, leader: leader ?? '' })),
    };
  }

  #init(name: string): unknown {
    const before = name === '' ? undefined : this.#names.get(name);
    this.#lastId += 1n;
    const given =
      before === undefined ? { id: this.#lastId, epoch: 0 } : { ...before, epoch: before.epoch + 1 };
    this.#names.set(name, given);
    return { producerId: given.id, epoch: given.epoch };
  }

  #find({ partitions }: { partitions: { topic: string; partition: number; timeMs?: bigint }[] }): unknown {
    const results = partitions.map(({ topic, partition, timeMs }) => {
      const { log, logStart, logEnd } = this.partition(topic, partition);
      const found = log.find(({ batch }) => BigInt(checkBatch(batch).maxTimeMs) >= (timeMs ?? 0n));
      const offset = timeMs === undefined || found === undefined ? undefined : BigInt(found.base);
      return { logStart: BigInt(logStart), logEnd: BigInt(logEnd), offset };
    });
    return { results };
  }

  async #fetch(request: FetchRequest, endpoint: string): Promise<unknown> {
    this.fetches.push({ endpoint, partitions: request.partitions.length });
    await this.#pause();
    const endsAtMs = this.#clock.monotonicMs() + request.waitMs;
    for (;;) {
      const results = this.#read(request, endpoint);
      const leftMs = endsAtMs - this.#clock.monotonicMs();
      if (results.length > 0 || leftMs <= 0) {
        await this.#pause();
        if (this.down.has(endpoint)) throw gone();
        return create(FetchResponseSchema, { results: results as never });
      }
      await new Promise<void>((resolve) => {
        this.#fetchers.push(resolve);
        this.#clock.setTimer(leftMs, resolve);
      });
      if (this.down.has(endpoint)) throw gone();
    }
  }

  #read({ partitions, maxBytes }: FetchRequest, endpoint: string): unknown[] {
    let left = maxBytes;
    return partitions.flatMap<unknown>(({ topic, partition, offset }) => {
      const from = Number(offset);
      try {
        const held = this.partition(topic, partition);
        const bounds = { topic, partition, logStart: BigInt(held.logStart), logEnd: BigInt(held.logEnd) };
        if (held.leader !== endpoint)
          return [{ ...bounds, error: errorToMessage(refusal('NOT_LEADER', { leader: held.leader })) }];
        if (from < held.logStart || from > held.logEnd)
          return [{ ...bounds, error: errorToMessage(refusal('OFFSET_OUT_OF_RANGE')) }];
        const batches: unknown[] = [];
        let nextOffset = from;
        for (const { base, batch, atMs, lastDelta } of held.log) {
          if (base + lastDelta < from || base + lastDelta < held.logStart) continue;
          if (left <= 0) break;
          left -= batch.length;
          batches.push({ baseOffset: BigInt(base), appendedAtMs: BigInt(Math.floor(atMs)), batch });
          nextOffset = base + lastDelta + 1;
        }
        // A compaction may have left nothing at the end.
        if (batches.length === 0 && left > 0) nextOffset = held.logEnd;
        if (nextOffset === from) return [];
        return [{ ...bounds, batches, nextOffset: BigInt(nextOffset) }];
      } catch (error) {
        return [{ topic, partition, error: errorToMessage(error as HoldfastError) }];
      }
    });
  }
}

export function refusal(reason: string, more: Partial<HoldfastErrorInit> = {}): HoldfastError {
  return new HoldfastError({ reason, message: 'no', outcome: 'NOT_APPLIED', ...more });
}

function gone(outcome?: 'NOT_APPLIED'): HoldfastError {
  return new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone', outcome });
}
