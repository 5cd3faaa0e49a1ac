/** Figures of topics and consumer groups for metrics. */
import type { Broker, TopicTraffic } from '../broker/broker.ts';
import type { TopicPartition } from '../broker/topic-partition.ts';
import type { OpenTopic, Topics } from '../broker/topics.ts';
import type { ConsumerGroups } from '../coordination/groups/consumer-groups.ts';
import type { CounterSource, GaugeSource, LabelledGaugeSource } from '../observe/metrics.ts';
import type { GroupHost } from '../raft/group-host.ts';

/** Groups of one partition that are looked at. */
const GROUPS = 1_000;

export interface BrokerFigures {
  readonly topics: Topics;
  readonly broker: Broker;
  readonly groups: ConsumerGroups;
  readonly host: GroupHost;
}

export function brokerGauges({ topics, host }: BrokerFigures): GaugeSource[] {
  return [
    {
      name: 'holdfast_topic_partitions',
      help: 'Partitions of topics with a replica here, by role: leader, follower.',
      label: 'role',
      read: () => {
        const held = topics.partitions().filter(({ replica }) => replica !== undefined);
        const leader = held.filter(({ group }) => host.isLeader(group)).length;
        return { leader, follower: held.length - leader };
      },
    },
  ];
}

export function brokerLabelledGauges({ topics, host }: BrokerFigures): LabelledGaugeSource[] {
  const byTopic = (figure: (partition: TopicPartition) => number) => () =>
    topics.list().map(({ name, partitions }) => {
      const value = partitions.reduce((sum, partition) => sum + figure(partition), 0);
      return [{ topic: name }, value] as const;
    });
  return [
    {
      name: 'holdfast_topic_log_bytes',
      help: 'Bytes of the files of a topic on this node.',
      labels: ['topic'],
      read: byTopic(({ machine }) => machine?.log.opened?.bytes ?? 0),
    },
    {
      name: 'holdfast_topic_segments',
      help: 'Files of a topic on this node.',
      labels: ['topic'],
      read: byTopic(({ machine }) => machine?.log.opened?.segments().length ?? 0),
    },
    {
      name: 'holdfast_group_lag',
      help: 'Records that a consumer group has still to read, over the partitions that this node leads.',
      labels: ['group', 'topic'],
      read: async () => {
        const lags = await Promise.all(topics.list().map((topic) => lagsOf(topic, host)));
        return lags.flat();
      },
    },
  ];
}

export function brokerCounters({ broker, groups }: BrokerFigures): CounterSource[] {
  const traffic =
    (read: (traffic: Readonly<TopicTraffic>) => readonly [received: number, sent: number]) => () =>
      [...broker.traffic].flatMap(([topic, one]) => {
        const [received, sent] = read(one);
        return [
          [{ topic, direction: 'in' }, received],
          [{ topic, direction: 'out' }, sent],
        ] as const;
      });
  return [
    {
      name: 'holdfast_topic_records_total',
      help: 'Records that calls on this node appended (in) and read (out), by topic.',
      labels: ['topic', 'direction'],
      read: traffic(({ recordsIn, recordsOut }) => [recordsIn, recordsOut]),
    },
    {
      name: 'holdfast_topic_bytes_total',
      help: 'Bytes of their batches.',
      labels: ['topic', 'direction'],
      read: traffic(({ bytesIn, bytesOut }) => [bytesIn, bytesOut]),
    },
    {
      name: 'holdfast_group_rebalances_total',
      help: 'Times that partitions of consumer groups were shared anew, as applied here.',
      labels: [],
      read: () => [[{}, groups.rebalances]],
    },
  ];
}

async function lagsOf({ name, partitions }: OpenTopic, host: GroupHost) {
  const lags = new Map<string, number>();
  for (const { group, machine } of partitions) {
    if (machine === undefined || !host.isLeader(group)) continue;
    const { groups } = await machine.groups('', GROUPS);
    for (const one of groups) {
      const { offset } = machine.offsetOf(one);
      const from = Math.max(offset ?? 0, machine.logStart);
      lags.set(one, (lags.get(one) ?? 0) + Math.max(0, machine.logEnd - from));
    }
  }
  return [...lags].map(([group, lag]) => [{ group, topic: name }, lag] as const);
}
