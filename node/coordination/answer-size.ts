/** How much a transaction would answer with, before it is proposed: told from the keys' rows, without a value. */
import {
  ConfigSort,
  type ConfigOperation,
  type ConfigTransaction,
  type KeySpan,
  type ListOrder,
} from './config-command.ts';
import type { ConfigHistory } from './config-history.ts';
import { MAX_TOUCHED_KEYS, MAX_TRANSACTION_ANSWER_BYTES } from './config-limits.ts';

/** What an entry takes besides key and value. */
const ENTRY_BYTES = 64;

/**
 * Bytes, about, as of what is applied here now; when it is applied itself it may be more or
 * less. Nothing is above what a transaction may answer with.
 */
export function answerSize(history: ConfigHistory, transaction: ConfigTransaction): number {
  return Math.min(new Sizing(history).transaction(transaction), MAX_TRANSACTION_ANSWER_BYTES);
}

class Sizing {
  readonly #history: ConfigHistory;
  #stepsLeft = MAX_TOUCHED_KEYS;

  constructor(history: ConfigHistory) {
    this.#history = history;
  }

  /** Which of the two lists is executed is not known yet. */
  transaction({ thenOperations, elseOperations }: ConfigTransaction): number {
    return Math.max(this.#all(thenOperations), this.#all(elseOperations));
  }

  #all(operations: readonly ConfigOperation[]): number {
    let bytes = 0;
    for (const operation of operations) bytes += this.#one(operation);
    return bytes;
  }

  #one(operation: ConfigOperation): number {
    switch (operation.case) {
      case 'put': {
        if (!operation.returnPrevious) return 0;
        const found = this.#history.find(operation.key);
        return found === undefined ? 0 : ENTRY_BYTES + found.key.length + found.valueBytes;
      }
      case 'delete':
        return operation.returnPrevious ? this.#span(operation.span) : 0;
      case 'list':
        return operation.countOnly ? 0 : this.#list(operation);
      case 'transaction':
        return this.transaction(operation.transaction);
    }
  }

  /** In an order other than that of the keys any of them may be the first: all are counted. */
  #list({ span, limit, sortBy, isDescending, keysOnly }: ListOrder): number {
    const isLimited = limit > 0 && sortBy === ConfigSort.key;
    return this.#span(span, { isDescending, keysOnly, ...(isLimited && { limit }) });
  }

  #span(span: KeySpan, { limit = Infinity, isDescending = false, keysOnly = false } = {}): number {
    const walk = this.#history.walk(span, Infinity, isDescending);
    let bytes = 0;
    for (let entries = 0; entries < limit && bytes < MAX_TRANSACTION_ANSWER_BYTES; entries++) {
      const found = walk.next(this.#stepsLeft);
      if (found === undefined) break;
      bytes += ENTRY_BYTES + found.key.length + (keysOnly ? 0 : found.valueBytes);
    }
    this.#stepsLeft -= walk.steps;
    return bytes;
  }
}
