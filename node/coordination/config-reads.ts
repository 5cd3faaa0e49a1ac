/**
 * Reads of the configuration outside of transactions: as of one revision, in slices between
 * which other work has its turn, bounded in what they answer.
 */
import { HoldfastError } from '@holdfast/client/error';
import type { Clock } from '@holdfast/client/clock';
import { answerSize } from './answer-size.ts';
import { ConfigSort, type ConfigTransaction, type KeySpan, type ListOrder } from './config-command.ts';
import type { KeyWalk } from './config-history.ts';
import { MAX_TOUCHED_KEYS } from './config-limits.ts';
import { entryWithoutValue, type FoundVersion } from './config-rows.ts';
import { sortEntries } from './config-sort.ts';
import type { ConfigTree } from './config-tree.ts';
import type { ConfigEntry } from './coordination-events.ts';
import { refusalError } from './refusal-error.ts';

/** Bytes of entries of one answer: a message is at most 16 MiB. */
const MAX_ANSWER_BYTES = 15 * 1024 * 1024;
/** What an entry takes besides key and value. */
const ENTRY_BYTES = 48;
/** Keys looked at before other work has its turn. */
const SLICE_STEPS = 2_000;

/** What is applied on this node, anew each time. */
export interface ReadTree {
  readonly config: ConfigTree;
  readonly revision: number;
}

/** What was listed. */
export interface Listed {
  readonly entries: readonly ConfigEntry[];
  readonly more: boolean;
  /** How many are selected; undefined: they were not counted. */
  readonly count: number | undefined;
  /** As of which. */
  readonly revision: number;
}

export class ConfigReads {
  readonly #tree: () => ReadTree;
  readonly #clock: Clock;

  constructor(tree: () => ReadTree, clock: Clock) {
    this.#tree = tree;
    this.#clock = clock;
  }

  /** The newest that is applied on this node. */
  get revision(): number {
    return this.#tree().revision;
  }

  /** A key as of a revision, 0: now. Errors: REVISION_COMPACTED, REVISION_FUTURE. */
  get(key: string, asked: number): { entry: ConfigEntry | undefined; revision: number } {
    const revision = this.#check(asked);
    const { history } = this.#tree().config;
    const found = history.find(key, revision);
    return { entry: found && history.entry(found), revision };
  }

  /** About how many bytes a transaction would answer with now. */
  answerSize(transaction: ConfigTransaction): number {
    return answerSize(this.#tree().config.history, transaction);
  }

  /** Errors: as `get`, RANGE_TOO_LARGE. */
  async list(order: ListOrder, asked: number, signal: AbortSignal): Promise<Listed> {
    const revision = this.#check(asked);
    try {
      if (order.countOnly) return { ...(await this.#count(order.span, revision, signal)), revision };
      if (order.sortBy !== ConfigSort.key) return { ...this.#sorted(order, revision), revision };
      return { ...(await this.#inOrder(order, revision, signal)), revision };
    } catch (error) {
      // What is there now was asked for, and was compacted while it was read.
      if (asked === 0 && error instanceof HoldfastError && error.reason === 'REVISION_COMPACTED')
        return this.list(order, 0, signal);
      throw error;
    }
  }

  /** The revision that is read at. */
  #check(asked: number): number {
    const { revision, config } = this.#tree();
    if (asked === 0) return revision;
    const actual = String(asked);
    if (asked > revision) throw read({ refused: 'REVISION_FUTURE', actual, limit: String(revision) });
    const { compactRevision } = config;
    if (asked < compactRevision)
      throw read({ refused: 'REVISION_COMPACTED', actual, limit: String(compactRevision) });
    return asked;
  }

  async #count(span: KeySpan, revision: number, signal: AbortSignal): Promise<Omit<Listed, 'revision'>> {
    let count = 0;
    await this.#walk(span, revision, false, signal, () => {
      count++;
      return true;
    });
    return { entries: [], more: false, count };
  }

  /** What is in the order of its keys is read as far as it fits. */
  async #inOrder(order: ListOrder, revision: number, signal: AbortSignal): Promise<Omit<Listed, 'revision'>> {
    const entries: ConfigEntry[] = [];
    let bytes = 0;
    const isWhole = await this.#walk(order.span, revision, order.isDescending, signal, (found) => {
      const size = ENTRY_BYTES + found.key.length + (order.keysOnly ? 0 : found.valueBytes);
      const isFull = entries.length > 0 && bytes + size > MAX_ANSWER_BYTES;
      if (isFull || (order.limit > 0 && entries.length === order.limit)) return false;
      bytes += size;
      entries.push(this.#entry(found, order.keysOnly));
      return true;
    });
    return { entries, more: !isWhole, count: isWhole ? entries.length : undefined };
  }

  #sorted(order: ListOrder, revision: number): Omit<Listed, 'revision'> {
    const { span, sortBy, isDescending, keysOnly } = order;
    const walk = this.#tree().config.history.walk(span, revision);
    const needsValues = sortBy === ConfigSort.value;
    const all: ConfigEntry[] = [];
    const places = new Map<ConfigEntry, FoundVersion>();
    for (let found = walk.next(MAX_TOUCHED_KEYS); found !== undefined; found = walk.next(MAX_TOUCHED_KEYS)) {
      const entry = this.#entry(found, !needsValues);
      all.push(entry);
      places.set(entry, found);
    }
    if (!walk.isDone) throw read({ refused: 'RANGE_TOO_LARGE', limit: String(MAX_TOUCHED_KEYS) });
    const entries: ConfigEntry[] = [];
    let bytes = 0;
    for (const entry of sortEntries(all, sortBy, isDescending)) {
      const found = places.get(entry)!;
      bytes += ENTRY_BYTES + found.key.length + (keysOnly ? 0 : found.valueBytes);
      const isFull = entries.length > 0 && bytes > MAX_ANSWER_BYTES;
      if (isFull || (order.limit > 0 && entries.length === order.limit)) break;
      entries.push(keysOnly ? entryWithoutValue(found) : needsValues ? entry : this.#entry(found, false));
    }
    return { entries, more: entries.length < all.length, count: all.length };
  }

  #entry(found: FoundVersion, keysOnly: boolean): ConfigEntry {
    return this.#tree().config.history.entry(found, keysOnly);
  }

  /** Visits keys as of a revision until all are visited (true) or the visitor has enough. */
  async #walk(
    span: KeySpan,
    revision: number,
    isDescending: boolean,
    signal: AbortSignal,
    visit: (found: FoundVersion) => boolean,
  ): Promise<boolean> {
    let rest = span;
    for (;;) {
      if (revision < this.#tree().config.compactRevision) this.#check(revision);
      const walk = this.#tree().config.history.walk(rest, revision, isDescending);
      const last = visitSlice(walk, visit);
      if (last === 'enough') return false;
      const { reached } = walk;
      if (reached === undefined) return true;
      rest = isDescending ? { start: rest.start, end: reached } : { start: reached, end: rest.end };
      await new Promise<void>((resolve) => this.#clock.afterTurn(resolve));
      signal.throwIfAborted();
    }
  }
}

function visitSlice(walk: KeyWalk, visit: (found: FoundVersion) => boolean): 'enough' | 'slice' {
  for (;;) {
    const found = walk.next(SLICE_STEPS);
    if (found === undefined) return 'slice';
    if (!visit(found)) return 'enough';
  }
}

/** A read has no outcome. */
function read(refusal: Parameters<typeof refusalError>[0]): HoldfastError {
  return refusalError(refusal).withOutcome(undefined);
}
