/** The users' keys on this node: what services read and write. */
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { REASONS, type Reason } from '@holdfast/client/reasons';
import { ByteReader } from '../storage/byte-codec.ts';
import { encodeCompact, encodeTransact, type ConfigTransaction } from './config-command.ts';
import { decodeTransactOutcome, type TransactOutcome, type TransactionResult } from './config-outcome.ts';
import { ConfigReads } from './config-reads.ts';
import type { CallTerms, Coordination } from './coordination.ts';
import type { WriteIdentity } from './coordination-command.ts';
import { WatchHub } from './watch-hub.ts';

/** Part of the quota. */
const FULL = 0.99;

/** How a transaction is applied. */
export interface TransactTerms extends CallTerms {
  /** Whether it may add data. */
  readonly grows: boolean;
  readonly identity: WriteIdentity | undefined;
}

/** What the configuration is at, as applied on this node. */
export interface ConfigFigures {
  readonly revision: number;
  /** History before it is forgotten. */
  readonly compactRevision: number;
  readonly keys: number;
  /** Of keys and values, history included. */
  readonly bytes: number;
  readonly quotaBytes: number;
  /** Watches on this node. */
  readonly watches: number;
}

/** Transactions that this node was asked for, by how they ended, since the start. */
export interface TransactCounts {
  changed: number;
  /** Their comparisons had them do nothing, or there was nothing to delete. */
  unchanged: number;
  /** By the configuration: a condition did not hold, a lease is gone, the quota is reached. */
  refused: number;
  /** Nobody led, or it took too long. */
  failed: number;
}

export class Configuration {
  readonly counts: TransactCounts = { changed: 0, unchanged: 0, refused: 0, failed: 0 };
  readonly reads: ConfigReads;
  /** Who follows it. */
  readonly watches: WatchHub;
  readonly #coordination: Coordination;
  readonly #quotaBytes: number;
  /** What there was when something did not fit; undefined: everything has. */
  #fullAt: number | undefined;

  /** Before anything is applied, so that nothing is missed. */
  constructor(coordination: Coordination, clock: Clock, quotaBytes: number) {
    this.#coordination = coordination;
    this.#quotaBytes = quotaBytes;
    this.reads = new ConfigReads(() => coordination.machine, clock);
    const tree = () => {
      const { config, revision } = coordination.machine;
      return { history: config.history, compactRevision: config.compactRevision, revision };
    };
    this.watches = new WatchHub({ tree, clock });
    coordination.observe(this.watches);
  }

  get figures(): ConfigFigures {
    const { revision, config } = this.#coordination.machine;
    const { compactRevision, keys, bytes } = config.history.counters;
    const watches = this.watches.size;
    return { revision, compactRevision, keys, bytes, quotaBytes: this.#quotaBytes, watches };
  }

  /** Whether something that this node was asked to put did not fit and nothing has gone since, or 1 % of the quota is left. */
  get isFull(): boolean {
    const { bytes, quotaBytes } = this.figures;
    if (this.#fullAt !== undefined && bytes < this.#fullAt) this.#fullAt = undefined;
    return this.#fullAt !== undefined || bytes > FULL * quotaBytes;
  }

  /** Resolves when everything that was acknowledged before is applied on this node. Errors: NOT_LEADER, NO_LEADER. */
  awaitRead({ deadlineMs, isRouted }: CallTerms): Promise<void> {
    return this.#coordination.awaitRead({ deadlineMs, isRouted });
  }

  /** Error: HoldfastError with outcome. */
  async transact(transaction: ConfigTransaction, terms: TransactTerms): Promise<TransactOutcome> {
    const { deadlineMs, isRouted, grows, identity, grant } = terms;
    const command = encodeTransact(identity, { quotaBytes: this.#quotaBytes, transaction });
    try {
      const proposal = { deadlineMs, isRouted, grows, grant, decode: decodeTransactOutcome };
      const outcome = await this.#coordination.propose(command, proposal);
      this.counts[hasChanged(outcome) ? 'changed' : 'unchanged']++;
      return outcome;
    } catch (error) {
      this.counts[isRefusedByTree(error) ? 'refused' : 'failed']++;
      if (error instanceof HoldfastError && error.reason === 'QUOTA_REACHED')
        this.#fullAt = this.figures.bytes;
      throw error;
    }
  }

  /** Forgets history before a revision; resolves with that of the tree. Errors: REVISION_COMPACTED, REVISION_FUTURE. */
  compact(revision: number, { deadlineMs, isRouted, grant }: CallTerms): Promise<number> {
    return this.#coordination.propose(encodeCompact(revision), {
      deadlineMs,
      isRouted,
      grant,
      grows: false,
      decode: (outcome) => new ByteReader(outcome).u64(),
    });
  }
}

function hasChanged({ results }: TransactionResult): boolean {
  return results.some((result) => {
    if (result.case === 'transaction') return hasChanged(result);
    return result.case === 'put' || (result.case === 'delete' && result.deleted > 0);
  });
}

function isRefusedByTree(error: unknown): boolean {
  const reason = error instanceof HoldfastError ? error.reason : '';
  return reason === 'QUOTA_REACHED' || (isReason(reason) && REASONS[reason].decidedByStateMachine);
}

function isReason(reason: string): reason is Reason {
  return Object.hasOwn(REASONS, reason);
}
