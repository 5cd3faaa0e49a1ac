/** `holdfast.broker.v1.BrokerService`. */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import { errorFromMessage, errorToMessage } from '@holdfast/client/error-mapping';
import type { Transport } from '@holdfast/client/transport';
import {
  BrokerService,
  FetchRequestSchema,
  FetchResponseSchema,
  FetchResultSchema,
  FetchStreamResponseSchema,
  FindOffsetsRequestSchema,
  FindOffsetsResponseSchema,
  FoundOffsetSchema,
  InitProducerResponseSchema,
  ProduceResponseSchema,
  ProduceResultSchema,
  FetchFormat,
  type FetchPartition,
  type FetchResult,
  type FindOffset,
  type FoundOffset,
  type ProducePartition,
  type ProduceRequest,
  type ProduceResult,
} from '@holdfast/proto/broker/v1/broker';
import type { Broker, CallTerms } from '../broker/broker.ts';
import type { Producers } from '../broker/producers.ts';
import { refuse } from '../broker/topic-limits.ts';
import { topicNeeds } from './topic-needs.ts';
import type { TopicPartition } from '../broker/topic-partition.ts';
import type { Topics } from '../broker/topics.ts';
import type { RemoteReads } from '../cluster/remote-reads.ts';
import {
  acksOf,
  checkPartitions,
  checkedBatch,
  fetchError,
  fetchTerms,
  produceError,
} from './broker-messages.ts';
import { Fetch, type ReadElsewhere } from './fetch.ts';
import { serve, type CallContext, type ServedService } from './handler.ts';
import { asHoldfastError } from './kv-messages.ts';
import { ProduceStream, type ProduceContext } from './produce-stream.ts';

const MAX_NAME_BYTES = 256;
/** Longest that a stream of fetches waits before it looks again whether its replica still follows. */
const STREAM_WAIT_MS = 5_000;

export interface BrokerServiceOptions {
  readonly broker: Broker;
  readonly topics: Topics;
  readonly producers: Producers;
  /** How partitions are read of which no replica is here; undefined: not at all. */
  readonly reads: RemoteReads | undefined;
  readonly transport: Transport | undefined;
  readonly clock: Clock;
  /** Aborted when the node stops. */
  readonly stopping: AbortSignal;
  /** Told of each batch, and of each fetch that found something at once: its status, and how long it took. */
  readonly observe: (operation: 'produce' | 'fetch', code: string, durationMs: number) => void;
}

/** The broker service over a node's partitions. */
export function brokerService(options: BrokerServiceOptions): ServedService {
  const { clock, stopping, producers } = options;
  const produceAll = (request: ProduceRequest, context: ProduceContext) => produce(options, request, context);
  return serve(BrokerService, {
    async produce(context, request) {
      return create(ProduceResponseSchema, { results: await produceAll(request, context) });
    },

    produceStream(context, stream) {
      const produceEach = (request: ProduceRequest, one: ProduceContext) => {
        one.access.of(() => topicNeeds('write', request.partitions));
        return produceAll(request, one);
      };
      void new ProduceStream({ clock, stopping, produce: produceEach }, stream, context);
    },

    async fetch(context, request) {
      const terms = fetchTerms(request);
      const elsewhere = readElsewhere(options, context, request.format);
      const results = await new Fetch(options, terms, context, elsewhere).run(request.partitions);
      return create(FetchResponseSchema, { results });
    },

    async *fetchStream(context, { fetch }) {
      const request = fetch ?? create(FetchRequestSchema);
      const terms = { ...fetchTerms(request), waitMs: STREAM_WAIT_MS };
      const { signal } = context;
      let wanted = [...request.partitions];
      while (wanted.length > 0 && !signal.aborted && !stopping.aborted) {
        const elsewhere = readElsewhere(options, context, request.format);
        const results = await new Fetch(options, terms, context, elsewhere).run(wanted);
        const news = results.filter(({ nextOffset, error, topic, partition }) => {
          const one = wanted.find((other) => other.topic === topic && other.partition === partition);
          return error !== undefined || nextOffset > (one?.offset ?? 0n);
        });
        if (news.length === 0) continue;
        wanted = advanced(wanted, news);
        yield create(FetchStreamResponseSchema, { response: create(FetchResponseSchema, { results: news }) });
      }
    },

    async findOffsets({ deadlineMs }, { partitions, here }) {
      checkPartitions(partitions);
      const terms = { deadlineMs, isRouted: here };
      const results = await Promise.all(partitions.map((one) => findOffset(options, terms, one)));
      return create(FindOffsetsResponseSchema, { results });
    },

    async initProducer({ isRouted }, { name }) {
      const bytes = Buffer.byteLength(name);
      if (bytes > MAX_NAME_BYTES) {
        const message = `the name has ${bytes} bytes, limit ${MAX_NAME_BYTES}. Nothing was done.`;
        throw refuse('INVALID_FIELD', 'name', message, String(bytes), `0..${MAX_NAME_BYTES}`);
      }
      const { producerId, epoch } = await producers.begin(name, !isRouted);
      return create(InitProducerResponseSchema, { producerId: BigInt(producerId), epoch });
    },
  });
}

