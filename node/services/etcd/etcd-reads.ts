/** Reads ranges as etcd has them: with how many keys they select, whatever is shown of them. */
import { HoldfastError } from '@holdfast/client/error';
import { isOneKey, type ListOrder } from '../../coordination/config-command.ts';
import type { ConfigReads } from '../../coordination/config-reads.ts';
import type { ConfigEntry } from '../../coordination/coordination-events.ts';
import { refuse } from '../../kv/limits.ts';
import type { EtcdRange } from './etcd-range.ts';

/** What of a range was read. */
export interface ReadRange {
  readonly entries: readonly ConfigEntry[];
  /** Keys that it selects. */
  readonly count: number;
  /** As of which. */
  readonly revision: number;
}

/** As applied on this node. Errors: REVISION_COMPACTED, REVISION_FUTURE, ANSWER_TOO_LARGE. */
export async function readRange(
  reads: ConfigReads,
  range: EtcdRange,
  signal: AbortSignal,
): Promise<ReadRange> {
  const { order } = range;
  if (isOneKey(order.span)) return readKey(reads, order, range.revision);
  for (;;) {
    const listed = await reads.list(order, range.revision, signal);
    const { entries, revision } = listed;
    if (listed.count !== undefined) return { entries, count: listed.count, revision };
    // Whoever asked for all of it does not look whether there is more.
    if (order.limit === 0) throw tooLarge(entries.length);
    try {
      const { count = 0 } = await reads.list({ ...order, countOnly: true }, revision, signal);
      return { entries, count, revision };
    } catch (error) {
      // What is there now was asked for, and was compacted while it was counted.
      if (range.revision !== 0 || !isCompacted(error)) throw error;
    }
  }
}

function readKey(reads: ConfigReads, { span, countOnly }: ListOrder, asked: number): ReadRange {
  const { entry, revision } = reads.get(span.start, asked);
  const entries = entry === undefined || countOnly ? [] : [entry];
  return { entries, count: entry === undefined ? 0 : 1, revision };
}

function isCompacted(error: unknown): boolean {
  return error instanceof HoldfastError && error.reason === 'REVISION_COMPACTED';
}

function tooLarge(entries: number): HoldfastError {
  const message = `the range does not fit into one answer: ${entries} of its keys do. Read it in parts, with a limit.`;
  return refuse('ANSWER_TOO_LARGE', 'limit', message, String(entries));
}
