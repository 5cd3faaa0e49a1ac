import type { Timer } from '../clock.ts';
import type { ClientCore } from '../core.ts';
import type { HoldfastError } from '../error.ts';
import { asHoldfastError } from '../unary.ts';
import type { ConsumedPartition } from './consumed-partition.ts';
import { commitOffsets } from './group-calls.ts';

/** Who has the partitions whose offsets are stored. */
export interface CommitHost {
  readonly partitions: Iterable<ConsumedPartition>;
  /** Somebody else has the partition by now. */
  onFenced(partition: ConsumedPartition, error: HoldfastError): void;
  /** It is tried again. */
  onError(error: HoldfastError): void;
}

/**
 * Stores how far a consumer has come: at intervals, and when it is asked to. One call at a time, so
 * that no commit overtakes a later one.
 */
export class OffsetCommitter {
  readonly #core: ClientCore;
  readonly #group: string;
  readonly #intervalMs: number;
  readonly #host: CommitHost;
  #last: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(core: ClientCore, group: string, intervalMs: number, host: CommitHost) {
    this.#core = core;
    this.#group = group;
    this.#intervalMs = intervalMs;
    this.#host = host;
    this.#plan();
  }

  /** Stores what has changed of some partitions, by default of all; what fails is reported and stays to be stored. */
  commit(partitions: Iterable<ConsumedPartition> = this.#host.partitions): Promise<void> {
    const chosen = [...partitions];
    this.#last = this.#last.then(() => this.#commit(chosen));
    return this.#last;
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #plan(): void {
    if (this.#isClosed) return;
    this.#timer = this.#core.clock.setTimer(
      this.#intervalMs,
      () => void this.commit().then(() => this.#plan()),
    );
  }

  async #commit(partitions: readonly ConsumedPartition[]): Promise<void> {
    const commits = partitions
      .filter((one) => one.isStarted && !one.isGone && one.committable !== one.committed)
      .map((partition) => ({ partition, offset: partition.committable }));
    if (commits.length === 0) return;
    try {
      const errors = await commitOffsets(this.#core, this.#group, commits);
      for (const [index, { partition, offset }] of commits.entries()) {
        const error = errors[index];
        if (error === undefined) partition.committed = offset;
        else if (error.reason === 'GENERATION_FENCED') this.#host.onFenced(partition, error);
        else this.#host.onError(error);
      }
    } catch (cause) {
      this.#host.onError(asHoldfastError(cause));
    }
  }
}
