import type { GroupPlace } from '../cluster/group-routes.ts';
import type { GroupReplica } from '../raft/group-replica.ts';
import type { PartitionMachine } from './partition-machine.ts';
import type { TopicSettings } from './topic-limits.ts';

/** One partition of a topic, with its replica where this node has one. */
export class TopicPartition implements GroupPlace {
  readonly topic: string;
  /** From 0 on. */
  readonly number: number;
  readonly group: number;
  /** Where on the ring it has its place. */
  readonly arc: number;
  readonly replication: number;
  readonly firstReplicas: readonly number[];
  /** Of its topic, now. */
  settings: TopicSettings;
  /** Who votes in it, by what was heard last. */
  replicas: readonly number[];
  replica: GroupReplica<PartitionMachine> | undefined;
  /** The replica here only follows, or was taken out: it may lag far behind, and serves nobody. */
  isAside = false;
  isGone = false;
  /** Told when records come or go, or the topic is deleted; once. */
  readonly #waiters = new Set<() => void>();

  constructor(
    of: Pick<
      TopicPartition,
      'topic' | 'number' | 'group' | 'arc' | 'replication' | 'firstReplicas' | 'settings'
    >,
  ) {
    this.topic = of.topic;
    this.number = of.number;
    this.group = of.group;
    this.arc = of.arc;
    this.replication = of.replication;
    this.firstReplicas = of.firstReplicas;
    this.replicas = of.firstReplicas;
    this.settings = of.settings;
  }

  /** Whether there is a replica here that may serve. */
  get isServed(): boolean {
    return this.replica !== undefined && !this.isAside;
  }

  /** Another one after a snapshot: not to be kept across an `await`. */
  get machine(): PartitionMachine | undefined {
    return this.replica?.machine;
  }

  /** Calls back once at the next change; returns how to call it off. */
  onMove(waiter: () => void): () => void {
    this.#waiters.add(waiter);
    return () => this.#waiters.delete(waiter);
  }

  /** To be called when there is something new to see. */
  moved(): void {
    if (this.#waiters.size === 0) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter();
  }
}
