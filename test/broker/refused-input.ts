/** A topic and a group on one node, and with what requests to them are refused; which must change nothing. */
import { create } from '@bufbuild/protobuf';
import { ListTopicsRequestSchema } from '@holdfast/proto/broker/v1/topic';
import { expect } from 'vitest';
import { BrokerRig } from './broker-rig.ts';
import { GroupCalls } from './group-calls.ts';
import { facts } from './refusal.ts';

/** Greatest batch of topic "t". */
export const LIMIT = 1_024;
export const invalid = { code: 'INVALID_ARGUMENT', outcome: 'NOT_APPLIED' };

/** Topic "t" of two partitions with a record in the first, and group "g" that has read it. */
export async function begun() {
  const rig = await BrokerRig.start();
  const groups = new GroupCalls(rig);
  await rig.createTopic({ name: 't', partitions: 2, settings: { maxBatchBytes: LIMIT } });
  await rig.append('t', ['first']);
  await groups.commit({
    group: 'g',
    offsets: [{ topic: 't', offset: 1n, generation: 5n, metadata: 'kept' }],
  });
  return { rig, groups };
}

/** Everything that a caller can see. */
export async function everything({ rig, groups }: Awaited<ReturnType<typeof begun>>) {
  const { topics } = await rig.run(rig.topics.listTopics(rig.context(), create(ListTopicsRequestSchema)));
  const described = await Promise.all(topics.map(({ name }) => rig.describeTopic(name)));
  const records = await Promise.all([0, 1].map((partition) => rig.values('t', 0, partition)));
  const { results } = await groups.fetchOffsets({
    group: 'g',
    partitions: [0, 1].map((partition) => ({ topic: 't', partition })),
  });
  return { topics, described, records, results, listed: (await groups.list()).groups };
}

export type Begun = Awaited<ReturnType<typeof begun>>;

/** What a call is refused with; it must have changed nothing. */
export async function unchanged<T>(world: Begun, call: () => Promise<T>): Promise<T> {
  const before = await everything(world);
  const answer = await call();
  expect(await everything(world)).toEqual(before);
  return answer;
}

/** With what a batch is refused. */
export function produced(world: Begun, batch: Buffer, { topic = 't', partition = 0 } = {}) {
  return unchanged(world, async () => {
    const content = { case: 'batch' as const, value: batch as Buffer<ArrayBuffer> };
    const { results } = await world.rig.produce({ partitions: [{ topic, partition, content }] });
    return facts(results[0]!.error);
  });
}

/** With what a fetch is refused, beside where the log begins and ends. */
export function fetched({ rig }: Begun, { topic = 't', partition = 0, offset = 0 }) {
  const wanted = { topic, partition, offset: BigInt(offset) };
  return rig.fetch({ partitions: [wanted] }).then(({ results: [result] }) => ({
    ...facts(result!.error),
    bounds: [result!.logStart, result!.logEnd],
  }));
}

export function committed(
  world: Begun,
  { topic = 't', partition = 0, offset = 1, generation = 5, metadata = '' },
) {
  return unchanged(world, async () => {
    const one = { topic, partition, offset: BigInt(offset), generation: BigInt(generation), metadata };
    return facts((await world.groups.commit({ group: 'g', offsets: [one] })).results[0]!.error);
  });
}
