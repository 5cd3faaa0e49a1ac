/**
 * What whoever leads a partition proposes by itself: an end to old records, compaction, and that
 * producers that are silent are forgotten. It only proposes; what is to go is decided by what
 * the log says of times, and never is the file that is being written.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import { CleanupPolicy } from '@holdfast/proto/broker/v1/topic';
import type { GroupHost } from '../raft/group-host.ts';
import { propose } from '../raft/propose.ts';
import type { Command } from '../raft/entry.ts';
import type { PartitionLog } from './log/partition-log.ts';
import { encodeCompact, encodeForgetProducers, encodeTrim } from './partition-command.ts';
import type { PartitionMachine } from './partition-machine.ts';
import { compactTo, retainFrom } from './retention.ts';
import type { TopicPartition } from './topic-partition.ts';
import type { TopicSettings } from './topic-limits.ts';

const EVERY_MS = 5_000;
const PRODUCERS_EVERY_MS = 600_000;
/** How long a silent producer is remembered; what it sends after that begins anew. */
export const PRODUCER_MEMORY_MS = 7 * 86_400_000;
const PRODUCERS_AT_ONCE = 500;
const PROPOSAL_MS = 5_000;

export interface BrokerUpkeepOptions {
  readonly host: GroupHost;
  readonly clock: Clock;
  readonly partitions: () => readonly TopicPartition[];
}

export class BrokerUpkeep {
  readonly #options: BrokerUpkeepOptions;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #nextProducersMs: number;
  #stopped = false;

  constructor(options: BrokerUpkeepOptions) {
    this.#options = options;
    this.#nextProducersMs = options.clock.monotonicMs() + PRODUCERS_EVERY_MS;
    this.#schedule();
  }

  /** Stops; resolves when the round under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #schedule(): void {
    this.#timer = this.#options.clock.setTimer(EVERY_MS, () => {
      this.#running = this.#round().finally(() => {
        if (!this.#stopped) this.#schedule();
      });
    });
  }

  async #round(): Promise<void> {
    const { clock, host } = this.#options;
    const areProducersDue = clock.monotonicMs() >= this.#nextProducersMs;
    if (areProducersDue) this.#nextProducersMs = clock.monotonicMs() + PRODUCERS_EVERY_MS;
    for (const partition of this.#options.partitions()) {
      if (this.#stopped || host.failure !== undefined) return;
      const { machine } = partition;
      const log = machine?.log.opened;
      if (machine === undefined || log === undefined || !host.isLeader(partition.group)) continue;
      // A failed round is not an error: what it left is found by the next one.
      await this.#clean(partition, machine, log).catch(() => undefined);
      if (areProducersDue) await this.#forget(partition, machine).catch(() => undefined);
    }
  }

  async #clean(
    { group, settings }: TopicPartition,
    machine: PartitionMachine,
    log: PartitionLog,
  ): Promise<void> {
    const nowMs = this.#options.clock.wallMs();
    const segments = log.segments();
    const { logStart } = machine;
    if (deletes(settings)) {
      const start = retainFrom(segments, settings, nowMs);
      if (start > logStart) await this.#propose(group, encodeTrim({ start }));
    }
    if (!compacts(settings)) return;
    const { epoch, upTo } = machine.compaction;
    const next = compactTo(segments, upTo, settings.minDirtyPercent);
    if (next === undefined) return;
    const dropDeletesBeforeMs = Math.max(0, nowMs - settings.deleteRetentionMs);
    await this.#propose(group, encodeCompact({ upTo: next, epoch: epoch + 1, dropDeletesBeforeMs }));
  }

  async #forget({ group }: TopicPartition, machine: PartitionMachine): Promise<void> {
    const silentSinceMs = this.#options.clock.wallMs() - PRODUCER_MEMORY_MS;
    for (let after = 0; ;) {
      const { producers, more } = await machine.producers(after, PRODUCERS_AT_ONCE);
      const silent = producers.filter(({ lastSeenMs }) => lastSeenMs < silentSinceMs).map(({ id }) => id);
      if (silent.length > 0)
        await this.#propose(group, encodeForgetProducers({ silentSinceMs, producers: silent }));
      if (!more || this.#stopped) return;
      after = producers.at(-1)!.id;
    }
  }

  async #propose(group: number, command: Command): Promise<void> {
    const { host, clock } = this.#options;
    if (host.hasRoom(command.bytes.byteLength))
      await propose(host, group, command, clock.monotonicMs() + PROPOSAL_MS);
  }
}

function deletes({ cleanupPolicy }: TopicSettings): boolean {
  return cleanupPolicy !== CleanupPolicy.COMPACT;
}

function compacts({ cleanupPolicy }: TopicSettings): boolean {
  return cleanupPolicy === CleanupPolicy.COMPACT || cleanupPolicy === CleanupPolicy.COMPACT_AND_DELETE;
}
