/** The broker's services over a simulated node, called as a transport would. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BrokerService,
  FetchRequestSchema,
  FindOffsetsRequestSchema,
  InitProducerRequestSchema,
  ProduceRequestSchema,
} from '@holdfast/proto/broker/v1/broker';
import {
  AlterTopicRequestSchema,
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
  DescribeTopicRequestSchema,
  TopicService,
} from '@holdfast/proto/broker/v1/topic';
import { RecordBatchWriter } from '../../client/broker/record-writer.ts';
import { HoldfastError } from '../../client/error.ts';
import type { Engine } from '../../node/main/engine.ts';
import { openAccess } from '../../node/services/access.ts';
import { brokerService } from '../../node/services/broker-service.ts';
import type { Handlers } from '../../node/services/handler.ts';
import { topicService } from '../../node/services/topic-service.ts';
import { SimulatedNode } from '../simulation/simulated-node.ts';

/** Whose batch it is. */
export interface ProducerStamp {
  readonly producerId: number;
  readonly epoch: number;
  readonly sequence: number;
}

type Init<S extends Parameters<typeof create>[0]> = MessageInitShape<S>;

export const text = (value: string): Buffer => Buffer.from(value);

export class BrokerRig {
  readonly node: SimulatedNode;
  engine!: Engine;
  broker!: Handlers<typeof BrokerService>;
  topics!: Handlers<typeof TopicService>;
  #stopping = new AbortController();

  private constructor(node: SimulatedNode) {
    this.node = node;
  }

  static async start(seed = 'broker'): Promise<BrokerRig> {
    const rig = new BrokerRig(new SimulatedNode(seed));
    await rig.restart();
    return rig;
  }

  /** Opens the engine anew on what is there. */
  async restart(): Promise<void> {
    this.engine = await this.node.run(this.node.start());
    this.#stopping = new AbortController();
    const { clock } = this.node;
    const options = { ...this.engine, clock, stopping: this.#stopping.signal, observe: () => undefined };
    this.broker = brokerService({ ...options, transport: undefined }).handlers as Handlers<
      typeof BrokerService
    >;
    this.topics = topicService(this.engine).handlers as Handlers<typeof TopicService>;
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.node.run(work);
  }

  context(deadlineMs = Infinity) {
    return {
      deadlineMs,
      isRouted: true,
      signal: new AbortController().signal,
      principal: 'test',
      access: openAccess(),
      grant: openAccess(),
      peer: () => '',
      requestId: '',
      traceparent: undefined,
      budget: {
        tryTake: () => true,
        give: () => undefined,
        refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full' }),
      },
    };
  }

  createTopic = (init: Init<typeof CreateTopicRequestSchema>) =>
    this.run(this.topics.createTopic(this.context(), create(CreateTopicRequestSchema, init)));
  alterTopic = (init: Init<typeof AlterTopicRequestSchema>) =>
    this.run(this.topics.alterTopic(this.context(), create(AlterTopicRequestSchema, init)));
  deleteTopic = (name: string) =>
    this.run(this.topics.deleteTopic(this.context(), create(DeleteTopicRequestSchema, { name })));
  describeTopic = (name: string) =>
    this.run(this.topics.describeTopic(this.context(), create(DescribeTopicRequestSchema, { name })));
  initProducer = (name = '') =>
    this.run(this.broker.initProducer(this.context(), create(InitProducerRequestSchema, { name })));
  findOffsets = (init: Init<typeof FindOffsetsRequestSchema>) =>
    this.run(this.broker.findOffsets(this.context(), create(FindOffsetsRequestSchema, init)));
  fetch = (init: Init<typeof FetchRequestSchema>) =>
    this.run(this.broker.fetch(this.context(), create(FetchRequestSchema, init)));
  produce = (init: Init<typeof ProduceRequestSchema>) =>
    this.run(this.broker.produce(this.context(), create(ProduceRequestSchema, init)));

  /** Appends a batch to one partition; its result. */
  async append(topic: string, values: readonly string[], stamp?: ProducerStamp, partition = 0) {
    const batch = batchOf(values, stamp);
    const { results } = await this.produce({
      partitions: [{ topic, partition, content: { case: 'batch', value: batch } }],
    });
    return results[0]!;
  }

  /** Values of all records of a partition from an offset on. */
  async values(topic: string, offset = 0, partition = 0): Promise<string[]> {
    const values: string[] = [];
    for (let at = BigInt(offset); ;) {
      const { results } = await this.fetch({ partitions: [{ topic, partition, offset: at }], format: 2 });
      const result = results[0];
      if (result === undefined || (result.records.length === 0 && result.nextOffset === at)) return values;
      if (result.error !== undefined) throw new Error(`${result.error.reason}: ${result.error.message}`);
      for (const { value } of result.records) values.push(Buffer.from(value ?? []).toString());
      at = result.nextOffset;
    }
  }
}

export function batchOf(
  values: readonly string[],
  stamp?: ProducerStamp,
  { key }: { readonly key?: Uint8Array } = {},
): Buffer<ArrayBuffer> {
  const writer = new RecordBatchWriter();
  for (const value of values) writer.append(1_000, key, text(value));
  const seal = stamp && {
    producerId: BigInt(stamp.producerId),
    producerEpoch: stamp.epoch,
    sequence: BigInt(stamp.sequence),
  };
  return writer.finish({ ...(seal && { seal }) }) as Buffer<ArrayBuffer>;
}
