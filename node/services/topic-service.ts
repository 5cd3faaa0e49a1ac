/** `holdfast.broker.v1.TopicService`. */
import { create } from '@bufbuild/protobuf';
import {
  AlterTopicResponseSchema,
  CreateTopicResponseSchema,
  DeleteTopicResponseSchema,
  DescribeTopicResponseSchema,
  ListTopicsResponseSchema,
  PartitionDescriptionSchema,
  TopicService,
  type PartitionDescription,
} from '@holdfast/proto/broker/v1/topic';
import { DEFAULT_SETTINGS, partitionCount, refuse, settingsWith } from '../broker/topic-limits.ts';
import type { TopicPartition } from '../broker/topic-partition.ts';
import type { Topics } from '../broker/topics.ts';
import { MAX_REPLICATION } from '../kv/limits.ts';
import type { GroupRoutes } from '../cluster/group-routes.ts';
import type { GroupHost } from '../raft/group-host.ts';
import { serve, type ServedService } from './handler.ts';

export interface TopicServiceOptions {
  readonly topics: Topics;
  readonly host: GroupHost;
  readonly routes: GroupRoutes;
}

/** The topic service over a node's topics. */
export function topicService(options: TopicServiceOptions): ServedService {
  const { topics } = options;
  return serve(TopicService, {
    async createTopic({ isRouted }, { name, partitions, replication, settings }) {
      const plan = {
        name,
        partitions: partitionCount(partitions, 1, 1),
        replication: checkedReplication(replication),
        settings: settingsWith(DEFAULT_SETTINGS, settings ?? {}),
      };
      return create(CreateTopicResponseSchema, { topic: await topics.create(plan, !isRouted) });
    },

    async alterTopic({ isRouted }, { name, partitions, settings }) {
      const altered = await topics.alter(
        name,
        ({ settings: before, partitions: { length } }) => ({
          settings: settingsWith(before, settings ?? {}),
          partitions: partitionCount(partitions, length, length),
        }),
        !isRouted,
      );
      return create(AlterTopicResponseSchema, { topic: altered });
    },

    async deleteTopic({ isRouted }, { name }) {
      await topics.delete(name, !isRouted);
      return create(DeleteTopicResponseSchema);
    },

    async listTopics() {
      await topics.catchUp();
      return create(ListTopicsResponseSchema, { topics: topics.list().map(({ descriptor }) => descriptor) });
    },

    async describeTopic(_, { name }) {
      const { descriptor, partitions } = await topics.find(name);
      return create(DescribeTopicResponseSchema, {
        topic: descriptor,
        partitions: partitions.map((partition) => describe(options, partition)),
      });
    },
  });
}

function describe({ host, routes }: TopicServiceOptions, partition: TopicPartition): PartitionDescription {
  const { group, number, machine, replicas } = partition;
  const log = partition.isServed ? machine?.log.opened : undefined;
  return create(PartitionDescriptionSchema, {
    partition: number,
    leader: (host.leaderOf(group) ?? routes.hint(partition))?.address ?? '',
    replicas: replicas.map((id) => host.memberName(id)),
    ...(machine !== undefined &&
      log !== undefined && {
        known: true,
        logStart: BigInt(machine.logStart),
        logEnd: BigInt(machine.logEnd),
        bytes: BigInt(log.bytes),
        segments: log.segments().length,
      }),
  });
}

function checkedReplication(value: number | undefined): number | undefined {
  if (value === undefined || (value >= 1 && value <= MAX_REPLICATION)) return value;
  const message = `replication is ${value}, allowed are 1 to ${MAX_REPLICATION}. Nothing was created.`;
  throw refuse('INVALID_FIELD', 'replication', message, String(value), `1..${MAX_REPLICATION}`);
}