/** All that are known here are proposed in this turn, in their order. */
function produce(
  { broker, topics, clock, observe }: BrokerServiceOptions,
  { partitions, acks }: ProduceRequest,
  context: ProduceContext,
): Promise<ProduceResult[]> {
  checkPartitions(partitions);
  const when = acksOf(acks);
  const startedMs = clock.monotonicMs();
  const append = async (partition: TopicPartition, one: ProducePartition): Promise<ProduceResult> => {
    const { batch, header } = checkedBatch(one, partition, clock);
    const appended = await broker.append(partition, batch, header, when, context);
    if (appended === undefined) return create(ProduceResultSchema);
    const { baseOffset, isDuplicate: duplicate } = appended;
    return create(ProduceResultSchema, {
      duplicate,
      ...(baseOffset !== undefined && { baseOffset: BigInt(baseOffset) }),
    });
  };
  return Promise.all(
    partitions.map(async (one) => {
      try {
        const known = topics.partition(one.topic, one.partition);
        const result = await (known instanceof Promise
          ? known.then((partition) => append(partition, one))
          : append(known, one));
        observe('produce', 'OK', clock.monotonicMs() - startedMs);
        return result;
      } catch (cause) {
        const error = asHoldfastError(cause);
        observe('produce', error.code, clock.monotonicMs() - startedMs);
        return produceError(error);
      }
    }),
  );
}

/** Of a caller that finds its way, nothing is read elsewhere. */
function readElsewhere(
  { reads, transport, topics }: BrokerServiceOptions,
  { isRouted, deadlineMs }: Pick<CallContext, 'isRouted' | 'deadlineMs'>,
  format: FetchFormat,
): ReadElsewhere | undefined {
  if (isRouted || reads === undefined || transport === undefined) return undefined;
  return async (wanted: FetchPartition, maxBytes: number): Promise<FetchResult> => {
    try {
      const place = await topics.partition(wanted.topic, wanted.partition);
      const request = create(FetchRequestSchema, { partitions: [wanted], maxBytes, format, waitMs: 0 });
      const { results } = await reads.ask(place, 'scan', deadlineMs, async (address, call) => {
        const answer = await transport.unary(address, BrokerService.method.fetch, request, call);
        return { results: answer.results.map(leaderKnown) };
      });
      const [result] = results;
      if (result !== undefined) return result;
      const { topic, partition, offset } = wanted;
      return create(FetchResultSchema, { topic, partition, nextOffset: offset, logEnd: offset });
    } catch (error) {
      return fetchError(wanted, error);
    }
  };
}

/** That a node has no replica either is no answer, but a reason to ask another. */
function leaderKnown(result: FetchResult): FetchResult {
  if (result.error === undefined) return result;
  const error = errorFromMessage(result.error);
  if (error.code === 'UNAVAILABLE') throw error;
  return result;
}

function advanced(wanted: readonly FetchPartition[], news: readonly FetchResult[]): FetchPartition[] {
  const found = new Map(news.map((result) => [`${result.topic}/${result.partition}`, result]));
  const going = wanted.flatMap((one) => {
    const result = found.get(`${one.topic}/${one.partition}`);
    if (result === undefined) return [one];
    return result.error === undefined ? [{ ...one, offset: result.nextOffset }] : [];
  });
  // Whoever was read first is last in the next turn.
  const [first, ...rest] = going;
  return first === undefined ? [] : [...rest, first];
}

/** Offsets of a partition, wherever its replicas are; `isRouted`: here or not at all. */
export async function findOffset(
  options: Pick<BrokerServiceOptions, 'broker' | 'topics' | 'reads' | 'transport'>,
  { isRouted, deadlineMs }: Pick<CallContext, keyof CallTerms>,
  wanted: FindOffset,
): Promise<FoundOffset> {
  const { broker, topics, reads, transport } = options;
  try {
    const partition = await topics.partition(wanted.topic, wanted.partition);
    if (!partition.isServed && !isRouted && reads !== undefined && transport !== undefined) {
      const request = create(FindOffsetsRequestSchema, { partitions: [wanted], here: true });
      return await reads.ask(partition, 'read', deadlineMs, async (address, call) => {
        const { results } = await transport.unary(address, BrokerService.method.findOffsets, request, call);
        const [found] = results;
        if (found?.error !== undefined && errorFromMessage(found.error).code === 'UNAVAILABLE')
          throw errorFromMessage(found.error);
        return found!;
      });
    }
    const { logStart, logEnd } = await broker.bounds(partition);
    const at =
      wanted.timeMs === undefined
        ? undefined
        : await broker.machineOf(partition).log.findByTime(Number(wanted.timeMs));
    return create(FoundOffsetSchema, {
      logStart: BigInt(logStart),
      logEnd: BigInt(logEnd),
      ...(at !== undefined && { offset: BigInt(Math.min(Math.max(at, logStart), logEnd)) }),
    });
  } catch (error) {
    return create(FoundOffsetSchema, { error: errorToMessage(asHoldfastError(error)) });
  }
}
