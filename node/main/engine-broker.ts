/** The broker's part of a node's engine. */
import type { Clock } from '@holdfast/client/clock';
import { Broker, type BrokerOptions } from '../broker/broker.ts';
import { PartitionLogs } from '../broker/partition-logs.ts';
import { Producers } from '../broker/producers.ts';
import type { Topics } from '../broker/topics.ts';
import { BrokerUpkeep } from '../broker/upkeep.ts';
import type { ClusterTree } from '../cluster/cluster-tree.ts';
import type { FatalCause } from '../raft/group-host.ts';
import type { Disk } from '../runtime/disk.ts';

export interface EngineBroker {
  readonly broker: Broker;
  readonly producers: Producers;
  readonly upkeep: BrokerUpkeep;
}

export interface EngineBrokerOptions extends BrokerOptions {
  readonly tree: ClusterTree;
  readonly topics: Topics;
}

export function engineBroker(options: EngineBrokerOptions): EngineBroker {
  const { tree, topics } = options;
  return {
    broker: new Broker(options),
    producers: new Producers({ tree, catchUp: () => topics.catchUp() }),
    upkeep: new BrokerUpkeep({ ...options, partitions: () => topics.partitions() }),
  };
}

/** `onFailure`: files cannot be written, or are damaged. */
export function openPartitionLogs(
  disk: Disk,
  clock: Clock,
  onFailure: (cause: FatalCause, error: Error) => void,
): PartitionLogs {
  return new PartitionLogs({
    disk,
    clock,
    onFailure: (error) =>
      onFailure(error.name === 'StoreDamaged' ? 'storage damaged' : 'storage failed', error),
  });
}
