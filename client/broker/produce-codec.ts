import { create } from '@bufbuild/protobuf';
import {
  Acks as AcksCode,
  type ProduceRequest,
  ProduceRequestSchema,
} from '@holdfast/proto/broker/v1/broker';
import { fieldSize, varintSize, WireWriter } from '../wire-writer.ts';

// Tags of the fields, by their messages.
const STREAM = { id: 0x08, request: 0x12, timeout: 0x18 } as const;
const REQUEST = { partitions: 0x0a, acks: 0x10 } as const;
const PARTITION = { topic: 0x0a, partition: 0x10, batch: 0x1a } as const;

/** What is to be appended to a partition. */
export interface BatchToSend {
  readonly topic: string;
  readonly partition: number;
  readonly bytes: Uint8Array;
}

/** When an append is answered. */
export type Acks = 'majority' | 'leader';

/** A ProduceStreamRequest as bytes; the batches are copied once. */
export function encodeStreamRequest(
  id: number,
  batches: readonly BatchToSend[],
  acks: Acks,
  timeoutMs: number,
): Uint8Array {
  const topics = batches.map(({ topic }) => Buffer.from(topic));
  const sizes = batches.map(
    ({ partition, bytes }, index) =>
      fieldSize(topics[index]!.length) + 1 + varintSize(partition) + fieldSize(bytes.length),
  );
  const request = sizes.reduce((sum, size) => sum + fieldSize(size), 2);
  const writer = new WireWriter(30 + request);
  writer.byte(STREAM.id);
  writer.varint(id);
  writer.byte(STREAM.request);
  writer.varint(request);
  for (const [index, { partition, bytes }] of batches.entries()) {
    writer.byte(REQUEST.partitions);
    writer.varint(sizes[index]!);
    writer.field(PARTITION.topic, topics[index]!);
    writer.byte(PARTITION.partition);
    writer.varint(partition);
    writer.field(PARTITION.batch, bytes);
  }
  writer.byte(REQUEST.acks);
  writer.varint(acksCode(acks));
  writer.byte(STREAM.timeout);
  writer.varint(timeoutMs);
  return writer.finish();
}

/** A ProduceRequest as a message. */
export function produceRequest(batches: readonly BatchToSend[], acks: Acks): ProduceRequest {
  const partitions = batches.map(({ topic, partition, bytes }) => ({
    topic,
    partition,
    content: { case: 'batch' as const, value: bytes },
  }));
  return create(ProduceRequestSchema, { partitions, acks: acksCode(acks) });
}

function acksCode(acks: Acks): AcksCode {
  return acks === 'leader' ? AcksCode.LEADER : AcksCode.MAJORITY;
}
