/**
 * What the leader of group 0 has to be done from time to time: history that is older or longer
 * than is wanted is forgotten, what is forgotten is removed in slices, and so are clients that
 * have been silent. It only proposes, and what fails is done by the next round.
 */
import { sleep, type Clock, type Timer } from '@holdfast/client/clock';
import type { RowKey } from '../storage/row-key.ts';
import type { Command } from '../raft/entry.ts';
import { CLIENT_MEMORY_MS, encodeForgetClients } from './applied-once.ts';
import { encodeCompact, encodePurge } from './config-command.ts';
import type { Coordination } from './coordination.ts';

const EVERY_MS = 1_000;
const CLIENTS_EVERY_MS = 60_000;
const PROPOSAL_MS = 5_000;
/** How exactly the age of history is known: a part of what is kept. */
const AGE_PARTS = 60;
/** Above what is kept, so much has to have come before it is forgotten: a part of it. */
const REVISIONS_PART = 1 / 20;

/** What of the history is kept without being asked for. */
export interface HistoryLimits {
  /** For so long, as counted by whoever leads; 0: for ever. */
  readonly ageMs: number;
  /** So many revisions at most; 0: all. */
  readonly revisions: number;
}

export const DEFAULT_HISTORY: HistoryLimits = { ageMs: 3_600_000, revisions: 100_000 };

/** Counts since the start. */
export interface UpkeepCounts {
  /** Compactions that this node asked for by itself. */
  compactions: number;
  /** Changes that were removed. */
  purged: number;
  forgottenClients: number;
}

/** A revision that the tree had at a time. */
interface Sample {
  readonly atMs: number;
  readonly revision: number;
}

export class CoordinationUpkeep {
  readonly counts: UpkeepCounts = { compactions: 0, purged: 0, forgottenClients: 0 };
  readonly #coordination: Coordination;
  readonly #clock: Clock;
  readonly #limits: HistoryLimits;
  /** Of this term as leader, oldest first. */
  #samples: Sample[] = [];
  #term: number | undefined;
  #clientsAtMs: number;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  readonly #stopping = new AbortController();

  constructor(coordination: Coordination, clock: Clock, limits: HistoryLimits) {
    this.#coordination = coordination;
    this.#clock = clock;
    this.#limits = limits;
    this.#clientsAtMs = clock.monotonicMs() + CLIENTS_EVERY_MS;
    this.#schedule();
  }

  /** Resolves when the round under way has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#timer?.cancel();
    await this.#running;
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(EVERY_MS, () => {
      this.#running = this.#round()
        .catch(() => undefined)
        .finally(() => {
          if (!this.#stopping.signal.aborted) this.#schedule();
        });
    });
  }

  async #round(): Promise<void> {
    const term = this.#coordination.leadingTerm;
    if (term !== this.#term) {
      this.#term = term;
      this.#samples = []; // nobody has told this leader how old what is
    }
    if (term === undefined) return;
    await this.#compact();
    await this.#purge();
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#clientsAtMs) return;
    this.#clientsAtMs = nowMs + CLIENTS_EVERY_MS;
    await this.#forgetClients();
  }

  async #compact(): Promise<void> {
    const { config, revision } = this.#coordination.machine;
    const byAge = this.#oldestByAge(revision);
    const { revisions } = this.#limits;
    const isLong =
      revisions > 0 && revision - config.compactRevision > revisions + Math.ceil(revisions * REVISIONS_PART);
    const before = Math.max(byAge, isLong ? revision - revisions : 0);
    if (before <= config.compactRevision) return;
    await this.#propose(encodeCompact(before));
    this.counts.compactions++;
  }

  /** The revision before which everything is older than wanted; 0: nothing is known to be. */
  #oldestByAge(revision: number): number {
    const { ageMs } = this.#limits;
    if (ageMs === 0) return 0;
    const nowMs = this.#clock.monotonicMs();
    const last = this.#samples.at(-1);
    if (last === undefined || nowMs - last.atMs >= ageMs / AGE_PARTS)
      this.#samples.push({ atMs: nowMs, revision });
    let old = 0;
    while (this.#samples.length > 0 && nowMs - this.#samples[0]!.atMs >= ageMs)
      old = this.#samples.shift()!.revision;
    return old;
  }

  /**
   * All of it, however much there is: what comes faster than it is removed would fill the quota.
   * A slice makes everything else wait for some milliseconds, so it gets half of the time.
   */
  async #purge(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const startedMs = this.#clock.monotonicMs();
      const purge = await this.#coordination.machine.config.history.toPurge();
      if (purge === undefined) return;
      await this.#propose(encodePurge(purge));
      this.counts.purged += purge.replaced.length + purge.deletes.length;
      await sleep(this.#clock, this.#clock.monotonicMs() - startedMs, this.#stopping.signal);
    }
  }

  async #forgetClients(): Promise<void> {
    const silentSinceMs = this.#clock.wallMs() - CLIENT_MEMORY_MS;
    let after: RowKey | undefined;
    do {
      const { clients, next } = await this.#coordination.machine.clients.silent(silentSinceMs, after);
      if (clients.length > 0) await this.#propose(encodeForgetClients(clients));
      this.counts.forgottenClients += clients.length;
      after = next;
    } while (after !== undefined && !this.#stopping.signal.aborted);
  }

  #propose(command: Command): Promise<unknown> {
    const deadlineMs = this.#clock.monotonicMs() + PROPOSAL_MS;
    return this.#coordination.propose(command, {
      deadlineMs,
      isRouted: true,
      grows: false,
      decode: (outcome) => outcome,
    });
  }
}
