/**
 * Applies what groups have committed, in order, and answers those who wait for it. Gives
 * way to input after a slice, and waits while the row store has no room.
 *
 *  1. Entries of a group are applied in order of index, each once.
 *  2. Half an entry never reaches the store: when applying one fails, nothing does any more.
 */
import type { Clock } from '@holdfast/client/clock';
import type { RowStore } from '../storage/row-store.ts';
import type { Entry } from './entry.ts';
import type { HostObserver } from './group-host.ts';
import type { GroupReplica } from './group-replica.ts';

/** An applying slice gives way to input after this long. */
const SLICE_MS = 8;

export interface ApplyQueueOptions {
  readonly rows: RowStore;
  readonly clock: Clock;
  readonly observe: HostObserver | undefined;
  readonly isPresent: (replica: GroupReplica) => boolean;
  /** The core was told of applied entries. */
  readonly onApplied: (replica: GroupReplica) => void;
  readonly onIdle: () => void;
  readonly onError: (error: unknown) => void;
}

interface Portion {
  readonly replica: GroupReplica;
  readonly entries: readonly Entry[];
}

export class ApplyQueue {
  readonly #options: ApplyQueueOptions;
  #portions: Portion[] = [];
  #isRunning = false;
  #isStopped = false;

  constructor(options: ApplyQueueOptions) {
    this.#options = options;
  }

  get isBusy(): boolean {
    return this.#isRunning || this.#portions.length > 0;
  }

  add(replica: GroupReplica, entries: readonly Entry[]): void {
    this.#portions.push({ replica, entries });
  }

  /** Forgets what a replica still had to apply. */
  drop(replica: GroupReplica): void {
    this.#portions = this.#portions.filter((portion) => portion.replica !== replica);
  }

  stop(): void {
    this.#isStopped = true;
    this.#portions = [];
  }

  /** Applies what is queued; returns at the end of the first slice at the latest. */
  run(): void {
    if (this.#isRunning || this.#portions.length === 0) return;
    this.#isRunning = true;
    this.#slice();
  }

  #slice(): void {
    const { clock, observe, onError } = this.#options;
    const startedMs = clock.monotonicMs();
    let entries = 0;
    let commands = 0;
    try {
      while (this.#portions.length > 0 && !this.#isStopped) {
        const portion = this.#portions[0]!;
        const done = this.#applyPortion(portion, startedMs);
        entries += done.entries;
        commands += done.commands;
        const isWhole = done.entries === portion.entries.length;
        if (this.#portions[0] === portion) {
          if (isWhole) this.#portions.shift();
          else this.#portions[0] = { ...portion, entries: portion.entries.slice(done.entries) };
        }
        if (!isWhole) break;
      }
    } catch (error) {
      this.#isRunning = false;
      return onError(error);
    }
    if (entries > 0) observe?.applied(entries, commands, clock.monotonicMs() - startedMs);
    if (this.#portions.length === 0 || this.#isStopped) {
      this.#isRunning = false;
      return this.#options.onIdle();
    }
    void this.#goOn();
  }

  async #goOn(): Promise<void> {
    const { clock, rows } = this.#options;
    if (rows.isFull) {
      rows.startFlush();
      await rows.flushed();
    }
    clock.afterTurn(() => this.#slice());
  }

  /** Applies entries of a portion until it ends, the slice does, or the store is full. */
  #applyPortion({ replica, entries }: Portion, startedMs: number): { entries: number; commands: number } {
    const { clock, rows, isPresent, onApplied } = this.#options;
    if (!isPresent(replica)) return { entries: entries.length, commands: 0 };
    let done = 0;
    let commands = 0;
    while (done < entries.length) {
      commands += this.#apply(replica, entries[done]!);
      done++;
      if (clock.monotonicMs() - startedMs >= SLICE_MS || rows.isFull || !isPresent(replica)) break;
    }
    if (isPresent(replica)) {
      const { index } = replica.applied;
      replica.core.onApplied(index);
      replica.reads.serve(index);
      onApplied(replica);
      return { entries: done, commands };
    }
    return { entries: entries.length, commands };
  }

  /** Invariant 1. Returns the number of commands. */
  #apply(replica: GroupReplica, entry: Entry): number {
    const logged = replica.proposals.take(entry.index, entry.term);
    const made = logged?.made;
    let results: unknown[];
    try {
      results = replica.apply(entry, made?.proposals);
    } catch (error) {
      this.#options.rows.freeze(); // invariant 2, before anything else can run
      const failure = { cause: 'storage damaged', outcome: 'UNKNOWN' } as const;
      for (const proposal of made?.proposals ?? []) proposal.onFailed(failure);
      throw error;
    }
    this.#options.rows.applied(replica.group, replica.applied);
    this.#options.observe?.entry?.(replica, entry, results);
    if (made === undefined) return results.length;
    if (made.proposals.length > 0)
      this.#options.observe?.committed(this.#options.clock.monotonicMs() - logged!.sinceMs);
    const { proposals, onApplied } = made;
    for (let i = 0; i < proposals.length; i++) proposals[i]!.onApplied(results[i]);
    for (const waiter of onApplied) waiter();
    return results.length;
  }
}
